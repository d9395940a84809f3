# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.sim.sim_story import story


def test_without_power_nothing_runs_and_a_boot_starts_all() -> None:
    with story(host_boot_seconds=30.0, seconds=30.0) as told:
        host = told.world[2]
        told.do("h2 power-off")
        assert host.processes() == []
        told.do("h2 power-on")
        told.wait(29.0)
        assert host.agent is None
        told.wait(25.0)
        assert told.state(2) == "EngineDown"
        assert host.boots == 2
        assert host.clock.now().boottime_seconds < 60.0


def test_systemd_starts_what_was_killed() -> None:
    with story(seconds=30.0) as told:
        host = told.world[2]
        for part in ("agent", "broker", "vdsm"):
            told.do(f"h2 kill {part}")
        assert (host.agent, host.broker, host.vdsm) == (None, None, None)
        told.wait(2.0)
        assert host.agent
        assert host.broker
        assert host.vdsm


def test_what_is_held_down_by_two_stays_down_until_both_let_go() -> None:
    with story(seconds=30.0) as told:
        told.do("h2 kill agent for 10")
        told.do("h2 stop agent for 30")
        told.wait(15.0)
        assert told.world[2].agent is None
        told.wait(20.0)
        assert told.world[2].agent is not None


def test_a_stopped_service_stays_down_until_it_is_started() -> None:
    with story(seconds=30.0) as told:
        told.do("h2 stop broker")
        told.wait(100.0)
        assert told.world[2].broker is None
        told.do("h2 start broker")
        assert told.world[2].broker is not None


def test_a_suspended_host_does_nothing_and_its_boot_time_goes_on() -> None:
    with story(seconds=30.0) as told:
        clock = told.world[2].clock
        before = clock.now()
        told.do("h2 suspend for 50")
        ticked = len(told.world.log)
        told.wait(49.0)
        assert not any(" h2 " in line for line in told.world.log[ticked:])
        told.wait(5.0)
        assert clock.now() - before == pytest.approx(54.0)
        assert told.state(2) == "EngineDown"


def test_conditions_of_one_kind_end_one_by_one() -> None:
    with story(seconds=1.0) as told:
        host = told.world[1]
        host.begin("storage-slow", 1.0)
        host.begin("storage-slow", 3.0)
        assert (host.path.slow_seconds, host.path.calm) == (3.0, False)
        host.end("storage-slow")
        assert host.path.slow_seconds == 3.0
        host.end("storage-slow")
        assert (host.faults, host.path.calm) == ({}, True)


def test_a_clock_s_rate_is_every_process_s() -> None:
    with story(seconds=10.0) as told:
        told.do("h2 clock-rate 1.01 for 100")
        assert {process.rate for process in told.world[2].processes()} == {1.01}
        told.wait(101.0)
        assert {process.rate for process in told.world[2].processes()} == {1.0}
