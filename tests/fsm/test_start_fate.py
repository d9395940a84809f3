# SPDX-License-Identifier: Apache-2.0
"""When it is known what became of a VM.create that nobody answered."""

from __future__ import annotations

import dataclasses
from typing import Optional

import pytest

from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import LeaseCondition, Outcome, OutcomeCode, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.start_fate import follow_start, is_told, start_settled
from tests.fsm.pictures import NOW, US, lease, seen

V, L = VmCondition, LeaseCondition
POLICY = Policy()
ASKED = NOW - 200.0
LATE = POLICY.start_open_seconds


def after(
    kind: EffectKind, code: OutcomeCode, definition: str = "d1", *, before: bool = False
) -> Memory:
    """Return the memory in the tick that brings an effect's end."""
    return Memory(
        start_open_since=ASKED - 50.0 if before else None,
        settled_effect=Effect(kind, 1, "test"),
        settled=Outcome(1, code, definition=definition),
        last_kind=kind,
        last_at=ASKED,
    )


@pytest.mark.parametrize("code", list(OutcomeCode))
@pytest.mark.parametrize("before", [False, True])
def test_a_start_without_an_answer_is_open_and_an_answer_tells_of_no_other(
    code: OutcomeCode, before: bool
) -> None:
    memory = after(EffectKind.START_VM, code, before=before)
    open_since = ASKED if code is OutcomeCode.UNKNOWN else memory.start_open_since
    told = follow_start(memory, seen(V.ABSENT, L.OURS), POLICY)
    assert told.start_open_since == open_since


@pytest.mark.parametrize("code", [OutcomeCode.UNKNOWN, OutcomeCode.FAILED])
@pytest.mark.parametrize("before", [False, True])
def test_what_was_not_sent_says_nothing_of_what_was_sent_before(
    code: OutcomeCode, before: bool
) -> None:
    """The broker had no definition, so VDSM was not asked."""
    memory = after(EffectKind.START_VM, code, "", before=before)
    assert follow_start(memory, seen(V.ABSENT, L.OURS), POLICY) == memory


def test_other_effects_open_nothing() -> None:
    memory = after(EffectKind.DESTROY_VM, OutcomeCode.UNKNOWN)
    assert follow_start(memory, seen(V.ABSENT, L.OURS), POLICY) == memory


@pytest.mark.parametrize(
    ("vm", "asked_after_seconds", "told"),
    [
        (V.ABSENT, None, False),
        (V.ABSENT, LATE - 0.1, False),
        (V.ABSENT, LATE, True),
        (V.DOWN, LATE - 0.1, False),
        (V.DOWN, LATE, True),
        (V.UNKNOWN, LATE + 100.0, False),
        (V.MIGRATING_HERE, LATE + 100.0, False),
        (V.STARTING, None, True),
        (V.UP, 1.0, True),
    ],
)
def test_what_a_look_tells(
    vm: VmCondition, asked_after_seconds: Optional[float], told: bool
) -> None:
    at = None if asked_after_seconds is None else ASKED + asked_after_seconds
    picture = dataclasses.replace(seen(vm, L.OURS), vm_asked_at=at)
    memory = Memory(start_open_since=ASKED)
    assert is_told(memory, picture, POLICY) is told
    expected = None if told else ASKED
    assert follow_start(memory, picture, POLICY).start_open_since == expected


@pytest.mark.parametrize(
    ("condition", "holder", "told"),
    [
        (L.FREE, None, True),
        (L.HELD, 2, True),
        (L.EXPIRED, 2, True),
        (L.EXPIRED, US, False),
        (L.OURS, US, False),
        (L.UNKNOWN, None, False),
    ],
)
def test_a_lease_that_is_not_ours_is_not_kept_for_it(
    condition: LeaseCondition, holder: Optional[int], told: bool
) -> None:
    picture = seen(V.ABSENT, lease=lease(condition, host_id=holder))
    assert is_told(Memory(start_open_since=ASKED), picture, POLICY) is told


def test_a_start_is_settled_when_none_is_open() -> None:
    picture = seen(V.ABSENT, L.OURS)
    assert start_settled(Context(Memory(), picture, POLICY, 3400))
    assert not start_settled(Context(Memory(start_open_since=ASKED), picture, POLICY, 3400))


def test_what_is_not_open_stays_so() -> None:
    picture = dataclasses.replace(seen(V.ABSENT, L.OURS), vm_asked_at=NOW)
    assert not is_told(Memory(), picture, POLICY)
    assert follow_start(Memory(), picture, POLICY) == Memory()
