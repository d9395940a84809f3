# SPDX-License-Identifier: Apache-2.0
"""The broker's way to a simulated sanlock daemon, and the holder process between them.

Real are the keeper and what the holder decides (sanlock_holder.Holding). Simulated are the
binding's calls: they reach the daemon at once, end with it, or run into their deadline where it
is stopped or waits for storage; the leader's record is read by the broker's own worker, past it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from ha_agent.broker.lease.rules import HELD, decode
from ha_agent.broker.sanlock.holder import Holding
from ha_agent.broker.sanlock.judge import Distance, OwnRenewals
from ha_agent.broker.sanlock.keeper import SanlockKeeper
from ha_agent.broker.sanlock.place import Leader
from ha_agent.broker.sanlock.port import HostSight, Look
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.sim.guard import SimFence
from ha_agent.sim.lane import SimLane
from ha_agent.sim.loop import Process
from ha_agent.sim.sanlock import Delta, SimSanlock
from ha_agent.sim.storage import LEASE
from ha_agent.waiting import Signal

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost
    from ha_agent.sim.world import World

T = TypeVar("T")

_HOLDER_LOOK_SECONDS = 0.5


class SimHolder:
    """The holder process of a host."""

    def __init__(self, host: SimHost, process: Process) -> None:
        self.process = process
        self.pid = host.next_pid()
        self.holding = Holding(SimFence(host), _HostProcesses(host))
        self.gone = Signal()
        self._host = host
        process.spawn(self._run())

    async def _run(self) -> None:
        clock = self._host.clock
        while not self.holding.look(clock.now()):
            await clock.sleep(_HOLDER_LOOK_SECONDS)
        self._host.holder_leaves()

    def ended(self, host: SimHost) -> None:
        """Its process is gone: broker and daemon notice."""
        self.gone.set()
        if host.sanlock is not None:
            host.sanlock.process_ended(self.pid)


class _HostProcesses:
    """fence.VmProcesses of a simulated host."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    def scan(self) -> None:
        return None

    def alive(self) -> list[int]:
        return list(range(1, len(self._host.vms) + 1))


class HolderOf:
    """sanlock_hold.Holder: finds the holder, also one that a former broker started."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    @property
    def pid(self) -> int:
        holder = self._host.holder
        return holder.pid if holder is not None and holder.process.alive else 0

    async def ensure(self, deadline_seconds: float) -> int:  # noqa: ARG002 - it starts at once
        return self.pid or self._host.start_holder().pid

    async def gone(self, limit_seconds: float) -> bool:
        holder = self._host.holder
        if not self.pid or holder is None:
            await self._host.clock.sleep(limit_seconds)
            return False
        return await holder.gone.wait(limit_seconds)

    def end(self) -> None:
        if self.pid:
            self._host.holder_leaves()


class SimSanlockPort:
    """sanlock_port.Sanlock of a simulated broker."""

    def __init__(self, host: SimHost, lane: SimLane) -> None:
        self._host = host
        self._lane = lane

    async def look(self, holder_pid: int, read: bool, deadline_seconds: float) -> Look:
        async def told(daemon: SimSanlock) -> Look:
            hosts = {
                host_id: HostSight(
                    host_id,
                    delta.generation,
                    delta.timestamp,
                    delta.io_timeout_seconds,
                    daemon.flag(host_id),
                )
                for host_id, (delta, _) in daemon.seen.items()
                if delta.generation
            }
            known = hosts if daemon.joined else {}
            return Look(daemon.joined, known, daemon.held.get(holder_pid))

        look = await self._ask("look", deadline_seconds, told)
        if not read:
            return look
        leader = leader_of(await self._lane.call("lease_read", deadline_seconds, path="lease"))
        return Look(look.joined, look.hosts, look.held, leader)

    async def join(self, deadline_seconds: float) -> None:
        async def begin(daemon: SimSanlock) -> None:
            daemon.begin_to_join()

        await self._lane.call("lease_read", deadline_seconds, path="lease")
        await self._ask("join", deadline_seconds, begin)

    async def acquire(self, holder_pid: int, epoch: int, deadline_seconds: float) -> str:
        return await self._ask(
            "acquire", deadline_seconds, lambda daemon: daemon.acquire(holder_pid, epoch)
        )

    async def release(self, holder_pid: int, deadline_seconds: float) -> None:
        await self._ask("release", deadline_seconds, lambda daemon: daemon.release(holder_pid))

    async def clear(self, epoch: int, deadline_seconds: float) -> str:
        return await self._ask("clear", deadline_seconds, lambda daemon: daemon.clear(epoch))

    async def watchdog_fire_seconds(self, deadline_seconds: float) -> Optional[int]:
        async def told(daemon: SimSanlock) -> int:
            return daemon.times.watchdog_fire_seconds

        return await self._ask("status", deadline_seconds, told)

    async def _ask(
        self,
        what: str,
        deadline_seconds: float,
        work: Callable[[SimSanlock], Coroutine[Any, Any, T]],
    ) -> T:
        daemon = self._host.sanlock
        if daemon is None or not daemon.process.alive:
            raise EnvironmentFault("no sanlock daemon answers on this host")
        loop = self._host.world.loop
        answer: asyncio.Future[T] = loop.create_future()

        def fail(fault: EnvironmentFault) -> None:
            if not answer.done():
                answer.set_exception(fault)

        def lost() -> None:
            fail(EnvironmentFault(f"sanlock: {what}: the connection ended"))

        on_killed = daemon.process.on_killed
        on_killed.append(lost)
        daemon.process.spawn(_serve(work, daemon, answer))
        late = DeadlineExceeded(f"sanlock: {what}", deadline_seconds)
        timer = loop.call_later(deadline_seconds, fail, late)
        try:
            return await answer
        finally:
            timer.cancel()
            if lost in on_killed:
                on_killed.remove(lost)


async def _serve(
    work: Callable[[SimSanlock], Coroutine[Any, Any, T]],
    daemon: SimSanlock,
    answer: asyncio.Future[T],
) -> None:
    try:
        value = await work(daemon)
    except EnvironmentFault as fault:
        if not answer.done():
            answer.set_exception(fault)
    else:
        if not answer.done():
            answer.set_result(value)


def leader_of(block: bytes) -> Leader:
    """Return the simulated resource's record as the keeper reads sanlock's own."""
    record = decode(block)
    return Leader(
        sector_bytes=512,
        host_id=record.host_id,
        generation=int(record.instance or 0),
        epoch=record.epoch,
        lockspace="ha-agent",
        resource=record.vm_uuid,
        held=record.state == HELD,
    )


def sanlock_keeper(
    host: SimHost, lane: SimLane, on_change: Callable[[LeaseEntry], None]
) -> SanlockKeeper:
    """Build a broker's keeper, as lease/backend.py does."""
    world = host.world

    def keep(distance: Distance) -> None:
        host.kept_distance = distance

    return SanlockKeeper(
        SimSanlockPort(host, lane),
        world.spec.sanlock,
        host_id=host.host_id,
        holder=HolderOf(host),
        clock=host.clock,
        fence=SimFence(host),
        takeover_step_seconds=world.spec.policy.takeover_step_seconds,
        host_name=lambda host_id: world.hosts[host_id].name if host_id in world.hosts else "",
        on_change=on_change,
        renewals=OwnRenewals(host.kept_distance, keep),
    )


def start_with_sanlock(world: World) -> None:
    """Storage as it is in a cluster whose hosts have been of the lockspace for long."""
    io_seconds = world.spec.sanlock.io_timeout_seconds
    deltas = {
        host.host_id: Delta(host.name, 1, max(1, int(host.monotonic())), io_seconds)
        for host in world.hosts.values()
    }
    # Both leases are whose the ownership is.
    world.storage.start_with_sanlock(
        world.storage.read(LEASE), {i: delta.encoded() for i, delta in deltas.items()}
    )


def start_with_holder(host: SimHost) -> None:
    """This host has had the ownership for long: its daemon and its holder live."""
    assert host.sanlock is not None
    host.sanlock.held[host.start_holder().pid] = 1
