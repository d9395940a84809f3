# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest

from ha_agent import agent_journal
from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.snapshot import LeaseEntry, Snapshot
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.machine import Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import LeaseCondition, Outcome, OutcomeCode, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from tests.fsm.pictures import NOW, seen
from tests.journal_sink import journal

V, L = VmCondition, LeaseCondition
MEMORY = Memory(state_since=NOW, running_since=NOW, global_maintenance=False)


def step(state: State, vm: VmCondition, lease: LeaseCondition, memory: Memory = MEMORY) -> Step:
    picture = seen(vm, lease)
    decision = Fsm().step(state, memory, picture, Policy())
    assert decision.row is not None
    return Step(state, memory, picture, Policy(), decision)


def test_a_change_of_state_has_its_fields() -> None:
    taken = step(State.ENGINE_DOWN, V.ABSENT, L.FREE)
    with journal() as sink:
        agent_journal.stands(taken.decision)
        agent_journal.decided(taken, "it is our turn")
    fields = ("state", "prev_state", "reason", "score", "effect")
    assert sink.named(*fields) == [
        ("STATE_CHANGED", "EngineStart", "EngineDown", "it is our turn", "3400", "take lease")
    ]
    assert sink.entries[0]["MESSAGE"] == ("EngineDown -> EngineStart: it is our turn (take lease)")


@pytest.mark.parametrize("vm", [V.ABSENT, V.DOWN])
def test_a_vm_that_ended_unasked_is_told(vm: VmCondition) -> None:
    with journal() as sink:
        agent_journal.decided(step(State.ENGINE_UP, vm, L.OURS), "x")
    assert [name for (name,) in sink.named()] == ["STATE_CHANGED", "VM_DIED"]


def test_a_vm_that_ended_unasked_too_often_is_told() -> None:
    often = replace(MEMORY, failures=tuple(NOW for _ in range(20)))
    died = step(State.ENGINE_UP, V.ABSENT, L.OURS, often)
    assert died.decision.state is State.ENGINE_STOP
    with journal() as sink:
        agent_journal.decided(died, "x")
    assert [name for (name,) in sink.named()] == ["STATE_CHANGED", "VM_DIED"]


def test_a_vm_that_is_not_here_yet_has_not_died() -> None:
    with journal() as sink:
        agent_journal.decided(step(State.ENGINE_DOWN, V.ABSENT, L.FREE), "x")
    assert [name for (name,) in sink.named()] == ["STATE_CHANGED"]


@pytest.mark.parametrize(
    ("kind", "code", "forgets", "names"),
    [
        (EffectKind.START_VM, OutcomeCode.OK, False, ["VM_STARTED"]),
        (EffectKind.SHUTDOWN_VM, OutcomeCode.OK, False, ["VM_STOPPED"]),
        (EffectKind.DESTROY_VM, OutcomeCode.OK, False, ["VM_STOPPED"]),
        (EffectKind.DESTROY_VM, OutcomeCode.OK, True, []),
        (EffectKind.START_VM, OutcomeCode.UNKNOWN, False, []),
        (EffectKind.TAKE_LEASE, OutcomeCode.OK, False, []),
    ],
)
def test_what_was_done_to_the_vm(
    kind: EffectKind, code: OutcomeCode, forgets: bool, names: list[str]
) -> None:
    with journal() as sink:
        agent_journal.performed(Effect(kind, 1, "why"), Outcome(1, code), forgets=forgets)
    assert [name for (name,) in sink.named()] == names
    assert all(entry["HA_REASON"] == "why" for entry in sink.entries)


def test_epoch_and_open_incidents_are_on_all_records() -> None:
    picture = Snapshot(0, 1, "alpha", "vm", NOW, lease=LeaseEntry("held", epoch=7))
    incidents = (IncidentEntry("1-5", "storage", "critical", "x"),)
    with journal() as sink:
        agent_journal.heard(replace(picture, incidents=incidents))
        agent_journal.decided(step(State.ENGINE_DOWN, V.ABSENT, L.FREE), "x")
        agent_journal.heard(picture)
        agent_journal.decided(step(State.ENGINE_DOWN, V.ABSENT, L.FREE), "x")
    assert [entry.get("HA_INCIDENT") for entry in sink.entries] == ["1-5", None]
    assert {entry["HA_EPOCH"] for entry in sink.entries} == {"7"}
