# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.sim import events as e
from ha_agent.sim.rules import RULES, VIOLATIONS_MAX, Rules
from ha_agent.sim.spec import Spec


def test_violations_have_time_and_checker_and_are_bounded() -> None:
    rules = Rules(Spec(seconds=100))
    for at_seconds in range(2 * VIOLATIONS_MAX):
        rules.saw(e.Decided(at_seconds, 1, "EngineDown", -1))
    assert len(rules.violations) == VIOLATIONS_MAX
    first = rules.first("score-range")
    assert first is not None
    assert (first.at_seconds, first.what) == (0, "h1: score -1")
    assert rules.first("one-vm") is None


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
