# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.broker.probes.engine_process import EngineProcess, Use
from ha_agent.broker.probes.load import Load, LoadMeter, Reading, between, read

VM = "11111111-2222-3333-4444-555555555555"


def use(cpu_seconds: float, began_at: float = 5.0) -> Use:
    return Use(4711, began_at, cpu_seconds, 0)


@pytest.mark.parametrize(
    ("before", "after", "load"),
    [
        (None, None, Load(0.5, 0.0)),
        (use(100.0), use(104.0), Load(0.3, 0.2)),
        (None, use(4.0), Load(0.3, 0.2)),
        (use(100.0), use(4.0, began_at=9.0), Load(0.3, 0.2)),
        (use(100.0), None, Load(0.5, 0.0)),
        (use(100.0), use(111.0), Load(0.0, 0.55)),
    ],
    ids=["not here", "runs on", "has begun", "began anew", "has ended", "all of it and more"],
)
def test_the_engine_vms_share_is_left_out(
    before: Optional[Use], after: Optional[Use], load: Load
) -> None:
    told = between(Reading(1000.0, 100.0, before), Reading(1020.0, 110.0, after))
    assert told is not None
    assert (told.share, told.engine_share) == pytest.approx((load.share, load.engine_share))


def test_without_time_between_there_is_no_load() -> None:
    assert between(Reading(1000.0, 100.0, None), Reading(1000.0, 100.0, None)) is None


def test_the_kernels_counters() -> None:
    """Two real readings; the share of what is busy can't be above all."""
    meter = LoadMeter(EngineProcess(VM))
    assert meter.look() is None
    begun = read(EngineProcess(VM))
    assert 0 < begun.busy_seconds <= begun.total_seconds
    now = begun
    while now.total_seconds <= begun.total_seconds:
        now = read(EngineProcess(VM))
    load = meter.look()
    assert load is not None
    assert 0 <= load.share <= 1
    assert load.engine_share == 0
