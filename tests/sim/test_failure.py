# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest

from ha_agent.broker.lease.rules import LeaseTimes
from ha_agent.fsm.policy import Policy
from ha_agent.sim import scenario
from ha_agent.sim.failure import LAST_LINES, RULE_IN_WORDS, commands_text, report
from ha_agent.sim.rules import RULES
from ha_agent.sim.seeds import spec_of
from ha_agent.sim.spec import LOCKFILE, SANLOCK, Result, Spec, Violation


@pytest.mark.parametrize("lease_backend", [LOCKFILE, SANLOCK])
@pytest.mark.parametrize("seed", range(50))
def test_commands_bring_back_the_simulation(seed: int, lease_backend: str) -> None:
    spec = spec_of(seed, lease_backend=lease_backend)
    assert spec.is_sanlock is (lease_backend == SANLOCK)
    again, expectations = scenario.parse(commands_text(spec), "test")
    assert again == spec
    assert expectations == ()


def test_also_with_other_settings() -> None:
    spec = Spec(
        seconds=60,
        policy=replace(Policy(), start_timeout_seconds=77.0),
        times=replace(LeaseTimes(), takeover_step_seconds=2.0),
    )
    again, _ = scenario.parse(commands_text(spec), "test")
    assert again == spec


def test_a_report_has_the_rule_in_words_and_the_lines_before_it() -> None:
    log = tuple(f"{at:8.2f} h1 line {at}" for at in range(100))
    found = tuple(Violation(70.0 + n, "one-vm", f"on h1, h{n}") for n in range(7))
    text = report(Result(Spec(seconds=100), log, found, ()))
    assert "70.00 one-vm: on h1, h0" in text
    assert RULE_IN_WORDS["one-vm"] in text
    assert "and 2 more" in text
    assert "line 70" in text
    assert "line 71" not in text
    assert text.count(" h1 line ") == LAST_LINES
    assert report(Result(Spec(seconds=100), log, found, ()), whole_log=True).count(" line ") == 100


def test_every_rule_has_its_words() -> None:
    assert {rule.name for rule in RULES} | {"fence-first"} <= set(RULE_IN_WORDS)
