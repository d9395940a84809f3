# SPDX-License-Identifier: Apache-2.0
"""What several runs say together, and what an outage is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.peers.figures import Cost, cost_of, of, outage, summary, waits
from lab.qemu_watch import Run

COST = Cost("ha-agent", "power-cut", 22.0, 14.0, 7.5, True, 1)


def test_a_summary_has_median_and_worst() -> None:
    found = summary([3.0, 1.0, 2.04])
    assert found is not None
    assert (found.median, found.worst, found.runs) == (2.04, 3.0, 3)
    assert str(found) == "2.0 / 3.0"


def test_one_run_is_one_figure() -> None:
    assert str(summary([3.0])) == "3.0"


def test_of_nothing_there_is_no_summary() -> None:
    assert summary([]) is None


def test_costs_are_found_by_side_and_fault() -> None:
    assert of([COST], "ha-agent", "power-cut") == [COST]
    assert of([COST], "ha-agent", "guest-crash") == []
    assert of([COST], "Pacemaker", "power-cut") == []


def test_an_outage_is_the_silence_after_the_fault() -> None:
    assert outage([1.0, 1.2, 9.0, 9.2], fault_at=1.3) == (1.2, 9.0)


def test_an_answer_that_was_under_way_at_the_fault_is_the_last_good_one() -> None:
    assert outage([1.0, 1.2, 1.31, 9.0, 9.2], fault_at=1.3) == (1.31, 9.0)


def test_a_slow_answer_before_the_fault_is_no_outage() -> None:
    assert outage([0.0, 20.0, 20.2, 25.0], fault_at=20.3) == (20.2, 25.0)


def test_without_a_good_page_afterwards_there_is_no_outage() -> None:
    assert outage([1.0, 1.2], fault_at=1.3) is None
    assert outage([9.0], fault_at=1.3) is None


def test_a_cost_is_told_from_what_the_observer_saw() -> None:
    old = Run(1, "host1", 0.0, 10.1)
    failed, new = Run(2, "host2", 20.0, 21.0), Run(3, "host3", 23.0)
    good = [9.6, 9.8, 31.0, 31.2]
    found = cost_of("x", "power-cut", 10.0, good, [old, failed, new], "host1", 1)
    assert found is not None
    assert found.page_seconds == pytest.approx(21.2)
    assert found.qemu_seconds == pytest.approx(13.0)
    assert found.boot_seconds == pytest.approx(8.0)
    assert found.moved


def test_a_vm_on_the_same_host_has_not_moved() -> None:
    runs = [Run(1, "host1", 0.0, 10.1), Run(2, "host1", 12.0)]
    found = cost_of("x", "guest-crash", 10.0, [9.8, 20.0], runs, "host1", 1)
    assert found is not None
    assert not found.moved


def test_what_was_not_seen_is_no_cost() -> None:
    old = Run(1, "host1", 0.0, 10.1)
    assert cost_of("x", "power-cut", 10.0, [9.8], [old], "host1", 1) is None
    assert cost_of("x", "power-cut", 10.0, [9.8, 20.0], [old], "host1", 1) is None


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=12))
def test_waits_fall_into_each_equal_part_once(drawn: list[float]) -> None:
    found = waits(drawn, 12.0)
    part = 12.0 / len(drawn)
    for place, wait in enumerate(found):
        assert place * part <= wait <= (place + 1) * part


@pytest.mark.parametrize("runs", [1, 2, 10])
def test_all_sides_have_the_same_waits(runs: int) -> None:
    from lab.peers.measure import WAIT_SECONDS, drawn_waits

    found = drawn_waits(runs, 8)
    assert found == drawn_waits(runs, 8)
    assert all(len(values) == runs for values in found.values())
    assert all(0 <= value <= WAIT_SECONDS for values in found.values() for value in values)
