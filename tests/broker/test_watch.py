# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from ha_agent.broker.snapshot import HostEntry, LeaseEntry, Report, Snapshot
from ha_agent.broker.watch import Board
from ha_agent.instant import Instant
from tests.fakes import FakeClock

LONG_SECONDS = 30.0


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.figures: dict[str, Any] = {}
        first = Snapshot(0, 1, "h1", "vm", self.clock.now())
        self.board = Board(first, self.clock.now, lambda: self.figures)

    def wait(self, version: int) -> asyncio.Task[Snapshot]:
        return asyncio.ensure_future(self.board.newer_than(version, LONG_SECONDS))


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_change_has_the_next_version(world: World) -> None:
    world.board.update(global_maintenance=True)
    world.board.update(agent=Report(score=7))
    picture = world.board.read()
    assert (picture.version, picture.global_maintenance, picture.agent.score) == (2, True, 7)


async def test_the_same_again_is_no_change(world: World) -> None:
    world.board.update(global_maintenance=True, agent=Report(score=7))
    waiting = world.wait(1)
    await asyncio.sleep(0)
    world.board.update(global_maintenance=True, agent=Report(score=7))
    await asyncio.sleep(0)
    assert world.board.read().version == 1
    assert not waiting.done()
    world.board.wake()
    await asyncio.wait_for(waiting, 5)


HOST = HostEntry(2, "h2", alive=True, score=3400, timestamp_seconds=7, changed_at=Instant(1.0))


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("timestamp_seconds", 8, False),
        ("crc32", "00000001", False),
        ("extra", "state=x\n", False),
        ("changed_at", Instant(2.0), False),
        ("local_conf_timestamp_seconds", 3, False),
        ("score", 3000, True),
        ("alive", False, True),
        ("order_seen", 4, True),
        ("other_vms", 0, True),
        ("proven", "0123456789ab", True),
        ("engine_status", {"vm": "up"}, True),
        ("problem", "slot 2: damaged", True),
    ],
)
async def test_a_bare_sign_of_life_is_read_but_wakes_nobody(
    world: World, field: str, value: Any, told: bool
) -> None:
    world.board.update(hosts=(HOST,))
    version = world.board.read().version
    later = dataclasses.replace(HOST, **{field: value})
    world.board.update(hosts=(later,))
    assert world.board.read().hosts == (later,)
    assert (world.board.read().version > version) is told


async def test_a_host_more_or_less_is_told(world: World) -> None:
    for number, hosts in enumerate([(HOST,), (HOST, HostEntry(3)), (HostEntry(3),)], start=1):
        world.board.update(hosts=hosts)
        assert world.board.read().version == number


async def test_a_report_that_says_the_same_again_wakes_nobody(world: World) -> None:
    world.board.update(agent=Report(score=7, made_at=Instant(1.0)))
    world.board.update(agent=Report(score=7, made_at=Instant(2.0)))
    assert world.board.read().version == 1
    assert world.board.read().agent.made_at == Instant(2.0)


async def test_every_read_is_of_now_with_live_figures_and_no_new_version(world: World) -> None:
    world.clock.time = world.clock.time + 5.0
    world.figures["lease"] = LeaseEntry("held", ours=True)
    picture = world.board.read()
    assert picture.made_at == world.clock.now()
    assert picture.lease.ours
    assert picture.version == 0
    world.figures.clear()
    assert world.board.read().lease == LeaseEntry()


async def test_everybody_who_waits_hears_of_a_change(world: World) -> None:
    waiting = [world.wait(0) for _ in range(3)]
    await asyncio.sleep(0)
    world.board.update(global_maintenance=True)
    for picture in await asyncio.wait_for(asyncio.gather(*waiting), 5):
        assert (picture.version, picture.global_maintenance) == (1, True)


async def test_the_answer_is_the_newest_picture(world: World) -> None:
    waiting = world.wait(0)
    await asyncio.sleep(0)
    for score in (1, 2):
        world.board.update(agent=Report(score=score))
    assert (await asyncio.wait_for(waiting, 5)).agent.score == 2


async def test_one_change_does_not_answer_the_next_wait(world: World) -> None:
    world.board.update(global_maintenance=True)
    waiting = world.wait(1)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    world.board.update(global_maintenance=False)
    assert (await asyncio.wait_for(waiting, 5)).version == 2


@pytest.mark.parametrize("version", [-1, 4, 0])
async def test_another_version_is_answered_at_once(world: World, version: int) -> None:
    """Also a larger one: the broker was restarted, and counts from 0 again."""
    world.board.update(global_maintenance=True)
    picture = await asyncio.wait_for(world.board.newer_than(version, LONG_SECONDS), 5)
    assert picture.version == 1


@pytest.mark.parametrize("wait_seconds", [0.0, -1.0, 0.01])
async def test_without_news_the_wait_ends_with_what_is_there(
    world: World, wait_seconds: float
) -> None:
    picture = await asyncio.wait_for(world.board.newer_than(0, wait_seconds), 5)
    assert picture == dataclasses.replace(world.board.read(), made_at=picture.made_at)


async def test_at_the_end_nobody_waits_on(world: World) -> None:
    waiting = [world.wait(0) for _ in range(2)]
    await asyncio.sleep(0)
    world.board.wake()
    pictures = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert [picture.version for picture in pictures] == [0, 0]
