# SPDX-License-Identifier: Apache-2.0
"""A simulated broker: the broker's own parts, put together as broker/service.py does.

Real are the lease keeper and its storage, the status monitor and its blocks, the board, and the
watch over a silent agent. Simulated are the storage lanes, the fence's file, what the probes
find, and the definition, of which only the identity matters here. `BrokerCalls` is the agent's
side of the socket: a broker that hangs makes calls run into their deadline, one that was killed
refuses at once, and all work is done in the broker's process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from ha_agent.broker.agent_watch import AgentWatch
from ha_agent.broker.blocks.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.blocks.store import BlockStore
from ha_agent.broker.lease.backend import Keeper
from ha_agent.broker.lease.cycle import LeaseKeeper
from ha_agent.broker.lease.rules import LeaseIdentity
from ha_agent.broker.lease.storage import FileLeaseStorage
from ha_agent.broker.maintenance.order_file import KeptOrder, left_by_calendar
from ha_agent.broker.maintenance.orders import MaintenanceKeeper
from ha_agent.broker.other_vms import other_vms
from ha_agent.broker.snapshot import (
    HealthEntry,
    LeaseEntry,
    Report,
    Snapshot,
)
from ha_agent.broker.watch import Board
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.ports import DomainDefinition, LeaseAnswer
from ha_agent.sim.definition import SimDefinition
from ha_agent.sim.guard import SimFence
from ha_agent.sim.lane import SimLane
from ha_agent.sim.loop import Process
from ha_agent.sim.probes import SimProbes
from ha_agent.sim.sanlock_port import sanlock_keeper
from ha_agent.sim.vdsm import SimVdsmCalls
from ha_agent.values import replaced

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

T = TypeVar("T")

# The configuration's defaults.
PUBLISH_INTERVAL_SECONDS = 5.0
_READ_INTERVAL_SECONDS = 2.0
_HOST_ALIVE_SECONDS = 30.0
_IO_DEADLINE_SECONDS = 5.0
_HEALTH_INTERVAL_SECONDS = 2.0
_HEALTH_DEADLINE_SECONDS = 5.0
_CALL_DEADLINE_SECONDS = 10.0
_MAX_HOSTS = 2000
# As broker/service.py has them.
_SILENT_SECONDS = 3.0 * PUBLISH_INTERVAL_SECONDS
_BAD_HEALTH_GRACE_SECONDS = 120.0
_SILENT_INTERVALS = 12.0


class _ToldBoard(Board):
    """The board, whose long polls are answered without a task for each: there are many."""

    def __init__(
        self, first: Snapshot, now: Callable[[], Instant], live: Callable[[], dict[str, Any]]
    ) -> None:
        super().__init__(first, now, live)
        self.polls: list[asyncio.Future[Snapshot]] = []

    def update(self, **parts: Any) -> None:
        version = self.current.version
        super().update(**parts)
        if self.polls and self.current.version != version:
            polls, self.polls = self.polls, []
            for poll in polls:
                self.answer(poll)

    def answer(self, poll: asyncio.Future[Snapshot]) -> None:
        """End a long poll with the picture as of now."""
        if not poll.done():
            poll.set_result(self.read())


class _OrderOnDisk:
    """order_file.OrderFile of a host, in memory."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    async def save(self, kept: Optional[KeptOrder]) -> None:
        self._host.kept_order, self._host.kept_order_boot = kept, self._host.instance


class SimBroker:
    """One host's broker process. Make it within its process (`Process.run`)."""

    def __init__(self, host: SimHost, process: Process) -> None:
        self.host = host
        self.process = process
        self._dice = host.dice.stream("broker")
        loop = host.world.loop
        self.lanes = [SimLane(loop, host.path, name) for name in ("lease", "status")]
        clock = host.clock
        first = Snapshot(0, host.host_id, host.name, host.world.vm_uuid, clock.now())
        self.board = _ToldBoard(first, clock.now, self._live)
        self.lease = self._lease_keeper()
        self.monitor = StatusMonitor(
            BlockStore(
                self.lanes[1],  # type: ignore[arg-type]  # it needs no more than `call`
                "status",
                clock=clock,
                max_hosts=_MAX_HOSTS,
                deadline_seconds=_IO_DEADLINE_SECONDS,
            ),
            self.board,
            host.host_id,
            host.name,
            clock=clock,
            times=MonitorTimes(
                read_interval_seconds=_READ_INTERVAL_SECONDS,
                host_alive_seconds=_HOST_ALIVE_SECONDS,
                report_max_age_seconds=_SILENT_SECONDS,
                fresh_seconds=max(host.world.spec.lease_expiry_seconds, _SILENT_SECONDS),
            ),
            may_write=lambda: self.lease.host_id.held,
        )
        vdsm = SimVdsmCalls(host, process, lambda: None)
        self._agent_watch = AgentWatch(
            self.board.read,
            lambda: vdsm.vm_stats(host.world.vm_uuid),
            self.lease,
            clock=clock,
            limit_seconds=_SILENT_INTERVALS * PUBLISH_INTERVAL_SECONDS,
            grace_seconds=_BAD_HEALTH_GRACE_SECONDS,
            watch_engine=lambda: self._watch_engine(True),
        )
        self._probes = SimProbes(host, self._dice, self.board.update)
        self._health: Optional[HealthEntry] = None
        self._watching: Optional[asyncio.Task[None]] = None
        self.definition = SimDefinition(
            host,
            lambda: self.board.current.hosts,
            lambda entry: self.board.update(definition=entry),
        )
        self.monitor.own.extra.proven = self.definition.proven_here
        self.maintenance = self._maintenance_keeper(vdsm)
        self.lease.start()
        for work in (
            self.monitor.run(),
            self.monitor.run_writer(),
            self._agent_watch.run(),
            self._probes.test_network(),
            self._probes.measure(),
            self.definition.run(),
            self.maintenance.run(),
        ):
            process.spawn(work)

    def _lease_keeper(self) -> Keeper:
        host, lane = self.host, self.lanes[0]
        if host.world.spec.is_sanlock:
            return sanlock_keeper(host, lane, self._lease_changed)
        identity = LeaseIdentity(host.host_id, host.name, host.instance, host.world.vm_uuid)
        return LeaseKeeper(
            FileLeaseStorage(lane, "lease", identity),
            host.world.spec.times,
            identity,
            clock=host.clock,
            fence=SimFence(host),
            on_change=self._lease_changed,
        )

    def _maintenance_keeper(self, vdsm: SimVdsmCalls) -> MaintenanceKeeper:
        host = self.host
        kept = host.kept_order
        if kept is not None and host.kept_order_boot != host.instance:
            left_seconds = left_by_calendar(kept.order, host.clock.wall())
            ends_at = None if left_seconds is None else host.clock.now() + left_seconds
            kept = KeptOrder(kept.order, ends_at)
        return MaintenanceKeeper(
            self.monitor,
            self.board,
            host.host_id,
            host.name,
            clock=host.clock,
            host_alive_seconds=_HOST_ALIVE_SECONDS,
            file=_OrderOnDisk(host),
            kept=kept,
            count_other_vms=lambda: other_vms(vdsm.vm_list, host.world.vm_uuid),
        )

    # What the agent asks for -------------------------------------------------------------

    async def publish(self, report: Report) -> None:
        """Take the agent's report."""
        self.take_report(report)

    def take_report(self, report: Report) -> None:
        """Take the agent's report."""
        self.monitor.report(report)
        self.definition.heard(report)
        self._watch_engine(report.watch_engine)

    def _watch_engine(self, wanted: bool) -> None:
        if wanted and self._watching is None:
            self._watching = self.process.spawn(self._watch_health())
        elif not wanted and self._watching is not None:
            self._watching.cancel()
            self._watching = self._health = None
            self.board.update(health=HealthEntry())

    async def take_lease(self, expected_epoch: int, why: str) -> LeaseAnswer:
        """Take the lease for the agent."""
        result = await self.lease.acquire(expected_epoch, why)
        return LeaseAnswer(result.ok, result.reason, self.board.read())

    async def release_lease(self, why: str) -> LeaseAnswer:
        """Release it."""
        result = await self.lease.release(why)
        return LeaseAnswer(result.ok, result.reason, self.board.read())

    async def abandon_lease(self, why: str) -> LeaseAnswer:
        """Let it run out."""
        result = await self.lease.abandon(why)
        return LeaseAnswer(result.ok, result.reason, self.board.read())

    async def domain_definition(self, fallback: bool = False, why: str = "") -> DomainDefinition:
        """Return what to start from."""
        if fallback:
            self.host.say(f"starts from the definition before: {why}")
        return self.definition.hand_out(fallback)

    async def stop(self) -> None:
        """As `systemctl stop`: the fence is disarmed, the record stays."""
        await self.lease.stop()

    # Its parts ---------------------------------------------------------------------------

    def _live(self) -> dict[str, Any]:
        storage, hold = self.monitor.storage, self.lease.host_id
        storage = replaced(
            storage,
            problem=storage.problem or ("" if hold.held else hold.reason),
            workers_replaced=sum(lane.replaced for lane in self.lanes),
            workers_stuck=sum(lane.stuck() for lane in self.lanes),
        )
        live: dict[str, Any] = {"lease": self.lease.view(), "storage": storage}
        order = self.board.current.order
        if order is not None:
            left_seconds = self.maintenance.remaining_seconds()
            live["order"] = replaced(order, remaining_seconds=left_seconds)
        live.update(self._probes.live())
        if self._health is not None and self._watching is not None:
            live["health"] = self._health
        return live

    def _lease_changed(self, view: LeaseEntry) -> None:
        self.host.lease_seen(view)
        self.board.update(lease=view)

    async def _watch_health(self) -> None:
        clock = self.host.clock
        while True:
            begun = clock.now()
            page = self.host.world.page(self.host)
            if page == "silent":
                await clock.sleep(_HEALTH_DEADLINE_SECONDS)
                seconds = _HEALTH_DEADLINE_SECONDS
                entry = HealthEntry("bad", f"no complete answer within {seconds:g} s", begun)
            else:
                await clock.sleep(self._dice.uniform(0.01, 0.1))
                detail = "" if page == "good" else "status 503"
                entry = HealthEntry(page, detail, begun)
            before, self._health = self._health, entry
            if before is None or (before.health, before.detail) != (entry.health, entry.detail):
                self.board.update(health=entry)
            await clock.sleep(_HEALTH_INTERVAL_SECONDS - (clock.now() - begun))


class BrokerCalls:
    """ports.Broker of the agent of a host: calls to whatever broker runs there."""

    def __init__(self, host: SimHost, lease_deadline_seconds: float) -> None:
        self._host = host
        self._lease_deadline_seconds = lease_deadline_seconds

    async def snapshot(self, since_version: int, wait_seconds: float) -> Snapshot:
        broker = self._reach()
        if broker.board.current.version != since_version and not broker.process.attention:
            return broker.board.read()
        loop, board = self._host.world.loop, broker.board
        poll: asyncio.Future[Snapshot] = loop.create_future()
        if broker.board.current.version == since_version:
            board.polls.append(poll)
            broker.process.call_later(wait_seconds, board.answer, poll)
        else:
            broker.process.call_later(0.0, board.answer, poll)
        try:
            return await self._answer(broker, "snapshot", poll, wait_seconds + 5.0)
        finally:
            if poll in board.polls:
                board.polls.remove(poll)

    async def publish(self, report: Report) -> None:
        broker = self._reach()
        if broker.process.attention:
            await self._call("publish", lambda b: b.publish(report), _CALL_DEADLINE_SECONDS)
        else:
            broker.process.run(lambda: broker.take_report(report))

    async def take_lease(self, expected_epoch: int, why: str) -> LeaseAnswer:
        def ask(broker: SimBroker) -> Coroutine[Any, Any, LeaseAnswer]:
            return broker.take_lease(expected_epoch, why)

        return await self._call("lease.take", ask, self._lease_deadline_seconds)

    async def release_lease(self, why: str) -> LeaseAnswer:
        return await self._call(
            "lease.release", lambda b: b.release_lease(why), self._lease_deadline_seconds
        )

    async def abandon_lease(self, why: str) -> LeaseAnswer:
        return await self._call(
            "lease.abandon", lambda b: b.abandon_lease(why), self._lease_deadline_seconds
        )

    async def domain_definition(self, fallback: bool = False, why: str = "") -> DomainDefinition:
        def ask(broker: SimBroker) -> Coroutine[Any, Any, DomainDefinition]:
            return broker.domain_definition(fallback, why)

        return await self._call("definition.domain", ask, _CALL_DEADLINE_SECONDS)

    async def _call(
        self,
        verb: str,
        ask: Callable[[SimBroker], Coroutine[Any, Any, T]],
        deadline_seconds: float,
    ) -> T:
        broker = self._reach()
        answer: asyncio.Future[T] = self._host.world.loop.create_future()
        broker.process.spawn(_serve(ask, broker, answer))
        return await self._answer(broker, verb, answer, deadline_seconds)

    def _reach(self) -> SimBroker:
        broker = self._host.broker
        if broker is None:
            raise EnvironmentFault(f"broker of {self._host.name} can't be reached: refused")
        return broker

    async def _answer(
        self, broker: SimBroker, verb: str, answer: asyncio.Future[T], deadline_seconds: float
    ) -> T:
        """Wait for an answer, its deadline, or the broker's end."""

        def lost() -> None:
            if not answer.done():
                answer.set_exception(EnvironmentFault(f"broker, {verb}: the connection ended"))

        def expire() -> None:
            if not answer.done():
                answer.set_exception(DeadlineExceeded(f"broker, {verb}", deadline_seconds))

        on_killed = broker.process.on_killed
        on_killed.append(lost)
        timer = self._host.world.loop.call_later(deadline_seconds, expire)
        try:
            return await answer
        finally:
            timer.cancel()
            if lost in on_killed:
                on_killed.remove(lost)


async def _serve(
    ask: Callable[[SimBroker], Coroutine[Any, Any, T]],
    broker: SimBroker,
    answer: asyncio.Future[T],
) -> None:
    try:
        value = await ask(broker)
    except EnvironmentFault as fault:
        if not answer.done():
            answer.set_exception(fault)
    else:
        if not answer.done():
            answer.set_result(value)
