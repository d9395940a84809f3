# SPDX-License-Identifier: Apache-2.0
"""Delays: what becomes an incident, and when it is over."""

from __future__ import annotations

from ha_agent.broker.incidents.incident import KINDS, SEVERITIES, Delays, Trouble
from ha_agent.instant import Instant

STORAGE = Trouble("storage", "no answer")
ENTER, LEAVE = KINDS["storage"].enter_seconds, KINDS["storage"].leave_seconds


def test_it_takes_its_time_to_be_one_and_to_be_over() -> None:
    delays, start = Delays(), Instant(100.0)
    delays.look([STORAGE], start)
    assert delays.open() == []
    delays.look([STORAGE], start + ENTER)
    assert delays.open() == [STORAGE]
    gone = start + ENTER + 5
    delays.look([], gone)
    delays.look([], gone + LEAVE - 1)
    assert delays.open() == [STORAGE]
    delays.look([], gone + LEAVE)
    assert delays.open() == []
    assert delays.lasting == {}


def test_what_comes_and_goes_for_long_becomes_one() -> None:
    delays, now = Delays(), Instant(0.0)
    for turn in range(10):
        delays.look([STORAGE] if turn % 2 == 0 else [], now)
        now = now + ENTER / 4
    assert delays.open() == [STORAGE]


def test_some_are_one_at_once_and_stay_it_as_they_change() -> None:
    delays = Delays()
    delays.look([Trouble("maintenance-forgotten", "on", at_once=True)], Instant(0.0))
    delays.look([Trouble("maintenance-forgotten", "on, still")], Instant(61.0))
    assert [one.detail for one in delays.open()] == ["on, still"]


def test_a_trouble_that_changes_its_kind_keeps_its_beginning() -> None:
    delays = Delays()
    delays.look([Trouble("engine-down", "", key="engine")], Instant(0.0))
    unhealthy = Trouble("engine-unhealthy", "", key="engine")
    delays.look([unhealthy], Instant(299.0))
    assert delays.open() == []
    delays.look([unhealthy], Instant(300.0))
    assert delays.open() == [unhealthy]


def test_the_kinds_are_sound() -> None:
    for kind in KINDS.values():
        assert kind.severity in SEVERITIES
        assert kind.leave_seconds >= 60


def test_a_detail_that_changes_all_the_time_is_taken_now_and_then() -> None:
    delays, said = Delays(), []
    for second in range(0, 151, 10):
        delays.look([Trouble("storage", f"load {second}")], Instant(float(second)))
        said += [one.detail for one in delays.open()]
    # When it becomes an incident, and each minute from then on.
    assert list(dict.fromkeys(said)) == ["load 30", "load 90", "load 150"]
