# SPDX-License-Identifier: Apache-2.0
"""The configuration volume: its archive, and a change that is cut off anywhere."""

from __future__ import annotations

import io
import pathlib
import subprocess
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import (
    ARCHIVE_BYTES,
    FILE_NAMES,
    RECORD_BYTES,
    RECORD_OFFSET,
    current_archive,
    decode_conf_volume,
    encode_conf_volume,
    name_notes,
    plan_writes,
)

HECONF = pathlib.Path(__file__).resolve().parents[3] / "shared/data/volumes/heconf.tar"
SECTOR = 512
NOW = WallTime(1_700_000_000.0)
OLD_FILES = {name: f"{name} as it was\n".encode() * 60 for name in FILE_NAMES}
NEW_FILES = {name: f"{name} as it is now\n".encode() * 90 for name in FILE_NAMES}
OLD = encode_conf_volume(OLD_FILES, NOW)
NEW = encode_conf_volume(NEW_FILES, NOW + 5)
VOLUME_BYTES = 256 * 1024


class Volume:
    """Storage of which each sector is written whole or not at all."""

    def __init__(self, archive: bytes = OLD) -> None:
        self.data = bytearray(archive.ljust(VOLUME_BYTES, b"\0"))

    def areas(self) -> tuple[bytes, bytes]:
        record = self.data[RECORD_OFFSET : RECORD_OFFSET + RECORD_BYTES]
        return bytes(self.data[:ARCHIVE_BYTES]), bytes(record)

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data

    def files(self) -> dict[str, bytes]:
        archive, _ = current_archive(*self.areas())
        return decode_conf_volume(archive, where="V")

    def change(self, new: bytes, *, writes: int = 9, sectors: int = 0) -> None:
        """Do a change, but stop after so many writes and so many sectors of the next one."""
        plan = plan_writes(*self.areas(), new)
        for offset, data in plan[:writes]:
            self.write(offset, data)
        for offset, data in plan[writes : writes + 1]:
            self.write(offset, data[: sectors * SECTOR])


def stops(new: bytes) -> Iterator[tuple[int, int]]:
    """Yield every place where a change from OLD can stop: whole writes, sectors of the next."""
    for writes, (_, data) in enumerate(plan_writes(*Volume().areas(), new)):
        for sectors in range(len(data) // SECTOR + 1):
            yield writes, sectors


def test_the_archive_is_read_back() -> None:
    assert len(OLD) == ARCHIVE_BYTES == 20480
    assert decode_conf_volume(OLD, where="V") == OLD_FILES
    assert decode_conf_volume(OLD.ljust(1 << 20, b"x"), where="V") == OLD_FILES
    assert list(decode_conf_volume(OLD, where="V")) == list(FILE_NAMES)
    assert name_notes(OLD_FILES) == ()


def test_gnu_tar_and_python_read_it_out_of_a_changed_volume() -> None:
    volume = Volume()
    volume.change(NEW)
    for name in FILE_NAMES:
        run = subprocess.run(
            ["tar", "-xOf", "-", name], input=bytes(volume.data), capture_output=True, check=True
        )
        assert run.stdout == NEW_FILES[name]
    listed = subprocess.run(
        ["tar", "-tf", "-"], input=bytes(volume.data), capture_output=True, check=True
    )
    assert listed.stdout.decode().split() == list(FILE_NAMES)
    with tarfile.open(fileobj=io.BytesIO(bytes(volume.data))) as archive:
        assert archive.getnames() == list(FILE_NAMES)


@pytest.mark.skipif(not HECONF.exists(), reason="the sample volumes are not here")
def test_the_predecessors_volume() -> None:
    data = HECONF.read_bytes()
    files = decode_conf_volume(data, where="V")
    assert list(files) == list(FILE_NAMES)
    assert files["version"] == b"2.5.2"
    assert files["vm.conf"].startswith(b"vmId=82a24281-")
    assert len(data) == ARCHIVE_BYTES
    # Its size, its order and its contents are ours.
    assert decode_conf_volume(encode_conf_volume(files, WallTime(0.0)), where="V") == files


def test_another_order_and_other_files_are_read_and_told() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("vm.conf", "mine", "version"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    files = decode_conf_volume(made.getvalue(), where="V")
    assert files == {"vm.conf": b"abc", "mine": b"abc", "version": b"abc"}
    assert name_notes(files) == (
        "file fhanswers.conf is missing",
        "file hosted-engine.conf is missing",
        "file broker.conf is missing",
        "file 'mine' is none of the five",
    )


def test_files_that_are_none_of_the_five_are_kept() -> None:
    files = {"mine": b"1", **OLD_FILES}
    again = decode_conf_volume(encode_conf_volume(files, NOW), where="V")
    assert again == files
    assert list(again)[-1] == "mine"


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(BadInput, match="V, byte 0: empty"):
        decode_conf_volume(bytes(ARCHIVE_BYTES), where="V")
    with pytest.raises(BadInput, match="V, byte 0: truncated"):
        decode_conf_volume(b"", where="V")
    with pytest.raises(BadInput, match="V, byte 2048: not an archive header"):
        decode_conf_volume(OLD[:SECTOR] + OLD[SECTOR * 2 :], where="V")
    with pytest.raises(BadInput, match="truncated"):
        decode_conf_volume(OLD[:-9000], where="V")


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(BadInput, match=r"needs version, broker\.conf"):
        encode_conf_volume(
            {name: b"" for name in FILE_NAMES if name not in ("version", "broker.conf")}, NOW
        )
    with pytest.raises(BadInput, match=r"16896 bytes .* vm\.conf 20000$"):
        encode_conf_volume({**OLD_FILES, "vm.conf": b"x" * 20_000}, NOW)
    for name in ("", "x" * 101, "../x", "/x", "a\0b"):
        with pytest.raises(BadInput):
            encode_conf_volume({**OLD_FILES, name: b""}, NOW)


def test_the_most_that_fits() -> None:
    empty = dict.fromkeys(FILE_NAMES, b"")
    assert decode_conf_volume(encode_conf_volume({**empty, "vm.conf": b"x" * 16_896}, NOW),
                              where="V")["vm.conf"] == b"x" * 16_896  # fmt: skip
    with pytest.raises(BadInput, match="don't fit"):
        encode_conf_volume({**empty, "vm.conf": b"x" * 16_897}, NOW)


def test_a_change_wherever_it_stops_leaves_the_old_or_the_new_files() -> None:
    seen = []
    for writes, sectors in stops(NEW):
        volume = Volume()
        volume.change(NEW, writes=writes, sectors=sectors)
        found = volume.files()
        assert found in (OLD_FILES, NEW_FILES)
        seen.append(found == NEW_FILES)
    # Once new, never old again; and both happen.
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (False, True)


def test_a_writer_after_a_stopped_one_and_stopped_itself() -> None:
    third_files = dict.fromkeys(FILE_NAMES, b"third")
    third = encode_conf_volume(third_files, NOW)
    for writes, sectors in stops(NEW):
        if sectors % 9:
            continue
        first = Volume()
        first.change(NEW, writes=writes, sectors=sectors)
        before = first.files()
        plan = plan_writes(*first.areas(), third)
        for next_writes, (_, data) in enumerate(plan):
            for next_sectors in range(0, len(data) // SECTOR + 1, 7):
                volume = Volume()
                volume.data[:] = first.data
                volume.change(third, writes=next_writes, sectors=next_sectors)
                assert volume.files() in (before, third_files)
        first.change(third)
        assert first.files() == third_files
        assert bytes(first.data[:ARCHIVE_BYTES]) == third


@given(
    st.integers(0, 2),
    st.lists(st.integers(0, RECORD_BYTES // SECTOR - 1), max_size=RECORD_BYTES // SECTOR),
)
def test_sectors_may_arrive_in_any_order(step: int, sectors: list[int]) -> None:
    volume = Volume()
    plan = plan_writes(*volume.areas(), NEW)
    volume.change(NEW, writes=step)
    offset, data = plan[step]
    for sector in sectors:
        piece = data[sector * SECTOR : (sector + 1) * SECTOR]
        volume.write(offset + sector * SECTOR, piece)
    assert volume.files() in ((NEW_FILES,) if step else (OLD_FILES, NEW_FILES))


def test_a_finished_change_is_in_the_archive_and_leaves_no_record() -> None:
    volume = Volume()
    volume.change(NEW)
    assert current_archive(*volume.areas()) == (NEW, False)
    assert plan_writes(*volume.areas(), NEW) == []


def test_a_volume_that_was_never_written_or_is_short() -> None:
    for archive in (b"", bytes(VOLUME_BYTES), OLD[:512]):
        volume = Volume(archive)
        volume.change(NEW, writes=1)
        assert volume.files() == NEW_FILES
    assert current_archive(OLD, b"") == (OLD, False)
    assert current_archive(b"", b"") == (bytes(ARCHIVE_BYTES), False)
    assert plan_writes(b"", b"", NEW)[-1][0] == RECORD_OFFSET


def test_what_an_old_tool_wrote_since_counts() -> None:
    theirs = dict.fromkeys(FILE_NAMES, b"theirs")
    archive = encode_conf_volume(theirs, WallTime(0.0))
    for writes, sectors in ((1, 0), (1, 9), (2, 0)):
        volume = Volume()
        volume.change(NEW, writes=writes, sectors=sectors)
        assert volume.files() == NEW_FILES
        volume.write(0, archive)  # a block volume: the record stays behind
        assert volume.files() == theirs
        volume.change(OLD)
        assert volume.files() == OLD_FILES


def test_a_damaged_record_is_none() -> None:
    volume = Volume()
    volume.change(NEW, writes=1)
    archive, record = volume.areas()
    for place in (0, 20, 47, 4096, 4096 + ARCHIVE_BYTES, RECORD_BYTES - 1):
        damaged = bytearray(record)
        damaged[place] ^= 1
        assert current_archive(archive, bytes(damaged)) == (OLD, False)
    assert current_archive(archive, record[:-1]) == (OLD, False)
    assert current_archive(archive, record) == (NEW, True)


def test_writes_are_whole_blocks() -> None:
    volume = Volume()
    volume.change(NEW, writes=1)
    for offset, data in plan_writes(*volume.areas(), OLD):
        assert offset % 4096 == 0
        assert len(data) % 4096 == 0
    with pytest.raises(ValueError, match="not 20480"):
        plan_writes(*volume.areas(), b"x")
