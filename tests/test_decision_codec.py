# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.decision_codec import MAX_RECORD_BYTES, decode, encode, plain, plain_decision
from ha_agent.errors import BadInput
from ha_agent.fsm.machine import Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import LeaseCondition, Observation, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.instant import WallTime
from tests.fsm.pictures import observations, peer, seen, states_with_memory

AT = WallTime(1_700_000_000.25)


def step_of(state: State, memory: Memory, picture: Observation) -> Step:
    policy = Policy()
    return Step(state, memory, picture, policy, Fsm().step(state, memory, picture, policy))


SAMPLE = step_of(State.ENGINE_DOWN, Memory(global_maintenance=False), seen(peers=(peer(),)))


def as_map(step: Step = SAMPLE) -> dict[str, Any]:
    value: dict[str, Any] = msgpack.unpackb(encode(step, AT, "1.0"))
    return value


@given(states_with_memory(), observations)
def test_a_step_comes_back_as_it_was(
    situation: tuple[State, Memory], picture: Observation
) -> None:
    step = step_of(*situation, picture)
    record = decode(encode(step, AT, "1.0"), where="x")
    assert (record.state, record.memory) == situation
    assert (record.observation, record.policy) == (step.observation, step.policy)
    assert (record.at, record.program, record.host_id) == (AT, "1.0", 1)
    assert record.decided == plain_decision(step.decision)
    assert record.notes == ()


def test_what_was_decided_is_told_by_the_edge() -> None:
    decided = decode(encode(SAMPLE, AT, "1.0"), where="x").decided
    assert decided["state"] == "EngineStart"
    assert decided["row"]["target"] == "EngineStart"
    assert decided["row"]["effect"] == decided["effect"]["kind"] == "take lease"
    assert "our turn" in decided["row"]["why"]


def test_a_step_without_an_edge_has_no_row() -> None:
    step = step_of(State.ENGINE_DOWN, Memory(), seen(VmCondition.ABSENT, LeaseCondition.HELD))
    assert as_map(step)["decision"]["row"] is None


def test_fields_of_other_versions_are_noted() -> None:
    value = as_map()
    value["memory"]["mood"] = 7
    del value["memory"]["failures"]
    record = decode(msgpack.packb(value), where="x")
    assert record.memory == SAMPLE.memory
    assert len(record.notes) == 2
    assert any("x.memory.failures" in note for note in record.notes)
    assert any("x.memory.mood" in note for note in record.notes)


@pytest.mark.parametrize(
    ("path", "wrong", "named"),
    [
        (("format",), 2, "format 2"),
        (("state",), "EngineSideways", "x.state"),
        (("at",), "now", "x.at"),
        (("memory",), [], "x.memory"),
        (("memory", "failures"), 7, "x.memory.failures"),
        (("memory", "failures"), ["a"], "x.memory.failures[0]"),
        (("observation", "now"), True, "x.observation.now"),
        (("observation", "vm", "condition"), "sideways", "x.observation.vm.condition"),
        (("observation", "peers"), [{}], "x.observation.peers[0].host_id"),
        (("policy", "weights", "base"), 1.5, "x.policy.weights.base"),
        (("decision",), None, "x.decision"),
    ],
)
def test_what_does_not_fit_is_named(path: tuple[str, ...], wrong: Any, named: str) -> None:
    value = as_map()
    inner = value
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = wrong
    with pytest.raises(BadInput) as caught:
        decode(msgpack.packb(value), where="x")
    assert named in str(caught.value)


@given(st.binary(max_size=200))
def test_rubbish_is_bad_input(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        decode(data, where="x")


@pytest.mark.parametrize("at", [1e17, -1.0, float("nan"), None])
def test_a_time_without_a_place_in_the_calendar_is_bad_input(at: Any) -> None:
    with pytest.raises(BadInput, match="no time of the calendar"):
        decode(msgpack.packb({**as_map(), "at": at}), where="x")


def test_a_cut_record_is_bad_input() -> None:
    data = encode(SAMPLE, AT, "1.0")
    for length in range(0, len(data), 97):
        with pytest.raises(BadInput):
            decode(data[:length], where="x")


def test_a_record_has_a_bound() -> None:
    crowd = tuple(peer(i, host_name="x" * 1000) for i in range(2, 2 + MAX_RECORD_BYTES // 1000))
    step = step_of(State.ENGINE_DOWN, Memory(), seen(peers=crowd))
    with pytest.raises(BadInput, match="too long"):
        encode(step, AT, "1.0")


def test_text_that_is_no_unicode_can_be_kept() -> None:
    picture = dataclasses.replace(SAMPLE.observation, peers=(peer(host_name="\udcff"),))
    record = decode(encode(dataclasses.replace(SAMPLE, observation=picture), AT, "1"), where="x")
    assert record.observation.peers[0].host_name == "?"


def test_plain_values_are_plain() -> None:
    assert plain({State.START: (1, frozenset({"b", "a"}))}) == {"StartState": [1, ["a", "b"]]}
