# SPDX-License-Identifier: Apache-2.0
"""The archive in an OVF_STORE volume: a codec over storage that is passed in.

It must not open, seek or cache anything: a reader gets `read_at`, a writer gives bytes back.

The format is what the engine's archive writer makes (facts/ovf-and-volumes.md, 1.1):

    offset 0   header "info.json", its data, zeros up to the next 512
               header "<vm uuid>.ovf", data, zeros      any number, any order
               header "metadata.json", data, zeros    `<uuid>.ovf` of unregistered VMs may come
               1024 zero bytes; the archive ends here, with no padding to a larger record

Headers are tar_header.py's.

What follows the archive's end is not ours to judge: on a block volume the tail of an older,
longer archive stays there. What lies before it must be right in every header, because an
update that was cut off leaves a new beginning before an old end, and the engine marks it only
in the volume's description. So the reader is strict, and the other copy is the answer to damage.
A name may occur twice (the engine can write an entity twice); the last one counts, as it does
for the engine's own reader. tar_change.py says how one member is changed, and what a member
named `*.old` is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Callable, Optional

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.tar_header import BLOCK_BYTES as BLOCK_BYTES
from ha_agent.ovfstore.tar_header import Member as Member
from ha_agent.ovfstore.tar_header import decode_header, padded, place_after
from ha_agent.ovfstore.tar_header import encode_header as encode_header

END_BYTES = 2 * BLOCK_BYTES
INFO_NAME = "info.json"
METADATA_NAME = "metadata.json"
# An engine VM's OVF is about 20 KB; 8 MiB is where the XML reader stops as well.
MEMBER_LIMIT_BYTES = 8 * 1024 * 1024
# The largest data centres have some thousands of VMs. The bound keeps a walk over a volume full
# of 512-byte members at a fraction of a second and a few MB (a 128 MiB volume holds 262,144).
MEMBER_COUNT_LIMIT = 50_000

_ZERO_BLOCK = bytes(BLOCK_BYTES)

ReadAt = Callable[[int, int], bytes]
"""`read_at(offset_bytes, length_bytes)`: that range, or less of it at the end of the storage."""


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
    return tuple(_walk(read_at, size_bytes, where, described_size_bytes, first_member))


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

    The last member of a name counts; a name that the archive lacks is left out. The archive is
    read once, from its beginning to its end, and all of it is walked: bytes of a damaged archive
    are never returned. Raises BadInput when it is damaged or a wanted member is over 8 MiB.
    """
    wanted = frozenset(names)
    contents = {}
    for member in _walk(read_at, size_bytes, where, described_size_bytes, first_member):
        if member.name not in wanted:
            continue
        contents[member.name] = member_content(read_at, member, where=where)
    return contents


def member_content(read_at: ReadAt, member: Member, *, where: str) -> bytes:
    """Return the content of a member. Raises BadInput when it is over 8 MiB or not all there."""
    if member.size_bytes > MEMBER_LIMIT_BYTES:
        raise BadInput(
            f"member {member.name!r} is {member.size_bytes} bytes long,"
            f" more than {MEMBER_LIMIT_BYTES}",
            where=where,
            offset=member.header_offset_bytes,
        )
    return _read_exactly(
        read_at, member.data_offset_bytes, member.size_bytes, where, repr(member.name)
    )


def end_of_archive(members: Sequence[Member]) -> int:
    """Return where an archive of these members ends, in bytes from its beginning."""
    return (members[-1].end_offset_bytes if members else 0) + END_BYTES


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
    parts = [encode_member(INFO_NAME, jackson_text(info), written_at)]
    for vm_uuid, ovf in members:
        parts.append(encode_member(f"{vm_uuid}.ovf", ovf, written_at))
    parts.append(encode_member(METADATA_NAME, jackson_text(metadata), written_at))
    parts.append(bytes(END_BYTES))
    return b"".join(parts)


def encode_member(name: str, data: bytes, written_at: WallTime) -> bytes:
    """Return a member as it stands in an archive: header, data, zeros. Raises ValueError."""
    return encode_header(name, len(data), written_at) + data + bytes(-len(data) % BLOCK_BYTES)


def jackson_text(value: Mapping[str, object]) -> bytes:
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
    read_at: ReadAt,
    size_bytes: int,
    where: str,
    described_size_bytes: Optional[int],
    first_member: Optional[str],
) -> Iterator[Member]:
    """Yield the members up to the end-of-archive blocks, and check where these are."""
    limit_bytes = size_bytes if described_size_bytes is None else described_size_bytes
    if limit_bytes > size_bytes:
        raise BadInput(
            f"truncated: the description says {limit_bytes} bytes, the volume holds {size_bytes}",
            where=where,
        )
    offset = 0
    last: Optional[Member] = None
    for _ in range(MEMBER_COUNT_LIMIT):
        if offset + BLOCK_BYTES > limit_bytes:
            raise BadInput(
                f"truncated: no end-of-archive blocks after {place_after(last)}",
                where=where,
                offset=offset,
            )
        block = read_at(offset, BLOCK_BYTES)
        if len(block) != BLOCK_BYTES:
            raise _short_read(
                block, offset, BLOCK_BYTES, where, f"header after {place_after(last)}"
            )
        if block == _ZERO_BLOCK:
            _check_end(read_at, offset, limit_bytes, where, described_size_bytes)
            if last is None and first_member is not None:
                raise BadInput("empty: no archive has been written here", where=where, offset=0)
            return
        member = decode_header(block, offset, where, last)
        if last is None and first_member is not None and member.name != first_member:
            raise BadInput(
                f"not an OVF_STORE archive: it begins with {member.name!r}, not {first_member!r}",
                where=where,
                offset=0,
            )
        offset += BLOCK_BYTES + padded(member.size_bytes)
        if offset > limit_bytes:
            raise BadInput(
                f"truncated: member {member.name!r} of {member.size_bytes} bytes goes beyond"
                f" the end at {limit_bytes}",
                where=where,
                offset=member.header_offset_bytes,
            )
        yield member
        last = member
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


def _read_exactly(read_at: ReadAt, offset: int, length_bytes: int, where: str, what: str) -> bytes:
    data = read_at(offset, length_bytes)
    if len(data) != length_bytes:
        raise _short_read(data, offset, length_bytes, where, what)
    return data


def _short_read(data: bytes, offset: int, wanted_bytes: int, where: str, what: str) -> BadInput:
    return BadInput(
        f"truncated: {len(data)} of {wanted_bytes} bytes of {what}", where=where, offset=offset
    )
