# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.instant import Instant
from ha_agent.sim.clock import EPOCH_UNIX_SECONDS, SimClock
from ha_agent.sim.loop import new_loop


def test_it_begins_anywhere_and_runs_at_its_rate() -> None:
    loop = new_loop()
    clock = SimClock(loop, rate=1.01, offset_seconds=500.0)
    loop.run_until(100.0)
    assert clock.now() == Instant(500.0 + 101.0)
    clock.set_rate(1.0)
    loop.run_until(110.0)
    assert clock.now() == Instant(611.0)


def test_only_the_calendar_jumps() -> None:
    loop = new_loop()
    clock = SimClock(loop, offset_seconds=5.0)
    clock.jump(-3600.0)
    loop.run_until(10.0)
    assert clock.wall().unix_seconds == EPOCH_UNIX_SECONDS + 10.0 - 3600.0
    assert clock.now() == Instant(15.0)


def test_a_boot_begins_the_boot_time_anew() -> None:
    loop = new_loop()
    clock = SimClock(loop, offset_seconds=1e6)
    loop.run_until(10.0)
    clock.boot()
    loop.run_until(14.0)
    assert clock.now() == Instant(5.0)
