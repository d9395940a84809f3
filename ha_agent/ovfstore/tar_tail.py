# SPDX-License-Identifier: Apache-2.0
"""Finding a member from the end of an archive backwards, reading no more than that takes. Pure.

An archive of 2000 VMs has tens of MiB, and storage gives them no faster than it can. One that we
changed has the engine VM's member last (tar_change.py), so that it is found in the first 64 KiB
from the end; one that the engine wrote has it anywhere, on average in the middle.

A header can be told from behind: it is a block whose bytes 257.. are "ustar" and whose last byte
is a NUL. No block of XML or JSON is one by accident, as these have no NULs but those that fill
up a member's last block. Size is the one of the volume's description:

    ... | header  data | header  data | header  data | zeros zeros |
                         <- main one    chain of headers           ^ Size
          <- directly before it

**What is verified:** the two zero blocks just before Size; each header from there backwards, to
the one before the member that is looked for: its checksum and all else that decode_header looks
at, and that its data end exactly where the header found before it begins; and that the archive
begins with a sound header of info.json. So no member of that name comes later: the last of a
name counts, as everywhere.

**What is not:** the headers further in front. An update that was torn there goes unnoticed when
the end belongs together: it shows a whole document of the archive that was there before. That
is what the description is for: its writer says Updated:false before the first byte and gives
Size after the last one, and a reader asks for it again after the read.

Whatever is not just so (a block that looks like a header and does not fit, nothing found) is
left to the walk through the whole archive, which finds it or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Callable, Optional

from ha_agent.errors import BadInput
from ha_agent.ovfstore.tar_header import BLOCK_BYTES, Member, decode_header
from ha_agent.ovfstore.tar_volume import END_BYTES, INFO_NAME, MEMBER_COUNT_LIMIT, ReadAt

FIRST_BYTES = 64 * 1024
"""How much is looked at first: a member of an engine VM is 20 kB."""
CHUNK_BYTES = 1024 * 1024
"""How much is looked at at once after that."""
_ALIGNED_BYTES = 4096
_END = bytes(END_BYTES)

_MAGIC = b"ustar"
_MAGIC_AT = 257

ViewAt = Callable[[int, int], memoryview]
"""`view_at(offset_bytes, length_bytes)`: that range, or less of it at the end of the storage.

A view is used only until the next one is asked for. Offsets are multiples of 4096.
"""


def choose(members: Iterable[Member], names: Sequence[str]) -> Optional[dict[str, Member]]:
    """Return the members with these names that count, out of members from last to first.

    The first of `names` is the main one, and the last member of that name counts. The others
    are looked for from directly before it on to the end, in the whole archive when it has no
    main one. None: the members end before that is known.
    """
    found: dict[str, Member] = {}
    for member in members:
        enough = bool(found) and names[0] in found
        if member.name in names:
            found.setdefault(member.name, member)
        if enough or member.header_offset_bytes == 0:
            return found
    return None


def find_last(
    view_at: ViewAt, read_at: ReadAt, described_size_bytes: int, names: Sequence[str]
) -> Optional[dict[str, Member]]:
    """Return what `choose` does for the archive that ends at `described_size_bytes`.

    Looks at as little as the module's docstring says. None: the archive is not plainly one of
    ours, or its end is elsewhere; the walk through all of it can tell.
    """
    found = choose(_members_backwards(view_at, described_size_bytes), names)
    if found is None or not _begins_with_info(read_at):
        return None
    return found


def _members_backwards(view_at: ViewAt, size_bytes: int) -> Iterator[Member]:
    """Yield the members from the last one on, up to the first thing that does not fit."""
    if size_bytes % BLOCK_BYTES or size_bytes < END_BYTES:
        return
    stop = size_bytes
    wanted = FIRST_BYTES
    next_at = size_bytes - END_BYTES
    count = 0
    while stop:
        start = max(0, stop - wanted)
        start -= start % _ALIGNED_BYTES
        view = view_at(start, stop - start)
        if len(view) != stop - start:
            return
        if stop == size_bytes and bytes(view[-END_BYTES:]) != _END:
            return
        for offset, block in _headers_backwards(view, min(next_at, stop) - start):
            try:
                member = decode_header(block, start + offset, "", None)
            except BadInput:
                return
            count += 1
            if member.end_offset_bytes != next_at or count > MEMBER_COUNT_LIMIT:
                return
            next_at = member.header_offset_bytes
            yield member
        stop, wanted = start, CHUNK_BYTES


def _headers_backwards(view: memoryview, stop: int) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the bytes of each block before `stop` that looks like a header."""
    last_bytes = view[BLOCK_BYTES - 1 : stop : BLOCK_BYTES].tobytes()
    index = last_bytes.rfind(b"\0")
    while index >= 0:
        offset = index * BLOCK_BYTES
        magic_at = offset + _MAGIC_AT
        if view[magic_at : magic_at + len(_MAGIC)] == _MAGIC:
            yield offset, bytes(view[offset : offset + BLOCK_BYTES])
        index = last_bytes.rfind(b"\0", 0, index)


def _begins_with_info(read_at: ReadAt) -> bool:
    block = read_at(0, BLOCK_BYTES)
    try:
        return len(block) == BLOCK_BYTES and decode_header(block, 0, "", None).name == INFO_NAME
    except BadInput:
        return False
