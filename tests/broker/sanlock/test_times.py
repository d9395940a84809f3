# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.sanlock.times import FENCE_MARGIN_SECONDS, IO_TIMEOUT_SECONDS, SanlockTimes


@pytest.mark.parametrize(
    ("profile", "watchdog_fire_seconds", "host_dead_seconds"),
    [("safe", 60, 140), ("quick", 30, 70), ("fast", 10, 26), ("quick", 60, 100), ("fast", 60, 76)],
)
def test_the_named_profiles(
    profile: str, watchdog_fire_seconds: int, host_dead_seconds: int
) -> None:
    times = SanlockTimes(IO_TIMEOUT_SECONDS[profile], watchdog_fire_seconds)
    assert times.host_dead_seconds == host_dead_seconds
    assert times.faults() == []


def test_a_watchdog_that_is_too_quick_for_the_owners_end_is_a_fault() -> None:
    assert SanlockTimes(10, 23).faults() == []
    (fault,) = SanlockTimes(10, 22).faults()
    assert "watchdog_fire_seconds must be at least 23" in fault
    assert "100 s after its last renewal" in fault


@given(st.integers(1, 60), st.integers(1, 60))
def test_without_a_fault_the_latest_fence_is_before_others_may_start(io: int, wd: int) -> None:
    times = SanlockTimes(io, wd)
    latest_sight_seconds = 4 * io
    gap_seconds = times.host_dead_seconds - (latest_sight_seconds + times.fence_after_seconds)
    assert (gap_seconds >= FENCE_MARGIN_SECONDS) == (not times.faults())
