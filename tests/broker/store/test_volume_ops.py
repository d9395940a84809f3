# SPDX-License-Identifier: Apache-2.0
"""The worker's operations on real files and loop devices, looked at with GNU tar."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any, Optional

import pytest

from ha_agent import ofd_lock
from ha_agent.broker.storage import directio
from ha_agent.broker.storage import worker as storage_worker
from ha_agent.broker.store import volume_ops
from ha_agent.errors import BadInput, DeadlineExceeded
from ha_agent.instant import WallTime
from ha_agent.ovfstore import volume_io
from ha_agent.ovfstore.tar_volume import build_archive
from tests.loop_device import loop_device

DOMAIN = "1f71b5f9-5cfa-459c-8ec2-ee48c9731f60"
DATE = "Sun Nov 22 05:16:23 UTC 2026"
WRITTEN_AT = WallTime(1795324583.0)
CAPACITY_BYTES = 1 << 20
VM = "e.ovf"
OLD = b"<" + b"o" * 5000 + b">"


def archive(*members: tuple[str, bytes]) -> bytes:
    return build_archive(DOMAIN, members, last_updated_text=DATE, written_at=WRITTEN_AT)


ARCHIVE = archive(("a", b"A" * 700), ("e", OLD), ("b", b"B" * 9000))


@pytest.fixture(
    params=[
        0,
        pytest.param(512, marks=pytest.mark.root),
        pytest.param(4096, marks=pytest.mark.root),
    ]
)
def volume(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    """A volume with ARCHIVE: a file just as long, then loop devices with something behind."""
    path = tmp_path / "volume"
    path.write_bytes(ARCHIVE)
    if not request.param:
        yield str(path)
        return
    with path.open("ab") as file:
        file.write(b"\xa5" * (CAPACITY_BYTES - len(ARCHIVE)))
    with loop_device(path, request.param) as device:
        yield device


def put(path: str, size_bytes: int, changes: dict[str, Optional[bytes]]) -> dict[str, Any]:
    return volume_ops.change_members(
        path, size_bytes, changes, CAPACITY_BYTES, DATE, WRITTEN_AT.unix_seconds
    )


def copy(path: str, source: Optional[str], changes: dict[str, Optional[bytes]]) -> dict[str, Any]:
    size_bytes = len(ARCHIVE) if source else 0
    return volume_ops.write_archive(
        path, source, size_bytes, changes, CAPACITY_BYTES, DATE, WRITTEN_AT.unix_seconds, DOMAIN
    )


def gnu_tar(path: str, *arguments: str) -> bytes:
    """What `dd | tar`, the predecessor's way to read, gives."""
    command = 'dd if="$0" bs=4k 2>/dev/null | tar "$@"'
    shell = ["bash", "-c", command, path, *arguments]
    done = subprocess.run(shell, capture_output=True, check=True, timeout=10)
    return done.stdout


def test_gnu_tar_finds_what_was_put(volume: str) -> None:
    size_bytes = len(ARCHIVE)
    for content in (b"<new/>", b"<" + b"n" * 20_600 + b">", b"<newer/>"):
        result = put(volume, size_bytes, {VM: content})
        size_bytes = result["size_bytes"]
        assert gnu_tar(volume, "-xOf", "-", VM) == content
        names = gnu_tar(volume, "-tf", "-").decode().split()
        assert names == ["info.json", "a.ovf", "e.ovf.old", "b.ovf", "metadata.json", VM]
        assert result["written_bytes"] < len(content) + 8 * 4096
        assert result["locked"]
        assert result["direct"] or os.path.isfile(volume)
        if os.path.isfile(volume):
            assert os.path.getsize(volume) == size_bytes
        else:
            with open(volume, "rb") as file:
                file.seek(-4096, os.SEEK_END)
                assert file.read() == b"\xa5" * 4096


def test_a_whole_copy(volume: str, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"torn" * 9000)
    result = copy(str(other), volume, {VM: b"<new/>"})
    assert gnu_tar(str(other), "-xOf", "-", VM) == b"<new/>"
    assert gnu_tar(str(other), "-xOf", "-", "b.ovf") == b"B" * 9000
    listed = volume_ops.list_archive(str(other), result["size_bytes"])
    assert listed["size_bytes"] == result["size_bytes"]
    assert [member["name"] for member in listed["members"]][-1] == VM
    assert other.read_bytes()[result["size_bytes"] :] == (b"torn" * 9000)[result["size_bytes"] :]
    back = copy(volume, None, {VM: b"<new/>"})
    assert gnu_tar(volume, "-tf", "-").decode().split() == ["info.json", "metadata.json", VM]
    assert back["size_bytes"] < len(ARCHIVE)


class TornFile:
    """A volume whose `number`-th write is the last one, of which `torn_bytes` are done."""

    def __init__(self, file: directio.DirectFile, number: int, torn_bytes: int) -> None:
        self._file = file
        self._left = number
        self._torn_bytes = torn_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write_blocks(self, offset: int, data: bytes) -> None:
        if self._left == 0:
            done = self._torn_bytes
            old = self._file.read(offset, len(data)).ljust(len(data), b"\0")
            self._file.write_blocks(offset, data[:done] + old[done:])
            raise KeyboardInterrupt
        self._left -= 1
        self._file.write_blocks(offset, data)


@pytest.mark.parametrize("start", ["middle", "last"])
def test_killed_at_any_write(volume: str, start: str, tmp_path: pathlib.Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(ARCHIVE)
    if start == "last":
        put(str(good), len(ARCHIVE), {VM: OLD})
    good_bytes = good.read_bytes()
    new = b"<" + b"n" * 9000 + b">"
    for number in range(100):
        for torn_bytes in (0, 512, 4096, 8192 + 512):
            with open(volume, "r+b") as plain:
                plain.write(good_bytes)
                plain.flush()
                os.fsync(plain.fileno())
            with directio.open_file(volume, write=True) as file:
                try:
                    volume_io.change_members(
                        TornFile(file, number, torn_bytes),
                        len(good_bytes),
                        {VM: new},
                        capacity_bytes=CAPACITY_BYTES,
                        last_updated_text=DATE,
                        written_at=WRITTEN_AT,
                    )
                except KeyboardInterrupt:
                    pass
                else:
                    assert number >= 3
                    return
            try:
                members = volume_ops.read_members(volume, len(good_bytes), [VM])["members"]
            except BadInput:
                pass
            else:
                assert members in ({VM: OLD}, {VM: new})
            result = volume_ops.write_archive(
                volume, str(good), len(good_bytes), {VM: new}, CAPACITY_BYTES, DATE, 0
            )
            assert gnu_tar(volume, "-xOf", "-", VM) == new
            members = volume_ops.read_members(volume, result["size_bytes"], [VM])["members"]
            assert members == {VM: new}
    raise AssertionError("there was no end to the writes")


def test_a_block_device_bounds_the_capacity(tmp_path: pathlib.Path, volume: str) -> None:
    if os.path.isfile(volume):
        pytest.skip("a file grows")
    with pytest.raises(BadInput, match=f"the volume has {CAPACITY_BYTES}"):
        volume_ops.change_members(volume, len(ARCHIVE), {VM: bytes(1 << 20)}, 1 << 30, DATE, 0)


def test_the_same_volume_is_no_source(volume: str, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(volume)
    with pytest.raises(BadInput, match="is the same volume"):
        copy(volume, str(link), {})


def test_a_new_archive_needs_its_domain(volume: str) -> None:
    with pytest.raises(BadInput, match="needs the storage domain's UUID"):
        volume_ops.write_archive(volume, None, 0, {}, CAPACITY_BYTES, DATE, 0)


def test_while_another_writes_nothing_is_written(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "volume"
    path.write_bytes(ARCHIVE)
    with directio.open_file(str(path), write=True) as file:
        assert ofd_lock.try_lock(file.fd, 0, 0)
        with pytest.raises(DeadlineExceeded, match="lock on"):
            volume_ops.change_members(
                str(path), len(ARCHIVE), {VM: b""}, CAPACITY_BYTES, DATE, 0, lock_wait_seconds=0.05
            )
    assert path.read_bytes() == ARCHIVE
    assert put(str(path), len(ARCHIVE), {VM: b""})["locked"]


def test_members_far_into_the_archive_and_those_that_are_not_there(volume: str) -> None:
    answer = volume_ops.read_members(volume, len(ARCHIVE), ["b.ovf", "none.ovf"])
    assert answer["members"] == {"b.ovf": b"B" * 9000}
    assert volume_ops.read_members(volume, None, [VM])["members"] == {VM: OLD}


def test_a_damaged_archive_names_the_volume(volume: str) -> None:
    with pytest.raises(BadInput, match=volume):
        volume_ops.read_members(volume, len(ARCHIVE) - 512, [VM])
    with pytest.raises(BadInput, match=volume):
        volume_ops.list_archive(volume, len(ARCHIVE) - 512)


def test_all_of_it_goes_through_the_worker(volume: str) -> None:
    asked = {"path": volume, "size_bytes": len(ARCHIVE)}
    reply = storage_worker.answer({"id": 1, "operation": "list_archive", "args": asked})
    assert [member["name"] for member in reply["value"]["members"]] == [
        "info.json", "a.ovf", "e.ovf", "b.ovf", "metadata.json",
    ]  # fmt: skip
    first = reply["value"]["members"][0]
    assert (first["offset_bytes"], first["dead"]) == (512, False)
    asked = {**asked, "changes": {VM: None}, "capacity_bytes": 1, "last_updated_text": DATE}
    request = {"id": 2, "operation": "change_members", "args": {**asked, "mtime": 0}}
    assert storage_worker.answer(request)["error"]["code"] == "bad_input"
