# SPDX-License-Identifier: Apache-2.0
"""Changing a volume, killed at every write: by a file in memory whose writes can break off.

What the reader may find then: the old content or the new one, whole, or a refusal.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field
from typing import Callable, Optional

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore import tar_volume, volume_io
from ha_agent.ovfstore.tar_volume import build_archive

DOMAIN = "1f71b5f9-5cfa-459c-8ec2-ee48c9731f60"
DATE = "Sun Nov 22 05:16:23 UTC 2026"
NEW_DATE = "Mon Nov 23 05:16:23 UTC 2026"
WRITTEN_AT = WallTime(1795324583.0)
CAPACITY_BYTES = 1 << 20
VM, APPROVAL = "e.ovf", "e.ovf.approval"


class Killed(BaseException):
    """The process has ended here."""


@dataclass
class MemoryFile:
    """A volume; `writes_left` writes succeed, of the next one the first `torn_bytes` do."""

    data: bytearray
    is_block: bool = False
    writes_left: int = 1 << 30
    torn_bytes: int = 0
    loses_writes: bool = False
    path: str = "VOL"
    direct: bool = True
    read_lengths: list[int] = field(default_factory=list)

    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset: int, length_bytes: int) -> bytes:
        self.read_lengths.append(length_bytes)
        return bytes(self.data[offset : offset + length_bytes])

    def read_into(self, offset: int, view: memoryview) -> int:
        assert offset % 4096 == len(view) % 4096 == 0
        self.read_lengths.append(len(view))
        found = self.data[offset : offset + len(view)]
        view[: len(found)] = found
        return len(found)

    def write_blocks(self, offset: int, data: bytes) -> None:
        assert data
        assert offset % 4096 == len(data) % 4096 == 0
        if self.writes_left == 0:
            self._put(offset, data[: self.torn_bytes])
            raise Killed
        self.writes_left -= 1
        self._put(offset, bytes(len(data)) if self.loses_writes else data)

    def _put(self, offset: int, data: bytes) -> None:
        if self.is_block:
            assert offset + len(data) <= len(self.data)
        elif len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data

    def set_size(self, size_bytes: int) -> None:
        if self.is_block or size_bytes == len(self.data):
            return
        if self.writes_left == 0:
            raise Killed
        self.writes_left -= 1
        assert size_bytes < len(self.data), "only what was rounded up is cut off"
        del self.data[size_bytes:]


def archive(*members: tuple[str, bytes]) -> bytes:
    return build_archive(DOMAIN, members, last_updated_text=DATE, written_at=WRITTEN_AT)


def content(letter: bytes, size_bytes: int) -> bytes:
    """A document whose every sector tells whose it is."""
    return b"<" + letter * (size_bytes - 2) + b">"


OLD = content(b"o", 5000)
OTHERS = [(f"a{n}", content(b"a", 700 * n)) for n in range(1, 5)]
APPEND = archive(OTHERS[0], ("e", OLD), *OTHERS[1:])


def change(
    file: MemoryFile, size_bytes: int, changes: dict[str, Optional[bytes]]
) -> tuple[int, int]:
    return volume_io.change_members(
        file,
        size_bytes,
        changes,
        capacity_bytes=CAPACITY_BYTES,
        last_updated_text=NEW_DATE,
        written_at=WRITTEN_AT,
    )


def rewrite(
    file: MemoryFile, source: Optional[MemoryFile], changes: dict[str, Optional[bytes]]
) -> tuple[int, int]:
    return volume_io.write_archive(
        file,
        source,
        source.size_bytes() if source else 0,
        changes,
        storage_domain_uuid=DOMAIN,
        capacity_bytes=CAPACITY_BYTES,
        last_updated_text=NEW_DATE,
        written_at=WRITTEN_AT,
    )


def with_ours_last(data: bytes, document: bytes) -> bytes:
    """The archive after a put: the engine VM's member is the last one."""
    file = MemoryFile(bytearray(data))
    size_bytes, _ = change(file, len(data), {VM: document})
    return bytes(file.data[:size_bytes])


def found(file: MemoryFile, size_bytes: Optional[int]) -> Optional[dict[str, bytes]]:
    try:
        return volume_io.read_members(file, size_bytes, [VM])
    except BadInput:
        return None


START = {
    "middle": APPEND,
    "first": archive(("e", OLD), *OTHERS),
    "twice": archive(("e", content(b"x", 900)), *OTHERS, ("e", OLD)),
    "absent": archive(*OTHERS),
    "last": with_ours_last(APPEND, OLD),
    "last_with_approval": with_ours_last(archive(*OTHERS), OLD),
}
NEW = {
    "shorter": content(b"n", 300),
    "equal": content(b"n", 5000),
    "longer": content(b"n", 21_000),
    "zeros": bytes(3000),
}
TAILS = {"file": b"", "odd_file": b"", "block": b"\xa5" * 60_000}


@pytest.mark.parametrize("kind", TAILS)
@pytest.mark.parametrize("size", NEW)
@pytest.mark.parametrize("start", START)
class TestChange:
    def test_then_three_readers_find_it_once(self, start: str, size: str, kind: str) -> None:
        old, new = START[start], NEW[size]
        file = volume(old, kind)
        size_bytes, written_bytes = change(file, len(old), {VM: new})
        assert found(file, size_bytes) == {VM: new}
        assert written_bytes < len(new) + 8 * 4096
        if kind == "odd_file":
            assert file.size_bytes() == size_bytes
        if kind == "block" and size_bytes < len(old):
            assert file.data[len(old) :] == volume(old, kind).data[len(old) :]
        with tarfile.open(fileobj=io.BytesIO(bytes(file.data[:size_bytes]))) as tar:
            member = tar.extractfile(VM)
            assert member is not None
            assert member.read() == new
            assert tar.getnames().count(VM) == 1
            others = {name: tar.extractfile(f"{name}.ovf") for name, _ in OTHERS}
        for name, data in OTHERS:
            assert others[name] is not None
            members = volume_io.read_members(file, size_bytes, [f"{name}.ovf"])
            assert members == {f"{name}.ovf": data}

    def test_killed_at_any_write(self, start: str, size: str, kind: str) -> None:
        old, new = START[start], NEW[size]

        def put(file: MemoryFile) -> None:
            change(file, len(old), {VM: new, APPROVAL: None})

        new_bytes, _ = change(volume(old, kind), len(old), {VM: new, APPROVAL: None})
        for file in killed_anywhere(lambda: volume(old, kind), put):
            for described in (len(old), new_bytes, None):
                members = found(file, described)
                wanted = [{VM: new}, {VM: OLD}, None]
                if start == "absent" or described is None:
                    wanted.append({})  # no such member is no garbage
                if start == "twice" and described is None:
                    wanted.append({VM: content(b"x", 900)})
                assert members in wanted, described
            # Whatever it is now, the other copy makes it good again.
            size_bytes, _ = rewrite(file, MemoryFile(bytearray(old)), {VM: new})
            assert found(file, size_bytes) == {VM: new}


def volume(data: bytes, kind: str) -> MemoryFile:
    if kind == "block":
        padded = data + TAILS["block"]
        return MemoryFile(bytearray(padded + bytes(-len(padded) % 4096)), is_block=True)
    if kind == "file":
        return MemoryFile(bytearray(data.ljust(100_000, b"\0")))
    return MemoryFile(bytearray(data))


def killed_anywhere(
    make: Callable[[], MemoryFile], put: Callable[[MemoryFile], None]
) -> list[MemoryFile]:
    """What the volume is after each write was the last one, or was torn somewhere."""
    left = []
    for number in range(1000):
        for torn_bytes in (0, 512, 1024, 3584, 4096, 4608, 8192):
            file = make()
            file.writes_left, file.torn_bytes = number, torn_bytes
            try:
                put(file)
            except Killed:
                file.writes_left = 1 << 30
                left.append(file)
            else:
                assert number >= 3
                return left
    raise AssertionError("there was no end to the writes")


@pytest.mark.parametrize("kind", ["file", "block"])
def test_a_whole_archive_killed_at_any_write(kind: str) -> None:
    old, new = START["last"], NEW["equal"]
    source = MemoryFile(bytearray(START["middle"]))

    def put(file: MemoryFile) -> None:
        rewrite(file, source, {VM: new})

    new_bytes, _ = rewrite(volume(old, kind), source, {VM: new})
    for file in killed_anywhere(lambda: volume(old, kind), put):
        for described in (len(old), new_bytes, None):
            assert found(file, described) in ({VM: new}, {VM: OLD}, None)
        put(file)
        assert found(file, new_bytes) == {VM: new}


def test_a_torn_or_empty_copy_is_written_whole() -> None:
    good = START["last"]
    for damaged in (b"", bytes(50_000), good[:7000], good[:7000] + b"x" * 9000):
        file = MemoryFile(bytearray(damaged))
        size_bytes, _ = rewrite(file, MemoryFile(bytearray(good)), {VM: b"<new/>"})
        members = volume_io.list_members(file, size_bytes)
        names = ["info.json", *(f"{name}.ovf" for name, _ in OTHERS), "metadata.json", VM]
        assert [member.name for member in members] == names
        assert found(file, size_bytes) == {VM: b"<new/>"}
        assert file.data[size_bytes : len(damaged)] == damaged[size_bytes:]


def test_an_archive_out_of_nothing() -> None:
    file = MemoryFile(bytearray())
    size_bytes, _ = rewrite(file, None, {VM: b"<new/>"})
    assert file.size_bytes() == size_bytes
    assert found(file, size_bytes) == {VM: b"<new/>"}


def test_a_large_archive_goes_through_in_chunks() -> None:
    data = archive(*((f"{n}", content(b"%d" % (n % 10), 20_000)) for n in range(200)), ("e", OLD))
    source = MemoryFile(bytearray(data), is_block=True)
    source.data += bytes(-len(data) % 4096)
    assert found(source, len(data)) == {VM: OLD}
    assert found(source, None) == {VM: OLD}
    assert sum(source.read_lengths) < 2.2 * len(data)
    assert max(source.read_lengths) <= 1 << 20
    file = MemoryFile(bytearray())
    volume_io.write_archive(
        file,
        source,
        len(data),
        {VM: b"<new/>"},
        storage_domain_uuid="",
        capacity_bytes=5_000_000,
        last_updated_text=NEW_DATE,
        written_at=WRITTEN_AT,
    )
    with tarfile.open(fileobj=io.BytesIO(bytes(file.data))) as tar:
        assert len(tar.getnames()) == 203
        member = tar.extractfile("7.ovf")
        assert member is not None
        assert member.read() == content(b"7", 20_000)


def test_too_large_for_the_volume_is_said_before_anything_is_written() -> None:
    puts: list[Callable[[MemoryFile], object]] = [
        lambda file: change(file, len(APPEND), {VM: bytes(1 << 20)}),
        lambda file: rewrite(file, MemoryFile(bytearray(APPEND)), {VM: bytes(1 << 20)}),
        lambda file: rewrite(file, None, {VM: bytes(1 << 20)}),
    ]
    for put in puts:
        file = MemoryFile(bytearray(APPEND), writes_left=0)
        with pytest.raises(BadInput, match=r"would have 10\d{5} bytes, the volume has 1048576"):
            put(file)
        assert file.data == APPEND


@pytest.mark.parametrize("described", [len(APPEND) - 512, len(APPEND) + 512, 0])
def test_an_archive_that_is_not_sound_is_not_changed(described: int) -> None:
    file = MemoryFile(bytearray(APPEND + bytes(9000)), writes_left=0)
    with pytest.raises(BadInput, match="VOL"):
        change(file, described, {VM: b"x"})


def test_what_does_not_read_back_is_a_fault() -> None:
    file = MemoryFile(bytearray(APPEND), loses_writes=True)
    with pytest.raises(EnvironmentFault, match="VOL"):
        change(file, len(APPEND), {VM: b"x"})


def test_a_small_archive_is_read_at_once() -> None:
    file = MemoryFile(bytearray(APPEND), is_block=True)
    assert found(file, len(APPEND)) == {VM: OLD}
    assert len(file.read_lengths) == 1


def test_a_volume_full_of_tiny_members_is_given_up_early() -> None:
    count = tar_volume.MEMBER_COUNT_LIMIT
    header = tar_volume.encode_header("info.json", 0, WRITTEN_AT)
    file = MemoryFile(bytearray(header * (2 * count) + bytes(1024)))
    with pytest.raises(BadInput, match=f"more than {count} members"):
        volume_io.list_members(file, None)
    assert sum(file.read_lengths) < 1.1 * 512 * count
