# SPDX-License-Identifier: Apache-2.0
"""What the observer makes of what it has seen."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from demo.guest import Counters
from lab.observer import Counted, CounterWatch, data_faults, gone_seconds, parse_counters
from lab.qemu_watch import Run


def counted(at: float, boots: int, heartbeat: int, on_disk: bool = True) -> Counted:
    return Counted(at, Counters(boots=boots, heartbeat=heartbeat), on_disk)


def test_the_time_without_a_vm_is_the_gap_between_two() -> None:
    runs = [Run(1, "host1", 0.0, 10.0), Run(2, "host2", 25.5)]
    assert gone_seconds(runs, 5.0, 60.0) == 15.5


def test_two_gaps_add_up_and_overlaps_are_none() -> None:
    runs = [Run(1, "a", 0.0, 10.0), Run(2, "b", 12.0, 20.0), Run(3, "c", 15.0, 30.0)]
    assert gone_seconds(runs, 5.0, 31.0) == 2.0 + 1.0


def test_without_any_all_of_it_is_gone() -> None:
    assert gone_seconds([], 5.0, 9.0) == 4.0
    assert gone_seconds([Run(1, "a", 20.0)], 5.0, 9.0) == 4.0


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), max_size=5))
def test_the_time_without_is_never_more_than_all_of_it(pairs: list[tuple[float, float]]) -> None:
    runs = [Run(n, "a", min(pair), max(pair)) for n, pair in enumerate(pairs)]
    assert 0.0 <= gone_seconds(runs, 10.0, 40.0) <= 30.0


def test_counters_that_grow_are_sound() -> None:
    assert not data_faults([counted(1, 1, 10), counted(2, 1, 11), counted(9, 2, 11)])


def test_a_counter_that_goes_back_is_data_lost() -> None:
    (fault,) = data_faults([counted(1, 1, 10), counted(2, 2, 9)])
    assert fault == "the guest's heartbeat on its disk went back from 10 to 9"
    (fault,) = data_faults([counted(1, 3, 10), counted(2, 2, 10)])
    assert "boots" in fault


def test_the_page_may_tell_of_one_write_that_never_landed() -> None:
    assert not data_faults([counted(1, 1, 10, False), counted(2, 2, 9, False)])
    assert data_faults([counted(1, 1, 10, False), counted(2, 2, 8, False)])


def test_disk_and_page_are_not_compared_with_each_other() -> None:
    assert not data_faults([counted(1, 1, 12, False), counted(2, 1, 10), counted(3, 1, 11)])


def test_the_guests_page_is_read() -> None:
    text = "boots 0000000003\n\nheartbeat 0000000120\n"
    assert parse_counters(text) == Counters(boots=3, heartbeat=120)
    assert parse_counters("404 Not Found") is None


def test_a_disk_that_is_none_is_no_count(tmp_path: Path) -> None:
    watch = CounterWatch(tmp_path / "none.img", "127.0.0.1")
    watch.look_at_disk()
    assert watch.last() is None
    assert watch.since(0.0) == []
