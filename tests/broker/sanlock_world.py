# SPDX-License-Identifier: Apache-2.0
"""Hosts with sanlock in virtual time: storage, daemons, holders, guards, VMs.

The fake daemon follows sanlock(8) and its timeouts.h as far as the keeper can tell: delta leases
renewed every 2 io timeouts, others judged by when this daemon saw them change, paxos leases given
to one, the end of registered processes 8 io timeouts after the last good renewal. The holder's
decisions are the real ones (sanlock_holder.Holding), as are the keeper's.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace
from typing import Optional

from ha_agent.broker.sanlock.holder import Holding
from ha_agent.broker.sanlock.judge import Distance, OwnRenewals
from ha_agent.broker.sanlock.keeper import SanlockKeeper
from ha_agent.broker.sanlock.place import Leader
from ha_agent.broker.sanlock.port import HostSight, Look
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.waiting import Signal
from tests.broker.lease_world import FakeFence, HostClock

TIMES = SanlockTimes(io_timeout_seconds=2, watchdog_fire_seconds=10)
_pids = itertools.count(1000)


@dataclass(frozen=True)
class Delta:
    """One host id's lease on storage; `timestamp` 0: free."""

    name: str = ""
    generation: int = 0
    timestamp: int = 0
    io_timeout_seconds: int = 2


class Area:
    """What storage has: the delta leases and the resource."""

    def __init__(self) -> None:
        self.deltas: dict[int, Delta] = {}
        self.leader = Leader(512, 0, 0, 0, "ha-agent", "vm", False)


class FakeDaemon:
    """One host's daemon, and its registered processes."""

    def __init__(self, area: Area, host_id: int, name: str) -> None:
        self.area = area
        self.host_id = host_id
        self.name = name
        self.watchdog_fire_seconds = TIMES.watchdog_fire_seconds
        self.hung = False
        """Storage does not answer this host."""
        self.joined: Optional[bool] = False
        self.seen: dict[int, tuple[Delta, float]] = {}
        self.held: dict[int, int] = {}
        self.holders: dict[int, FakeHolder] = {}
        self.up = True
        self._renewed_at = 0.0
        self._task: Optional[asyncio.Task[None]] = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def begin_to_join(self) -> None:
        if self.joined is False:
            self.joined = None
            self._task = asyncio.get_running_loop().create_task(self._member())

    async def _member(self) -> None:
        old = self.area.deltas.get(self.host_id, Delta())
        if old.timestamp and old.name != self.name:
            await asyncio.sleep(2 * TIMES.renew_interval_seconds)
            if self.area.deltas[self.host_id].timestamp != old.timestamp:
                self.joined = False  # another host renews it
                return
            await asyncio.sleep(TIMES.host_dead_seconds)
        delta = Delta(self.name, old.generation + 1, int(self.now()) + 1)
        self.area.deltas[self.host_id] = delta
        await asyncio.sleep(TIMES.renew_interval_seconds)
        if self.area.deltas[self.host_id] != delta:
            self.joined = False
            return
        self.joined, self._renewed_at = True, self.now()
        while True:
            await asyncio.sleep(TIMES.renew_interval_seconds)
            while self.hung:
                await asyncio.sleep(0.5)
                if self.now() - self._renewed_at >= 8 * TIMES.io_timeout_seconds:
                    await self._end_processes()
                    return
            self._look_at_others()
            self.area.deltas[self.host_id] = replace(delta, timestamp=int(self.now()) + 1)
            self._renewed_at = self.now()

    def _look_at_others(self) -> None:
        for host_id, delta in self.area.deltas.items():
            known = self.seen.get(host_id)
            if known is None or known[0] != delta:
                self.seen[host_id] = (delta, self.now())

    async def _end_processes(self) -> None:
        self.joined = None
        for holder in list(self.holders.values()):
            holder.holding.lost = True
        while self.holders:  # noqa: ASYNC110 - they end at many hands
            await asyncio.sleep(0.5)
        self.joined = False

    def leave(self) -> None:
        """`sanlock client rem_lockspace`, or the daemon's end in order."""
        if self._task is not None:
            self._task.cancel()
        for holder in list(self.holders.values()):
            holder.die()
        delta = self.area.deltas[self.host_id]
        self.area.deltas[self.host_id] = replace(delta, timestamp=0)
        self.joined = False

    def die(self) -> None:
        """SIGKILL, or the host's power."""
        if self._task is not None:
            self._task.cancel()
        self.up, self.joined = False, False
        self.held.clear()

    def process_ended(self, pid: int) -> None:
        self.holders.pop(pid, None)
        epoch = self.held.pop(pid, None)
        if epoch is not None and self.area.leader.epoch == epoch and not self.hung:
            self.area.leader = replace(self.area.leader, held=False)

    def forget(self, pid: int) -> None:
        """As after a release that storage refused: the record stays as it is."""
        self.held.pop(pid, None)

    def clear(self, epoch: int) -> str:
        if self.held:
            return "File exists (error 17)"
        if self.area.leader.epoch != epoch:
            return f"it was taken since: its epoch is no longer {epoch}"
        self.area.leader = replace(self.area.leader, epoch=epoch + 1, held=False)
        return ""

    def flag(self, host_id: int) -> str:
        delta, changed_at = self.seen[host_id]
        age_seconds = int(self.now()) - int(changed_at)
        if not delta.timestamp:
            return "FREE"
        if age_seconds > TIMES.host_dead_seconds:
            return "DEAD"
        return "FAIL" if age_seconds > 8 * TIMES.io_timeout_seconds else "LIVE"

    def acquire(self, pid: int, epoch: int) -> str:
        leader = self.area.leader
        if pid not in self.holders:
            raise EnvironmentFault("sanlock: no such process")
        if pid in self.held:
            return ""
        if epoch and leader.epoch != epoch:
            return f"it was taken since: its epoch is no longer {epoch}"
        if leader.held and not self._is_over(leader):
            return "another host has it"
        own = self.area.deltas[self.host_id]
        self.area.leader = replace(
            leader,
            host_id=self.host_id,
            generation=own.generation,
            epoch=leader.epoch + 1,
            held=True,
        )
        self.held[pid] = leader.epoch + 1
        return ""

    def _is_over(self, leader: Leader) -> bool:
        owner = self.area.deltas[leader.host_id]
        if owner.generation > leader.generation or not owner.timestamp:
            return True
        return leader.host_id in self.seen and self.flag(leader.host_id) == "DEAD"


class FakeSanlock:
    """The port `Sanlock` to one fake daemon."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.acquires_fail = False
        self.releases_fail = False
        self.cleared: list[int] = []
        self.clear_refused = ""

    async def look(self, holder_pid: int, read: bool, deadline_seconds: float) -> Look:
        daemon = self._answering()
        if read:
            await self._storage("look", deadline_seconds)
        hosts = {
            host_id: HostSight(
                host_id,
                delta.generation,
                delta.timestamp,
                delta.io_timeout_seconds,
                daemon.flag(host_id),
            )
            for host_id, (delta, _) in daemon.seen.items()
            if daemon.joined
        }
        held = daemon.held.get(holder_pid)
        return Look(daemon.joined, hosts, held, daemon.area.leader if read else None)

    async def join(self, deadline_seconds: float) -> None:
        daemon = self._answering()
        await self._storage("join", deadline_seconds)
        daemon.begin_to_join()

    async def acquire(self, holder_pid: int, epoch: int, deadline_seconds: float) -> str:
        daemon = self._answering()
        await self._storage("acquire", deadline_seconds)
        if self.acquires_fail:
            raise EnvironmentFault("sanlock: refused")
        return daemon.acquire(holder_pid, epoch)

    async def release(self, holder_pid: int, deadline_seconds: float) -> None:
        daemon = self._answering()
        await self._storage("release", deadline_seconds)
        if self.releases_fail and holder_pid in daemon.held:
            daemon.forget(holder_pid)
            raise EnvironmentFault("sanlock: not released: vm in /lease: EIO (error 5)")
        holder = daemon.holders.get(holder_pid)
        daemon.process_ended(holder_pid)
        if holder is not None:
            daemon.holders[holder_pid] = holder

    async def clear(self, epoch: int, deadline_seconds: float) -> str:
        daemon = self._answering()
        await self._storage("clear", deadline_seconds)
        self.cleared.append(epoch)
        return self.clear_refused or daemon.clear(epoch)

    async def watchdog_fire_seconds(self, deadline_seconds: float) -> Optional[int]:
        return self.daemon.watchdog_fire_seconds

    def _answering(self) -> FakeDaemon:
        if not self.daemon.up:
            raise EnvironmentFault("no sanlock daemon answers on this host")
        return self.daemon

    async def _storage(self, what: str, deadline_seconds: float) -> None:
        await asyncio.sleep(0.01)
        if self.daemon.hung:
            await asyncio.sleep(deadline_seconds)
            raise DeadlineExceeded(what, deadline_seconds)


class FakeHolder:
    """A holder process: registered, alive until it may end; decides with the real Holding."""

    def __init__(self, host: SanlockHost) -> None:
        self.pid = next(_pids)
        self.ended = Signal()
        self.holding = Holding(host.fence, host)
        self._host = host
        host.daemon.holders[self.pid] = self
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while not self.holding.look(self._host.clock.now()):  # noqa: ASYNC110 - as it does
            await asyncio.sleep(0.5)
        self._ended()

    def die(self) -> None:
        self._task.cancel()
        self._ended()

    def _ended(self) -> None:
        self.ended.set()
        self._host.daemon.process_ended(self.pid)


class HolderOf:
    """The port `Holder`: finds the host's holder, also one that a former broker started."""

    def __init__(self, host: SanlockHost) -> None:
        self._host = host

    @property
    def pid(self) -> int:
        holder = self._host.holder
        return holder.pid if holder is not None and not holder.ended.is_set() else 0

    async def ensure(self, deadline_seconds: float) -> int:
        if not self.pid:
            self._host.holder = FakeHolder(self._host)
        return self.pid

    async def gone(self, limit_seconds: float) -> bool:
        if not self.pid or self._host.holder is None:
            await self._host.clock.sleep(limit_seconds)
            return False
        return await self._host.holder.ended.wait(limit_seconds)

    def end(self) -> None:
        if self.pid and self._host.holder is not None:
            self._host.holder.die()


class SanlockHost:
    """A host: daemon, keeper, holder, guard, and a VM."""

    def __init__(self, area: Area, host_id: int, offset_seconds: float = 0.0) -> None:
        self.host_id = host_id
        self.clock = HostClock(offset_seconds=offset_seconds)
        self.fence = FakeFence()
        self.daemon = FakeDaemon(area, host_id, f"host{host_id}")
        self.sanlock = FakeSanlock(self.daemon)
        self.holder: Optional[FakeHolder] = None
        self.vm_running = False
        self.vm_ended_at: Optional[float] = None
        self.distances: list[Distance] = []
        self.start_broker()
        self._guard_task = asyncio.get_running_loop().create_task(self._guard())

    def start_broker(self) -> None:
        self.keeper = SanlockKeeper(
            self.sanlock,
            TIMES,
            host_id=self.host_id,
            holder=HolderOf(self),
            clock=self.clock,
            fence=self.fence,
            host_name=lambda host_id: f"host{host_id}",
            renewals=OwnRenewals(self.distances[-1] if self.distances else None, self.keep),
        )
        self.keeper.start()

    def keep(self, distance: Distance) -> None:
        """What the run folder has for the next broker."""
        self.distances.append(distance)

    def kill_broker(self) -> None:
        """SIGKILL: no orderly stop, the deadline stays armed."""
        self.keeper._task.cancel()

    def kill(self) -> None:
        """The whole host loses its power."""
        self.kill_broker()
        self._guard_task.cancel()
        self.daemon.die()
        self.vm_running = False

    def scan(self) -> None:
        """As fence.VmProcesses."""

    def alive(self) -> list[int]:
        return [4711] if self.vm_running else []

    async def until(self, state: str, *, ours: Optional[bool] = None) -> None:
        ends_at = asyncio.get_running_loop().time() + 200
        while True:
            view = self.keeper.view()
            if view.state == state and ours in (None, view.ours):
                return
            assert asyncio.get_running_loop().time() < ends_at, view
            await asyncio.sleep(0.05)

    async def take(self) -> None:
        await self.until("free")
        await until_renewed(self)
        result = await self.keeper.acquire(self.keeper.view().epoch, "test")
        assert result.ok, result
        self.vm_running = True

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            deadline = self.fence.deadline
            if deadline is None or self.clock.now() < deadline.fence_at:
                continue
            if self.vm_running:
                self.vm_running = False
                self.vm_ended_at = asyncio.get_running_loop().time()
            if self.clock.now() >= deadline.fence_at + 10.0:
                self.fence.disarm()


async def until_renewed(host: SanlockHost) -> None:
    """Wait until the keeper has seen a renewal of its own host: it takes nothing before."""
    await asyncio.sleep(3 * TIMES.renew_interval_seconds)
    assert host.keeper.host_id.held
