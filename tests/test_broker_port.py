# SPDX-License-Identifier: Apache-2.0
"""ports.Broker: one contract for the fake of tests/fakes.py and for SocketBroker, over a real
server, API, lease keeper and lock file; then what only the adapter does, over played verbs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Callable, Optional, cast

import pytest

from demo.domain import engine_vm
from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.basic import Api
from ha_agent.broker.blocks.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.definition.starts import DefinitionStarts
from ha_agent.broker.lease.cycle import LeaseKeeper
from ha_agent.broker.lease.file import lease_initialise
from ha_agent.broker.lease.rules import LeaseIdentity, LeaseTimes
from ha_agent.broker.lease.storage import FileLeaseStorage
from ha_agent.broker.push.refresh import RefreshRequests
from ha_agent.broker.rpc.client import BrokerUnreachable, RpcClient
from ha_agent.broker.rpc.server import Handler, Peer, RpcRefusal, RpcServer
from ha_agent.broker.rpc.unix_listener import listen_unix
from ha_agent.broker.snapshot import (
    HealthEntry,
    HostEntry,
    PenaltyEntry,
    Report,
    Snapshot,
    to_wire,
)
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.store.reader import StoreReader
from ha_agent.broker.watch import Board
from ha_agent.broker_port import BrokerRefused, SocketBroker
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.ovfstore import guard
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.translate import DomainXml
from ha_agent.ports import Broker, DomainDefinition
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.fake_blocks import FakeBlocks
from tests.broker.lease_world import FakeFence
from tests.fakes import FakeBroker

CLOCK = SystemClock()
DOMAIN, VM, IMAGE, VOLUME = (str(uuid.UUID(int=number)) for number in range(1, 5))
REPORT = Report(
    state="EngineUp",
    score=2800,
    penalties=(PenaltyEntry("bridge", 600, "its link is down"),),
    engine_status={"vm": "up"},
    watch_engine=True,
    made_at=Instant(1000.0),
)


# The contract -----------------------------------------------------------------------------


@dataclasses.dataclass
class Subject:
    """A broker and what it knows of the agent; `refuse` is for a fake that keeps no epoch."""

    broker: Broker
    reported: Callable[[], Report]
    refuse: Callable[[], None]


async def judge(
    new: VmDefinition, domain: DomainXml, current: Optional[VmDefinition]
) -> tuple[guard.Refusal, ...]:
    return guard.judge(new, domain, current, guard.GuardFacts(DOMAIN, VM))


class AwayVdsm:
    """The definition then is the last good one, from this host's history."""

    async def domain_images(self, _domain: str) -> list[str]:
        raise EnvironmentFault("VDSM does not answer")


class RealBroker:
    """The parts behind the broker's socket; the status volume is the fake that test_monitor.py
    holds against the real one, and the guard of the fence is left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lease_initialise(str(folder / "lease"))
        vm = dataclasses.replace(engine_vm(DOMAIN, IMAGE, VOLUME, VM), engine_xml=None)
        history = History(folder / "definitions")
        history.add(
            build_ovf(vm),
            accepted_at=CLOCK.wall(),
            source="volume x",
            how="read",
            vm_name=vm.name,
            memory_mib=vm.memory_mib,
        )
        self.lane = StorageLane("lease", str(folder), clock=CLOCK)
        identity = LeaseIdentity(1, "h1", "instance-1", VM)
        storage = FileLeaseStorage(self.lane, str(folder / "lease"), identity)
        self.lease = LeaseKeeper(storage, LeaseTimes(), identity, clock=CLOCK, fence=FakeFence())
        first = Snapshot(0, 1, "h1", VM, CLOCK.now())
        self.board = Board(first, CLOCK.now, lambda: {"lease": self.lease.view()})
        self.starts = DefinitionStarts(
            history,
            state_dir=folder,
            run_dir=folder,
            boot_id="boot",
            vm_uuid=VM,
            domain_uuid=DOMAIN,
            judge=judge,
            proven_by_blocks=lambda: set(),
            on_change=lambda: None,
        )
        self.definition = DefinitionKeeper(
            StoreReader(
                cast(Vdsm, AwayVdsm()),
                self.lane,
                vm_uuid=VM,
                domain_uuid=DOMAIN,
                read_deadline_seconds=5,
            ),
            history=history,
            judge=judge,
            vm_conf=folder / "vm.conf",
            clock=CLOCK,
            refresh_interval_seconds=60,
            on_change=lambda entry: self.board.update(definition=entry),
        )

    @property
    def api(self) -> Api:
        monitor = StatusMonitor(
            FakeBlocks(CLOCK.now),
            self.board,
            1,
            "h1",
            clock=CLOCK,
            times=MonitorTimes(1.0, 10.0, 20.0),
            may_write=lambda: True,
        )
        return Api(
            self.board,
            self.lease,
            monitor,
            self.definition,
            self.starts,
            access=Access(os.getuid(), None),
            on_report=lambda _report: None,
            initialise_lease=self._initialise,
            refresh=RefreshRequests(self.definition, monitor, self.board, clock=CLOCK).everywhere,
        )

    async def _initialise(self) -> tuple[bool, str]:
        return False, "it is there"

    async def run(self) -> None:
        self.lease.start()
        try:
            await self.definition.run()
        finally:
            await self.lease.stop()
            await self.lane.close()

    async def until_ready(self) -> None:
        ends_at = CLOCK.now() + 20.0
        while self.lease.view().state != "free" or self.definition.current is None:
            assert CLOCK.now() < ends_at, self.board.read()
            await CLOCK.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(
    folder: Path, handlers: Mapping[str, Handler], *, call_deadline_seconds: float = 5.0
) -> AsyncIterator[SocketBroker]:
    path = str(folder / "socket")
    server = RpcServer(handlers)
    server.start(listen_unix(path))
    rpc = RpcClient(path, call_deadline_seconds=call_deadline_seconds)
    try:
        yield SocketBroker(rpc, lease_deadline_seconds=5.0)
    finally:
        await rpc.close()
        await server.stop(0.1)


@contextlib.asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Subject]:
    parts = RealBroker(folder)
    running = asyncio.ensure_future(parts.run())
    try:
        await parts.until_ready()
        async with serving(folder, parts.api.handlers()) as broker:
            yield Subject(broker, lambda: parts.board.read().agent, lambda: None)
    finally:
        running.cancel()
        await asyncio.wait({running})


def fake() -> Subject:
    broker = FakeBroker(Snapshot(1, 1, "h1", VM, CLOCK.now()))

    def refuse() -> None:
        broker.refusal = "epoch is 0, not 99"

    return Subject(broker, lambda: broker.reports[-1], refuse)


@pytest.fixture(params=["fake", "real"])
async def subject(request: pytest.FixtureRequest, short_path: Path) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield fake()
        return
    async with real(short_path) as made:
        yield made


class TestContract:
    async def test_a_picture_of_this_host(self, subject: Subject) -> None:
        before = CLOCK.now() - 30.0
        picture = await subject.broker.snapshot(-1, 0.0)
        assert (picture.host_id, picture.host_name, picture.vm_uuid) == (1, "h1", VM)
        assert before < picture.made_at <= CLOCK.now()

    async def test_what_is_published_is_known(self, subject: Subject) -> None:
        await subject.broker.publish(REPORT)
        assert subject.reported() == REPORT

    async def test_the_lease_is_taken_and_released(self, subject: Subject) -> None:
        taken = await subject.broker.take_lease(0, "it is free")
        assert taken.ok
        assert taken.snapshot.host_id == 1
        released = await subject.broker.release_lease("the VM is gone")
        assert released.ok

    async def test_the_lease_is_taken_and_abandoned(self, subject: Subject) -> None:
        assert (await subject.broker.take_lease(0, "it is free")).ok
        abandoned = await subject.broker.abandon_lease("VDSM is silent")
        assert abandoned.ok
        assert abandoned.snapshot.host_id == 1

    async def test_a_refusal_is_a_value_with_its_reason(self, subject: Subject) -> None:
        subject.refuse()
        answer = await subject.broker.take_lease(99, "an old picture")
        assert not answer.ok
        assert "epoch" in answer.detail
        assert answer.snapshot.host_id == 1

    async def test_the_definition_is_a_domain(self, subject: Subject) -> None:
        definition = await subject.broker.domain_definition()
        assert definition.identity
        assert definition.xml.startswith("<")
        assert "domain" in definition.xml


async def test_the_real_ones_picture_follows_the_lease(short_path: Path) -> None:
    async with real(short_path) as subject:
        taken = await subject.broker.take_lease(0, "it is free")
        lease = taken.snapshot.lease
        assert (lease.state, lease.ours, lease.host_id, lease.epoch) == ("held", True, 1, 1)
        assert lease.fence_at is not None
        assert lease.fence_at > CLOCK.now()
        assert (await subject.broker.snapshot(-1, 0.0)).lease.ours
        released = (await subject.broker.release_lease("gone")).snapshot.lease
        assert (released.state, released.ours) == ("free", False)


# The adapter ------------------------------------------------------------------------------

PICTURE = Snapshot(
    version=4,
    host_id=1,
    host_name="h1",
    vm_uuid=VM,
    made_at=Instant(1000.25),
    hosts=(HostEntry(2, "h2", engine_status={"vm": "up"}, changed_at=Instant(999.5)),),
    global_maintenance=False,
    health=HealthEntry("good", "", Instant(998.0)),
    agent=REPORT,
)


def answers(value: Any) -> Handler:
    async def handler(_params: Mapping[str, Any], _peer: Peer) -> Any:
        return value

    return handler


async def test_a_picture_arrives_as_it_was_sent(short_path: Path) -> None:
    async with serving(short_path, {"snapshot": answers(to_wire(PICTURE))}) as broker:
        assert await broker.snapshot(3, 0.0) == PICTURE


async def test_arguments_go_by_the_names_of_the_api(short_path: Path) -> None:
    asked: list[tuple[str, Mapping[str, Any]]] = []

    def handler(verb: str) -> Handler:
        async def keep(params: Mapping[str, Any], _peer: Peer) -> Any:
            asked.append((verb, params))
            picture = to_wire(PICTURE)
            if verb == "snapshot":
                return picture
            return {"ok": True, "detail": "", "snapshot": picture}

        return keep

    verbs = ("snapshot", "publish", "lease.take", "lease.release", "lease.abandon")
    async with serving(short_path, {verb: handler(verb) for verb in verbs}) as broker:
        await broker.snapshot(3, 0.5)
        await broker.publish(REPORT)
        await broker.take_lease(7, "ours")
        await broker.release_lease("gone")
        await broker.abandon_lease("silent")
    assert asked == [
        ("snapshot", {"since_version": 3, "wait_seconds": 0.5}),
        ("publish", {"report": to_wire(REPORT)}),
        ("lease.take", {"expected_epoch": 7, "why": "ours"}),
        ("lease.release", {"why": "gone"}),
        ("lease.abandon", {"why": "silent"}),
    ]


async def test_the_definition_before_is_asked_for_with_the_reason(short_path: Path) -> None:
    asked: list[Mapping[str, Any]] = []

    async def keep(params: Mapping[str, Any], _peer: Peer) -> Any:
        asked.append(params)
        return {"identity": "d0", "xml": "<domain/>"}

    async with serving(short_path, {"definition.domain": keep}) as broker:
        await broker.domain_definition()
        await broker.domain_definition(fallback=True, why="it failed twice")
    assert asked == [{}, {"fallback": True, "why": "it failed twice"}]


async def test_remarks_come_with_the_definition(short_path: Path) -> None:
    wire = {"identity": "d1", "xml": "<domain/>", "notes": ["no sound card"], "later": 1}
    async with serving(short_path, {"definition.domain": answers(wire)}) as broker:
        definition = await broker.domain_definition()
    assert definition == DomainDefinition("d1", "<domain/>", ("no sound card",))


@pytest.mark.parametrize(
    ("wire", "named"),
    [
        ([], "broker.snapshot: expected a map"),
        ({**to_wire(PICTURE), "version": "4"}, "broker.snapshot.version"),
        ({**to_wire(PICTURE), "lease": {"epoch": None}}, "broker.snapshot.lease.epoch"),
        ({"version": 4}, "broker.snapshot.host_id: is missing"),
    ],
)
async def test_an_answer_of_another_shape_names_the_field(
    short_path: Path, wire: Any, named: str
) -> None:
    async with serving(short_path, {"snapshot": answers(wire)}) as broker:
        with pytest.raises(BadInput, match=named):
            await broker.snapshot(-1, 0.0)


async def test_a_refusal_keeps_code_and_words(short_path: Path) -> None:
    async def refuse(_params: Mapping[str, Any], _peer: Peer) -> Any:
        raise RpcRefusal("not_ready", "no definition of the engine VM: torn")

    async with serving(short_path, {"definition.domain": refuse}) as broker:
        with pytest.raises(BrokerRefused, match=r"broker, definition\.domain: .*torn") as caught:
            await broker.domain_definition()
        assert caught.value.code == "not_ready"
        with pytest.raises(BrokerRefused):
            await broker.publish(REPORT)


async def test_nobody_there(short_path: Path) -> None:
    broker = SocketBroker(RpcClient(str(short_path / "none")), lease_deadline_seconds=1.0)
    calls = (
        broker.snapshot(-1, 0.0),
        broker.publish(REPORT),
        broker.take_lease(0, ""),
        broker.release_lease(""),
        broker.abandon_lease(""),
        broker.domain_definition(),
    )
    for call in calls:
        with pytest.raises(BrokerUnreachable):
            await call


async def test_a_hung_broker_ends_at_the_deadline(short_path: Path) -> None:
    async def hang(_params: Mapping[str, Any], _peer: Peer) -> Any:
        await asyncio.Event().wait()

    async with serving(short_path, {"publish": hang}, call_deadline_seconds=0.05) as broker:
        with pytest.raises(DeadlineExceeded):
            await broker.publish(REPORT)


async def test_a_lease_call_has_the_leases_deadline(short_path: Path) -> None:
    async def slow(_params: Mapping[str, Any], _peer: Peer) -> Any:
        await asyncio.sleep(0.2)
        return {"ok": True, "detail": "", "snapshot": to_wire(PICTURE)}

    async with serving(short_path, {"lease.take": slow}, call_deadline_seconds=0.05) as broker:
        assert (await broker.take_lease(0, "")).ok


async def test_waiting_for_news_is_no_deadline_missed(short_path: Path) -> None:
    async def slow(_params: Mapping[str, Any], _peer: Peer) -> Any:
        await asyncio.sleep(0.2)
        return to_wire(PICTURE)

    async with serving(short_path, {"snapshot": slow}, call_deadline_seconds=0.05) as broker:
        assert (await broker.snapshot(4, 0.1)).version == 4
