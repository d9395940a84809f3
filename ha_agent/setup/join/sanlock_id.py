# SPDX-License-Identifier: Apache-2.0
"""A host id in our lockspace of sanlock, taken for a host that joins and left by one that leaves.

The daemon grants an id to one host only. That takes some I/O timeouts; where a host died with the
id, or another one takes it at the same moment, until that one has proved dead or alive, 8 I/O
timeouts and the watchdog's time. The daemon stays a member after a join, as the broker will want
it. With the lease back end lockfile there is no lockspace, and nothing here does anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ha_agent.broker.lease.storage import Lane
from ha_agent.broker.sanlock import lockspace_codec
from ha_agent.broker.sanlock.place import MAX_HOST_ID
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.errors import DeadlineExceeded
from ha_agent.instant import Instant, WallTime
from ha_agent.setup.join.host_id import Bound
from ha_agent.setup.step import Say

_ASK_SECONDS = 1.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


@dataclass(frozen=True)
class SanlockSpace:
    """Our lockspace, where the lease's back end is sanlock."""

    path: str
    lockspace: str
    times: SanlockTimes


class SanlockId:
    """This host's daemon, in one lockspace or in none. All methods raise EnvironmentFault."""

    def __init__(
        self,
        lane: Lane,
        space: Optional[SanlockSpace],
        *,
        clock: Clock,
        io_deadline_seconds: float,
    ) -> None:
        self._lane = lane
        self._space = space
        self._clock = clock
        self._io_deadline_seconds = io_deadline_seconds

    async def own_id(self) -> int:
        """Return the host id that the daemon has, or is about to have; 0 for none."""
        if self._space is None:
            return 0
        return int(await self._ask("sanlock_own_id", self._space))

    async def hold(self, host_id: int, say: Say) -> bool:
        """Have the daemon take the id; False when another host has it. BadInput for an id or a
        lockspace that can't be."""
        space = self._space
        if space is None:
            return True
        io_timeout_seconds = space.times.io_timeout_seconds
        most_seconds = float(space.times.host_dead_seconds + 6 * io_timeout_seconds)
        if await self._ask("sanlock_own_id", space) != host_id:
            say(
                f"taking host id {host_id} in sanlock's lockspace: some I/O timeouts, or up to"
                f" {most_seconds:g} s where a host died with this id"
            )
            await self._ask(
                "sanlock_join", space, host_id=host_id, io_timeout_seconds=io_timeout_seconds
            )
        ends_at = self._clock.now() + most_seconds
        while True:
            look = await self._ask(
                "sanlock_look", space, host_id=host_id, resource="", holder_pid=0, read=False
            )
            if look["joined"] is not None:
                return bool(look["joined"])
            if self._clock.now() >= ends_at:
                raise DeadlineExceeded(f"host id {host_id} in {space.path}", most_seconds)
            await self._clock.sleep(_ASK_SECONDS)

    async def leave(self, host_id: int) -> None:
        """Have the daemon give the id back; harmless where it does not have it."""
        if self._space is not None:
            await self._ask("sanlock_leave", self._space, host_id=host_id)

    async def room(self) -> Optional[Bound]:
        """Return how many hosts the lockspace has room for; None where there is none."""
        space = self._space
        if space is None:
            return None
        data: bytes = await self._lane.call(
            "lockspace_read",
            self._io_deadline_seconds,
            path=space.path,
            length_bytes=lockspace_codec.LOCKSPACE_BYTES,
        )
        sector = lockspace_codec.sector_bytes_to_join(data, space.lockspace, space.path)
        remedy = f"sanlock has no room for more with sectors of {sector} bytes"
        return Bound(MAX_HOST_ID[sector], remedy)

    async def _ask(self, operation: str, space: SanlockSpace, **args: Any) -> Any:
        # To leave waits until the daemon has written that the id is free.
        seconds = self._io_deadline_seconds + 4 * space.times.io_timeout_seconds
        return await self._lane.call(
            operation, seconds, lockspace=space.lockspace, path=space.path, **args
        )
