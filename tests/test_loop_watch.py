# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.instant import Instant
from ha_agent.journal_messages import LOOP_LATE
from ha_agent.loop_watch import LATE_SECONDS, LoopWatch


class ManualClock:
    def __init__(self) -> None:
        self.instant = Instant(100.0)

    def now(self) -> Instant:
        return self.instant


def test_only_a_loop_that_stood_still_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    watch = LoopWatch(clock, usual_seconds=2.0)
    for seconds in (500.0, 0.1, 2.0, 2.0 + LATE_SECONDS):
        clock.instant += seconds
        watch.passed()
    assert caplog.messages == []
    clock.instant += 12.5
    watch.passed()
    [record] = caplog.records
    assert record.getMessage() == "the loop stood still for 12.5 s"
    assert vars(record)["ha_message"] is LOOP_LATE
