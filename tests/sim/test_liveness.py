# SPDX-License-Identifier: Apache-2.0
"""The rules about the calm end: what breaks them, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ha_agent.sim import events as e
from ha_agent.sim.faults import parse
from ha_agent.sim.liveness import budget_seconds
from ha_agent.sim.rules import Rules
from ha_agent.sim.seeds import spec_of
from ha_agent.sim.spec import Spec

SPEC = Spec(seconds=3600, calm_seconds=1500, faults=(parse("at 9 h1 power-off", "test"),))
CALM_AT = 2100
SETTLED_AT = CALM_AT + budget_seconds(SPEC)
UP = e.HealthChanged(CALM_AT + 100, good=True)
END = e.Ended(3600)


def broken(*events: e.Event, spec: Spec = SPEC) -> list[str]:
    rules = Rules(spec)
    for event in events:
        rules.saw(event)
    return [found.checker for found in rules.violations]


def test_the_budget_is_the_sum_that_the_module_writes() -> None:
    plain = Spec(seconds=1)
    # 60+20, 60, 120+10, 0, 15*1.02+1, 3, 120, 21+4*10, 10, 10, 20+10
    assert budget_seconds(plain) == pytest.approx(
        80 + 60 + 130 + 16.3 + 3 + 120 + 61 + 10 + 10 + 30
    )
    slow = replace(plain, faults=(parse("at 9 cluster boot-seconds 100", "test"),))
    assert budget_seconds(slow) == pytest.approx(budget_seconds(plain) + 80)
    sanlock = replace(plain, vm_lease_expiry_seconds=140)
    assert budget_seconds(sanlock) == pytest.approx(budget_seconds(plain) + 140)


def test_a_seed_has_more_calm_than_the_budget() -> None:
    for seed in range(300):
        spec = spec_of(seed)
        assert budget_seconds(spec) + 300 < spec.calm_seconds


def test_the_engine_is_up_at_the_end() -> None:
    assert broken(UP, END) == []
    assert broken(END) == ["comes-up"]
    assert broken(UP, e.HealthChanged(CALM_AT + 200, good=False), END) == ["comes-up"]


@pytest.mark.parametrize(
    "event",
    [
        e.VmStarted(SETTLED_AT + 1, 1, "hand"),
        e.VmEnded(SETTLED_AT + 1, 1, "guest", healthy=True),
        e.HealthChanged(SETTLED_AT + 1, good=True),
    ],
)
def test_nothing_moves_once_it_is_settled(event: e.Event) -> None:
    assert broken(UP, event, END) == ["comes-up"]
    before = replace(event, at_seconds=SETTLED_AT - 1)
    assert "comes-up" not in broken(before, UP, END)


def test_a_state_that_changes_in_calm_is_a_flap() -> None:
    states = [e.Decided(at, 1, "EngineDown", 3400) for at in range(3000, 3600, 10)]
    assert broken(UP, *states, END) == []
    flap = e.Decided(3599, 1, "EngineUnexpectedlyDown", 3400)
    assert broken(UP, *states, flap, END) == ["nothing-flaps"]


def test_a_vm_of_which_nobody_tells_is_tried_for_now_and_then() -> None:
    spec = replace(SPEC, faults=(parse("at 100 h2 stop agent", "test"),))
    begins = (e.VmStarted(0, 2, "hand"), e.HealthChanged(0, good=True))

    def tries(*at: float) -> list[str]:
        told = [e.Decided(SETTLED_AT - 1, 1, "EngineDown", 3400)]
        for seconds in at:
            told.append(e.Decided(SETTLED_AT + seconds, 1, "EngineStart", 3400))
            told.append(e.Decided(SETTLED_AT + seconds + 1, 1, "EngineDown", 3400))
        return broken(*begins, *told, END, spec=spec)

    assert tries(10, 20) == []
    assert tries(10, 300) == []
    assert tries(10, 20, 50) == ["nothing-flaps"]


def test_a_quiet_simulation_is_calm_from_its_beginning() -> None:
    quiet = Spec(seconds=600, engine_on=1)
    begins = (e.VmStarted(0, 1, "hand"), e.HealthChanged(0, good=True))
    assert broken(*begins, e.Ended(600), spec=quiet) == []
    crash = e.VmEnded(5, 1, "guest", healthy=True)
    assert broken(*begins, crash, e.Ended(600), spec=quiet) == ["comes-up"]


def test_without_a_calm_end_nothing_is_asked() -> None:
    assert broken(END, spec=replace(SPEC, calm_seconds=0.0)) == []
