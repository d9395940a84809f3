# SPDX-License-Identifier: Apache-2.0
"""One simulated host: the agent's own cycle and the broker's own lease keeper, between a fake
way to storage and a fake hypervisor. cluster.py puts several of them together.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional

from ha_agent.broker.lease.cycle import LeaseKeeper
from ha_agent.broker.lease.rules import LeaseIdentity, LeaseTimes
from ha_agent.broker.snapshot import (
    CpuEntry,
    DefinitionEntry,
    HealthEntry,
    HostEntry,
    NetworkEntry,
    Report,
    Snapshot,
    VmOrderEntry,
)
from ha_agent.cycle import Cycle
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.machine import Decision
from ha_agent.fsm.observation import VmCondition, VmExit
from ha_agent.instant import Instant, WallTime
from ha_agent.perform import Performer
from ha_agent.ports import DomainDefinition, LeaseAnswer
from tests.broker.lease_world import VM, FakeFence, FakeLeaseStorage, HostClock, Weather
from tests.fakes import FakeHypervisor

if TYPE_CHECKING:
    from tests.scenarios.cluster import Cluster

ALIVE_SECONDS = 30.0
POLL_SECONDS = 0.2
SHORTEST_PAUSE_SECONDS = 0.001


class SimPath(Weather):
    """A host's way to storage: while it is lost, calls hang, as with a hard NFS mount.

    `delay_seconds`: how long each call is on its way there, for storage that is slow.
    """

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.there = asyncio.Event()
        self.there.set()

    @property
    def lost(self) -> bool:
        return not self.there.is_set()

    async def travel(self, what: str) -> None:
        if what == "there" and self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self.there.wait()


class SimClock(HostClock):
    """HostClock with a calendar."""

    def wall(self) -> WallTime:
        return WallTime(1_700_000_000.0 + asyncio.get_running_loop().time())


class SimBroker:
    """ports.Broker of one host: the real keeper, status blocks in a dictionary."""

    def __init__(self, host: SimHost) -> None:
        self.host = host
        self.version = 0
        self.face: Optional[Snapshot] = None
        self.blocks: dict[int, tuple[Report, float]] = {}
        """The status blocks as last read."""
        self.cpu = CpuEntry()

    async def snapshot(self, since_version: int, wait_seconds: float) -> Snapshot:
        ends = self.host.cluster.now + wait_seconds
        while True:
            picture = self.picture()
            if picture.version > since_version or self.host.cluster.now >= ends:
                return picture
            await asyncio.sleep(POLL_SECONDS)

    async def publish(self, report: Report) -> None:
        self._alive()
        self.host.watches_page = report.watch_engine
        if not self.host.storage.lost:
            now = asyncio.get_running_loop().time()
            self.host.cluster.blocks[self.host.host_id] = (report, now)

    async def take_lease(self, expected_epoch: int, why: str) -> LeaseAnswer:
        keeper = self._alive()
        result = await keeper.acquire(expected_epoch, why)
        return LeaseAnswer(result.ok, result.reason, self.picture())

    async def release_lease(self, why: str) -> LeaseAnswer:
        result = await self._alive().release(why)
        return LeaseAnswer(result.ok, result.reason, self.picture())

    async def abandon_lease(self, why: str) -> LeaseAnswer:
        result = await self._alive().abandon(why)
        return LeaseAnswer(result.ok, result.reason, self.picture())

    async def domain_definition(self, fallback: bool = False, why: str = "") -> DomainDefinition:
        self._alive()
        cluster = self.host.cluster
        identity = cluster.fallback if fallback else cluster.identity
        return DomainDefinition(identity, f"<domain>{identity}</domain>")

    def picture(self) -> Snapshot:
        cluster, host = self.host.cluster, self.host
        keeper = self._alive()
        lost = host.storage.lost
        if not lost:
            self.blocks = dict(cluster.blocks)
        hosts = tuple(
            replace(
                _entry(host_id, *self.blocks[host_id], cluster.now),
                order_seen=cluster.order.number if cluster.order else 0,
                other_vms=cluster.other_vms.get(host_id, 0),
                **({} if cluster[host_id].older_software else self._sight(host_id)),
            )
            for host_id in sorted(self.blocks)
        )
        picture = Snapshot(
            version=0,
            host_id=host.host_id,
            host_name=host.name,
            vm_uuid=VM,
            made_at=host.clock.now(),
            lease=keeper.view(),
            hosts=hosts,
            global_maintenance=cluster.global_maintenance,
            order=cluster.order,
            vm_order=host.vm_order,
            definition=DefinitionEntry(
                available=cluster.definition and host.definition,
                identity=cluster.identity,
                fallback=cluster.fallback,
                stale=lost,
            ),
            health=host.page(),
            network=host.network(),
            cpu=self.cpu,
        )
        if _face(picture) != self.face:
            self.face = _face(picture)
            self.version += 1
        return replace(picture, version=self.version)

    def _sight(self, host_id: int) -> dict[str, Any]:
        """What this host's block says of network and page."""
        report, written_at = self.blocks[host_id]
        if not report.network_lost and not report.engine_page:
            return {}
        seconds, changed_at = 0, None
        if report.page_bad_since is not None and report.made_at is not None:
            seconds = int(report.made_at - report.page_bad_since)
            changed_at = self.host.clock.now() - (self.host.cluster.now - written_at)
        return {
            "network_lost": report.network_lost,
            "engine_page": report.engine_page,
            "page_bad_seconds": seconds,
            "changed_at": changed_at,
        }

    def _alive(self) -> LeaseKeeper:
        if self.host.keeper is None or not self.host.clock.running.is_set():
            raise EnvironmentFault("no broker answers")
        return self.host.keeper


def _face(picture: Snapshot) -> Snapshot:
    """Return the picture without the times that change while all stays as it is."""
    lease = replace(picture.lease, expires_at=None, fence_at=None, last_success=None)
    health = replace(picture.health, taken_at=None)
    network = replace(picture.network, taken_at=None)
    hosts = picture.hosts
    if any(host.changed_at is not None for host in hosts):
        hosts = tuple(replace(host, changed_at=None) for host in hosts)
    return replace(
        picture, made_at=Instant(0.0), lease=lease, health=health, network=network, hosts=hosts
    )


def _entry(host_id: int, report: Report, written_at: float, now: float) -> HostEntry:
    return HostEntry(
        host_id,
        host_name=f"h{host_id}",
        alive=now - written_at < ALIVE_SECONDS,
        score=report.score,
        engine_status=dict(report.engine_status),
        state=report.state,
        maintenance=report.local_maintenance,
        stopped=report.stopped,
    )


class SimHost:
    """One host: agent, broker, guard of the fence, VDSM."""

    def __init__(self, cluster: Cluster, host_id: int) -> None:
        self.cluster = cluster
        self.host_id = host_id
        self.name = f"h{host_id}"
        self.clock = SimClock(offset_seconds=1000.0 * host_id)
        self.fence = FakeFence()
        self.storage = SimPath()
        self.definition = True
        self.in_maintenance = False
        self.vm_order: Optional[VmOrderEntry] = None
        self.look_again = asyncio.Event()
        self.wake = asyncio.Event()
        self.hypervisor = FakeHypervisor(cluster.vm_lease, on_event=self._vm_event)
        self.engine_hung = False
        self.cable_out = False
        self.network_test_fails = False
        self.page_blocked = False
        """It alone can't reach the engine elsewhere, as by a firewall's rule."""
        self.watches_page = False
        self.older_software = False
        """Its block says nothing of network and page."""
        self.tests: deque[bool] = deque(maxlen=5)
        self.tested_at = Instant(-math.inf)
        self.keeper: Optional[LeaseKeeper] = None
        self.tasks: list[asyncio.Task[None]] = []
        self.start_broker()
        self.start_agent()
        self.guard = asyncio.ensure_future(self._guard())

    def start_broker(self) -> None:
        identity = LeaseIdentity(self.host_id, self.name, f"instance-{self.host_id}", VM)
        storage = FakeLeaseStorage(self.cluster.disk, identity, self.storage)
        self.keeper = LeaseKeeper(
            storage, LeaseTimes(), identity, clock=self.clock, fence=self.fence
        )
        self.keeper.start()

    def kill_broker(self) -> None:
        """SIGKILL: the record stays as it is, the fence stays armed."""
        assert self.keeper is not None
        self.keeper._task.cancel()
        self.keeper = None

    async def stop_broker(self) -> None:
        """systemctl stop: the fence is disarmed, the record stays as it is."""
        assert self.keeper is not None
        keeper, self.keeper = self.keeper, None
        await keeper.stop()

    def hang_broker(self) -> None:
        """SIGSTOP: it neither answers nor renews."""
        self.clock.running.clear()

    def resume_broker(self) -> None:
        self.clock.running.set()

    def lose_storage(self) -> None:
        self.storage.there.clear()

    def regain_storage(self) -> None:
        self.storage.there.set()

    @property
    def lease_epoch(self) -> int:
        """The epoch that this host holds; 0 for none."""
        view = self.keeper.view() if self.keeper else None
        return view.epoch if view is not None and view.ours else 0

    def maintenance(self, enabled: bool) -> None:
        """Set or clear local maintenance."""
        self.in_maintenance = enabled
        self.cycle.on_local_maintenance(enabled)

    def start_agent(self) -> None:
        self.broker = SimBroker(self)
        performer = Performer(self.broker, self.hypervisor)
        self.cycle = Cycle(
            self.host_id,
            self.cluster.policy,
            self.clock,
            self.broker,
            performer,
            wake=self.wake.set,
        )
        self.cycle.on_local_maintenance(self.in_maintenance)
        steps = (self._ticks(), self._follow_vm(), self._follow_broker())
        self.tasks = [asyncio.ensure_future(step) for step in steps]

    def kill_agent(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.tasks = []

    def kill(self) -> None:
        """The host loses its power."""
        self.kill_agent()
        self.kill_broker()
        self.guard.cancel()
        self.hypervisor.end(VmExit.CRASHED)
        self.hypervisor.answers = False

    def health(self) -> HealthEntry:
        since = self.hypervisor.running_since
        taken_at = self.clock.now()
        paused = self.hypervisor.view.condition is VmCondition.PAUSED
        if since is None or self.engine_hung or paused:
            return HealthEntry("bad", "no answer", taken_at)
        up = asyncio.get_running_loop().time() - since >= self.cluster.boot_seconds
        return HealthEntry("good" if up else "bad", "", taken_at)

    def page(self) -> HealthEntry:
        """Return the page as it is seen from here: of the VM here, or of that elsewhere."""
        elsewhere = [i for i in self.cluster.running if i != self.host_id]
        if not elsewhere or not self.watches_page or self.page_blocked:
            return self.health()
        owner = self.cluster[elsewhere[0]]
        if self.cable_out or owner.cable_out:
            return HealthEntry("bad", "no answer", self.clock.now())
        return replace(owner.health(), taken_at=self.clock.now())

    def network(self) -> NetworkEntry:
        """Return what the tests of the network say, one each 10 s."""
        now = self.clock.now()
        if now - self.tested_at >= 10.0:
            self.tests.append(not (self.cable_out or self.network_test_fails))
            self.tested_at = now
        return NetworkEntry(self.tests.count(False) / len(self.tests), "", self.tested_at)

    def _cut_off(self) -> bool:
        """Whether another host that could run the VM has the network that this one has not."""
        others = (h for h in self.cluster.hosts.values() if h is not self)
        fine = (not h.cable_out and not h.in_maintenance for h in others)
        return self.cable_out and any(fine)

    async def _ticks(self) -> None:
        ticks_now = 0
        last_seconds = -1.0
        while True:
            self.wake.clear()
            decision = self.cycle.tick()
            self._check_cause(decision)
            if decision.changed or decision.effect is not None:
                effect = f" [{decision.effect.kind.value}]" if decision.effect else ""
                self.cluster.say(f"{self.name} {decision.state.value}{effect}")
            now_seconds = asyncio.get_running_loop().time()
            ticks_now = ticks_now + 1 if now_seconds == last_seconds else 0
            last_seconds = now_seconds
            assert ticks_now < 40, f"{self.name} is busy at {decision.state.value}"
            # No tick in between: what is to happen has to wake the agent, or to be due.
            # Not wait_for: before 3.12 it may swallow a cancellation.
            due_seconds = max(self.cycle.next_due_seconds, SHORTEST_PAUSE_SECONDS)
            timer = None
            if due_seconds < math.inf:
                timer = asyncio.get_running_loop().call_later(due_seconds, self.wake.set)
            await self.wake.wait()
            if timer is not None:
                timer.cancel()

    def _check_cause(self, decision: Decision) -> None:
        kind = decision.effect.kind if decision.effect else None
        if kind not in (EffectKind.SHUTDOWN_VM, EffectKind.DESTROY_VM):
            return
        if self.health().health != "good" or self.in_maintenance or self._cut_off():
            return
        order = self.cluster.order
        if order is not None and order.in_force and order.what == "shutdown":
            return
        if self.vm_order is not None and self.vm_order.what in ("stop", "force stop"):
            return
        lease = self.keeper.view().state if self.keeper else "unknown"
        assert lease == "expired", f"{self.name} stops a healthy engine:\n{self.cluster.story()}"

    def _vm_event(self) -> None:
        view = self.hypervisor.view
        if view.exit is VmExit.LEASE_HELD_ELSEWHERE:
            self.cluster.say(f"{self.name} refused by the VM lease")
            self.cluster.refusals += 1
        self.look_again.set()

    async def _follow_vm(self) -> None:
        while True:
            self.look_again.clear()
            asked_at = self.clock.now()
            self.cycle.on_vm(await self.hypervisor.look(), asked_at)
            # Not wait_for: before 3.12 it may swallow a cancellation.
            timer = asyncio.get_running_loop().call_later(1.0, self.look_again.set)
            await self.look_again.wait()
            timer.cancel()

    async def _follow_broker(self) -> None:
        version = -1
        while True:
            with contextlib.suppress(EnvironmentFault):  # as the agent: ask again in a moment
                snapshot = await self.broker.snapshot(version, 2.0)
                version = snapshot.version
                self.cycle.on_snapshot(snapshot)
                continue
            version = -1
            await asyncio.sleep(POLL_SECONDS)

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            deadline = self.fence.deadline
            if deadline is not None and self.clock.now() >= deadline.fence_at:
                if self.hypervisor.running_since is not None:
                    self.cluster.say(f"{self.name} fenced")
                self.hypervisor.end(VmExit.CRASHED)
