# SPDX-License-Identifier: Apache-2.0
"""ports.Clock: one contract for the system's clock and the fake of tests/fakes.py."""

from __future__ import annotations

import asyncio
import time

import pytest

from ha_agent.clock import SystemClock
from ha_agent.ports import Clock
from tests.fakes import FakeClock


@pytest.fixture(params=[SystemClock, FakeClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


class TestContract:
    async def test_both_clocks_go_on_by_what_was_slept(self, clock: Clock) -> None:
        now, wall = clock.now(), clock.wall()
        await clock.sleep(0.05)
        assert clock.now() - now >= 0.045
        assert clock.wall() - wall == pytest.approx(clock.now() - now, abs=0.5)

    async def test_time_does_not_go_back(self, clock: Clock) -> None:
        first = clock.now()
        assert clock.now() >= first

    @pytest.mark.parametrize("duration_seconds", [0.0, -5.0])
    async def test_no_time_to_sleep_still_lets_others_run(
        self, clock: Clock, duration_seconds: float
    ) -> None:
        ran: list[bool] = []
        asyncio.get_running_loop().call_soon(ran.append, True)
        before = clock.now()
        await clock.sleep(duration_seconds)
        assert ran
        assert before <= clock.now() < before + 5.0


def test_instants_count_from_boot_and_go_on_while_suspended() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = SystemClock().now().boottime_seconds
    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_wall_is_the_calendar() -> None:
    before = time.time()
    assert before <= SystemClock().wall().unix_seconds <= time.time()


@pytest.mark.parametrize(("duration_seconds", "least"), [(0.03, 0.03), (0.0, 0.0), (-1.0, 0.0)])
def test_blocking_takes_as_long_as_it_was_told(duration_seconds: float, least: float) -> None:
    clock = SystemClock()
    before = clock.now()
    clock.block(duration_seconds)
    assert least <= clock.now() - before < 5.0
