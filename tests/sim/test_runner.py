# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys

from ha_agent.sim import events
from ha_agent.sim.faults import parse
from ha_agent.sim.runner import run
from ha_agent.sim.spec import Spec

STORM = (
    "at 20 all storage-torn for 30",
    "at 30 h2 storage-flaky 0.4 for 60",
    "at 60 h1 power-off for 30",
    "at 70 h2 kill broker",
    "at 90 h3 suspend for 20",
    "at 110 all kill-at 30",
    "at 130 h2 hang broker for 20",
    "at 155 cluster guest-crash",
)


def storm(seed: int = 3) -> Spec:
    return Spec(
        seconds=200.0,
        hosts=4,
        seed=seed,
        engine_on=1,
        old_hosts=(4,),
        clock_spread=0.01,
        faults=tuple(parse(line, "test") for line in STORM),
    )


def test_the_same_spec_gives_the_same_result() -> None:
    first, second = run(storm()), run(storm())
    assert first.log == second.log
    assert (first.digest, first.outages) == (second.digest, second.outages)
    assert run(storm(4)).digest != first.digest


def test_also_in_another_process_with_another_hash_seed_and_time_zone() -> None:
    program = "from tests.sim.test_runner import *; print(run(storm()).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "PYTHONPATH": "."}
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert told.stdout.strip() == run(storm()).digest


def test_what_is_heard_and_counted() -> None:
    heard: list[events.Event] = []
    lines: list[str] = []
    result = run(Spec(seconds=60.0, hosts=2, engine_on=1), (heard.append,), log=lines.append)
    assert tuple(lines) == result.log
    assert result.steps > result.ticks > 0
    assert result.violations == ()
    assert result.outages == ()
    assert isinstance(heard[-1], events.Ended)
    assert any(isinstance(event, events.VmStarted) for event in heard)


def test_the_daemons_own_log_is_quiet(caplog: object) -> None:
    run(Spec(seconds=10.0, hosts=1))
    assert not getattr(caplog, "records", [])
