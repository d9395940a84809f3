# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any, Optional

import pytest

from ha_agent.sim.predecessor import Look, Machine, Peer, Status, Step, engine_rank, step

UP: Status = {"vm": "up", "health": "good", "detail": "Up"}
BAD: Status = {"vm": "up", "health": "bad", "detail": "Up"}
PAUSED: Status = {"vm": "up", "health": "bad", "detail": "Paused"}
DOWN: Status = {"vm": "down", "health": "bad", "detail": "Down"}
CRASHED: Status = {"vm": "down_unexpected", "health": "bad", "detail": "Down"}
UNKNOWN: Status = {"vm": "unknown", "health": "unknown", "detail": "unknown"}


def run(
    machine: Machine, *statuses: Status, at: float = 0.0, peers: Optional[Any] = None, **more: Any
) -> list[Step]:
    """A look every 10.3 s. `peers(at)` are those of a look."""
    steps = []
    for number, status in enumerate(statuses):
        now = at + 10.3 * number
        found = peers(now) if peers else {}
        done = step(machine, Look(now, status, found, **more))
        machine = done.machine
        steps.append(done)
    return steps


def living(score: int, status: Status) -> Any:
    return lambda at: {2: Peer(int(at), score, status)}


def states(steps: list[Step]) -> list[str]:
    return [done.machine.state for done in steps]


def test_alone_it_starts_the_vm_after_a_minute_of_looks() -> None:
    steps = run(Machine(), *[DOWN] * 9)
    assert states(steps)[:6] == ["EngineDown"] * 6
    assert (steps[6].machine.state, steps[6].action) == ("EngineStart", "start")


@pytest.mark.parametrize(
    ("score", "starts"), [(3399, True), (3400, True), (3401, False), (0, True)]
)
def test_of_equal_scores_all_start(score: int, starts: bool) -> None:
    steps = run(Machine(), *[DOWN] * 12, peers=living(score, DOWN))
    assert any(done.action == "start" for done in steps) is starts


def test_a_live_peer_with_the_vm_keeps_it_from_starting_and_a_silent_one_does_not() -> None:
    assert not any(d.action for d in run(Machine(), *[DOWN] * 20, peers=living(0, UP)))
    steps = run(Machine(), *[DOWN] * 20, peers=lambda _: {2: Peer(7, 3400, UP)})
    assert any(done.action == "start" for done in steps)


def test_it_stops_a_healthy_engine_for_a_peer_with_800_points_more() -> None:
    up = Machine("EngineUp")
    looks = [UP] * 9
    assert states(run(up, *looks, peers=living(3400, DOWN), penalty=799)) == ["EngineUp"] * 9
    steps = run(up, *looks, peers=living(3400, DOWN), penalty=800)
    assert (steps[6].machine.state, steps[6].action) == ("EngineStop", "shutdown")


def test_a_lost_race_for_the_vm_lease_costs_nothing_and_is_run_again() -> None:
    steps = run(Machine("EngineStart"), DOWN)
    assert (steps[0].machine.state, steps[0].action) == ("EngineDown", "destroy")
    assert steps[0].machine.score(0) == 3400


def test_a_crash_costs_560_s_and_the_timeout_stands_in_the_block() -> None:
    steps = run(Machine("EngineUp"), *[CRASHED] * 58)
    assert states(steps)[:56] == ["EngineUnexpectedlyDown"] * 55 + ["EngineDown"]
    assert (steps[0].machine.score(0), steps[0].machine.timeout_at) == (0, 560.0)


def test_a_refused_start_costs_50_points_for_one_block() -> None:
    (done,) = run(Machine("EngineStart"), DOWN, refused=True)
    assert (done.machine.state, done.machine.score(0)) == ("EngineDown", 3350)
    (after,) = run(done.machine, DOWN, at=10.0)
    assert after.machine.score(0) == 3400


def test_a_hung_engine_has_300_s_and_the_stop_has_300_more() -> None:
    steps = run(Machine("EngineUp"), *[BAD] * 62)
    found = states(steps)
    assert found.index("EngineStop") == 30
    assert found.index("EngineDown") == 60
    assert steps[60].action == "destroy"


def test_an_engine_that_never_gets_healthy_has_600_s() -> None:
    assert states(run(Machine("EngineStarting"), *[BAD] * 61)).index("EngineStop") == 59


def test_a_vm_that_left_has_40_s_to_turn_up() -> None:
    found = states(run(Machine("EngineUp"), *[DOWN] * 5))
    assert found == ["EngineMaybeAway"] * 4 + ["EngineUnexpectedlyDown"]


@pytest.mark.parametrize(
    ("more", "status", "state"),
    [
        ({"global_maintenance": True}, UP, "GlobalMaintenance"),
        ({"local_maintenance": True}, DOWN, "LocalMaintenance"),
        ({}, UNKNOWN, "UnknownLocalVmState"),
    ],
)
def test_what_comes_before_all_else(more: dict[str, bool], status: Status, state: str) -> None:
    (done,) = run(Machine("EngineDown"), status, **more)
    assert (done.machine.state, done.action) == (state, "")


def test_how_engines_rank() -> None:
    assert [engine_rank(s) for s in (UNKNOWN, DOWN, CRASHED, PAUSED, BAD, UP)] == [
        0,
        1,
        1,
        2,
        3,
        4,
    ]
