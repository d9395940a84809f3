# SPDX-License-Identifier: Apache-2.0
"""The archive in an OVF_STORE volume: a codec over storage that is passed in.

It must not open, seek or cache anything: a reader gets `read_at`, a writer gives bytes back.

The format is what the engine's archive writer makes (facts/ovf-and-volumes.md, 1.1):

    offset 0   header "info.json", its data, zeros up to the next 512
               header "<vm uuid>.ovf", data, zeros      any number, any order
               header "metadata.json", data, zeros    `<uuid>.ovf` of unregistered VMs may come
               1024 zero bytes; the archive ends here, with no padding to a larger record

Every header is one 512-byte block: name at 0 (100 bytes), mode 100, uid 108, gid 116,
size 124 (12 bytes), mtime 136, checksum 148 (8 bytes), type 156, magic 257, version 263,
uname 265, gname 297, devmajor 329, devminor 337, prefix 345 (155 bytes).

What follows the archive's end is not ours to judge: on a block volume the tail of an older,
longer archive stays there. What lies before it must be right in every header, because an
update that was cut off leaves a new beginning before an old end, and the engine marks it only
in the volume's description. So the reader is strict, and the other copy is the answer to damage.
A name may occur twice (the engine can write an entity twice); the last one counts, as it does
for the engine's own reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime

BLOCK_BYTES = 512
END_BYTES = 2 * BLOCK_BYTES
INFO_NAME = "info.json"
METADATA_NAME = "metadata.json"
# An engine VM's OVF is about 20 KB; 8 MiB is where the XML reader stops as well.
MEMBER_LIMIT_BYTES = 8 * 1024 * 1024
# The largest data centres have some thousands of VMs. A bound keeps a walk over garbage short.
MEMBER_COUNT_LIMIT = 200_000

_ZERO_BLOCK = bytes(BLOCK_BYTES)
_POSIX_MAGIC = b"ustar\x0000"
_GNU_MAGIC = b"ustar  \x00"
_REGULAR_TYPES = (b"0", b"\x00")

ReadAt = Callable[[int, int], bytes]
"""`read_at(offset_bytes, length_bytes)`: that range, or less of it at the end of the storage."""


@dataclass(frozen=True)
class Member:
    """One member: its name and where in the storage its header and its data begin."""

    name: str
    header_offset_bytes: int
    data_offset_bytes: int
    size_bytes: int


def list_members(
    read_at: ReadAt,
    size_bytes: int,
    *,
    where: str,
    described_size_bytes: Optional[int] = None,
    first_member: Optional[str] = INFO_NAME,
) -> tuple[Member, ...]:
    """Walk the headers of a whole archive and return its members in order.

    `size_bytes` is the size of the storage. `described_size_bytes` is `Size` of the volume's
    description; when given, the archive must end exactly there. `first_member` is the name that
    the archive must begin with; None for archives that are not an OVF_STORE (the configuration
    volume). Raises BadInput with the member and byte offset at the first thing that is wrong.
    """
    limit_bytes = size_bytes
    if described_size_bytes is not None:
        if described_size_bytes > size_bytes:
            raise BadInput(
                f"truncated: the description says {described_size_bytes} bytes,"
                f" the volume holds {size_bytes}",
                where=where,
            )
        limit_bytes = described_size_bytes
    members: list[Member] = []
    for member in _walk(read_at, limit_bytes, where, described_size_bytes):
        if not members and first_member is not None and member.name != first_member:
            raise BadInput(
                f"not an OVF_STORE archive: it begins with {member.name!r}, not {first_member!r}",
                where=where,
                offset=0,
            )
        members.append(member)
    if not members and first_member is not None:
        raise BadInput("empty: no archive has been written here", where=where, offset=0)
    return tuple(members)


def read_members(
    read_at: ReadAt,
    size_bytes: int,
    names: Sequence[str],
    *,
    where: str,
    described_size_bytes: Optional[int] = None,
    first_member: Optional[str] = INFO_NAME,
) -> dict[str, bytes]:
    """Return the contents of the members with these names; other arguments as `list_members`.

    The last member of a name counts; a name that the archive lacks is left out. The whole
    archive is walked first, so bytes of a damaged archive are never returned. Raises BadInput
    when it is damaged or when a wanted member is over 8 MiB.
    """
    members = list_members(
        read_at,
        size_bytes,
        where=where,
        described_size_bytes=described_size_bytes,
        first_member=first_member,
    )
    last = {member.name: member for member in members}
    contents = {}
    for name in names:
        member = last.get(name)
        if member is None:
            continue
        if member.size_bytes > MEMBER_LIMIT_BYTES:
            raise BadInput(
                f"member {name!r} is {member.size_bytes} bytes long,"
                f" more than {MEMBER_LIMIT_BYTES}",
                where=where,
                offset=member.header_offset_bytes,
            )
        contents[name] = _read_exactly(
            read_at, member.data_offset_bytes, member.size_bytes, where, repr(name)
        )
    return contents


def read_member(
    read_at: ReadAt,
    size_bytes: int,
    name: str,
    *,
    where: str,
    described_size_bytes: Optional[int] = None,
    first_member: Optional[str] = INFO_NAME,
) -> bytes:
    """Return the content of one member, as `read_members`; BadInput when there is none."""
    found = read_members(
        read_at,
        size_bytes,
        [name],
        where=where,
        described_size_bytes=described_size_bytes,
        first_member=first_member,
    )
    if name not in found:
        raise BadInput(f"no member {name!r} in the archive", where=where)
    return found[name]


def build_archive(
    storage_domain_uuid: str,
    members: Sequence[tuple[str, bytes]],
    *,
    last_updated_text: str,
    written_at: WallTime,
    vm_statuses: Optional[Mapping[str, int]] = None,
) -> bytes:
    """Return a whole archive with the engine's own layout and header bytes.

    `members` are (VM uuid, OVF document); `last_updated_text` is a Java date as
    `locate.java_date_text` makes it, the same that goes into the volume's description;
    `vm_statuses` are the engine's VMStatus numbers of the VMs that are not Down.
    """
    info = {
        "Last Updated": last_updated_text,
        "Storage Domains": [{"uuid": storage_domain_uuid}],
    }
    metadata = {"VM Status": dict(vm_statuses or {})}
    parts = [_encode_member(INFO_NAME, _jackson(info), written_at)]
    for vm_uuid, ovf in members:
        parts.append(_encode_member(f"{vm_uuid}.ovf", ovf, written_at))
    parts.append(_encode_member(METADATA_NAME, _jackson(metadata), written_at))
    parts.append(bytes(END_BYTES))
    return b"".join(parts)


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


def _encode_member(name: str, data: bytes, written_at: WallTime) -> bytes:
    return encode_header(name, len(data), written_at) + data + bytes(-len(data) % BLOCK_BYTES)


def _jackson(value: Mapping[str, object]) -> bytes:
    """Encode JSON the way Jackson's default pretty printer does: `"k" : v`, lists in one line."""

    def write(item: object, indent: str) -> str:
        if isinstance(item, dict):
            if not item:
                return "{ }"
            deeper = indent + "  "
            rows = ",\n".join(
                f"{deeper}{json.dumps(key)} : {write(inner, deeper)}"
                for key, inner in item.items()
            )
            return "{\n" + rows + "\n" + indent + "}"
        if isinstance(item, list):
            return "[ " + ", ".join(write(inner, indent) for inner in item) + " ]"
        return json.dumps(item, ensure_ascii=False)

    return write(value, "").encode("utf-8")


def _walk(
    read_at: ReadAt, limit_bytes: int, where: str, described_size_bytes: Optional[int]
) -> Iterator[Member]:
    """Yield the members up to the end-of-archive blocks, and check where these are."""
    offset = 0
    last_name = "the beginning of the archive"
    for _ in range(MEMBER_COUNT_LIMIT):
        if offset + BLOCK_BYTES > limit_bytes:
            raise BadInput(
                f"truncated: no end-of-archive blocks after {last_name}",
                where=where,
                offset=offset,
            )
        block = _read_exactly(read_at, offset, BLOCK_BYTES, where, f"header after {last_name}")
        if block == _ZERO_BLOCK:
            _check_end(read_at, offset, limit_bytes, where, described_size_bytes)
            return
        member = _decode_header(block, offset, where, last_name)
        data_end = member.data_offset_bytes + _padded(member.size_bytes)
        if data_end > limit_bytes:
            raise BadInput(
                f"truncated: member {member.name!r} of {member.size_bytes} bytes goes beyond"
                f" the end at {limit_bytes}",
                where=where,
                offset=offset,
            )
        yield member
        last_name = f"member {member.name!r}"
        offset = data_end
    raise BadInput(f"more than {MEMBER_COUNT_LIMIT} members", where=where, offset=offset)


def _check_end(
    read_at: ReadAt,
    offset: int,
    limit_bytes: int,
    where: str,
    described_size_bytes: Optional[int],
) -> None:
    end = offset + END_BYTES
    if end > limit_bytes:
        raise BadInput(
            "truncated: the second end-of-archive block is missing", where=where, offset=offset
        )
    second = _read_exactly(read_at, offset + BLOCK_BYTES, BLOCK_BYTES, where, "end of archive")
    if second != _ZERO_BLOCK:
        raise BadInput(
            "one zero block where the archive should end with two", where=where, offset=offset
        )
    if described_size_bytes is not None and end != described_size_bytes:
        raise BadInput(
            f"torn: the archive ends at byte {end}, the description says {described_size_bytes}",
            where=where,
            offset=offset,
        )


def _decode_header(block: bytes, offset: int, where: str, after: str) -> Member:
    def bad(what: str) -> BadInput:
        return BadInput(f"{what} (header after {after})", where=where, offset=offset)

    if block[257:265] not in (_POSIX_MAGIC, _GNU_MAGIC):
        raise bad("not an archive header: no ustar magic")
    expected = _octal(block[148:156])
    actual = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    if expected != actual:
        raise bad(f"header checksum is wrong: {block[148:156]!r}, computed {actual:06o}")
    raw_name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:265] == _POSIX_MAGIC else b""
    if prefix:
        raw_name = prefix + b"/" + raw_name
    try:
        name = raw_name.decode("utf-8")
    except UnicodeDecodeError:
        raise bad(f"member name is not UTF-8: {raw_name!r}") from None
    if not name:
        raise bad("member without a name")
    if block[156:157] not in _REGULAR_TYPES:
        raise bad(f"member {name!r} is not a regular file (type {block[156:157]!r})")
    size_bytes = _size(block[124:136])
    if size_bytes is None:
        raise bad(f"member {name!r} has no valid size: {block[124:136]!r}")
    return Member(name, offset, offset + BLOCK_BYTES, size_bytes)


def _size(field: bytes) -> Optional[int]:
    """Decode a size: octal digits, or base-256 as GNU tar writes it. None when it is neither."""
    if field[0] & 0x80:
        # 0x80 begins a positive number, 0xff a negative one, which no member can have.
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else None
    return _octal(field)


def _octal(field: bytes) -> Optional[int]:
    digits = field.rstrip(b" \0").lstrip(b" ")
    if not digits or any(byte not in b"01234567" for byte in digits):
        return None
    return int(digits, 8)


def _padded(size_bytes: int) -> int:
    return size_bytes + (-size_bytes % BLOCK_BYTES)


def _read_exactly(read_at: ReadAt, offset: int, length_bytes: int, where: str, what: str) -> bytes:
    data = read_at(offset, length_bytes)
    if len(data) != length_bytes:
        raise BadInput(
            f"truncated: {len(data)} of {length_bytes} bytes of {what}",
            where=where,
            offset=offset,
        )
    return data
