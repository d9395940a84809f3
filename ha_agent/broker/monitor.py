# SPDX-License-Identifier: Apache-2.0
"""The status blocks: writes ours, reads everybody's, judges who lives.

A host lives while its block keeps changing, by our own clock: its timestamps are its own and
are compared with nothing of ours. What the first look finds may be a year old, so nobody lives
until a change was seen, some seconds later; a block that appears after the first look is one.
Nothing waits for that: whether the lease can be had is the lease's own matter.

One host's bad block is that host's problem: it stays in the list with its last good content
and the reason. When storage does not answer, everything stays as it was, with its age.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import Sequence
from typing import Callable, Optional, Protocol, Union

from ha_agent.broker.block_codec import (
    BlockError,
    GlobalBlock,
    StatusBlock,
    decode,
    encode,
    human_lines,
    line_values,
)
from ha_agent.broker.block_store import BlockProblem, StatusVolume
from ha_agent.broker.snapshot import HostEntry, Report, StorageEntry
from ha_agent.broker.watch import Board
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.vdsm.answers import HostCapabilities

log = logging.getLogger(__name__)

# What a peer says it has; nothing absurd is believed.
_COUNT = re.compile(r"[1-9][0-9]{0,9}")


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class Blocks(Protocol):
    """What is needed of block_store.BlockStore."""

    async def read_all(self) -> StatusVolume: ...

    async def write(self, block: StatusBlock, extra_lines: Sequence[str] = ()) -> None: ...

    async def write_global(self, maintenance: bool) -> None: ...


@dataclasses.dataclass(frozen=True)
class MonitorTimes:
    """Seconds."""

    read_interval_seconds: float
    host_alive_seconds: float
    # Our own agent is taken for dead, and our block left to go stale, after so long without
    # a report: peers must see a hung agent as they see a dead host.
    report_max_age_seconds: float


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
        self._host_name = host_name
        self._clock = clock
        self._times = times
        self._may_write = may_write
        self._capacity = capacity
        self._entries: dict[int, HostEntry] = {}
        self._raw: dict[int, StatusBlock] = {}
        self._write_wanted = asyncio.Event()
        self._looked = False
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
                self.take(await self._store.read_all())
                self._read_problem = self._tell(self._read_problem, "")
            except EnvironmentFault as fault:
                self._read_problem = self._tell(self._read_problem, f"not readable: {fault}")
            self._judge(self._clock.now())
            spent_seconds = self._clock.now() - begun
            await self._clock.sleep(self._times.read_interval_seconds - spent_seconds)

    async def run_writer(self) -> None:
        """Write our block whenever the agent has reported; the newest report wins."""
        while True:
            await self._write_wanted.wait()
            self._write_wanted.clear()
            problem = ""
            try:
                await self._write(self._board.read().agent)
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

    def take(self, volume: StatusVolume) -> None:
        """Take one look at the volume into the board."""
        for slot, content in volume.hosts.items():
            self._entries[slot] = self._entry(slot, content, volume.read_at)
        for slot in set(self._entries) - set(volume.hosts):
            # Only a scan looks at every slot; a used slot that reads as empty was cleaned.
            del self._entries[slot]
            self._raw.pop(slot, None)
        self._looked = True
        self._read_at = volume.read_at
        if self._flag_set_at is None or volume.read_at >= self._flag_set_at:
            self._board.update(global_maintenance=self._flag(volume.global_block))

    def _flag(self, block: Union[GlobalBlock, BlockProblem, None]) -> bool:
        """A damaged slot 0 leaves the flag as it was, and off where it was never known: one bad
        byte must not keep the whole cluster from starting its engine."""
        if isinstance(block, BlockProblem):
            known = self._board.read().global_maintenance
            problem = f"global maintenance can't be read, taken as {'on' if known else 'off'}"
            problem += f" (set it again to mend that): {block.reason}"
            self._flag_problem = self._tell(self._flag_problem, problem)
            return bool(known)
        self._flag_problem = self._tell(self._flag_problem, "")
        return block is not None and block.maintenance

    def _entry(
        self, slot: int, content: Union[StatusBlock, BlockProblem], read_at: Instant
    ) -> HostEntry:
        known = self._entries.get(slot)
        if isinstance(content, BlockProblem):
            if known is None:
                return HostEntry(slot, problem=content.reason)
            return dataclasses.replace(known, problem=content.reason)
        changed_at = known.changed_at if known is not None else None
        before = self._raw.get(slot)
        if self._looked if before is None else before != content:
            changed_at = read_at
        self._raw[slot] = content
        lines = line_values(content.extra)
        status = content.engine_status
        return HostEntry(
            host_id=slot,
            host_name=content.host_name,
            score=content.score,
            engine_status={_sendable(k): _sendable(str(v)) for k, v in status.items()}
            if isinstance(status, dict)
            else {},
            state=lines.get("state", ""),
            maintenance=bool(content.maintenance),
            stopped=bool(content.stopped),
            timestamp_seconds=content.timestamp_seconds,
            conf_on_shared_storage=bool(content.conf_on_shared_storage),
            local_conf_timestamp_seconds=content.local_conf_timestamp or 0,
            crc32=content.crc32 or "",
            extra=content.extra,
            memory_mib=_count(lines.get("memory_mib", "")),
            cpu_threads=_count(lines.get("cpu_threads", "")),
            changed_at=changed_at,
        )

    def _judge(self, now: Instant) -> None:
        for slot, entry in self._entries.items():
            alive = entry.changed_at is not None and (
                now - entry.changed_at < self._times.host_alive_seconds
            )
            self._entries[slot] = dataclasses.replace(entry, alive=alive)
        hosts = tuple(self._entries[slot] for slot in sorted(self._entries))
        self._board.update(hosts=hosts)

    async def _write(self, report: Report) -> None:
        made_at = report.made_at
        now = self._clock.now()
        too_old = made_at is None or now - made_at > self._times.report_max_age_seconds
        if too_old or not self._may_write():
            return
        wall = self._clock.wall()
        definition = self._board.read().definition
        block = StatusBlock(
            host_id=self._host_id,
            host_name=self._host_name,
            timestamp_seconds=int(now.boottime_seconds),
            score=report.score,
            engine_status=dict(report.engine_status),
            maintenance=report.local_maintenance,
            stopped=report.stopped,
            conf_on_shared_storage=True,
            local_conf_timestamp=self._definition_timestamp(now, wall),
        )
        lines = human_lines(
            block,
            state=report.state,
            timestamp_text=wall.ctime(),
            conf_refresh_text=WallTime(definition.accepted_at_unix_seconds).ctime(),
            more=self._lines_of_ours(report),
        )
        await self._store.write(block, lines)
        # What is on storage now is known without reading it back, and sooner.
        written = decode(encode(block, lines), slot=self._host_id)
        if written is not None:
            self._entries[self._host_id] = self._entry(self._host_id, written, now)
            self._judge(now)
        self._written_at = now

    def _lines_of_ours(self, report: Report) -> dict[str, str]:
        lines = {"reason": report.reason} if report.reason else {}
        capacity = self._capacity()
        if capacity is not None and capacity.memory_mib is not None:
            lines["memory_mib"] = str(capacity.memory_mib)
        if capacity is not None and capacity.cpu_threads is not None:
            lines["cpu_threads"] = str(capacity.cpu_threads)
        return lines

    def _definition_timestamp(self, now: Instant, wall: WallTime) -> int:
        """The predecessor puts its own monotonic second of the last definition here."""
        accepted_at = self._board.read().definition.accepted_at_unix_seconds
        if not accepted_at:
            return 0
        age_seconds = wall.unix_seconds - accepted_at
        return max(0, int(now.boottime_seconds - age_seconds))

    def _tell(self, before: str, problem: str) -> str:
        """Log a problem that is new, or its end; return it."""
        if problem and problem != before:
            log.warning("status volume: %s", problem)
        elif before and not problem:
            log.info("status volume: fine again (was: %s)", before)
        return problem


def _count(text: str) -> Optional[int]:
    return int(text) if _COUNT.fullmatch(text) else None


def _sendable(text: str) -> str:
    """A lone surrogate is sound JSON, but one in a picture that can't be sent blinds everybody."""
    return text.encode("utf-8", "replace").decode("utf-8")
