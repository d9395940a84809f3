# SPDX-License-Identifier: Apache-2.0
"""This host's status block: what goes into it, and when it is written.

    the agent has reported        the whole block, with this second's timestamp: a sign of life
    the agent is silent           nothing: peers must see a hung agent as they see a dead host
    an order was given, or taken  the last block once more, to the byte of its first 512, with
    notice of                     new lines for people: no sign of life, because a host lives
                                  while its block changes, and those lines are no part of that
    ... and never wrote a block   a block of a stopped agent with score 0, to carry the lines

Nothing is written while the host id is not ours: a second agent with the same id must not write
into the slot of the first. One write at a time, so that an older block can't overtake.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Callable, Optional, Protocol

from ha_agent import __version__
from ha_agent.broker.blocks.codec import (
    EXTRA_BYTES,
    StatusBlock,
    human_values,
    key_value_lines,
    understood,
)
from ha_agent.broker.blocks.entry import AGENT, sight_lines
from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.snapshot import Report
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.vdsm.client.answers import HostCapabilities

_UNKNOWN = {"vm": "unknown", "health": "unknown", "detail": "unknown", "reason": "no agent yet"}


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...


class Writes(Protocol):
    """What is needed of block_store.BlockStore."""

    async def write(
        self, block: StatusBlock, extra_lines: Sequence[str] = (), *, read_back: bool = False
    ) -> StatusBlock: ...


class NotOurSlot(EnvironmentFault):
    """This host's id is not, or not yet, known to be ours."""


@dataclasses.dataclass
class OwnLines:
    """What this host says besides the agent's report; whoever learns it sets it here.

    `left_seconds` is how long `order` still holds, reckoned when the block is written.
    """

    capacity: Callable[[], Optional[HostCapabilities]] = lambda: None
    order: Optional[Order] = None
    left_seconds: Callable[[], Optional[float]] = lambda: None
    order_seen: int = 0
    other_vms: Optional[int] = None
    proven: Callable[[], str] = lambda: ""
    refresh_asked: int = 0
    maintenance_note: str = ""
    incidents: str = ""

    def lines(self) -> dict[str, str]:
        """Return the lines for people that are ours (blocks/entry.py)."""
        lines = {"agent": f"{AGENT} {__version__}"}
        capacity = self.capacity()
        if capacity is not None and capacity.memory_mib is not None:
            lines["memory_mib"] = str(capacity.memory_mib)
        if capacity is not None and capacity.cpu_threads is not None:
            lines["cpu_threads"] = str(capacity.cpu_threads)
        if self.order is not None:
            lines[orders.KEY] = orders.encode(self.order, self.left_seconds())
        if self.order_seen:
            lines["order_seen"] = str(self.order_seen)
        if self.other_vms is not None:
            lines["other_vms"] = str(self.other_vms)
        proven = self.proven()
        if proven:
            lines["proven"] = proven
        if self.refresh_asked:
            lines["refresh"] = str(self.refresh_asked)
        if self.maintenance_note:
            lines["maintenance_note"] = self.maintenance_note
        if self.incidents:
            lines["incidents"] = self.incidents
        return lines


class OwnBlock:
    """Writes this host's slot."""

    def __init__(
        self,
        store: Writes,
        host_id: int,
        host_name: str,
        *,
        clock: Clock,
        report_max_age_seconds: float,
        may_write: Callable[[], bool],
    ) -> None:
        self.extra = OwnLines()
        self._store = store
        self._host_id = host_id
        self._host_name = host_name
        self._clock = clock
        self._report_max_age_seconds = report_max_age_seconds
        self._may_write = may_write
        self._busy = asyncio.Lock()
        self._last: Optional[tuple[StatusBlock, Mapping[str, str]]] = None

    @property
    def may_write(self) -> bool:
        """Whether the slot is known to be ours."""
        return self._may_write()

    def found(self, block: StatusBlock) -> None:
        """Take our block as it is on storage, when this process has not written one itself."""
        if self._last is None:
            self._last = (block, block.lines)

    async def publish(
        self, report: Report, definition_at_unix_seconds: float
    ) -> Optional[StatusBlock]:
        """Write what the agent reports; returns the block, None when it is not to be written.

        Raises EnvironmentFault, BlockError.
        """
        made_at, now = report.made_at, self._clock.now()
        too_old = made_at is None or now - made_at > self._report_max_age_seconds
        if too_old or not self._may_write():
            return None
        wall = self._clock.wall()
        block = StatusBlock(
            host_id=self._host_id,
            host_name=self._host_name,
            timestamp_seconds=int(now.boottime_seconds),
            score=report.score,
            engine_status=_status(report),
            maintenance=report.local_maintenance,
            stopped=report.stopped,
            conf_on_shared_storage=True,
            local_conf_timestamp=_second_of(definition_at_unix_seconds, now, wall),
        )
        lines = human_values(
            block,
            state=report.state,
            timestamp_text=wall.ctime(),
            conf_refresh_text=WallTime(definition_at_unix_seconds).ctime(),
        )
        lines.update(sight_lines(report))
        if report.reason:
            lines["reason"] = report.reason
        return await self._write(block, lines)

    async def write_lines(self, *, read_back: bool = True) -> StatusBlock:
        """Write the last block once more, with the lines of ours as they are now.

        Raises EnvironmentFault (NotOurSlot; StorageFault "differs" when it reads back
        otherwise), BlockError.
        """
        if not self._may_write():
            raise NotOurSlot(f"host id {self._host_id} is not known to be this host's")
        block, lines = self._last or self._first()
        return await self._write(block, lines, read_back=read_back)

    def _first(self) -> tuple[StatusBlock, Mapping[str, str]]:
        now, wall = self._clock.now(), self._clock.wall()
        block = StatusBlock(
            self._host_id, self._host_name, int(now.boottime_seconds), 0, _UNKNOWN, stopped=True
        )
        lines = human_values(
            block, state="", timestamp_text=wall.ctime(), conf_refresh_text=WallTime(0).ctime()
        )
        return block, lines

    async def _write(
        self, block: StatusBlock, lines: Mapping[str, str], *, read_back: bool = False
    ) -> StatusBlock:
        async with self._busy:
            ours = self.extra.lines()
            # Of ours only those of now: what was true once is left out, not kept.
            kept = {key: value for key, value in lines.items() if key not in _OURS}
            more = _that_fit({**kept, **ours})
            written = await self._store.write(block, more, read_back=read_back)
            self._last = (block, kept)
        return written


def _status(report: Report) -> Mapping[str, str]:
    status = dict(report.engine_status)
    return status if understood(status) else _UNKNOWN


def _that_fit(values: dict[str, str]) -> list[str]:
    """A block that does not fit is not written, and its host counts as dead: sooner the texts
    that only people read are cut, in this order. The rest has limits of its own."""
    for key in ("maintenance_note", "reason", "state"):
        lines = key_value_lines(values)
        over = len("\n".join((*lines, ""))) - EXTRA_BYTES
        if over <= 0:
            return lines
        raw = values.get(key, "").encode("utf-8", "replace")
        values = {**values, key: raw[: max(0, len(raw) - over)].decode("utf-8", "ignore")}
    return key_value_lines({key: value for key, value in values.items() if value})


_OURS = frozenset(
    (
        *("agent", "memory_mib", "cpu_threads", orders.KEY),
        *("order_seen", "other_vms", "proven", "refresh", "maintenance_note", "incidents"),
    )
)


def _second_of(at_unix_seconds: float, now: Instant, wall: WallTime) -> int:
    """The predecessor puts its own monotonic second of the last definition here."""
    if not at_unix_seconds:
        return 0
    age_seconds = wall.unix_seconds - at_unix_seconds
    return max(0, int(now.boottime_seconds - age_seconds))
