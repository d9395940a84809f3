# SPDX-License-Identifier: Apache-2.0
"""Orders for the agent, over a real board; the agent is played."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.vm import VmApi
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import Report, Snapshot, VmOrderEntry, VmProgressEntry
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock

CLOCK = SystemClock()
ROOT, STRANGER = Peer(1, 0, 0), Peer(2, 99, 99)


class World:
    """A board under global maintenance with an agent that has just reported."""

    def __init__(self, max_age_seconds: float = 60.0) -> None:
        self.board = Board(Snapshot(0, 1, "alpha", "vm", CLOCK.now()), CLOCK.now, dict)
        self.board.update(global_maintenance=True, agent=Report(made_at=CLOCK.now()))
        self.api = VmApi(
            self.board,
            access=Access(0, None),
            clock=CLOCK,
            report_max_age_seconds=max_age_seconds,
            stop_timeout_seconds=120.0,
        )

    def ask(self, verb: str, peer: Peer = ROOT, **params: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self.api.handlers()[verb](params, peer))

    async def ordered(self) -> VmOrderEntry:
        """Return the order as soon as it is on the board."""
        while self.board.current.vm_order is None:
            await self.board.newer_than(self.board.current.version, 1.0)
        return self.board.current.vm_order

    def tell(self, number: int, phase: str, detail: str) -> None:
        progress = VmProgressEntry(number, phase, detail)
        self.board.update(agent=Report(made_at=CLOCK.now(), vm_order=progress))


@pytest.fixture
async def world() -> World:
    return World()


async def refused(call: asyncio.Future[Any]) -> RpcRefusal:
    with pytest.raises(RpcRefusal) as caught:
        await call
    return caught.value


@pytest.mark.parametrize(
    ("verb", "params", "what"),
    [
        ("vm.start", {}, "start"),
        ("vm.start", {"paused": True}, "start paused"),
        ("vm.resume", {}, "resume"),
        ("vm.stop", {}, "stop"),
        ("vm.stop", {"force": True}, "force stop"),
    ],
)
async def test_the_agents_report_is_the_answer(
    world: World, verb: str, params: dict[str, Any], what: str
) -> None:
    call = world.ask(verb, **params)
    order = await world.ordered()
    assert (order.what, order.who) == (what, "user 0")
    world.tell(order.number, "open", "")
    world.tell(order.number - 1, "done", "an older one")
    world.tell(order.number, "done", "the engine VM runs here")
    assert await call == {"detail": "the engine VM runs here"}
    assert world.board.current.vm_order is None


async def test_a_refusal_of_the_agents_is_told(world: World) -> None:
    call = world.ask("vm.start")
    order = await world.ordered()
    world.tell(order.number, "refused", "host 2 (beta) holds the lease")
    refusal = await refused(call)
    assert (refusal.code, refusal.message) == ("refused", "start: host 2 (beta) holds the lease")
    assert world.board.current.vm_order is None


async def test_one_order_at_a_time_and_each_has_a_larger_number(world: World) -> None:
    first = world.ask("vm.start")
    order = await world.ordered()
    assert "another order" in (await refused(world.ask("vm.stop"))).message
    world.tell(order.number, "done", "x")
    await first
    second = world.ask("vm.stop")
    assert (await world.ordered()).number > order.number
    second.cancel()


async def test_a_caller_that_leaves_does_not_take_the_order_back(world: World) -> None:
    call = world.ask("vm.stop")
    order = await world.ordered()
    call.cancel()
    await asyncio.wait({call})
    assert world.board.current.vm_order == order
    world.tell(order.number, "done", "x")
    while world.board.current.vm_order is not None:
        await world.board.newer_than(world.board.current.version, 1.0)


@pytest.mark.parametrize(
    ("verb", "params", "says"),
    [
        ("vm.start", {}, "by themselves"),
        ("vm.start", {"paused": True}, "stays paused, and start it elsewhere"),
        ("vm.resume", {}, "set global maintenance first"),
        ("vm.stop", {}, "set global maintenance first"),
    ],
)
async def test_outside_of_global_maintenance_nothing_is_ordered(
    world: World, verb: str, params: dict[str, Any], says: str
) -> None:
    world.board.update(global_maintenance=False)
    refusal = await refused(world.ask(verb, **params))
    assert (refusal.code, says in refusal.message) == ("refused", True), refusal.message
    assert world.board.current.vm_order is None


async def test_without_an_agent_or_a_look_at_storage_nothing_is_ordered(world: World) -> None:
    world.board.update(global_maintenance=None)
    assert (await refused(world.ask("vm.start"))).code == "not_ready"
    world.board.update(global_maintenance=True, agent=Report(made_at=CLOCK.now() - 61.0))
    assert (await refused(world.ask("vm.start"))).code == "not_ready"
    world.board.update(agent=Report())
    assert "agent" in (await refused(world.ask("vm.start"))).message


async def test_strangers_order_nothing(world: World) -> None:
    assert (await refused(world.ask("vm.stop", STRANGER))).code == "denied"


async def test_deadlines_follow_the_configuration(world: World) -> None:
    assert set(world.api.deadlines_seconds.values()) == {215.0}


async def test_an_end_by_force_overtakes_an_orderly_stop_and_nothing_else_does(
    world: World,
) -> None:
    patient = world.ask("vm.stop")
    order = await world.ordered()
    forced = world.ask("vm.stop", force=True)
    assert "overtaken" in (await refused(patient)).message
    now = world.board.current.vm_order
    assert now is not None
    assert (now.what, now.number > order.number) == ("force stop", True)
    assert "another order" in (await refused(world.ask("vm.stop"))).message
    world.tell(now.number, "done", "the engine VM is stopped")
    assert await forced == {"detail": "the engine VM is stopped"}
    assert world.board.current.vm_order is None


async def test_an_agent_that_falls_silent_is_not_waited_for() -> None:
    world = World(max_age_seconds=0.2)
    refusal = await refused(world.ask("vm.start"))
    assert (refusal.code, "has not reported" in refusal.message) == ("failed", True)
    assert world.board.current.vm_order is None
