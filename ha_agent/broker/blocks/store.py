# SPDX-License-Identifier: Apache-2.0
"""The status volume over a storage lane: who wrote what, slot by slot.

One host's bad block is that host's problem: it is a `BlockProblem` in the result, and every
other slot is read as if nothing were. Nothing here waits longer than its deadline; what fails
as a whole (no volume, no answer) raises, and the caller keeps what it knew, with its age.

Which slots are looked at: the whole volume at the first `read_all` and again from time to time
(a new host's slot is found then), else slot 0 and the used ones only. Hosts of a cluster that
is switched on write their first blocks within the same minute, so scans come close together
at first and after each discovery, then twice as far apart each time, up to
`scan_interval_seconds`. The predecessor reads 8 MiB every 10 s; three hosts cost 16 KiB.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Optional, Union

from ha_agent.broker.blocks import codec as block_codec
from ha_agent.broker.blocks.codec import (
    BlockError,
    BlockTooNew,
    BlockTooOld,
    GlobalBlock,
    StatusBlock,
)
from ha_agent.broker.storage.lane import Clock, StorageFault, StorageLane
from ha_agent.instant import Instant

GLOBAL_SLOT = 0
FIRST_SCAN_PAUSE_SECONDS = 2.0
MAX_HOSTS = 2000
"""The predecessor reads slots 0..2000 (sanlock's limit with 512-byte sectors)."""


@dataclass(frozen=True)
class BlockProblem:
    """A slot that could not be read or decoded; `reason` is a sentence that names it.

    `mark` is of its bytes, where they are of a version that this software does not read (and
    None where they are damaged): its host lives while it changes.
    """

    slot: int
    reason: str
    too_new: bool = False
    mark: Optional[int] = None


SlotContent = Union[StatusBlock, BlockProblem, None]
"""None: nobody uses the slot."""


@dataclass(frozen=True)
class StatusVolume:
    """What one look at the volume found.

    `read_at` was taken before the read was sent. `direct` tells whether the page cache was
    bypassed, `scanned` whether all slots were looked at.
    """

    global_block: Union[GlobalBlock, BlockProblem, None]
    hosts: dict[int, Union[StatusBlock, BlockProblem]]
    read_at: Instant
    direct: bool
    scanned: bool


class BlockStore:
    """Reads and writes the slots of one status volume."""

    def __init__(
        self,
        lane: StorageLane,
        path: str,
        *,
        clock: Clock,
        max_hosts: int = MAX_HOSTS,
        deadline_seconds: float = 5.0,
        scan_interval_seconds: float = 60.0,
    ) -> None:
        """`path` is the volume's; set the attribute when the volume is prepared elsewhere.

        All methods raise DeadlineExceeded or StorageFault when the volume can't be used.
        """
        self.path = path
        self._lane = lane
        self._clock = clock
        self._max_hosts = max_hosts
        self._deadline_seconds = deadline_seconds
        self._scan_interval_seconds = scan_interval_seconds
        self._used: set[int] = set()
        self._scanned_at: Optional[Instant] = None
        self._scan_pause_seconds = min(FIRST_SCAN_PAUSE_SECONDS, scan_interval_seconds)
        self._decoded: dict[int, tuple[bytes, SlotContent]] = {}

    async def read_all(self) -> StatusVolume:
        """Read slot 0 and the slots in use; all slots when a scan is due.

        A slot whose bytes are those of the look before has the same object as its content.
        """
        read_at = self._clock.now()
        scan = self._scanned_at is None or read_at - self._scanned_at >= self._scan_pause_seconds
        if scan:
            if self._scanned_at is not None:
                # A scan that fails, as 8 MiB on slow storage may, waits for its next turn, so
                # that the known hosts are still seen.
                self._scanned_at = read_at
            answer = await self._call("scan_slots", count=self._max_hosts + 1)
            found = {entry["slot"] for entry in answer["slots"]} - {GLOBAL_SLOT}
            longer_seconds = (
                2 * self._scan_pause_seconds if found <= self._used else FIRST_SCAN_PAUSE_SECONDS
            )
            self._scan_pause_seconds = min(longer_seconds, self._scan_interval_seconds)
            self._used, self._scanned_at = found, read_at
        else:
            answer = await self._call("read_slots", slots=[GLOBAL_SLOT, *sorted(self._used)])
        entries = {entry["slot"]: entry for entry in answer["slots"]}
        global_entry = entries.pop(GLOBAL_SLOT, None)
        hosts = {}
        for slot, entry in entries.items():
            content = self._content(slot, entry)
            if content is not None:
                hosts[slot] = content
        return StatusVolume(
            global_block=_decode_global(global_entry) if global_entry else None,
            hosts=hosts,
            read_at=read_at,
            direct=answer["direct"],
            scanned=scan,
        )

    def _content(self, slot: int, entry: dict[str, Any]) -> SlotContent:
        data, known = entry.get("data"), self._decoded.get(slot)
        if known is not None and data == known[0]:
            return known[1]
        content = _decode(entry)
        if data is not None:
            self._decoded[slot] = (data, content)
        return content

    async def read(self, slots: Iterable[int]) -> dict[int, SlotContent]:
        """Read these host slots, used or not."""
        answer = await self._call("read_slots", slots=sorted(set(slots) - {GLOBAL_SLOT}))
        return {entry["slot"]: _decode(entry) for entry in answer["slots"]}

    async def write(
        self, block: StatusBlock, extra_lines: Sequence[str] = (), *, read_back: bool = False
    ) -> StatusBlock:
        """Write a host's slot; it is on the storage when this returns, as what is returned.

        Raises BlockError, with nothing written, for a block that can't be encoded, and
        StorageFault("differs") when it is read back and is another one then.
        """
        data = block_codec.encode(block, extra_lines)
        # Before, for a read that is asked for while this is under way and done after it; and
        # after, for a scan that was under way and did not find it yet.
        self._used.add(block.host_id)
        answer = await self._call("write_slot", slot=block.host_id, data=data, read_back=read_back)
        self._used.add(block.host_id)
        if read_back and not answer["equal"]:
            self._differs(block.host_id, "what was written")
        written = block_codec.decode(data, slot=block.host_id)
        assert written is not None  # it has a host id
        return written

    async def read_global(self) -> Union[GlobalBlock, BlockProblem, None]:
        """Read slot 0; None when it was never written."""
        answer = await self._call("read_slots", slots=[GLOBAL_SLOT])
        return _decode_global(answer["slots"][0])

    async def write_global(self, maintenance: bool) -> None:
        """Set global maintenance; returns when slot 0, read back, says just that.

        Raises StorageFault("differs") when it does not: another host wrote at the same time.
        """
        data = block_codec.encode_global(GlobalBlock(maintenance))
        answer = await self._call("write_slot", slot=GLOBAL_SLOT, data=data, read_back=True)
        if not answer["equal"]:
            self._differs(GLOBAL_SLOT, f"maintenance={maintenance}")

    def _differs(self, slot: int, wanted: str) -> NoReturn:
        reason = f"slot {slot} reads back something else than {wanted}"
        raise StorageFault("differs", "write_slot", self.path, reason)

    async def _call(self, operation: str, **args: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self._lane.call(
            operation, self._deadline_seconds, path=self.path, **args
        )
        return answer


def _decode(entry: dict[str, Any]) -> SlotContent:
    slot = entry["slot"]
    if "error" in entry:
        return _unreadable(entry)
    return content_of(entry["data"], slot)


def content_of(data: bytes, slot: int) -> SlotContent:
    """Return what the bytes of a host's slot say."""
    try:
        return block_codec.decode(data, slot=slot)
    except (BlockTooNew, BlockTooOld) as error:
        return BlockProblem(slot, str(error), isinstance(error, BlockTooNew), zlib.crc32(data))
    except BlockError as error:
        return BlockProblem(slot, str(error))


def _decode_global(entry: dict[str, Any]) -> Union[GlobalBlock, BlockProblem, None]:
    if "error" in entry:
        return _unreadable(entry)
    try:
        return block_codec.decode_global(entry["data"])
    except BlockError as error:
        return BlockProblem(GLOBAL_SLOT, str(error))


def _unreadable(entry: dict[str, Any]) -> BlockProblem:
    error = entry["error"]
    return BlockProblem(
        entry["slot"], f"slot {entry['slot']}: {error['message']} ({error['code']})"
    )
