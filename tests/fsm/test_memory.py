# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from tests.fsm.pictures import NOW, context, seen, states_with_memory, stopping


def test_at_first_nothing_is_remembered() -> None:
    memory = Memory()
    assert memory.serial == 0
    assert memory.failures == ()
    assert not memory.shutdown_asked
    for field in dataclasses.fields(memory):
        assert not getattr(memory, field.name) or field.name in (
            "shutdown",
            "trends",
            "lead",
            "sight",
            "vm_order",
        )
    assert not memory.shutdown.ordered


class TestForgetStop:
    def test_reason_and_shutdown_are_forgotten(self) -> None:
        memory = stopping(StopReason.HUNG, shutdown_asked=True).forget_stop()
        assert memory == Memory()

    @given(states_with_memory())
    def test_all_else_is_kept(self, stand: tuple[State, Memory]) -> None:
        """Failures and pauses above all: or a VM that can't run is restarted for ever."""
        memory = stand[1]
        expected = dataclasses.replace(memory, stop_reason=None, shutdown_asked=False)
        assert memory.forget_stop() == expected

    def test_the_memory_itself_stays_as_it_was(self) -> None:
        memory = stopping(StopReason.HUNG, last_kind=EffectKind.SHUTDOWN_VM, last_at=NOW)
        memory.forget_stop()
        assert memory.stop_reason is StopReason.HUNG


@pytest.mark.parametrize("reason", StopReason)
def test_each_reason_is_given_by_some_row(reason: StopReason) -> None:
    picture = context(seen())
    given_by = [
        row for row in TABLE for note in row.notes if note(picture, Memory()).stop_reason is reason
    ]
    assert given_by
