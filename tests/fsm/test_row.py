# SPDX-License-Identifier: Apache-2.0
"""The notes that rows leave in the memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given

from ha_agent.fsm.context import Context
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import DefinitionView, PeerView, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.row import Row, after_you, because, failure, failures_forgiven, hold_back
from ha_agent.fsm.state import State
from tests.fsm.pictures import NOW, context, failed, peer, seen, states_with_memory

CONTEXT = context(seen())


class TestFailure:
    @pytest.mark.parametrize(
        ("before", "delay_seconds"), [(0, 0.0), (1, 1.0), (2, 5.0), (3, 15.0), (4, 15.0), (9, 15)]
    )
    def test_each_one_holds_the_next_start_back_longer(
        self, before: int, delay_seconds: float
    ) -> None:
        memory = failure(CONTEXT, failed(before))
        assert memory.failures == (*failed(before).failures, NOW)
        assert memory.not_before == NOW + delay_seconds

    def test_without_back_off_the_next_start_is_at_once(self) -> None:
        policy = dataclasses.replace(Policy(), restart_backoff_seconds=())
        memory = failure(Context(Memory(), seen(), policy, 3400), Memory())
        assert memory.failures == (NOW,)
        assert memory.not_before == NOW

    @given(states_with_memory())
    def test_touches_nothing_else(self, stand: tuple[State, Memory]) -> None:
        before = stand[1]
        after = failure(CONTEXT, before)
        again = dataclasses.replace(after, failures=before.failures, not_before=before.not_before)
        if before.was_healthy or not before.started_from:
            assert again == before
        starts: dict[str, Any] = {"failing": "", "failed_starts": 0, "start_fault": ""}
        assert dataclasses.replace(again, **starts) == dataclasses.replace(before, **starts)

    def test_a_start_that_failed_counts_against_its_definition(self) -> None:
        memory = failure(CONTEXT, Memory(started_from="d1", start_fault="no such bus"))
        assert (memory.failing, memory.failed_starts) == ("d1", 1)
        memory = failure(CONTEXT, memory)
        assert (memory.failing, memory.failed_starts) == ("d1", 2)
        assert memory.start_fault == "no such bus"

    def test_another_definitions_failures_count_for_nothing(self) -> None:
        before = Memory(started_from="d1", failing="d8", failed_starts=7)
        memory = failure(CONTEXT, before)
        assert (memory.failing, memory.failed_starts) == ("d1", 1)

    def test_a_fallback_that_failed_as_well_clears_the_definition_in_use(self) -> None:
        before = Memory(started_from="d0", failing="d1", failed_starts=2)
        memory = failure(CONTEXT, before)
        assert (memory.failing, memory.failed_starts) == ("", 0)

    @pytest.mark.parametrize(
        "before",
        [
            Memory(),
            Memory(started_from="d0"),
            Memory(started_from="d1", was_healthy=True),
        ],
        ids=["nobody knows", "the one before", "it was healthy"],
    )
    def test_not_the_definitions_fault(self, before: Memory) -> None:
        assert failure(CONTEXT, before).failed_starts == 0

    def test_a_fallback_tells_nothing_of_a_third_definition(self) -> None:
        before = Memory(started_from="d0", failing="d8", failed_starts=2)
        memory = failure(CONTEXT, before)
        assert (memory.failing, memory.failed_starts) == ("d8", 2)

    def test_the_fault_is_what_the_start_said_or_else_what_vdsm_does(self) -> None:
        picture = seen(vm=VmCondition.DOWN)
        ended = dataclasses.replace(picture.vm, detail="no such disk")
        picture = dataclasses.replace(picture, vm=ended)
        memory = failure(context(picture), Memory(started_from="d1"))
        assert memory.start_fault == "no such disk"
        memory = failure(context(picture), Memory(started_from="d1", start_fault="no such bus"))
        assert memory.start_fault == "no such bus"

    def test_a_definition_without_an_identity_is_never_at_fault(self) -> None:
        picture = seen(definition=DefinitionView(available=True))
        assert failure(context(picture), Memory()).failed_starts == 0


def test_a_row_starts_from_the_definition_in_use_unless_it_says_otherwise() -> None:
    assert not Row((State.ENGINE_START,), None, (), "go").fallback


def test_forgiven_failures_hold_nothing_back() -> None:
    memory = failed(3, not_before=NOW + 15.0, serial=4)
    assert failures_forgiven(CONTEXT, memory) == Memory(serial=4)


def test_holding_back_is_no_failure() -> None:
    memory = hold_back(CONTEXT, failed(1))
    assert memory == failed(1, not_before=NOW + Policy().lease_elsewhere_pause_seconds)


@pytest.mark.parametrize(
    ("other", "seconds"),
    [
        (peer(2, vm_up=True, predecessor=True, alive=False), 30.0),
        (peer(2, vm_up=True, predecessor=True), 30.0),
        (peer(2, predecessor=True), Policy().lease_elsewhere_pause_seconds),
        (peer(2, vm_up=True), Policy().lease_elsewhere_pause_seconds),
    ],
)
def test_a_vm_of_the_predecessor_s_is_not_tried_every_few_seconds(
    other: PeerView, seconds: float
) -> None:
    assert hold_back(context(seen(peers=(other,))), Memory()).not_before == NOW + seconds


class TestAfterYou:
    PAUSE_SECONDS = Policy().lease_elsewhere_pause_seconds

    def test_another_host_has_the_first_turn(self) -> None:
        memory = after_you(context(seen(peers=(peer(2),))), Memory())
        assert memory == Memory(not_before=NOW + self.PAUSE_SECONDS)

    def test_nobody_is_waited_for_in_vain(self) -> None:
        assert after_you(context(seen(peers=(peer(2, score=0),))), Memory()) == Memory()

    def test_a_longer_pause_stays(self) -> None:
        before = failed(4, not_before=NOW + self.PAUSE_SECONDS + 5.0)
        assert after_you(context(seen(peers=(peer(2),))), before) == before

    def test_a_shorter_pause_grows(self) -> None:
        before = failed(1, not_before=NOW + self.PAUSE_SECONDS - 5.0)
        memory = after_you(context(seen(peers=(peer(2),))), before)
        assert memory == failed(1, not_before=NOW + self.PAUSE_SECONDS)


@pytest.mark.parametrize("reason", StopReason)
def test_because_remembers_the_reason_alone(reason: StopReason) -> None:
    before = failed(2, stop_reason=StopReason.HUNG, shutdown_asked=True)
    after = because(reason)(CONTEXT, before)
    assert after == dataclasses.replace(before, stop_reason=reason)
