# SPDX-License-Identifier: Apache-2.0
"""What the keeper needs of sanlock, and how the daemon gives it through a storage worker.

`LaneSanlock` sends each call to a worker (sanlock/ops.py) of a lane that nothing else may delay.
Every call ends within its deadline and raises EnvironmentFault; an acquire or a release that was
given up may take effect later, and the next look shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from ha_agent.broker.lease.storage import Lane
from ha_agent.broker.sanlock.place import Leader, decode_leader
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.errors import BadInput


@dataclass(frozen=True)
class HostSight:
    """What the daemon says of a host: `flag` is LIVE, FAIL, DEAD, FREE or UNKNOWN; `timestamp`
    is of its last renewal, in whole seconds of that host's own daemon."""

    host_id: int
    generation: int
    timestamp: int
    io_timeout_seconds: int
    flag: str


@dataclass(frozen=True)
class Look:
    """One look. `joined`: whether our host id is ours in the lockspace, None: under way.

    `hosts` is empty while the daemon does not know yet; `held` is the epoch under which the
    holder has the resource; `leader` is what storage says of it, None where it was not read.
    """

    joined: Optional[bool]
    hosts: Mapping[int, HostSight] = field(default_factory=dict)
    held: Optional[int] = None
    leader: Optional[Leader] = None


class Sanlock(Protocol):
    """The daemon of this host, for one lockspace and one resource."""

    async def look(self, holder_pid: int, read: bool, deadline_seconds: float) -> Look:
        """Look; storage is touched only to `read`. Raises BadInput for what is no lease there."""
        ...

    async def join(self, deadline_seconds: float) -> None:
        """Begin to join; asking again is cheap. Raises BadInput when this host never can."""
        ...

    async def acquire(self, holder_pid: int, epoch: int, deadline_seconds: float) -> str:
        """Acquire for the holder, if the resource still has `epoch`; return why not, or ""."""
        ...

    async def release(self, holder_pid: int, deadline_seconds: float) -> None: ...

    async def clear(self, epoch: int, deadline_seconds: float) -> str:
        """Free a record of ours at `epoch` that no process has (sanlock/orphan.py); return why
        it was not freed, or ""."""
        ...

    async def watchdog_fire_seconds(self, deadline_seconds: float) -> Optional[int]:
        """Return the watchdog's time that the daemon counts with, None where it can't tell."""
        ...


class LaneSanlock:
    """The real daemon; implements Sanlock."""

    def __init__(
        self,
        lane: Lane,
        path: str,
        *,
        lockspace: str,
        resource: str,
        host_id: int,
        times: SanlockTimes,
        qemu_marker: str = "",
    ) -> None:
        """`qemu_marker`: text in an argument of this host's QEMUs, where several hosts are one."""
        self._lane = lane
        self._qemu_marker = qemu_marker
        self._path = path
        self._lockspace = lockspace
        self._resource = resource
        self._host_id = host_id
        self._times = times

    async def look(self, holder_pid: int, read: bool, deadline_seconds: float) -> Look:
        """Look. Raises as Sanlock says."""
        told = await self._call(
            "sanlock_look",
            deadline_seconds,
            host_id=self._host_id,
            resource=self._resource,
            holder_pid=holder_pid,
            read=read,
        )
        sights = [
            HostSight(
                host_id=host["host_id"],
                generation=host["generation"],
                timestamp=host["timestamp"],
                io_timeout_seconds=host["io_timeout"],
                flag=host["flags"],
            )
            for host in told["hosts"]
        ]
        leader = None if told["leader"] is None else self._leader(told["leader"])
        hosts = {sight.host_id: sight for sight in sights}
        return Look(told["joined"], hosts, told["held"], leader)

    async def join(self, deadline_seconds: float) -> None:
        """Begin to join. Raises as Sanlock says."""
        await self._call(
            "sanlock_join",
            deadline_seconds,
            host_id=self._host_id,
            io_timeout_seconds=self._times.io_timeout_seconds,
        )

    async def acquire(self, holder_pid: int, epoch: int, deadline_seconds: float) -> str:
        """Acquire. Raises as Sanlock says."""
        told = await self._call(
            "sanlock_acquire",
            deadline_seconds,
            resource=self._resource,
            holder_pid=holder_pid,
            epoch=epoch,
        )
        return str(told["refused"])

    async def release(self, holder_pid: int, deadline_seconds: float) -> None:
        """Release. Raises as Sanlock says."""
        await self._call(
            "sanlock_release", deadline_seconds, resource=self._resource, holder_pid=holder_pid
        )

    async def clear(self, epoch: int, deadline_seconds: float) -> str:
        """Free an orphan. Raises as Sanlock says."""
        told = await self._call(
            "sanlock_clear",
            deadline_seconds,
            resource=self._resource,
            epoch=epoch,
            qemu_marker=self._qemu_marker,
        )
        return str(told["refused"])

    async def watchdog_fire_seconds(self, deadline_seconds: float) -> Optional[int]:
        """Ask the daemon. Raises as Sanlock says."""
        told = await self._lane.call("sanlock_watchdog", deadline_seconds)
        return None if told is None else int(told)

    async def initialise(self, deadline_seconds: float) -> tuple[bool, str]:
        """Make lockspace and resource where there are zeros, once for the cluster.

        Returns whether it did, and what is there now. Raises as Sanlock says.
        """
        told = await self._call(
            "sanlock_initialise",
            deadline_seconds,
            resource=self._resource,
            io_timeout_seconds=self._times.io_timeout_seconds,
        )
        try:
            leader = self._leader(told["leader"])
        except BadInput as fault:
            return bool(told["done"]), str(fault)
        state = f"held by host {leader.host_id}" if leader.held else "free"
        return bool(told["done"]), (
            f"{state}, epoch {leader.epoch}, sectors of {leader.sector_bytes} bytes"
        )

    def _leader(self, sector: bytes) -> Leader:
        leader = decode_leader(sector, self._path)
        if (leader.lockspace, leader.resource) != (self._lockspace, self._resource):
            raise BadInput(
                f"resource {leader.resource!r} of lockspace {leader.lockspace!r}, expected"
                f" {self._resource!r} of {self._lockspace!r}",
                where=self._path,
            )
        return leader

    async def _call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        return await self._lane.call(
            operation, deadline_seconds, lockspace=self._lockspace, path=self._path, **args
        )
