# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Optional

import pytest

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.follow import follow
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    HealthView,
    Outcome,
    OutcomeCode,
    ShutdownView,
    VmCondition,
    VmView,
)
from ha_agent.instant import Instant
from tests.fsm.pictures import NOW, seen

V = VmCondition
BEFORE = NOW - 50.0


@pytest.mark.parametrize(
    ("condition", "running", "unknown", "paused"),
    [
        (V.UP, BEFORE, None, None),
        (V.STARTING, BEFORE, None, None),
        (V.PAUSED, BEFORE, None, BEFORE),
        (V.UNKNOWN, BEFORE, BEFORE, None),
        (V.ABSENT, None, None, None),
        (V.DOWN, None, None, None),
        (V.MIGRATING_HERE, None, None, None),
    ],
)
def test_since_when(
    condition: VmCondition,
    running: Optional[Instant],
    unknown: Optional[Instant],
    paused: Optional[Instant],
) -> None:
    memory = Memory(running_since=BEFORE, vm_unknown_since=BEFORE, paused_since=BEFORE)
    after = follow(memory, seen(condition))
    assert after.running_since == running
    assert after.vm_unknown_since == unknown
    assert after.paused_since == paused


def test_what_begins_begins_now() -> None:
    assert follow(Memory(), seen(V.UP)).running_since == NOW
    assert follow(Memory(), seen(V.PAUSED)).paused_since == NOW
    assert follow(Memory(), seen(V.UNKNOWN)).vm_unknown_since == NOW
    assert follow(Memory(), seen(V.UNKNOWN)).running_since is None


def test_a_vm_that_is_being_launched_has_no_page_yet() -> None:
    """What answers may be the VM on another host, whose VM lease will end this start."""
    launching = dataclasses.replace(
        seen(health=Health.GOOD), vm=VmView(V.STARTING, launching=True)
    )
    memory = follow(Memory(), launching)
    assert (memory.running_since, memory.was_healthy) == (None, False)
    assert follow(memory, seen(V.STARTING, health=Health.GOOD)).was_healthy


def test_a_bad_page_counts_from_the_first_of_an_unbroken_row() -> None:
    running = Memory(running_since=BEFORE)
    bad = follow(running, seen(V.UP, health=Health.BAD))
    assert bad.bad_since == NOW
    assert follow(dataclasses.replace(bad, bad_since=BEFORE), seen(V.UP)).bad_since is None
    memory = dataclasses.replace(bad, bad_since=BEFORE)
    assert follow(memory, seen(V.UP, health=Health.BAD)).bad_since == BEFORE
    assert follow(memory, seen(V.UP, health=Health.GOOD)).bad_since is None


def test_a_paused_engine_is_not_healthy_whatever_its_page_said_last() -> None:
    memory = follow(Memory(running_since=BEFORE), seen(V.PAUSED, health=Health.GOOD))
    assert not memory.was_healthy


@pytest.mark.parametrize("page", [Health.GOOD, Health.BAD])
def test_what_a_page_says_during_a_pause_is_no_evidence_of_a_hung_engine(page: Health) -> None:
    before = Memory(running_since=BEFORE, bad_since=BEFORE)
    assert follow(before, seen(V.PAUSED, health=page)).bad_since is None


def test_a_vm_that_was_never_seen_is_judged_by_pages_since_vdsm_fell_silent() -> None:
    """An agent that was restarted while VDSM is silent has nothing else."""
    picture = seen(V.UNKNOWN)
    for taken_at, bad_since in ((BEFORE - 1.0, None), (BEFORE, NOW)):
        page = HealthView(Health.BAD, taken_at=taken_at)
        looked = dataclasses.replace(picture, health=page)
        assert follow(Memory(vm_unknown_since=BEFORE), looked).bad_since == bad_since


def test_once_healthy_stays_so_until_the_next_start() -> None:
    memory = follow(Memory(running_since=BEFORE), seen(V.UP, health=Health.GOOD))
    assert memory.was_healthy
    assert follow(memory, seen(V.UP, health=Health.BAD)).was_healthy
    assert follow(memory, seen(V.ABSENT)).was_healthy


def test_an_order_that_is_not_known_now_stands() -> None:
    memory = Memory(shutdown=ShutdownView(True, True))
    assert follow(memory, seen()).shutdown.ready
    assert not follow(memory, seen(shutdown=ShutdownView())).shutdown.ordered


def started(code: OutcomeCode, definition: str, kind: EffectKind = EffectKind.START_VM) -> Memory:
    effect = Effect(kind, 3, "test")
    outcome = Outcome(3, code, "no such bus", definition)
    return Memory(settled_effect=effect, settled=outcome, started_from="d1")


def test_the_broker_says_what_the_vm_was_started_from() -> None:
    memory = follow(started(OutcomeCode.OK, "d2"), seen())
    assert (memory.started_from, memory.start_fault) == ("d2", "")
    memory = follow(started(OutcomeCode.FAILED, ""), seen())
    assert (memory.started_from, memory.start_fault) == ("d1", "no such bus")


def test_only_a_start_tells_of_definitions() -> None:
    for kind in (EffectKind.TAKE_LEASE, EffectKind.SHUTDOWN_VM):
        memory = follow(started(OutcomeCode.FAILED, "d2", kind), seen())
        assert (memory.started_from, memory.start_fault) == ("d1", "")


def test_another_definition_in_use_begins_without_faults() -> None:
    memory = Memory(failing="d1", failed_starts=2)
    assert follow(memory, seen()) == memory
    lost = seen(definition=DefinitionView(problem="torn"))
    assert follow(memory, lost) == memory
    other = seen(definition=DefinitionView(available=True, identity="d2"))
    assert (follow(memory, other).failing, follow(memory, other).failed_starts) == ("", 0)


def test_a_vm_that_was_not_started_here_is_of_unknown_definition() -> None:
    gone = Memory(started_from="d1", last_kind=EffectKind.RELEASE_LEASE, last_at=BEFORE)
    assert follow(gone, seen(V.UP)).started_from == ""
    ours = dataclasses.replace(gone, last_kind=EffectKind.START_VM)
    assert follow(ours, seen(V.UP)).started_from == "d1"
    running = dataclasses.replace(gone, running_since=BEFORE)
    assert follow(running, seen(V.UP)).started_from == "d1"
