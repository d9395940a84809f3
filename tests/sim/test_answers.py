# SPDX-License-Identifier: Apache-2.0
"""Each rule about what hosts say: events that break it, and near ones that do not."""

from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.sim import events as e
from ha_agent.sim.faults import parse
from ha_agent.sim.rules import Rules
from ha_agent.sim.spec import Spec

TAKES = (4, "take lease")


def broken(*events: e.Event, faults: tuple[str, ...] = ()) -> list[str]:
    spec = Spec(seconds=1000, faults=tuple(parse(line, "test") for line in faults))
    rules = Rules(spec)
    for event in events:
        rules.saw(event)
    return [found.checker for found in rules.violations]


def decided(at_seconds: float, effect: Optional[tuple[int, str]] = None) -> e.Decided:
    return e.Decided(at_seconds, 1, "EngineDown", 3400, effect)


def test_a_flag_that_is_answered_is_on_storage() -> None:
    assert broken(e.FlagAnswered(5, 1, enabled=True, durable=True)) == []
    assert broken(e.FlagAnswered(5, 1, enabled=True, durable=False)) == ["flag-durable"]


@pytest.mark.parametrize(
    ("faults", "found"),
    [
        ((), ["flag-durable"]),
        (("at 5 cluster global-maintenance on",), ["flag-durable"]),
        (("at 80 cluster global-maintenance off",), []),
        (("at 95 cluster global-maintenance off",), ["flag-durable"]),
        (("at 5 cluster global-maintenance on for 80",), []),
        (("at 5 cluster global-maintenance on for 90",), []),  # by a clock that runs fast
        (("at 5 cluster global-maintenance on for 200",), ["flag-durable"]),
        (("at 5 cluster global-maintenance on for 200", "at 9 h1 clock-jump 300"), []),
        (("at 80 cluster resume",), []),
        (("at 80 cluster shutdown",), ["flag-durable"]),
    ],
)
def test_a_flag_stays_until_somebody_clears_it(faults: tuple[str, ...], found: list[str]) -> None:
    story = (e.FlagAnswered(6, 1, enabled=True, durable=True), e.FlagLanded(90, 2, enabled=False))
    assert broken(*story, faults=faults) == found


def test_the_same_flag_again_is_no_change() -> None:
    answered = e.FlagAnswered(6, 1, enabled=True, durable=True)
    assert broken(answered, e.FlagLanded(90, 2, enabled=True)) == []
    # Before anybody was told anything, nothing was promised.
    assert broken(e.FlagLanded(90, 2, enabled=False)) == []


def test_a_status_query_is_answered_at_once() -> None:
    assert broken(e.StatusAnswered(5, 1, 0.001)) == []
    assert broken(e.StatusAnswered(5, 1, 4.0)) == ["status-answered"]


def test_an_agent_goes_on_ticking() -> None:
    assert broken(e.Ticked(60, 1, 1.0)) == []
    assert broken(e.Ticked(60, 1, 16.0)) == ["keeps-ticking"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("at 30 h1 hang agent for 25", []),
        ("at 30 h1 suspend for 25", []),
        ("at 30 h2 suspend for 25", ["keeps-ticking"]),
        ("at 30 h1 storage-hang for 25", ["keeps-ticking"]),
        ("at 10 h1 hang agent for 25", ["keeps-ticking"]),
    ],
)
def test_one_that_was_stopped_has_a_moment_to_tick_again(line: str, found: list[str]) -> None:
    assert broken(e.Ticked(60, 1, 26.0), faults=(line,)) == found


def ticks(until_seconds: int) -> list[e.Decided]:
    return [decided(at_seconds) for at_seconds in range(2, until_seconds, 10)]


def test_an_effect_ends() -> None:
    begun = decided(1, TAKES)
    ended = e.EffectEnded(3, 1, 4, "ok")
    assert broken(begun, ended, *ticks(300)) == []
    assert broken(begun, *ticks(300)) == ["effects-end"]
    assert broken(begun, e.EffectEnded(3, 1, 3, "ok"), *ticks(300)) == ["effects-end"]
    killed = e.ProcessChanged(3, 1, "agent", "down")
    assert broken(begun, killed, *ticks(300)) == []


def test_one_effect_at_a_time() -> None:
    assert broken(decided(1, TAKES), decided(2, (5, "start VM"))) == ["effects-end"]
    ended = e.EffectEnded(1.5, 1, 4, "ok")
    assert broken(decided(1, TAKES), ended, decided(2, (5, "start VM"))) == []


@pytest.mark.parametrize(("score", "found"), [(0, 0), (3400, 0), (-1, 1), (3401, 1)])
def test_a_score_is_within_the_scale(score: int, found: int) -> None:
    assert broken(e.Decided(1, 1, "EngineDown", score)) == ["score-range"] * found
