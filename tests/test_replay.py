# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given

from ha_agent.decision_codec import Record, decode, encode
from ha_agent.fsm.machine import Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import LeaseCondition, Observation, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from ha_agent.instant import WallTime
from ha_agent.replay import as_json, as_text, replay
from tests.fsm.pictures import NOW, lease, observations, peer, seen, states_with_memory
from tests.fsm.row_cases import CASES, Case

AT = WallTime(1_700_000_000.0)
LOOKED = Memory(state_since=NOW - 100.0, global_maintenance=False)
FSM = Fsm()
JUST_FREE = dataclasses.replace(lease(LeaseCondition.EXPIRED), available_since=NOW - 1.5)


def record_of(
    state: State, memory: Memory, picture: Observation, fsm: Fsm = FSM, **policy: float
) -> Record:
    rules = replace(Policy(), **policy)  # type: ignore[arg-type]
    step = Step(state, memory, picture, rules, fsm.step(state, memory, picture, rules))
    return decode(encode(step, AT, "1.0"), where="x")


def at_our_turn() -> Record:
    """The second host in the ranks takes the lease after its second."""
    picture = seen(lease=JUST_FREE, peers=(peer(3, score=3500),))
    return record_of(State.ENGINE_DOWN, LOOKED, picture)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why[:40])
def test_what_the_same_program_decided_is_no_difference(case: Case) -> None:
    records = [record_of(state, case.memory, case.picture) for state in case.sources]
    assert case.why in [(record.decided["row"] or {}).get("why") for record in records]
    assert [replay(FSM, record, "x").differences for record in records] == [()] * len(records)


@given(states_with_memory(), observations)
def test_nothing_recorded_differs(situation: tuple[State, Memory], picture: Observation) -> None:
    assert replay(FSM, record_of(*situation, picture), "x").differences == ()


def test_another_policy_shows_which_guard_holds_no_more() -> None:
    record = at_our_turn()
    assert record.decided["effect"]["kind"] == "take lease"
    replayed = replay(FSM, record, "ring, record 3", replace(Policy(), takeover_step_seconds=5.0))
    assert {one.what for one in replayed.differences} >= {"state", "row", "effect"}
    failed = [one.question for one in replayed.guards_then if not one.holds]
    assert failed == ["it is this host's turn to take the lease"]
    assert replayed.guards_now == ()
    text = as_text(replayed)
    assert "ring, record 3" in text
    assert "(EngineDown)" in text
    assert "-> EngineStart, asking to take lease" in text
    assert "Now:    nothing changes" in text
    assert "NO   it is this host's turn to take the lease" in text
    value = as_json(replayed)
    assert value["guards_then"]["it is this host's turn to take the lease"] is False
    assert value["now"]["row"] is None


def test_an_edge_that_is_gone_is_said() -> None:
    row = next(row for row in TABLE if row.why == "first look done")
    old = Fsm((replace(row, why="looked"), *(one for one in TABLE if one is not row)))
    record = record_of(State.START, Memory(global_maintenance=False), seen(), fsm=old)
    replayed = replay(FSM, record, "x")
    assert [one.what for one in replayed.differences] == ["row.why"]
    assert "no such edge" in as_text(replayed)
    assert "What the edge of now asks:" in as_text(replayed)


def test_another_memory_is_a_difference() -> None:
    record = record_of(State.ENGINE_UP, Memory(), seen(VmCondition.UP, LeaseCondition.OURS))
    memory = {**record.decided["memory"], "failures": [1.0], "of_the_future": 7}
    record = replace(record, decided={**record.decided, "memory": memory})
    replayed = replay(FSM, record, "x")
    assert [one.what for one in replayed.differences] == ["memory.failures"]
    assert "memory.failures: [1.0] then, [] now" in as_text(replayed)


def test_notes_of_other_versions_are_told() -> None:
    value = msgpack.unpackb(
        encode(
            Step(
                State.START,
                Memory(),
                seen(),
                Policy(),
                FSM.step(State.START, Memory(), seen(), Policy()),
            ),
            AT,
            "0.9",
        )
    )
    value["policy"]["mood"] = 1
    value["decision"]["state"] = "EngineUp"
    replayed = replay(FSM, decode(msgpack.packb(value), where="x"), "x")
    assert "Note: x.policy.mood is not known" in as_text(replayed)
    assert as_json(replayed)["notes"]
