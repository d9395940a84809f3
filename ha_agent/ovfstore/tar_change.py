# SPDX-License-Identifier: Apache-2.0
"""Which bytes change in an archive when one member gets a new content. Pure.

The engine writes an OVF_STORE archive as a whole, with thousands of VMs tens of MiB. Changing
one of them must not cost that, so the archive is changed where it stands:

    before   info.json  A.ovf  E.ovf        B.ovf  metadata.json  end
    after    info.json  A.ovf  E.ovf.old    B.ovf  metadata.json  E.ovf  end
                 date          header only                        new

A member that is replaced or taken out stays as a **dead** one: its header gets the name
`<name>.old`, its data stays. The engine's reader takes the members whose names end in `.ovf`
(OvfUtils.getOvfEntities in ovirt-engine) out of a map by name (TarInMemoryExport), so dead
members are nothing to it, and many of one name no harm; its next update of the store writes a
new archive without them. What is replaced or dead at the archive's very end is cut off: a VM
that is put again and again stays last, and the archive does not grow.

info.json keeps its place and its padded size; a shorter date is filled up with blanks.
The order in which the bytes must be written is volume_io.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional

from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.json_input import json_object
from ha_agent.ovfstore.tar_header import BLOCK_BYTES, Member, encode_header, padded
from ha_agent.ovfstore.tar_volume import (
    END_BYTES,
    INFO_NAME,
    MEMBER_LIMIT_BYTES,
    METADATA_NAME,
    encode_member,
    end_of_archive,
    jackson_text,
)

DEAD_SUFFIX = ".old"
_NAME_LIMIT_BYTES = 100 - len(DEAD_SUFFIX)
_DATE_KEY = "Last Updated"


class Change(NamedTuple):
    """What to write: the archive from `cut_bytes` on, then patches elsewhere (offset, bytes).

    `tail` begins with a header and ends with the end-of-archive blocks; it is empty when the
    end stays as it is. `size_bytes` is where the archive ends then.
    """

    cut_bytes: int
    tail: bytes
    patches: tuple[tuple[int, bytes], ...]
    size_bytes: int


class Copy(NamedTuple):
    """A whole archive to write: `head`, then these ranges [start, end) of the source, `tail`."""

    head: bytes
    ranges: tuple[tuple[int, int], ...]
    tail: bytes
    size_bytes: int


def check_changes(changes: Mapping[str, Optional[bytes]], where: str) -> None:
    """Raise BadInput for names that may not be changed and contents that nobody would read."""
    for name, content in changes.items():
        encoded = name.encode("utf-8", "replace")
        if not 0 < len(encoded) <= _NAME_LIMIT_BYTES or "\0" in name or "/" in name:
            raise BadInput(f"not a name for a member: {name!r}", where=where)
        if name in (INFO_NAME, METADATA_NAME) or name.endswith(DEAD_SUFFIX):
            raise BadInput(f"member {name!r} is not one to change", where=where)
        if content is not None and len(content) > MEMBER_LIMIT_BYTES:
            raise BadInput(
                f"member {name!r} of {len(content)} bytes is over {MEMBER_LIMIT_BYTES}",
                where=where,
            )


def is_dead(name: str) -> bool:
    """Whether a member was replaced or taken out by us."""
    return name.endswith(DEAD_SUFFIX)


def plan_change(
    members: Sequence[Member],
    info: bytes,
    changes: Mapping[str, Optional[bytes]],
    *,
    last_updated_text: str,
    written_at: WallTime,
    where: str,
) -> Change:
    """Plan new contents for members, or None to take them out, in an archive of `members`.

    `info` is the content of info.json, the first of them. The changed members come last, in
    the order given. Raises BadInput for names that may not be changed and for an info.json
    that is not one.
    """
    check_changes(changes, where)
    kept = len(members)
    while kept > 1 and (members[kept - 1].name in changes or is_dead(members[kept - 1].name)):
        kept -= 1
    cut_bytes = members[kept - 1].end_offset_bytes
    new = _encode_new(changes, written_at)
    # Without a new member and without one to cut off, the end stays as it is.
    tail = new + bytes(END_BYTES) if new or kept < len(members) else b""
    patches = [
        (member.header_offset_bytes, _dead_header(member, written_at))
        for member in members[1:kept]
        if member.name in changes
    ]
    patches += _info_patches(members[0], info, last_updated_text, written_at, where)
    size_bytes = cut_bytes + len(tail) if tail else end_of_archive(members)
    return Change(cut_bytes, tail, tuple(patches), size_bytes)


def plan_copy(
    members: Sequence[Member],
    info: bytes,
    changes: Mapping[str, Optional[bytes]],
    *,
    last_updated_text: str,
    written_at: WallTime,
    where: str,
) -> Copy:
    """Plan a whole archive out of one of `members`, with changes and without what is dead.

    Of members with one name the last one is taken. Arguments and errors as `plan_change`.
    """
    check_changes(changes, where)
    head = encode_member(INFO_NAME, dated_info(info, last_updated_text, where), written_at)
    last = {member.name: member for member in members[1:]}
    taken = [
        member
        for member in members[1:]
        if last[member.name] is member
        and member.name not in changes
        and member.name != INFO_NAME
        and not is_dead(member.name)
    ]
    ranges: list[tuple[int, int]] = []
    for member in taken:
        start = member.header_offset_bytes
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, member.end_offset_bytes))
    tail = _encode_new(changes, written_at) + bytes(END_BYTES)
    size_bytes = len(head) + sum(end - start for start, end in ranges) + len(tail)
    return Copy(head, tuple(ranges), tail, size_bytes)


def new_archive(
    storage_domain_uuid: str,
    changes: Mapping[str, Optional[bytes]],
    *,
    last_updated_text: str,
    written_at: WallTime,
) -> bytes:
    """Return a new archive: info.json, metadata.json, and the members of `changes` last."""
    info = {_DATE_KEY: last_updated_text, "Storage Domains": [{"uuid": storage_domain_uuid}]}
    return b"".join(
        (
            encode_member(INFO_NAME, jackson_text(info), written_at),
            encode_member(METADATA_NAME, jackson_text({"VM Status": {}}), written_at),
            _encode_new(changes, written_at),
            bytes(END_BYTES),
        )
    )


def dated_info(info: bytes, last_updated_text: str, where: str) -> bytes:
    """Return the content of info.json with another date. Raises BadInput when it is not JSON."""
    value = json_object(info, where=where, what=INFO_NAME)
    value[_DATE_KEY] = last_updated_text
    return jackson_text(value)


def _encode_new(changes: Mapping[str, Optional[bytes]], written_at: WallTime) -> bytes:
    return b"".join(
        encode_member(name, content, written_at)
        for name, content in changes.items()
        if content is not None
    )


def _dead_header(member: Member, written_at: WallTime) -> bytes:
    return encode_header(member.name + DEAD_SUFFIX, member.size_bytes, written_at)


def _info_patches(
    member: Member, info: bytes, last_updated_text: str, written_at: WallTime, where: str
) -> list[tuple[int, bytes]]:
    new = dated_info(info, last_updated_text, where).ljust(member.size_bytes)
    if padded(len(new)) != padded(member.size_bytes):
        raise BadInput(
            f"{INFO_NAME} of {member.size_bytes} bytes has no room for {len(new)}", where=where
        )
    patches = [(member.data_offset_bytes, new + bytes(-len(new) % BLOCK_BYTES))]
    if len(new) != member.size_bytes:
        header = encode_header(INFO_NAME, len(new), written_at)
        patches.append((member.header_offset_bytes, header))
    return patches
