# SPDX-License-Identifier: Apache-2.0
"""Before the due nothing happens by itself; what is news, and what is only newer."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ha_agent.fsm import due
from ha_agent.fsm import guards as g
from ha_agent.fsm.better_host import Lead
from ha_agent.fsm.due import changed, next_due
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.guards import Guard
from ha_agent.fsm.machine import Decision, Fsm
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import (
    Health,
    HealthView,
    HostFacts,
    LeaseCondition,
    Observation,
    Outcome,
    OutcomeCode,
    VmCondition,
    VmView,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from ha_agent.fsm.trends import Trend, Trends
from ha_agent.instant import Instant
from tests.fsm.pictures import NOW, at, lease, observations, peer, seen, states_with_memory

POLICY = Policy()
FSM = Fsm()


def settled(
    stand: tuple[State, Memory], picture: Observation
) -> Optional[tuple[Decision, Observation]]:
    """Step until no row fires; None where pictures and memory never agree on that."""
    decision = FSM.step(*stand, picture, POLICY)
    picture = dataclasses.replace(picture, outcomes=())
    for _ in range(12):
        decision = FSM.step(decision.state, decision.memory, picture, POLICY)
        if decision.row is None:
            return decision, picture
    return None


def due_of(decision: Decision, picture: Observation) -> Optional[Instant]:
    return next_due(decision.state, decision.memory, picture, POLICY, decision.score.points)


class TestBeforeTheDue:
    @settings(max_examples=150, deadline=None)
    @given(states_with_memory(), observations, st.lists(st.floats(0.0, 1.0), max_size=3))
    def test_no_row_fires_and_the_score_stays(
        self, stand: tuple[State, Memory], picture: Observation, shares: list[float]
    ) -> None:
        rest = settled(stand, picture)
        assert rest is not None
        decision, picture = rest
        end = due_of(decision, picture)
        for share in (*sorted(shares), 1.0):
            later = picture.now + share * (2000.0 if end is None else end - picture.now)
            if end is not None and later >= end:
                later = end - 1e-6
            if later < picture.now:
                continue
            next_one = FSM.step(
                decision.state, decision.memory, dataclasses.replace(picture, now=later), POLICY
            )
            assert (next_one.row, next_one.score) == (None, decision.score)
            assert next_one.better_host == decision.better_host
            assert not next_one.changed

    @settings(max_examples=80, deadline=None)
    @given(states_with_memory(), observations)
    def test_dues_come_to_an_end(self, stand: tuple[State, Memory], picture: Observation) -> None:
        """Whoever steps at each due does not do so for ever, nor twice at the same instant."""
        rest = settled(stand, picture)
        assert rest is not None
        decision, picture = rest
        for _ in range(60):
            end = due_of(decision, picture)
            if end is None:
                return
            assert end > picture.now
            picture = dataclasses.replace(picture, now=end)
            decision = FSM.step(decision.state, decision.memory, picture, POLICY)
            while decision.row is not None and decision.effect is None:
                decision = FSM.step(decision.state, decision.memory, picture, POLICY)
        raise AssertionError(f"due again and again in {decision.state}")


SILENT = seen(VmCondition.UNKNOWN, LeaseCondition.OURS, health=Health.BAD, peers=(peer(2),))

CASES: dict[str, tuple[State, Memory, Observation, float]] = {
    "start timeout": (
        State.ENGINE_STARTING,
        Memory(state_since=NOW, running_since=NOW),
        seen(VmCondition.UP, LeaseCondition.OURS),
        600.0,
    ),
    "grace": (
        State.ENGINE_UP_BAD_HEALTH,
        Memory(state_since=NOW, running_since=NOW - 5.0, bad_since=NOW - 20.0),
        seen(VmCondition.UP, LeaseCondition.OURS, health=Health.BAD),
        100.0,
    ),
    "penance": (
        State.ENGINE_UNEXPECTEDLY_DOWN,
        Memory(state_since=NOW - 20.0),
        seen(VmCondition.ABSENT, LeaseCondition.HELD, peers=(peer(2),)),
        100.0,
    ),
    "a failure leaves the window": (
        State.ENGINE_DOWN,
        Memory(failures=(NOW - 599.0, NOW - 10.0)),
        seen(VmCondition.ABSENT, LeaseCondition.HELD),
        1.0,
    ),
    "our turn": (
        State.ENGINE_DOWN,
        Memory(),
        seen(
            peers=(peer(2, score=3401),),
            lease=dataclasses.replace(lease(LeaseCondition.FREE), available_since=NOW),
        ),
        1.0,
    ),
    "the pause after an effect": (
        State.ENGINE_DOWN,
        Memory(last_kind=EffectKind.RELEASE_LEASE, last_at=NOW - 0.5),
        seen(VmCondition.ABSENT, LeaseCondition.OURS, local_maintenance=True),
        1.5,
    ),
    "a penalty that lingers": (
        State.ENGINE_DOWN,
        Memory(trends=Trends(bridge=Trend((0.5, 0.5, 0.5), NOW, NOW - 50.0, 1.0, True))),
        seen(VmCondition.ABSENT, LeaseCondition.HELD),
        10.0,
    ),
    "a start that is held back": (
        State.ENGINE_DOWN,
        Memory(not_before=NOW + 7.0),
        seen(),
        7.0,
    ),
    "a guest that is paused": (
        State.ENGINE_UP_BAD_HEALTH,
        Memory(running_since=NOW - 50.0, paused_since=NOW - 20.0),
        seen(VmCondition.PAUSED, LeaseCondition.OURS, health=Health.BAD),
        100.0,
    ),
    "an orderly stop": (
        State.ENGINE_STOP,
        Memory(
            state_since=NOW - 20.0,
            running_since=NOW - 900.0,
            stop_reason=StopReason.HUNG,
            shutdown_asked=True,
        ),
        seen(VmCondition.UP, LeaseCondition.OURS, health=Health.BAD),
        100.0,
    ),
    "VDSM's silence": (
        State.UNKNOWN_LOCAL_VM,
        Memory(
            running_since=NOW - 900.0,
            bad_since=NOW - 500.0,
            vm_unknown_since=NOW - 10.0,
            was_healthy=True,
        ),
        SILENT,
        50.0,
    ),
    "the start time of a VM that is not seen any more": (
        State.UNKNOWN_LOCAL_VM,
        Memory(running_since=NOW - 520.0, bad_since=NOW - 500.0, vm_unknown_since=NOW - 400.0),
        SILENT,
        80.0,
    ),
    "the start time of a VM that was never seen": (
        State.UNKNOWN_LOCAL_VM,
        Memory(
            bad_since=NOW - 500.0,
            vm_unknown_since=NOW - 510.0,
            last_kind=EffectKind.START_VM,
            last_at=NOW - 520.0,
        ),
        SILENT,
        80.0,
    ),
    "a hand-over that came back": (
        State.ENGINE_UP,
        Memory(
            running_since=NOW - 300.0,
            handed_over_at=NOW - 400.0,
            trends=Trends(network=Trend(since=NOW - 900.0)),
        ),
        seen(
            VmCondition.UP,
            LeaseCondition.OURS,
            health=Health.GOOD,
            peers=(peer(2, page=Health.BAD, page_bad_seconds=300),),
        ),
        200.0,
    ),
    "a lead that has to last": (
        State.ENGINE_UP,
        Memory(running_since=NOW, lead=Lead(2, NOW - 15.0)),
        seen(
            VmCondition.UP,
            LeaseCondition.OURS,
            health=Health.GOOD,
            peers=(peer(2, score=9000),),
        ),
        45.0,
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_each_time_has_its_due(case: str) -> None:
    """And what is due comes then: not a tick later, though floats round."""
    state, memory, picture, seconds = CASES[case]
    decision = FSM.step(state, memory, picture, POLICY)
    assert decision.row is None
    end = due_of(decision, picture)
    assert end is not None
    assert end - NOW == pytest.approx(seconds)
    then = dataclasses.replace(picture, now=end)
    if case == "start timeout":
        then = dataclasses.replace(then, health=HealthView(Health.BAD, taken_at=end))
    after = FSM.step(decision.state, decision.memory, then, POLICY)
    assert (after.row, after.score, after.better_host) != (None, decision.score, None)


def test_nothing_is_due_for_a_healthy_engine() -> None:
    picture = seen(VmCondition.UP, LeaseCondition.OURS, health=Health.GOOD)
    decision = FSM.step(State.ENGINE_UP, Memory(running_since=NOW - 5.0), picture, POLICY)
    assert due_of(decision, picture) is None


def guards_of_the_table() -> set[Guard]:
    found = {guard for row in TABLE for guard in row.when}
    return {getattr(guard, "__wrapped__", guard) for guard in found}


def test_every_guard_that_reads_the_clock_has_its_flip() -> None:
    """A guard may also read it by way of another one."""
    timed = {"context.now", ".age_seconds(", "turn_at("}
    names: set[str] = set()
    texts = {
        name: inspect.getsource(guard)
        for name, guard in vars(g).items()
        if inspect.isfunction(guard) and guard.__module__ == g.__name__
    }
    while True:
        found = {
            name
            for name, text in texts.items()
            if any(word in text for word in timed)
            or any(f"{other}(context" in text for other in names if other != name)
        }
        if found == names:
            break
        names = found
    assert "hung" in names
    missing = {
        guard.__name__
        for guard in guards_of_the_table()
        if guard.__name__ in names and guard not in due._FLIPS
    }
    assert not missing, "add to fsm/due.py when their answer turns"


class TestChanged:
    PLAIN = seen(
        VmCondition.UP,
        LeaseCondition.OURS,
        health=Health.GOOD,
        facts=HostFacts(0.0, True, 0.1, 9000, NOW, NOW, NOW, NOW),
        peers=(peer(2),),
    )

    def memory(self) -> Memory:
        """That of a host which has seen the same for long."""
        memory, picture = Memory(running_since=NOW - 100.0), self.PLAIN
        for number in range(10):
            then = NOW + 15.0 * number
            facts = dataclasses.replace(
                picture.facts, network_at=then, bridge_at=then, cpu_at=then, memory_at=then
            )
            picture = dataclasses.replace(picture, now=then, facts=facts)
            memory = FSM.step(State.ENGINE_UP, memory, picture, POLICY).memory
        return memory

    def news(self, **parts: Any) -> bool:
        after = dataclasses.replace(at(self.PLAIN, NOW + 500.0), **parts)
        return changed(self.memory(), self.PLAIN, after, POLICY)

    def test_newer_times_are_no_news(self) -> None:
        then = NOW + 500.0
        facts = HostFacts(0.0, True, 0.1, 9000, then, then, then, then)
        assert not self.news(facts=facts)
        assert not self.news(facts=dataclasses.replace(facts, cpu_load=0.2, memory_free_mib=8000))

    @pytest.mark.parametrize(
        "parts",
        [
            {"vm": VmView(VmCondition.PAUSED)},
            {"lease": lease(LeaseCondition.UNKNOWN)},
            {"peers": (peer(2, score=3399),)},
            {"peers": ()},
            {"peers": (peer(2, page=Health.BAD, page_bad_seconds=5),)},
            {"local_maintenance": True},
            {"global_maintenance": None},
            {"stop_requested": True},
            {"published_score": 3000},
            {"health": HealthView(Health.BAD, taken_at=NOW)},
            {"health": HealthView(Health.GOOD, "slow", taken_at=NOW)},
            {"health": HealthView(Health.GOOD, taken_at=NOW - 101.0)},
            {"facts": HostFacts(network_share_lost=0.4, network_at=NOW + 500.0)},
            {"facts": HostFacts(bridge_up=False, bridge_at=NOW + 500.0)},
            {"facts": HostFacts(cpu_load=0.6, cpu_at=NOW + 500.0)},
            {"outcomes": (Outcome(1, OutcomeCode.OK),)},
        ],
        ids=lambda parts: next(iter(parts)),
    )
    def test_what_a_step_looks_at_is_news(self, parts: dict[str, Any]) -> None:
        assert self.news(**parts)

    @pytest.mark.parametrize("health", [Health.GOOD, Health.BAD])
    def test_the_page_is_news_where_it_is_looked_at_for_another_host(self, health: Health) -> None:
        before = seen(
            lease_is=LeaseCondition.HELD, peers=(peer(2, vm_up=True, network_lost=True),)
        )
        memory = Memory(trends=Trends(network=Trend((0.2,), NOW)))
        memory = FSM.step(State.ENGINE_DOWN, memory, before, POLICY).memory
        later = at(dataclasses.replace(before, health=HealthView(health)), NOW + 5.0)
        assert changed(memory, before, later, POLICY)
        assert not changed(Memory(), before, later, POLICY)

    @settings(max_examples=80, deadline=None)
    @given(states_with_memory(), observations, observations)
    def test_without_news_a_step_would_decide_nothing(
        self, stand: tuple[State, Memory], picture: Observation, other: Observation
    ) -> None:
        """However many parts two pictures share: take some of one, some of the other."""
        rest = settled(stand, picture)
        assert rest is not None
        decision, picture = rest
        for name in ("health", "facts", "peers"):
            after = dataclasses.replace(picture, **{name: getattr(other, name)})
            if changed(decision.memory, picture, after, POLICY):
                continue
            again = FSM.step(decision.state, decision.memory, after, POLICY)
            assert (again.row, again.score) == (None, decision.score)
