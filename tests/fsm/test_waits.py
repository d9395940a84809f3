# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Optional

import pytest
from hypothesis import given

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.machine import Fsm
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    LeaseCondition,
    Observation,
    ShutdownView,
    VmCondition,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.fsm.trends import Trend, Trends
from ha_agent.fsm.waits import Other, others, waits
from ha_agent.instant import Instant
from tests.fsm.pictures import NOW, failed, lease, observations, peer, seen, states_with_memory

S, V, L = State, VmCondition, LeaseCondition
POLICY = Policy()
HERE = Memory(state_since=NOW - 10.0, running_since=NOW - 10.0, global_maintenance=False)
JUST_FREE = dataclasses.replace(lease(L.EXPIRED), available_since=NOW)

CASES: list[tuple[State, Memory, Observation, str, Optional[Instant]]] = [
    (S.START, Memory(), seen(V.UNKNOWN), "VDSM on this host to answer", None),
    (S.START, Memory(), seen(V.ABSENT), "status blocks", None),
    (S.START, HERE, seen(V.ABSENT, L.UNKNOWN), "news of the lease", None),
    (S.ENGINE_DOWN, HERE, seen(V.ABSENT, L.HELD), "host 2 holds the lease and renews it", None),
    (
        S.ENGINE_DOWN,
        HERE,
        seen(V.ABSENT, lease=JUST_FREE, peers=(peer(3, score=3401), peer(4, score=3402))),
        "this host's turn",
        NOW + 2 * POLICY.takeover_step_seconds,
    ),
    (
        S.ENGINE_DOWN,
        failed(2, not_before=NOW + 7.0),
        seen(V.ABSENT, L.FREE),
        "failure 2 of the engine VM",
        NOW + 7.0,
    ),
    (
        S.ENGINE_DOWN,
        Memory(not_before=NOW + 7.0),
        seen(V.ABSENT, L.FREE),
        "lets other hosts have the engine VM first",
        NOW + 7.0,
    ),
    (
        S.ENGINE_DOWN,
        Memory(state_since=NOW - 10.0, elsewhere_until=NOW + 200.0),
        seen(V.ABSENT, L.FREE, health=Health.GOOD),
        "the engine to stop answering",
        NOW + 200.0,
    ),
    (
        S.ENGINE_DOWN,
        HERE,
        seen(V.ABSENT, L.FREE, peers=(peer(3, vm_up=True),)),
        "h3, which still reports",
        None,
    ),
    (
        S.ENGINE_DOWN,
        HERE,
        seen(V.ABSENT, L.FREE, definition=DefinitionView()),
        "keeps this host from running",
        None,
    ),
    (
        S.ENGINE_UNEXPECTEDLY_DOWN,
        HERE,
        seen(V.ABSENT, L.HELD),
        "other hosts to try",
        NOW - 10.0 + POLICY.unexpected_down_seconds,
    ),
    (
        S.ENGINE_START,
        failed(3, not_before=NOW + 5.0),
        seen(V.ABSENT, L.OURS),
        "failure 3",
        NOW + 5.0,
    ),
    (
        S.ENGINE_STARTING,
        HERE,
        seen(V.UP, L.OURS),
        "the engine to answer",
        NOW - 10.0 + POLICY.start_timeout_seconds,
    ),
    (
        S.ENGINE_UP_BAD_HEALTH,
        dataclasses.replace(HERE, bad_since=NOW - 3.0),
        seen(V.UP, L.OURS),
        "answer well again",
        NOW - 3.0 + POLICY.bad_health_grace_seconds,
    ),
    (
        S.ENGINE_UP_BAD_HEALTH,
        dataclasses.replace(
            HERE, bad_since=NOW - 3.0, trends=Trends(network=Trend(since=NOW - 60.0))
        ),
        seen(V.UP, L.OURS),
        "this host's network",
        None,
    ),
    (
        S.ENGINE_STOP,
        HERE,
        seen(V.UP, L.OURS),
        "to shut down",
        NOW - 10.0 + POLICY.stop_timeout_seconds,
    ),
    (S.ENGINE_FORCE_STOP, HERE, seen(V.UP, L.OURS), "ended by force", None),
    (S.ENGINE_MIGRATING_AWAY, HERE, seen(V.MIGRATING_AWAY, L.OURS), "migration", None),
    (S.LOCAL_MAINTENANCE_MIGRATE_VM, HERE, seen(V.UP, L.OURS), "another host that can", None),
    (
        S.LOCAL_MAINTENANCE,
        HERE,
        seen(V.ABSENT, L.HELD, local_maintenance=True),
        "local maintenance to be ended",
        None,
    ),
    (
        S.GLOBAL_MAINTENANCE,
        dataclasses.replace(HERE, shutdown=ShutdownView(True, False, "h2 to see the order")),
        seen(V.UP, L.OURS),
        "h2 to see the order, before the cluster is shut down",
        None,
    ),
    (
        S.GLOBAL_MAINTENANCE,
        dataclasses.replace(HERE, shutdown=ShutdownView(True, True)),
        seen(V.ABSENT, L.FREE),
        "cluster resume",
        None,
    ),
    (
        S.ENGINE_UP_BAD_HEALTH,
        dataclasses.replace(HERE, paused_since=NOW - 3.0),
        seen(V.PAUSED, L.OURS),
        "the paused engine VM to go on",
        NOW - 3.0 + POLICY.bad_health_grace_seconds,
    ),
    (
        S.ENGINE_UP,
        dataclasses.replace(HERE, trends=Trends(network=Trend(since=NOW - 60.0))),
        seen(
            V.UP,
            L.OURS,
            peers=(peer(page=Health.BAD, page_bad_seconds=40, page_told_at=NOW - 3.0),),
        ),
        "this host's network, or for h2 to reach the engine; else it is handed over",
        NOW - 3.0 + POLICY.bad_health_grace_seconds - 40.0,
    ),
    (S.GLOBAL_MAINTENANCE, HERE, seen(V.UP, L.OURS), "global maintenance to be ended", None),
    (
        S.UNKNOWN_LOCAL_VM,
        dataclasses.replace(HERE, vm_unknown_since=NOW - 5.0),
        seen(V.UNKNOWN, L.OURS),
        "before the lease is given up",
        NOW - 5.0 + POLICY.vdsm_silent_seconds,
    ),
]


@pytest.mark.parametrize(("state", "memory", "picture", "words", "until"), CASES)
def test_what_is_waited_for_is_said_with_its_end(
    state: State, memory: Memory, picture: Observation, words: str, until: Optional[Instant]
) -> None:
    found = [w for w in waits(state, memory, picture, POLICY, 3400) if words in w.what]
    assert [wait.until for wait in found] == [until]


def test_an_effect_under_way_is_said() -> None:
    pending = Effect(EffectKind.START_VM, 3, "x")
    memory = dataclasses.replace(HERE, pending=pending)
    found = waits(S.ENGINE_START, memory, seen(V.ABSENT, L.OURS), POLICY, 3400)
    assert [wait.what for wait in found] == ["VDSM to take the order to start the engine VM"]


def test_a_healthy_engine_waits_for_nothing() -> None:
    assert waits(S.ENGINE_UP, HERE, seen(V.UP, L.OURS), POLICY, 3400) == ()


def test_a_pause_that_is_over_is_not_waited_for() -> None:
    found = waits(S.ENGINE_START, failed(1, not_before=NOW), seen(V.ABSENT, L.OURS), POLICY, 3400)
    assert found == ()


@given(states_with_memory(), observations)
def test_every_situation_is_told_without_counting_ages(
    situation: tuple[State, Memory], picture: Observation
) -> None:
    """What is waited for changes with the situation, not with each second in it."""
    decision = Fsm().step(*situation, picture, POLICY)
    state, memory, score = decision.state, decision.memory, decision.score.points
    now = waits(state, memory, picture, POLICY, score)
    assert all(wait.what for wait in now)
    later = dataclasses.replace(picture, now=NOW + 0.001)
    same = {wait.what for wait in waits(state, memory, later, POLICY, score)}
    ended = {wait.what for wait in now if wait.until and wait.until <= NOW + 0.001}
    assert {wait.what for wait in now} - ended <= same


def test_other_hosts_and_why_not() -> None:
    picture = seen(
        V.ABSENT,
        L.EXPIRED,
        peers=(
            peer(2),
            peer(7, score=0),
            peer(3, alive=False),
            peer(4, stopped=True),
            peer(5, maintenance=True),
            peer(6, score=2400),
            peer(8, predecessor=True),
        ),
    )
    found = others(picture)
    assert [other.host_id for other in found] == [2, 3, 4, 5, 6, 7, 8]
    assert [other.host_id for other in found if other.able] == [6, 8]
    by_id = {other.host_id: other.why for other in found}
    assert "let its lease expire" in by_id[2]
    assert "silent" in by_id[3]
    assert "stopped" in by_id[4]
    assert "maintenance" in by_id[5]
    assert by_id[7] == "its score is 0"
    assert "the predecessor's agent" in by_id[8]
    assert others(seen()) == ()
    assert isinstance(found[0], Other)
