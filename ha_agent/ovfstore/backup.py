# SPDX-License-Identifier: Apache-2.0
"""The backup of a host's history: one plain tar file, as a codec.

    000016.ovf 000016.json 000017.ovf 000017.json ... 1024 zero bytes

Each pair is a version's document and what version.py notes of it. GNU tar reads it. It is not
compressed: a definition is some ten KB, and what a person needs in trouble should be readable
with any tool. A backup comes from anywhere, so links, other names, a half of a pair, a name
that stands there twice, sizes that lie and hashes that do not match are refused, and names are
never used as paths.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Optional

from ha_agent.errors import BadInput
from ha_agent.ovfstore.tar_volume import (
    BLOCK_BYTES,
    END_BYTES,
    MEMBER_LIMIT_BYTES,
    Member,
    ReadAt,
    encode_header,
    list_members,
)
from ha_agent.ovfstore.version import (
    MARK_LIMIT_BYTES,
    Version,
    check_document,
    format_version,
    parse_version,
)

_NUMBER = re.compile(r"[0-9]{6,12}")


def file_name(number: int, suffix: str) -> str:
    """Return what a version's file is called, in a backup and in the history's folder."""
    return f"{number:06}.{suffix}"


def number_in(name: str, suffix: str) -> Optional[int]:
    """Return the number in a version's file name with this suffix; None for other names."""
    stem, _, found_suffix = name.partition(".")
    if found_suffix != suffix or not _NUMBER.fullmatch(stem):
        return None
    number = int(stem)
    # Not 0000017 besides 000017.
    return number if file_name(number, suffix) == name else None


def build_backup(versions: Sequence[tuple[Version, bytes]]) -> bytes:
    """Return the file with these versions and their documents."""
    parts = []
    for version, document in versions:
        for suffix, content in (("ovf", document), ("json", format_version(version))):
            name = file_name(version.number, suffix)
            parts.append(encode_header(name, len(content), version.accepted_at))
            parts.append(content + bytes(-len(content) % BLOCK_BYTES))
    parts.append(bytes(END_BYTES))
    return b"".join(parts)


def read_backup(backup: bytes, *, where: str, last: int) -> list[tuple[Version, bytes]]:
    """Return the `last` newest versions of a backup with their documents, oldest first.

    The whole file is checked but for the documents that are not wanted. Raises BadInput at the
    first thing that is wrong.
    """

    def read_at(offset: int, length_bytes: int) -> bytes:
        return backup[offset : offset + length_bytes]

    members: dict[str, Member] = {}
    for member in list_members(read_at, len(backup), where=where, first_member=None):
        numbers = (number_in(member.name, "ovf"), number_in(member.name, "json"))
        is_ours = numbers != (None, None)
        if not is_ours or member.name in members:
            what = "stands there twice" if is_ours else "is none of a history"
            raise BadInput(
                f"no backup: member {member.name!r:.100} {what}",
                where=where,
                offset=member.header_offset_bytes,
            )
        members[member.name] = member
    found = []
    for name, member in members.items():
        number = number_in(name, "json")
        other = name.replace(".json", ".ovf") if number is not None else f"{name[:-4]}.json"
        if other not in members:
            raise BadInput(f"no backup: member {name!r} lacks {other!r}", where=where)
        if number is None:
            continue
        content = _content(read_at, member, MARK_LIMIT_BYTES, where)
        version = parse_version(content, where=f"{where}, {name}")
        if version.number != number:
            raise BadInput(f"it says it is version {version.number}", where=f"{where}, {name}")
        found.append((version, members[other]))
    if not found:
        raise BadInput("no backup: it holds no version", where=where)
    found.sort(key=lambda pair: pair[0].number)
    versions = []
    for version, member in found[-last:]:
        document = _content(read_at, member, MEMBER_LIMIT_BYTES, where)
        check_document(document, version, where=f"{where}, {member.name}")
        versions.append((version, document))
    return versions


def _content(read_at: ReadAt, member: Member, limit_bytes: int, where: str) -> bytes:
    if member.size_bytes > limit_bytes:
        raise BadInput(
            f"member {member.name!r} is {member.size_bytes} bytes long, more than {limit_bytes}",
            where=where,
            offset=member.header_offset_bytes,
        )
    content = read_at(member.data_offset_bytes, member.size_bytes)
    if len(content) != member.size_bytes:
        raise BadInput(f"truncated in member {member.name!r}", where=where)
    return content
