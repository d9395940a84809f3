# SPDX-License-Identifier: Apache-2.0
"""A VDSM that misbehaves on the wire, against the agent's own client, port and feed: what it
answers late, to nobody or not at all changes nothing, nothing is sent twice, and a flood of
events costs a bounded number of looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Callable, Optional

import pytest

from ha_agent.broker.snapshot import Snapshot
from ha_agent.clock import SystemClock
from ha_agent.cycle import Cycle
from ha_agent.feed import Feed
from ha_agent.fsm.observation import VmCondition, VmView
from ha_agent.fsm.policy import Policy
from ha_agent.instant import Instant
from ha_agent.perform import Performer
from ha_agent.vdsm import jsonrpc
from ha_agent.vdsm.client.client import ClientState, VdsmClient
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmConnectionLost, VdsmNoAnswer
from ha_agent.vdsm_port import VdsmHypervisor
from ha_agent.waiting import Signal
from tests.fakes import FakeBroker
from tests.vdsm.stomp_peer import StompPeer

VM = "22222222-2222-2222-2222-222222222222"
CLOCK = SystemClock()
DEADLINE_SECONDS = 0.3
FLOOD = 10_000


class HostilePeer(StompPeer):
    """Tells `status` of the VM; keeps the answers to the verbs in `holds` for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.vm_id = VM
        self.status = "Up"
        self.holds: set[str] = set()
        self.held: list[jsonrpc.Response] = []
        self.clock_ms = 2**31

    def _answer(self, request: jsonrpc.Request) -> Optional[jsonrpc.Response]:
        if not request.method.startswith("VM."):
            return super()._answer(request)
        self.clock_ms += 1
        stats = {"vmId": self.vm_id, "status": self.status, "statusTime": str(self.clock_ms)}
        result = [stats] if request.method == "VM.getStats" else stats
        response = jsonrpc.Response(request.id, result)
        if request.method in self.holds:
            self.held.append(response)
            return None
        return response

    def count(self, method: str) -> int:
        return sum(1 for request in self.requests if request.method == method)

    def event(self, status: str, vm_id: str = VM) -> None:
        self.clock_ms += 1
        params = {vm_id: {"status": status}, "notify_time": self.clock_ms}
        self.send_event(f"|virt|VM_status|{vm_id}", params)


class Hasty:
    """A caller with one short deadline for every verb."""

    def __init__(self, client: VdsmClient) -> None:
        self._client = client

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        return await self._client.call(method, params, deadline_seconds=DEADLINE_SECONDS)


class Heard(Cycle):
    """A cycle that keeps what it is told of the VM."""

    def __init__(self, hypervisor: VdsmHypervisor) -> None:
        broker = FakeBroker(Snapshot(1, 1, "h1", VM, Instant(1.0)))
        super().__init__(1, Policy(), CLOCK, broker, Performer(broker, hypervisor))
        self.vms: list[VmView] = []

    def on_vm(self, vm: VmView, asked_at: Optional[Instant] = None) -> None:
        self.vms.append(vm)


class World:
    """The agent's way to its VDSM, as hypervisor.py builds it."""

    def __init__(self, peer: HostilePeer) -> None:
        self.peer = peer
        self.look_again = Signal()
        self.client = VdsmClient(
            "127.0.0.1",
            peer.port,
            clock=CLOCK,
            uniform=lambda: 0.0,
            on_connected=self._connected,
            connect_deadline_seconds=20.0,
            call_deadline_seconds=20.0,
        )
        self.hypervisor = VdsmHypervisor(
            Vdsm(Hasty(self.client)), VM, shutdown_timeout_seconds=60.0
        )
        self.heard = Heard(self.hypervisor)
        self.events = 0
        self.tasks: list[asyncio.Task[None]] = []

    def _connected(self) -> None:
        self.hypervisor.connected()
        self.look_again.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            for task in self.tasks:
                assert not task.done(), task.exception()
            await asyncio.sleep(0.01)

    async def ready(self) -> None:
        await self.until(lambda: self.client.state is ClientState.READY)

    async def _follow_events(self) -> None:
        while True:
            event = await self.client.next_event()
            self.events += 1
            if self.hypervisor.hears(event):
                self.look_again.set()

    def follow(self) -> None:
        feed = Feed(
            self.heard,
            FakeBroker(Snapshot(1, 1, "h1", VM, Instant(1.0))),
            self.hypervisor,
            CLOCK,
            look_again=self.look_again,
            poll_interval_seconds=3600.0,
        )
        self.tasks += [
            asyncio.ensure_future(self._follow_events()),
            asyncio.ensure_future(feed.follow_vm()),
        ]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    peer = HostilePeer()
    await peer.start()
    world = World(peer)
    world.client.start()
    await world.ready()
    yield world
    for task in world.tasks:
        task.cancel()
    await asyncio.gather(*world.tasks, return_exceptions=True)
    await world.client.close()
    await peer.stop()


async def test_an_answer_after_the_deadline_is_nobodys(world: World) -> None:
    world.peer.holds.add("VM.getStats")
    late = await world.hypervisor.look()
    assert late.condition is VmCondition.UNKNOWN
    assert "no answer" in late.detail
    world.peer.holds.clear()
    world.peer.status = "Down"
    looking = asyncio.ensure_future(world.hypervisor.look())
    for response in world.peer.held:
        world.peer.reply(response)  # it says Up
    assert (await looking).condition is VmCondition.DOWN


async def test_a_create_without_an_answer_is_sent_once(world: World) -> None:
    world.peer.holds.add("VM.create")
    with pytest.raises(VdsmNoAnswer) as failed:
        await world.hypervisor.create("<domain/>")
    assert failed.value.may_have_executed
    assert (await world.hypervisor.look()).condition is VmCondition.UP
    assert world.peer.count("VM.create") == 1


async def test_restarts_again_and_again_repeat_no_call(world: World) -> None:
    world.follow()
    for number in range(1, 4):
        world.peer.holds = {"VM.create"}
        creating = asyncio.ensure_future(world.hypervisor.create("<domain/>"))
        await world.until(lambda number=number: world.peer.count("VM.create") == number)  # type: ignore[misc]
        world.peer.recovering_pings = 1
        world.peer.drop()
        with pytest.raises((VdsmConnectionLost, VdsmNoAnswer)) as failed:
            await creating
        assert failed.value.may_have_executed
        await world.until(lambda: world.client.state is not ClientState.READY)
        assert (await world.hypervisor.look()).condition is VmCondition.UNKNOWN
        seen = len(world.heard.vms)
        await world.ready()
        await world.until(
            lambda seen=seen: VmCondition.UP in [vm.condition for vm in world.heard.vms[seen:]]  # type: ignore[misc]
        )
        assert world.peer.count("VM.create") == number


async def test_events_of_a_vdsm_that_answers_nobody_are_no_status(world: World) -> None:
    """Beats and events go on: that the VM is Up or Down is hearsay until a look is answered."""
    world.follow()
    await world.until(lambda: world.heard.vms[-1:] == [VmView(VmCondition.UP, detail="Up")])
    world.peer.holds.add("VM.getStats")
    world.peer.event("Down")
    await world.until(lambda: world.heard.vms[-1].condition is VmCondition.UNKNOWN)
    assert VmCondition.DOWN not in [vm.condition for vm in world.heard.vms]
    assert world.peer.count("VM.destroy") == world.peer.count("VM.create") == 0


async def test_a_flood_of_events_costs_a_bounded_number_of_looks(world: World) -> None:
    world.follow()
    began = CLOCK.now()
    for number in range(FLOOD):
        world.peer.event(("Up", "Down", "Paused")[number % 3], VM if number % 2 else "another")
        if number % 500 == 0:
            await asyncio.sleep(0)
    await world.until(lambda: world.events + world.client.events_lost >= FLOOD)
    world.peer.status = "Down"
    world.peer.event("Down")
    await world.until(lambda: world.heard.vms[-1].condition is VmCondition.DOWN)
    assert len(world.heard.vms) <= 10 * (CLOCK.now() - began + 1)
