# SPDX-License-Identifier: Apache-2.0
"""The header of one member of an archive: 512 bytes each way. Pure.

A header is one 512-byte block: name at 0 (100 bytes), mode 100, uid 108, gid 116,
size 124 (12 bytes), mtime 136, checksum 148 (8 bytes), type 156, magic 257, version 263,
uname 265, gname 297, devmajor 329, devminor 337, prefix 345 (155 bytes).

The checksum is the sum of all bytes, its own eight taken as blanks. Numbers are octal digits.

The engine writes plain files with plain names. Links, folders, devices, names that lead out of
the archive, and the records by which GNU tar and pax say more about the next member are refused:
nothing that is read here is ever unpacked to a path, but none of it belongs here either.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple, Optional

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime

BLOCK_BYTES = 512

_POSIX_MAGIC = b"ustar\x0000"
_GNU_MAGIC = b"ustar  \x00"
# What follows the checksum's six digits in every header that the engine writes.
_ENGINE_HEADER_REST = (
    b"\0 0" + bytes(100) + _POSIX_MAGIC + bytes(64) + b"0000000 0000000 " + bytes(167)
)
_BLANK = ord(" ")
# All but the first two bytes of it, the checksum's own eight bytes taken as blanks, and the 1
# that Adler-32 begins with taken off.
_ENGINE_HEADER_REST_SUM = sum(_ENGINE_HEADER_REST[2:]) + 8 * _BLANK - 1
# Mode, owner and group of every member that the engine writes.
_ENGINE_OWNER = b"0100644 0000000 0000000 "
_OTHER_NUMBERS = (
    ("mode", 100, 108),
    ("owner", 108, 116),
    ("group", 116, 124),
    ("time", 136, 148),
    ("device", 329, 337),
    ("device", 337, 345),
)
_REGULAR_TYPES = (b"0", b"\x00")
_OTHER_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a FIFO",
    b"K": "a GNU long link name",
    b"L": "a GNU long name",
    b"S": "a GNU sparse file",
    b"g": "a pax record for all members",
    b"x": "a pax record",
}


class Member(NamedTuple):
    """One member: its name and where in the storage its header and its data begin."""

    name: str
    header_offset_bytes: int
    data_offset_bytes: int
    size_bytes: int

    @property
    def end_offset_bytes(self) -> int:
        """Where what follows its data begins: the next header, or the end of the archive."""
        return self.data_offset_bytes + padded(self.size_bytes)


def padded(size_bytes: int) -> int:
    """Return the bytes that data of this size take in an archive."""
    return size_bytes + (-size_bytes % BLOCK_BYTES)


def encode_header(name: str, size_bytes: int, written_at: WallTime) -> bytes:
    """Return the 512-byte header of a regular file as commons-compress writes it.

    Raises ValueError for a name over 100 bytes or a size over 8 GiB: the engine never has them.
    """
    name_bytes = name.encode("utf-8")
    if not name_bytes or len(name_bytes) > 100 or b"\0" in name_bytes:
        raise ValueError(f"not a name for an archive member: {name!r}")
    mtime_seconds = int(written_at.unix_seconds)
    if not 0 <= size_bytes < 8**11 or not 0 <= mtime_seconds < 8**11:
        raise ValueError(f"size {size_bytes} or time {mtime_seconds} does not fit a ustar header")
    header = bytearray(BLOCK_BYTES)

    def put(offset: int, value: bytes) -> None:
        header[offset : offset + len(value)] = value

    put(0, name_bytes)
    put(100, b"0100644 ")
    put(108, b"0000000 ")
    put(116, b"0000000 ")
    put(124, b"%011o " % size_bytes)
    put(136, b"%011o " % mtime_seconds)
    put(148, b" " * 8)
    put(156, b"0")
    put(257, _POSIX_MAGIC)
    put(329, b"0000000 ")
    put(337, b"0000000 ")
    put(148, b"%06o\0 " % sum(header))
    return bytes(header)


def decode_header(block: bytes, offset: int, where: str, last: Optional[Member]) -> Member:
    """Return the member whose 512-byte header stands at `offset`, after the member `last`.

    Raises BadInput, with `where` and `offset`, for a header that is damaged or says what has no
    place in an archive of ours.
    """
    quick = _decode_engine_header(block, offset)
    if quick is not None:
        return quick

    def bad(what: str) -> BadInput:
        return BadInput(f"{what} (header after {place_after(last)})", where=where, offset=offset)

    magic = block[257:265]
    if magic not in (_POSIX_MAGIC, _GNU_MAGIC):
        raise bad("not an archive header: no ustar magic")
    if _octal(block[148:156]) != _checksum(block):
        raise bad(f"header checksum is wrong: {block[148:156]!r}, computed {_checksum(block):06o}")
    raw_name = block[:100].split(b"\0", 1)[0]
    if block[345] and magic == _POSIX_MAGIC:
        raw_name = block[345:500].split(b"\0", 1)[0] + b"/" + raw_name
    try:
        name = raw_name.decode("utf-8")
    except UnicodeDecodeError:
        raise bad(f"member name is not UTF-8: {raw_name!r}") from None
    if not name:
        raise bad("member without a name")
    kind = block[156:157]
    if kind not in _REGULAR_TYPES:
        what = _OTHER_TYPES.get(kind, "unknown")
        raise bad(f"member {name!r} is not a regular file (type {kind!r}: {what})")
    if name[0] == "/" or (".." in name and ".." in name.split("/")):
        raise bad(f"member name {name!r} leads out of the archive")
    for what, start, stop in _OTHER_NUMBERS:
        field = block[start:stop]
        if _octal(field) is None and field.strip(b" \0") and field[0] not in (0x80, 0xFF):
            # tarfile and GNU tar stop or complain there: they would read something else.
            raise bad(f"member {name!r} has no valid {what}: {field!r}")
    size_bytes = _size(block[124:136])
    if size_bytes is None:
        raise bad(f"member {name!r} has no valid size: {block[124:136]!r}")
    return Member(name, offset, offset + BLOCK_BYTES, size_bytes)


def place_after(last: Optional[Member]) -> str:
    """Say, for an error's message, what stands before the place that is meant."""
    return f"member {last.name!r}" if last else "the beginning of the archive"


def _decode_engine_header(block: bytes, offset: int) -> Optional[Member]:
    """Return the member of a header just as the engine writes it; None for any other header.

    It checks what the rest of `decode_header` does, in a third of the time: all but the name,
    the numbers and the checksum is the same in each of thousands of headers.
    """
    if block[154:] != _ENGINE_HEADER_REST:
        return None
    start, size, checksum = block[:148], block[124:135], block[148:154]
    length = start.find(b"\0")
    # int() alone would take a sign, blanks and underscores as well.
    if not (0 < length < 100 and start.isascii() and size.isdigit() and checksum.isdigit()):
        return None
    name = start[:length].decode("ascii")
    if "/" in name or name == ".." or start[135] != _BLANK or start[100:124] != _ENGINE_OWNER:
        return None
    try:
        # The lower half of Adler-32 is 1 + the sum modulo 65521; 148 ASCII bytes stay below that.
        if int(checksum, 8) != (zlib.adler32(start) & 0xFFFF) + _ENGINE_HEADER_REST_SUM:
            return None
        time = start[136:147]
        if not time.isdigit() or start[147] != _BLANK or int(time, 8) < 0:
            return None
        return Member(name, offset, offset + BLOCK_BYTES, int(size, 8))
    except ValueError:  # 8 and 9 are digits, too
        return None


def _checksum(block: bytes) -> int:
    """Sum the header's bytes, those of the checksum itself taken as blanks."""
    return sum(block) - sum(block[148:156]) + 8 * _BLANK


def _size(field: bytes) -> Optional[int]:
    """Decode a size: octal digits, or base-256 as GNU tar writes it. None when it is neither."""
    if field[0] & 0x80:
        # 0x80 begins a positive number, 0xff a negative one, which no member can have.
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else None
    return _octal(field)


def _octal(field: bytes) -> Optional[int]:
    digits = field.rstrip(b" \0").lstrip(b" ")
    # int() alone would take a sign, blanks and underscores as well.
    if not digits.isdigit():
        return None
    try:
        return int(digits, 8)
    except ValueError:
        return None
