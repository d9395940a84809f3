# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from ha_agent.engine.budget import Budget
from ha_agent.errors import DeadlineExceeded
from tests.fakes import FakeClock


async def test_it_is_one_deadline_over_all() -> None:
    clock = FakeClock()
    budget = Budget(clock, 10.0)
    await budget.pause("a", 4.0)
    assert (budget.elapsed_seconds, budget.remaining_seconds("a")) == (4.0, 6.0)
    with pytest.raises(DeadlineExceeded, match="the engine: no answer within 10 s"):
        await budget.pause("the engine", 100.0)
    assert budget.elapsed_seconds == 10.0
    with pytest.raises(DeadlineExceeded):
        budget.remaining_seconds("a")
