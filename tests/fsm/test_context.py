# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.fsm.context import Context
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.policy import Policy
from tests.fsm.pictures import NOW, seen


def test_ages_count_from_the_pictures_now() -> None:
    context = Context(Memory(), seen(), Policy(), 3400)
    assert context.now == NOW
    assert context.age_seconds(NOW - 12.5) == 12.5
    assert context.age_seconds(None) == 0.0
