# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ha_agent.sim.loop import Process, SimLoop, new_loop


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    loop = new_loop()
    with loop.entered():
        yield loop


def test_a_sleep_lasts_as_long_by_the_clock_of_its_process(loop: SimLoop) -> None:
    woken: list[float] = []

    async def sleep() -> None:
        await loop.sleep(3.0)
        woken.append(loop.now)

    Process(loop, "exact").spawn(sleep())
    Process(loop, "fast", rate=2.0).spawn(sleep())
    loop.run_until(10.0)
    assert woken == [1.5, 3.0]


def test_no_time_is_no_time_yet_others_go_first(loop: SimLoop) -> None:
    said: list[str] = []

    async def first() -> None:
        await loop.sleep(0.0)
        await loop.sleep(-1.0)
        said.append("first")

    async def second() -> None:
        said.append("second")

    loop.outside.spawn(first())
    loop.outside.spawn(second())
    loop.run_until(0.0)
    assert said == ["second", "first"]


def test_a_sleep_that_is_cancelled_ends_at_once(loop: SimLoop) -> None:
    said: list[str] = []

    async def sleep() -> None:
        try:
            await loop.sleep(5.0)
        except asyncio.CancelledError:
            said.append(f"cancelled at {loop.now}")
            raise

    task = loop.outside.spawn(sleep())
    loop.run_until(1.0)
    assert task.cancel()
    task.cancel()  # as the end of a run may do with what is being ended already
    loop.run_until(10.0)
    assert task.cancelled()
    assert said == ["cancelled at 1.0"]


def test_a_sleep_that_is_over_while_its_process_hangs_is_over_then(loop: SimLoop) -> None:
    woken: list[float] = []
    process = Process(loop, "p")

    async def sleep() -> None:
        await loop.sleep(1.0)
        woken.append(loop.now)

    process.spawn(sleep())
    loop.run_until(0.5)
    process.hang()
    loop.run_until(4.0)
    assert woken == []
    process.go_on()
    loop.run_until(4.0)
    assert woken == [4.0]


def test_a_killed_sleeper_never_wakes(loop: SimLoop) -> None:
    woken: list[float] = []
    process = Process(loop, "p")

    async def sleep() -> None:
        try:
            await loop.sleep(1.0)
        finally:
            woken.append(loop.now)

    process.spawn(sleep())
    loop.run_until(0.5)
    process.kill()
    loop.run_until(4.0)
    assert woken == []
    loop.end()
