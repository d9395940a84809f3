# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest

from ha_agent.agent_events import AgentEvents
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.machine import Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import (
    Health,
    LeaseCondition,
    Observation,
    Outcome,
    OutcomeCode,
    VmCondition,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.instant import Instant, WallTime
from tests.fsm.pictures import NOW, seen

AT = WallTime(1_700_000_000.0)
V, L = VmCondition, LeaseCondition
MEMORY = Memory(state_since=NOW, running_since=NOW, global_maintenance=False)
TAKE = Effect(EffectKind.TAKE_LEASE, 1, "it is our turn")


def step(state: State, picture: Observation) -> Step:
    decision = Fsm().step(state, MEMORY, picture, Policy())
    return Step(state, MEMORY, picture, Policy(), decision)


@pytest.fixture
def events() -> AgentEvents:
    return AgentEvents(Instant(10.0))


def test_a_change_of_state_is_told_in_words(events: AgentEvents) -> None:
    events.decided(step(State.ENGINE_DOWN, seen(V.ABSENT, L.FREE)), AT)
    state, effect = events.waiting
    assert state.kind == "state"
    assert state.text == (
        "This host: taking the lease, then asking VDSM to start the engine VM (EngineStart), "
        "because: nobody holds the lease and it is our turn: take it."
    )
    assert (state.values["from"], state.values["to"]) == ("EngineDown", "EngineStart")
    assert state.at_unix_seconds == AT.unix_seconds
    assert effect.kind == "effect"
    assert effect.text.startswith("The agent asks to take the lease, because: ")


def test_a_fallback_is_said(events: AgentEvents) -> None:
    taken = step(State.ENGINE_DOWN, seen(V.ABSENT, L.FREE))
    effect = Effect(EffectKind.START_VM, 1, "it failed", fallback=True)
    decision = replace(taken.decision, effect=effect)
    events.decided(replace(taken, decision=decision), AT)
    event = events.waiting[-1]
    assert "from the last definition with which the engine became healthy" in event.text
    assert event.values["fallback"] == "yes"


def test_a_step_that_decides_nothing_tells_nothing(events: AgentEvents) -> None:
    events.decided(step(State.ENGINE_DOWN, seen(V.ABSENT, L.HELD)), AT)
    assert events.waiting == ()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (OutcomeCode.OK, "Taking the lease: accepted: x."),
        (OutcomeCode.REFUSED, "refused"),
        (OutcomeCode.FAILED, "failed"),
        (OutcomeCode.UNKNOWN, "may still take effect"),
        (OutcomeCode.LEASE_HELD_ELSEWHERE, "VM lease held elsewhere"),
    ],
)
def test_what_became_of_an_effect(events: AgentEvents, code: OutcomeCode, words: str) -> None:
    events.ended(TAKE, Outcome(1, code, "x"), AT)
    (event,) = events.waiting
    assert event.kind == "outcome"
    assert words in event.text
    assert event.values["code"] == code.value


def test_serials_grow_over_runs_of_the_agent(events: AgentEvents) -> None:
    for _ in range(3):
        events.ended(TAKE, Outcome(1, OutcomeCode.OK), AT)
    serials = [event.serial for event in events.waiting]
    assert serials == sorted(set(serials))
    later = AgentEvents(Instant(11.0))
    later.ended(TAKE, Outcome(1, OutcomeCode.OK), AT)
    assert later.waiting[0].serial > serials[-1]


def test_only_what_was_taken_is_forgotten(events: AgentEvents) -> None:
    events.ended(TAKE, Outcome(1, OutcomeCode.OK), AT)
    sent = events.waiting
    events.ended(TAKE, Outcome(2, OutcomeCode.FAILED), AT)
    events.taken(sent)
    assert [event.values["code"] for event in events.waiting] == ["failed"]


def test_without_a_broker_the_oldest_give_way_and_are_counted(events: AgentEvents) -> None:
    for serial in range(500):
        events.ended(TAKE, Outcome(serial, OutcomeCode.OK, str(serial)), AT)
    assert len(events.waiting) == 200
    first, *_, last = events.waiting
    assert last.text.endswith("499.")
    assert first.text.endswith("300. 300 events before this one are lost, as no broker took them.")
    assert first.values["dropped_before"] == "300"
    events.taken((first,))
    assert "lost" not in events.waiting[0].text


def test_where_the_vm_came_from_nothing_is_marked_once(events: AgentEvents) -> None:
    up = seen(V.UP, L.OURS, health=Health.GOOD)
    events.decided(step(State.ENGINE_START, up), AT)
    events.decided(step(State.ENGINE_STARTING, up), AT)
    assert [event.values.get("vm") for event in events.waiting] == ["came", None]
    events.decided(step(State.ENGINE_DOWN, seen(V.ABSENT, L.HELD)), AT)
    events.decided(step(State.ENGINE_START, up), AT)
    assert events.waiting[-1].values.get("vm") == "came"


def test_a_vm_that_a_new_agent_finds_did_not_come_now(events: AgentEvents) -> None:
    up = seen(V.UP, L.OURS, health=Health.GOOD)
    events.decided(step(State.START, up), AT)
    events.decided(step(State.ENGINE_STARTING, up), AT)
    assert [event.values.get("vm") for event in events.waiting] == [None, None]


def test_the_record_of_a_vm_that_has_ended_is_not_ended_by_force(events: AgentEvents) -> None:
    for condition, word in ((V.DOWN, "forget"), (V.UP, "by force")):
        taken = step(State.ENGINE_STOP, seen(condition, L.OURS))
        effect = Effect(EffectKind.DESTROY_VM, 5 if condition is V.DOWN else 6, "x")
        events.decided(replace(taken, decision=replace(taken.decision, effect=effect)), AT)
        events.ended(effect, Outcome(1, OutcomeCode.OK), AT)
        asked, ended = events.waiting[-2:]
        assert word in asked.text
        assert word in ended.text.lower().replace("forgetting", "forget")


@pytest.mark.parametrize("kind", EffectKind)
def test_every_kind_of_effect_has_its_words(events: AgentEvents, kind: EffectKind) -> None:
    effect = Effect(kind, 1, "x")
    taken = step(State.ENGINE_DOWN, seen(V.ABSENT, L.FREE))
    events.decided(replace(taken, decision=replace(taken.decision, effect=effect)), AT)
    events.ended(effect, Outcome(1, OutcomeCode.OK), AT)
    asked, ended = events.waiting[-2:]
    assert asked.text.startswith("The agent asks to ")
    assert ended.text.endswith(": accepted.")
