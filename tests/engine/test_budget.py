# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from ha_agent.engine.budget import Budget
from ha_agent.errors import DeadlineExceeded
from tests.fakes import FakeClock


async def test_it_is_one_deadline_over_all() -> None:
    clock = FakeClock()
    budget = Budget(clock, 10.0)
    for looks in range(5):
        await budget.pause("a", looks)
    # 0.2, 0.4, 0.8, 1.6 and then never more than 3.
    assert budget.elapsed_seconds == pytest.approx(6.0)
    assert budget.remaining_seconds("a") == pytest.approx(4.0)
    await budget.pause("a", 1000)
    with pytest.raises(DeadlineExceeded, match="the engine: no answer within 10 s"):
        await budget.pause("the engine", 5)
    assert budget.elapsed_seconds == pytest.approx(10.0)
    with pytest.raises(DeadlineExceeded):
        budget.remaining_seconds("a")
