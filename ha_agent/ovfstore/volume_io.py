# SPDX-License-Identifier: Apache-2.0
"""Reading and changing the archive on an open OVF_STORE volume.

The formats are tar_volume.py's and tar_change.py's; this module moves the bytes. It opens
nothing and locks nothing: broker/store/volume_ops.py does, in a storage worker, as all of it may
block for as long as the storage hangs.

**Reading members** whose archive's end is known goes from there backwards, and stops where the
members are found: tar_tail.py says what is verified then, and what is not.

**Walking** goes once through the archive, from its beginning to its end: a small one in one
read, a large one in chunks through one buffer. Listing, changing and copying do it, and reading
where the end is not known or the way backwards meets something odd. Each of some thousand
headers in a read of its own would move fewer bytes, but wait for the storage as many times;
threads that read ahead were measured too, and waited for each other (and for Python's lock) as
long as they saved.

**Writing** changes the volume in this order, each step durable before the next one:

    1  zeros over the header at which the new part of the archive begins
    2  the new part behind that header: data, further members, the end-of-archive blocks
    3  that header, 512 bytes: with it the new part is there
    4  headers of replaced members get their dead names, info.json its date; 512 bytes each
    5  a file that ended with the archive is made to end with it again

So a reader that knows the description's Size finds the old archive, or the new one, or it
refuses this copy (a zero block that is not the end, or an end that is not at Size) and takes
the other copy, which nobody writes meanwhile. Steps 1, 3 and 4 change single sectors, which
storage writes whole or not at all; in step 2 nothing is reachable that could be half written.
At the end all that was written is read back from the storage, a whole archive header by header.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Optional, Protocol

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore import tar_change, tar_tail, tar_volume
from ha_agent.ovfstore.tar_header import BLOCK_BYTES, Member

ALIGNED_BYTES = 4096
"""What VolumeFile.write_blocks takes: offset and length are multiples of this."""

_CHUNK_BYTES = 1024 * 1024
# What is read first of an archive of unknown size: most have a few VMs.
_FIRST_BYTES = 64 * 1024


class VolumeFile(Protocol):
    """An open volume; broker/storage/directio.py's DirectFile is one, which says more of each."""

    @property
    def path(self) -> str: ...

    @property
    def direct(self) -> bool: ...

    def size_bytes(self) -> int: ...

    def read(self, offset: int, length_bytes: int) -> bytes: ...

    def read_into(self, offset: int, view: memoryview) -> int: ...

    def write_blocks(self, offset: int, data: bytes) -> None: ...

    def set_size(self, size_bytes: int) -> None: ...


class ArchiveReader:
    """read_at(offset, length) for a walk that goes forward through an archive.

    `end_bytes` is where the range of interest ends, `first_bytes` how much is read at once.
    Going back costs a read of its own.
    """

    def __init__(self, file: VolumeFile, end_bytes: int, *, first_bytes: int) -> None:
        self._file = file
        self._end = end_bytes
        self._start = 0
        self._chunk = memoryview(file.read(0, min(first_bytes, end_bytes)))
        self._memory: Optional[memoryview] = None

    def read_at(self, offset: int, length_bytes: int) -> bytes:
        """Return that range, or less of it where the storage ends. Raises OSError."""
        start = offset - self._start
        stop = start + length_bytes
        if start >= 0 and stop <= len(self._chunk):
            return bytes(self._chunk[start:stop])
        if start < 0:
            return self._file.read(offset, length_bytes)
        pieces = []
        while length_bytes > 0:
            start = offset - self._start
            piece = bytes(self._chunk[start : start + length_bytes])
            pieces.append(piece)
            offset += len(piece)
            length_bytes -= len(piece)
            if length_bytes and not self._move(offset):
                break
        return b"".join(pieces)

    def _move(self, offset: int) -> bool:
        """Read the chunk that begins with the block of `offset`; False at the end."""
        if offset >= self._end:
            return False
        if self._memory is None:
            self._memory = memoryview(mmap.mmap(-1, _CHUNK_BYTES))
        self._start = offset - offset % ALIGNED_BYTES
        wanted = min(_CHUNK_BYTES, _round_up(self._end) - self._start)
        count = self._file.read_into(self._start, self._memory[:wanted])
        self._chunk = self._memory[:count]
        return self._start + count > offset


class _Window:
    """The part of an archive that was looked at last.

    All windows look through one buffer, since memory that is new costs as much as a small read:
    the one made last is the one to use. A storage worker does one thing at a time.
    """

    _memory: ClassVar[Optional[memoryview]] = None

    def __init__(self, file: VolumeFile) -> None:
        self._file = file
        self._start = 0
        self._view = memoryview(b"")

    def move(self, offset: int, length_bytes: int) -> memoryview:
        """Return the range from `offset`, a multiple of ALIGNED_BYTES, on. Raises OSError."""
        memory = _Window._memory
        if memory is None or len(memory) < length_bytes:
            size_bytes = max(_CHUNK_BYTES, _round_up(length_bytes))
            memory = _Window._memory = memoryview(mmap.mmap(-1, size_bytes))
        count = self._file.read_into(offset, memory[: _round_up(length_bytes)])
        self._start = offset
        self._view = memory[: min(count, length_bytes)]
        return self._view

    def read_at(self, offset: int, length_bytes: int) -> bytes:
        """Return that range, or less of it where the storage ends. Raises OSError."""
        seen = self._seen(offset, length_bytes)
        return self._file.read(offset, length_bytes) if seen is None else bytes(seen)

    def _seen(self, offset: int, length_bytes: int) -> Optional[memoryview]:
        start = offset - self._start
        if start < 0 or start + length_bytes > len(self._view):
            return None
        return self._view[start : start + length_bytes]


def read_members(
    file: VolumeFile, size_bytes: Optional[int], names: list[str]
) -> dict[str, bytes]:
    """Return the contents of members; a name that the archive lacks is left out.

    The first of `names` is the main one; the last member of that name counts. The others count
    when they stand directly before it or behind it, as a change writes them (or anywhere, when
    there is no main one): so one that is absent does not cost reading the whole archive.

    `size_bytes` is `Size` of the volume's description: the archive must end there. None: there
    is no description, the archive says itself where it ends. Raises OSError, and BadInput when
    the archive is damaged as far as it was looked at, or a member is over 8 MiB.
    """
    window = _Window(file)
    members = None
    if size_bytes is not None and names:
        members = tar_tail.find_last(window.move, window.read_at, size_bytes, names)
    if members is None:
        members = tar_tail.choose(reversed(list_members(file, size_bytes)), names) or {}
    return {
        name: tar_volume.member_content(window.read_at, member, where=file.path)
        for name, member in members.items()
    }


def list_members(file: VolumeFile, size_bytes: Optional[int]) -> tuple[Member, ...]:
    """Return all members, dead ones included; arguments and errors as `read_members`."""
    return tar_volume.list_members(
        _reader(file, size_bytes).read_at,
        file.size_bytes(),
        where=file.path,
        described_size_bytes=size_bytes,
    )


def change_members(
    file: VolumeFile,
    size_bytes: int,
    changes: Mapping[str, Optional[bytes]],
    *,
    capacity_bytes: int,
    last_updated_text: str,
    written_at: WallTime,
) -> tuple[int, int]:
    """Give members new contents, or take them out (None), in a sound archive of `size_bytes`.

    Returns (the archive's new size, bytes written). Raises BadInput, with nothing written, when
    the archive is damaged, the changes are no good, or it would be over `capacity_bytes`;
    OSError; EnvironmentFault when the volume does not read back as written.
    """
    members = list_members(file, size_bytes)
    change = tar_change.plan_change(
        members,
        _read_info(file, members),
        changes,
        last_updated_text=last_updated_text,
        written_at=written_at,
        where=file.path,
    )
    _check_capacity(file, change.size_bytes, capacity_bytes)
    before_bytes = file.size_bytes()
    writer = _Writer(file)
    if change.tail:
        writer.replace_tail(change.cut_bytes, [change.tail])
    for offset, data in change.patches:
        writer.patch(offset, data)
    grown = 0 if before_bytes <= size_bytes else before_bytes
    file.set_size(max(grown, change.size_bytes))
    # All headers have just been looked at; what stands between the changes has not been touched.
    for offset, data in ((change.cut_bytes, change.tail), *change.patches):
        if file.read(offset, len(data)) != data:
            raise EnvironmentFault(f"{file.path}: byte {offset} does not read back as written")
    return change.size_bytes, writer.written_bytes


def write_archive(
    file: VolumeFile,
    source: Optional[VolumeFile],
    source_size_bytes: int,
    changes: Mapping[str, Optional[bytes]],
    *,
    storage_domain_uuid: str,
    capacity_bytes: int,
    last_updated_text: str,
    written_at: WallTime,
) -> tuple[int, int]:
    """Write a whole archive: that of `source` with changes, or a new one when there is none.

    Dead members and all but the last of a name are left behind. What `file` holds does not
    matter. Returns and raises what `change_members` does.
    """
    tar_change.check_changes(changes, file.path)
    if source is None:
        pieces: Iterable[bytes] = [
            tar_change.new_archive(
                storage_domain_uuid,
                changes,
                last_updated_text=last_updated_text,
                written_at=written_at,
            )
        ]
        archive_bytes = sum(map(len, pieces))
    else:
        members = list_members(source, source_size_bytes)
        copy = tar_change.plan_copy(
            members,
            _read_info(source, members),
            changes,
            last_updated_text=last_updated_text,
            written_at=written_at,
            where=source.path,
        )
        pieces = _copied(source, source_size_bytes, copy)
        archive_bytes = copy.size_bytes
    _check_capacity(file, archive_bytes, capacity_bytes)
    before_bytes = file.size_bytes()
    writer = _Writer(file)
    writer.replace_tail(0, pieces)
    file.set_size(max(before_bytes, archive_bytes))
    _verify(file, archive_bytes, changes)
    return archive_bytes, writer.written_bytes


class _Writer:
    """Writes any range in whole blocks, keeping what else is in them; counts the bytes."""

    def __init__(self, file: VolumeFile) -> None:
        self._file = file
        self.written_bytes = 0

    def patch(self, offset: int, data: bytes) -> None:
        """Replace the bytes from `offset` on. Raises OSError."""
        end = offset + len(data)
        data = self._old(offset - offset % ALIGNED_BYTES, offset) + data
        data += self._old(end, _round_up(end))
        self._file.write_blocks(offset - offset % ALIGNED_BYTES, data)
        self.written_bytes += len(data)

    def _old(self, start: int, end: int) -> bytes:
        # Past the end of a file there is nothing yet, which is as good as zeros.
        return (
            self._file.read(start, end - start).ljust(end - start, b"\0") if end > start else b""
        )

    def replace_tail(self, cut: int, pieces: Iterable[bytes]) -> None:
        """Steps 1 to 3 of the module's docstring: the archive from `cut` on is `pieces`.

        The first piece holds at least the header; `cut` is at a sector. Raises OSError.
        """
        header = b""
        zeros = bytes(BLOCK_BYTES)
        if any(self._file.read(cut, BLOCK_BYTES)):
            self.patch(cut, zeros)
        at = cut
        pending = bytearray()
        for piece in pieces:
            if not header:
                header = piece[:BLOCK_BYTES]
                piece = zeros + piece[BLOCK_BYTES:]
            pending += piece
            if len(pending) >= _CHUNK_BYTES:
                # To a block's end, so that nothing but the last block is written twice.
                length = len(pending) - (at + len(pending)) % ALIGNED_BYTES
                self.patch(at, bytes(pending[:length]))
                at += length
                del pending[:length]
        if pending:
            self.patch(at, bytes(pending))
        if any(header):
            self.patch(cut, header)


def _reader(file: VolumeFile, size_bytes: Optional[int]) -> ArchiveReader:
    end = file.size_bytes()
    if size_bytes is None:
        return ArchiveReader(file, end, first_bytes=_FIRST_BYTES)
    end = max(0, min(end, size_bytes))
    first = end if end <= _CHUNK_BYTES else _FIRST_BYTES
    return ArchiveReader(file, end, first_bytes=first)


def _read_info(file: VolumeFile, members: tuple[Member, ...]) -> bytes:
    info = members[0]
    return file.read(info.data_offset_bytes, min(info.size_bytes, tar_volume.MEMBER_LIMIT_BYTES))


def _copied(source: VolumeFile, source_size_bytes: int, copy: tar_change.Copy) -> Iterator[bytes]:
    yield copy.head
    reader = _reader(source, source_size_bytes)
    for start, end in copy.ranges:
        for offset in range(start, end, _CHUNK_BYTES):
            length = min(_CHUNK_BYTES, end - offset)
            data = reader.read_at(offset, length)
            if len(data) != length:
                raise EnvironmentFault(f"{source.path}: it shrank while it was copied")
            yield data
    yield copy.tail


def _round_up(offset: int) -> int:
    return -(-offset // ALIGNED_BYTES) * ALIGNED_BYTES


def _check_capacity(file: VolumeFile, archive_bytes: int, capacity_bytes: int) -> None:
    if archive_bytes > capacity_bytes:
        raise BadInput(
            f"the archive would have {archive_bytes} bytes, the volume has {capacity_bytes}",
            where=file.path,
        )


def _verify(file: VolumeFile, size_bytes: int, changes: Mapping[str, Optional[bytes]]) -> None:
    """Read the archive back: each name has the wanted content, once. Raises EnvironmentFault."""
    try:
        members = list_members(file, size_bytes)
    except BadInput as error:
        raise EnvironmentFault(f"not readable after it was written: {error}") from error
    counts = Counter(member.name for member in members if member.name in changes)
    contents = {
        member.name: file.read(member.data_offset_bytes, member.size_bytes)
        for member in members
        if member.name in changes
    }
    for name, wanted in changes.items():
        if contents.get(name) != wanted or counts[name] != (wanted is not None):
            raise EnvironmentFault(
                f"{file.path}: member {name!r} does not read back as written"
                f" ({counts[name]} of that name)"
            )
