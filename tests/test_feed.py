# SPDX-License-Identifier: Apache-2.0
"""What the feed brings, and that no failure of a port ends it. tests/sim runs it for hours."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Callable

import pytest

from ha_agent.broker.snapshot import Snapshot
from ha_agent.cycle import Cycle
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.feed import Feed
from ha_agent.fsm.observation import VmCondition, VmView
from ha_agent.fsm.policy import Policy
from ha_agent.instant import Instant
from ha_agent.perform import Performer
from ha_agent.waiting import Signal
from tests.fakes import ABSENT, SILENT, FakeBroker, FakeClock, FakeHypervisor

UP = VmView(VmCondition.UP, detail="Up")


class Heard(Cycle):
    """A cycle that keeps what it is told."""

    def __init__(self, clock: FakeClock, broker: FakeBroker, hypervisor: FakeHypervisor) -> None:
        super().__init__(1, Policy(), clock, broker, Performer(broker, hypervisor))
        self.pictures: list[Snapshot] = []
        self.vms: list[VmCondition] = []

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self.pictures.append(snapshot)

    def on_vm(self, vm: VmView, asked_at: Any = None) -> None:
        self.vms.append(vm.condition)

    def last_vm_is(self, condition: VmCondition) -> bool:
        return self.vms[-1:] == [condition]


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.broker = FakeBroker(
            Snapshot(7, 1, "h1", "11111111-2222-3333-4444-555555555555", Instant(1000.0))
        )
        self.hypervisor = FakeHypervisor()
        self.look_again = Signal()
        self.heard = Heard(self.clock, self.broker, self.hypervisor)
        self.feed = Feed(
            self.heard,
            self.broker,
            self.hypervisor,
            self.clock,
            look_again=self.look_again,
            poll_interval_seconds=3600.0,
        )
        self.tasks: list[asyncio.Task[None]] = []

    def follow(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            for task in self.tasks:
                assert not task.done(), task.exception()
            await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for task in world.tasks:
        task.cancel()
    await asyncio.wait(world.tasks)


@pytest.mark.parametrize("fault", [EnvironmentFault("no broker answers"), BadInput("is missing")])
async def test_a_broker_that_fails_is_asked_again(
    world: World, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.broker.fault = fault
    world.follow(world.feed.follow_broker())
    await world.until(lambda: len(world.broker.calls) > 3)
    assert not world.heard.pictures
    assert caplog.text.count(str(fault)) == 1
    world.broker.fault = None
    await world.until(lambda: bool(world.heard.pictures))
    assert world.heard.pictures[0].version == 7


async def test_a_look_comes_when_it_is_asked_for(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.follow(world.feed.follow_vm())
    for view in (UP, ABSENT):
        world.hypervisor.view = view
        world.look_again.set()
        await world.until(functools.partial(world.heard.last_vm_is, view.condition))
    assert not caplog.text
    world.hypervisor.answers = False
    world.look_again.set()
    await world.until(lambda: world.heard.vms[-1:] == [VmCondition.UNKNOWN])
    assert caplog.text.count(SILENT.detail) == 1


async def test_a_flood_of_events_costs_so_many_looks_a_second_and_loses_none(world: World) -> None:
    """The clock stands but for the feed's own pauses."""
    world.hypervisor.view = UP
    began = world.clock.now()
    world.follow(world.feed.follow_vm())
    for _ in range(2000):
        world.look_again.set()
        await asyncio.sleep(0)
    looks, seconds = len(world.heard.vms), world.clock.now() - began
    assert 10 < looks <= 10 * (seconds + 1)
    world.hypervisor.view = ABSENT
    world.look_again.set()
    await world.until(lambda: world.heard.last_vm_is(VmCondition.ABSENT))


async def test_the_first_events_are_looked_at_without_a_pause(world: World) -> None:
    world.follow(world.feed.follow_vm())
    began = world.clock.now()
    for number in range(1, 10):
        world.look_again.set()
        await world.until(lambda number=number: len(world.heard.vms) >= number)  # type: ignore[misc]
    assert world.clock.now() == began
