# SPDX-License-Identifier: Apache-2.0
"""`refresh` on any one host reaches all of them, over nothing but shared storage.

    asked here       the store is read; at the same time a number goes into this host's status
                     block, as one of its lines for people: "refresh=1795340851"
    put here         the number alone: this host has what it put
    seen elsewhere   with the next look at the status blocks, [status] read_interval_seconds at
                     most: the number differs from the one that was there before, so the store is
                     read, once for all that asked meanwhile

The number is the asker's calendar second, or one more than the last one within the same second.
It is compared for equality with that of the same host only: clocks don't matter. What the first
look after a start finds is no request: the store is read at a start anyway, so blocks of before a
boot start nothing. A number that goes away, as when its broker starts anew, asks for nothing, and
is remembered. Asking again and again is joined: one write and one look under way, one to follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional, Protocol

from ha_agent.broker.blocks.codec import BlockError
from ha_agent.broker.blocks.own import OwnBlock
from ha_agent.broker.snapshot import DefinitionEntry, HostEntry
from ha_agent.broker.watch import Board
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import WallTime

log = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
_PUT_HERE = ("put", "pushed", "rollback")


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def wall(self) -> WallTime: ...


class Keeper(Protocol):
    """What is needed of definition.DefinitionKeeper."""

    async def refresh(self, *, read_again: bool = False) -> str: ...


class Blocks(Protocol):
    """What is needed of monitor.StatusMonitor."""

    @property
    def own(self) -> OwnBlock: ...

    async def write_lines(self) -> None: ...


@dataclass(frozen=True)
class Refreshed:
    """`problem`: why the definition may not be the newest here; `told`: why other hosts were not
    asked, or not yet. "" for none."""

    problem: str
    told: str


class SeenRequests:
    """What each other host's number was when it was last seen."""

    def __init__(self, host_id: int) -> None:
        self._host_id = host_id
        self._numbers: Optional[dict[int, int]] = None

    def new_in(self, hosts: Iterable[HostEntry]) -> list[HostEntry]:
        """Return the hosts that have asked since the last call; the first call finds none."""
        asked = []
        first = self._numbers is None
        numbers = self._numbers = self._numbers or {}
        for host in hosts:
            number = host.refresh_asked
            if host.host_id == self._host_id or not number:
                continue
            if number != numbers.get(host.host_id) and not first:
                asked.append(host)
            numbers[host.host_id] = number
        return asked


class RefreshRequests:
    """Asks all hosts, and does what they ask. Run `run` and `run_looks`."""

    def __init__(self, keeper: Keeper, monitor: Blocks, board: Board, *, clock: Clock) -> None:
        self._keeper = keeper
        self._monitor = monitor
        self._board = board
        self._clock = clock
        self._seen = SeenRequests(board.current.host_id)
        self._look_wanted = asyncio.Event()
        self._writing = asyncio.Lock()
        self._queued: Optional[asyncio.Task[str]] = None
        self._writes: set[asyncio.Task[str]] = set()

    async def everywhere(self, who: str) -> Refreshed:
        """Read the store here, and have all other hosts read it; `who` asks for it."""
        log.info("all hosts are asked to read the definition anew: %s", who)
        # The caller may go away: neither a look nor a write is cut in half for that.
        telling = self._tell()
        problem = await self._keeper.refresh(read_again=True)
        return Refreshed(problem, await asyncio.shield(telling))

    async def run(self) -> None:
        """Take what other hosts ask, and tell them what was put here."""
        version, definition = -1, self._board.current.definition
        while True:
            snapshot = await self._board.newer_than(version, _LONGEST_WAIT_SECONDS)
            version = snapshot.version
            if _was_put_here(definition, snapshot.definition):
                self._tell()
            definition = snapshot.definition
            looked = snapshot.storage.read_at is not None
            for host in self._seen.new_in(snapshot.hosts) if looked else ():
                log.info("%s (id %d) asks for a look at the store", host.host_name, host.host_id)
                self._look_wanted.set()
            # When the broker stops, nobody waits for the board any more.
            await asyncio.sleep(_PAUSE_SECONDS)

    async def run_looks(self) -> None:
        """Read the store when another host has asked for it."""
        while True:
            await self._look_wanted.wait()
            self._look_wanted.clear()
            await self._keeper.refresh(read_again=True)

    def _tell(self) -> asyncio.Task[str]:
        """Write a new number; those who ask before that begins share it."""
        if self._queued is None:
            self._queued = asyncio.ensure_future(self._write())
            self._writes.add(self._queued)  # nobody may wait for it, and then nobody else has it
            self._queued.add_done_callback(self._writes.discard)
        return self._queued

    async def _write(self) -> str:
        async with self._writing:
            self._queued = None
            extra = self._monitor.own.extra
            extra.refresh_asked = max(
                extra.refresh_asked + 1, int(self._clock.wall().unix_seconds)
            )
            try:
                await self._monitor.write_lines()
            except (EnvironmentFault, BlockError) as fault:
                log.warning("other hosts were not asked to read the definition: %s", fault)
                return f"other hosts learn of it with this host's next status block: {fault}"
            return ""


def _was_put_here(before: DefinitionEntry, now: DefinitionEntry) -> bool:
    """Whether this host has put a definition; what it remembers at its start is no news."""
    return bool(before.identity) and before.identity != now.identity and now.how in _PUT_HERE
