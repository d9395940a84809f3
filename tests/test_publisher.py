# SPDX-License-Identifier: Apache-2.0
"""What is sent, and when the next tick is due for it; tests/test_cycle.py has the rest, with
reports as the cycle makes them."""

from __future__ import annotations

import asyncio

import pytest

from ha_agent.agent_events import AgentEvents
from ha_agent.broker.snapshot import Report, Snapshot
from ha_agent.errors import EnvironmentFault
from ha_agent.publisher import Publisher
from tests.fakes import FakeBroker, FakeClock

FIRST, SECOND = Report(state="EngineDown"), Report(state="EngineUp")


class GatedBroker(FakeBroker):
    def __init__(self) -> None:
        super().__init__(Snapshot(1, 1, "h1", "vm", FakeClock().now()))
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, report: Report) -> None:
        await self.gate.wait()
        await super().publish(report)


class World:
    def __init__(self) -> None:
        self.now = FakeClock().now()
        self.broker = GatedBroker()
        self.wakes = 0
        events = AgentEvents(self.now)
        self.publisher = Publisher(self.broker, events, interval_seconds=5.0, wake=self.woken)

    def woken(self) -> None:
        self.wakes += 1

    async def tick(self, after_seconds: float = 0.0) -> None:
        self.now = self.now + after_seconds
        self.publisher.tick(self.now)
        for _ in range(3):
            await asyncio.sleep(0)

    @property
    def due_seconds(self) -> float:
        due = self.publisher.due(self.now)
        assert due is not None
        return due - self.now

    @property
    def sent(self) -> list[str]:
        return [report.state for report in self.broker.reports]


@pytest.fixture
async def world() -> World:
    return World()


async def test_nothing_to_tell_nothing_to_send(world: World) -> None:
    await world.tick()
    assert world.sent == []
    assert world.publisher.due(world.now) is None


async def test_a_change_at_once_and_the_same_by_interval(world: World) -> None:
    world.publisher.tell(FIRST)
    await world.tick()
    assert (world.sent, world.due_seconds) == (["EngineDown"], 5.0)
    world.publisher.tell(Report(state="EngineDown"))
    await world.tick(4.9)
    assert world.sent == ["EngineDown"]
    await world.tick(world.due_seconds)
    assert world.sent == ["EngineDown"] * 2
    world.publisher.tell(SECOND)
    await world.tick()
    assert world.sent[2:] == ["EngineUp"]
    assert world.broker.reports[-1].made_at == world.now


async def test_of_those_that_come_meanwhile_the_newest_follows(world: World) -> None:
    world.broker.gate.clear()
    world.publisher.tell(FIRST)
    await world.tick()
    for report in (SECOND, FIRST, SECOND):
        world.publisher.tell(report)
        await world.tick(0.1)
    assert world.sent == []
    wakes = world.wakes
    world.broker.gate.set()
    await asyncio.wait([world.publisher.task] if world.publisher.task else [])
    assert world.wakes == wakes + 1, "nothing else would send what is left"
    await world.tick()
    assert world.sent == ["EngineDown", "EngineUp"]
    assert world.wakes == wakes + 1


async def test_a_report_that_hangs_makes_no_busy_ticks(world: World) -> None:
    world.broker.gate.clear()
    world.publisher.tell(FIRST)
    await world.tick()
    assert world.due_seconds == 5.0
    await world.tick(6.0)
    assert world.publisher.due(world.now) is None


async def test_one_that_failed_is_sent_again_soon(world: World) -> None:
    world.broker.fault = EnvironmentFault("is ha-broker running?")
    world.publisher.tell(FIRST)
    await world.tick()
    assert (world.due_seconds, world.wakes) == (1.0, 0)
    world.broker.fault = None
    await world.tick(world.due_seconds)
    assert world.sent == ["EngineDown"]
