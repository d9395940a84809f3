# SPDX-License-Identifier: Apache-2.0
"""The status blocks: reads everybody's, judges who lives, and has ours written.

A host lives while its block keeps changing, by our own clock: its timestamps are its own and
are compared with nothing of ours. What the first look finds may be a year old, so nobody lives
until a change was seen, some seconds later; a block that appears after the first look is one.
A host of the predecessor's version writes every 10 s at best and counts as dead after 60 s
among its own; so it does here. Nothing waits for all that: whether the lease can be had is
the lease's own matter.

One host's bad block is that host's problem: it stays in the list with its last good content
and the reason. One of a version that is too new or too old to be read lives while it changes,
like any other, but nothing is known of it, and nothing that it said before counts. When storage
does not answer, everything stays as it was, with its age.

A look costs work for what has changed only: a slot with the bytes of the look before comes as
the same object (blocks/store.py), and then its entry is the same object, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Sequence
from typing import Callable, Optional, Protocol, Union

from ha_agent.broker.blocks.codec import BlockError, GlobalBlock, StatusBlock
from ha_agent.broker.blocks.entry import host_entry
from ha_agent.broker.blocks.own import OwnBlock
from ha_agent.broker.blocks.store import BlockProblem, StatusVolume
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.snapshot import HostEntry, Report, StorageEntry
from ha_agent.broker.watch import Board
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.values import replaced
from ha_agent.vdsm.client.answers import HostCapabilities

log = logging.getLogger(__name__)

# The predecessor's own rule: facts/predecessor-and-peers.md, 4 (HOST_ALIVE_TIMEOUT_SECS).
_PREDECESSOR_ALIVE_SECONDS = 60.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class Blocks(Protocol):
    """What is needed of block_store.BlockStore."""

    async def read_all(self) -> StatusVolume: ...

    async def write(
        self, block: StatusBlock, extra_lines: Sequence[str] = (), *, read_back: bool = False
    ) -> StatusBlock: ...

    async def write_global(self, maintenance: bool) -> None: ...


@dataclasses.dataclass(frozen=True)
class MonitorTimes:
    """Seconds. `fresh_seconds`: how long an unchanged block is fresh (snapshot.HostEntry)."""

    read_interval_seconds: float
    host_alive_seconds: float
    # Our own agent is taken for dead, and our block left to go stale, after so long without
    # a report: peers must see a hung agent as they see a dead host.
    report_max_age_seconds: float
    fresh_seconds: float = math.inf


class StatusMonitor:
    """Keeps the board's `hosts` and `global_maintenance` current, and tells how storage does."""

    def __init__(
        self,
        store: Blocks,
        board: Board,
        host_id: int,
        host_name: str,
        *,
        clock: Clock,
        times: MonitorTimes,
        may_write: Callable[[], bool],
        capacity: Callable[[], Optional[HostCapabilities]] = lambda: None,
    ) -> None:
        """`may_write`: whether our host id is ours; a second agent with the same id must not
        write into the slot of the first. `capacity`: what this host has, as far as known."""
        self._store = store
        self._board = board
        self._host_id = host_id
        self._clock = clock
        self._times = times
        self.own = OwnBlock(
            store,
            host_id,
            host_name,
            clock=clock,
            report_max_age_seconds=times.report_max_age_seconds,
            may_write=may_write,
        )
        self.own.extra.capacity = capacity
        self.on_look: Callable[[], None] = lambda: None
        """Called after each look at the volume."""
        self._entries: dict[int, HostEntry] = {}
        self._raw: dict[int, StatusBlock] = {}
        self._orders: dict[int, Order] = {}
        self._marks: dict[int, Optional[int]] = {}
        self._write_wanted = asyncio.Event()
        self._looked = False
        self._judge_at = Instant(-math.inf)
        self._own_known_at: Optional[Instant] = None
        self._flag_set_at: Optional[Instant] = None
        self._flag_problem = ""
        self._read_problem = ""
        self._write_problem = ""
        self._read_at: Optional[Instant] = None
        self._written_at: Optional[Instant] = None

    async def run(self) -> None:
        """Read for ever; see `run_writer` for the other half."""
        while True:
            begun = self._clock.now()
            try:
                await self.look()
                self._read_problem = self._tell(self._read_problem, "")
            except EnvironmentFault as fault:
                self._read_problem = self._tell(self._read_problem, f"not readable: {fault}")
                self._judge(self._clock.now())
            spent_seconds = self._clock.now() - begun
            await self._clock.sleep(self._times.read_interval_seconds - spent_seconds)

    async def look(self) -> None:
        """Read the volume once, now. EnvironmentFault."""
        self.take(await self._store.read_all())
        self._judge(self._clock.now())
        self.on_look()

    async def run_writer(self) -> None:
        """Write our block whenever the agent has reported; the newest report wins."""
        while True:
            await self._write_wanted.wait()
            self._write_wanted.clear()
            problem = ""
            try:
                if not self._looked:
                    await self.look()  # what stands in our block must not be lost unseen
                picture = self._board.current
                begun = self._clock.now()
                accepted_at = picture.definition.accepted_at_unix_seconds
                block = await self.own.publish(picture.agent, accepted_at)
                if block is not None:
                    self._take_own(block, begun)
            except (EnvironmentFault, BlockError) as fault:
                problem = f"our block can't be written: {fault}"
            self._write_problem = self._tell(self._write_problem, problem)

    @property
    def storage(self) -> StorageEntry:
        """How the status volume does."""
        problems = (self._read_problem, self._write_problem, self._flag_problem)
        return StorageEntry(
            read_at=self._read_at,
            written_at=self._written_at,
            problem="; ".join(problem for problem in problems if problem),
        )

    def report(self, report: Report) -> None:
        """Take the agent's report: onto the board, and on its way to storage."""
        self._board.update(agent=report)
        self._write_wanted.set()

    async def set_global_maintenance(self, enabled: bool) -> None:
        """Set the flag; returns when storage, read back, says so. EnvironmentFault."""
        await self._store.write_global(enabled)
        # A read that was sent before this and answers later must not bring the old flag back.
        self._flag_set_at = self._clock.now()
        self._flag_problem = ""
        self._board.update(global_maintenance=enabled)

    async def write_lines(self) -> None:
        """Write our block with its lines for people as they are now (blocks/own.py).

        Returns when storage, read back, has it. EnvironmentFault, BlockError.
        """
        begun = self._clock.now()
        self._take_own(await self.own.write_lines(), begun)

    @property
    def orders(self) -> tuple[Order, ...]:
        """The orders in all readable blocks, ours as it is on storage."""
        return tuple(self._orders.values())

    @property
    def order_on_storage(self) -> Optional[Order]:
        """The order in our block, as it was found or written last."""
        return self._orders.get(self._host_id)

    def take(self, volume: StatusVolume) -> None:
        """Take one look at the volume into the board; one sent before the last one taken, and
        what it has of a slot that we wrote meanwhile, is left out."""
        if self._read_at is not None and volume.read_at < self._read_at:
            return
        own_known = self._own_known_at is not None and volume.read_at <= self._own_known_at
        for slot, content in volume.hosts.items():
            if slot == self._host_id and own_known:
                continue
            if content is self._raw.get(slot) and not self._entries[slot].problem:
                continue
            self._put(slot, content, volume.read_at)
        for slot in set(self._entries) - set(volume.hosts):
            if slot == self._host_id and own_known:
                continue
            # Only a scan looks at every slot; a used slot that reads as empty was cleaned.
            del self._entries[slot]
            for known in (self._raw, self._orders, self._marks):
                known.pop(slot, None)
            self._judge_at = volume.read_at
        self._looked = True
        self._read_at = volume.read_at
        if self._flag_set_at is None or volume.read_at >= self._flag_set_at:
            self._board.update(global_maintenance=self._flag(volume.global_block))

    def _flag(self, block: Union[GlobalBlock, BlockProblem, None]) -> bool:
        """A damaged slot 0 leaves the flag as it was, and off where it was never known: one bad
        byte must not keep the whole cluster from starting its engine."""
        if isinstance(block, BlockProblem):
            known = self._board.current.global_maintenance
            problem = f"global maintenance can't be read, taken as {'on' if known else 'off'}"
            problem += f" (set it again to mend that): {block.reason}"
            self._flag_problem = self._tell(self._flag_problem, problem)
            return bool(known)
        self._flag_problem = self._tell(self._flag_problem, "")
        return block is not None and block.maintenance

    def _put(self, slot: int, content: Union[StatusBlock, BlockProblem], read_at: Instant) -> None:
        known = self._entries.get(slot)
        self._judge_at = min(self._judge_at, read_at)
        if isinstance(content, BlockProblem):
            entry = known if known is not None else HostEntry(slot)
            if content.mark is not None:
                self._entries[slot] = self._of_other_version(entry, content, read_at)
            else:
                self._entries[slot] = dataclasses.replace(entry, problem=content.reason)
            return
        changed_at = known.changed_at if known is not None else None
        before = self._raw.get(slot)
        if self._looked if before is None else before != content:
            changed_at = read_at
        self._raw[slot] = content
        entry, order = host_entry(content, changed_at=changed_at, known=known)
        if changed_at is None and entry.predecessor and entry.engine_status.get("vm") == "up":
            # It takes no lease of ours, so its block is all that tells where the VM runs: as its
            # own peers do, believe it until it has been silent for its whole minute.
            entry = replaced(entry, changed_at=read_at)
        self._entries[slot] = entry
        self._orders.pop(slot, None)
        if order is not None:
            self._orders[slot] = order
        if slot == self._host_id:
            self.own.found(content)

    def _of_other_version(
        self, known: HostEntry, content: BlockProblem, read_at: Instant
    ) -> HostEntry:
        before, self._marks[content.slot] = self._marks.get(content.slot), content.mark
        self._raw.pop(content.slot, None)
        self._orders.pop(content.slot, None)
        is_news = before != content.mark if before is not None else self._looked
        status = {"vm": "unknown", "health": "unknown", "detail": "unknown"}
        return HostEntry(
            content.slot,
            known.host_name,
            known.alive,
            fresh=known.fresh,
            engine_status={**status, "reason": content.reason},
            changed_at=read_at if is_news else known.changed_at,
            problem=content.reason,
        )

    def _take_own(self, block: StatusBlock, begun: Instant) -> None:
        """Take our block as we have just written it; `begun` is from before the write."""
        self._own_known_at = self._clock.now()
        self._put(self._host_id, block, begun)
        self._judge(self._own_known_at)
        self._written_at = begun

    def _judge(self, now: Instant) -> None:
        """Judge who lives, when a block has changed or a host's time has come."""
        if now < self._judge_at:
            return
        ours_seconds = self._times.host_alive_seconds
        alive_seconds = (ours_seconds, max(ours_seconds, _PREDECESSOR_ALIVE_SECONDS))
        # The predecessor's renews no lease of ours.
        fresh_seconds = (min(ours_seconds, self._times.fresh_seconds), alive_seconds[1])
        self._judge_at = now + fresh_seconds[0]
        for slot, entry in self._entries.items():
            changed_at, kind = entry.changed_at, int(entry.predecessor)
            age_seconds = math.inf if changed_at is None else now - changed_at
            alive, fresh = age_seconds < alive_seconds[kind], age_seconds < fresh_seconds[kind]
            if changed_at is not None and alive:
                window_seconds = fresh_seconds[kind] if fresh else alive_seconds[kind]
                self._judge_at = min(self._judge_at, changed_at + window_seconds)
            if alive is not entry.alive or fresh is not entry.fresh:
                self._entries[slot] = replaced(entry, alive=alive, fresh=fresh)
        self._board.update(hosts=tuple(self._entries[slot] for slot in sorted(self._entries)))

    def _tell(self, before: str, problem: str) -> str:
        """Log a problem that is new, or its end; return it."""
        if problem and problem != before:
            log.warning("status volume: %s", problem)
        elif before and not problem:
            log.info("status volume: fine again (was: %s)", before)
        return problem
