# SPDX-License-Identifier: Apache-2.0
"""Each row of the table fires in its case (row_cases.py), from each of its states, and in no
variation of that case in which one of its guards, and only that one, does not hold."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional

import pytest
from hypothesis import given, settings

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.machine import Fsm
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    HealthView,
    LeaseCondition,
    Observation,
    OutcomeCode,
    ShutdownView,
    VmCondition,
    VmExit,
    VmOrderKind,
    VmView,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.row import Row
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from ha_agent.fsm.trends import Trend, Trends
from ha_agent.fsm.vm_order import OrderPhase
from tests.fsm.pictures import (
    NOW,
    ended,
    failed,
    lease,
    observations,
    ordered,
    peer,
    seen,
    states_with_memory,
)
from tests.fsm.row_cases import CASES, Case

POLICY = Policy()
NETWORK_LOST = Trends(network=Trend(since=NOW - 60.0))
FSM = Fsm()
Stand = tuple[Memory, Observation]
Tweak = Callable[[Memory, Observation], Stand]


def row_id(row: Row) -> str:
    target = row.target.value if row.target else "stays"
    return f"{TABLE.index(row) + 1:02}-{row.sources[0].value}-{target}"


def cases_of(row: Row) -> list[Case]:
    return [case for case in CASES if row in case.rows]


def fires(row: Row, state: State, stand: Stand) -> bool:
    """Whether `row` would fire were it alone in the table."""
    return Fsm((row,)).step(state, *stand, POLICY).row is row


every_row = pytest.mark.parametrize("row", TABLE, ids=row_id)


class TestCases:
    @every_row
    def test_each_row_has_a_case_from_each_of_its_states(self, row: Row) -> None:
        covered = {state for case in cases_of(row) for state in case.sources}
        assert covered == set(row.sources), f"row_cases.py lacks a case for: {row.why}"

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.why[:60])
    def test_each_case_means_one_row_and_names_its_guards(self, case: Case) -> None:
        [row] = case.rows
        assert case.guards == [guard.__name__ for guard in row.when]


class TestRows:
    @every_row
    def test_fires_in_its_case(self, row: Row) -> None:
        for case in cases_of(row):
            for state in case.sources:
                decision = FSM.step(state, case.memory, case.picture, POLICY)
                fired = decision.row.why if decision.row else None
                assert decision.row is row, f"from {state.value} this fires instead: {fired}"
                assert decision.state is (case.target or state)
                asked = decision.effect.kind if decision.effect else None
                assert asked is case.effect
                assert asked is None or decision.effect.why == case.why  # type: ignore[union-attr]

    @every_row
    def test_leaves_its_notes(self, row: Row) -> None:
        for case in cases_of(row):
            for state in case.sources:
                memory = FSM.step(state, case.memory, case.picture, POLICY).memory
                assert memory.stop_reason is case.reason
                assert len(memory.failures) == case.failures
                pause_seconds = memory.not_before - NOW if memory.not_before else None
                assert pause_seconds == case.pause_seconds

    @every_row
    def test_each_note_shows_in_some_case(self, row: Row) -> None:
        for note in row.notes:
            without = dataclasses.replace(row, notes=tuple(n for n in row.notes if n is not note))
            assert any(
                Fsm((without,)).step(state, case.memory, case.picture, POLICY).memory
                != FSM.step(state, case.memory, case.picture, POLICY).memory
                for case in cases_of(row)
                for state in case.sources
            )

    @settings(max_examples=200, deadline=None)
    @given(stand=states_with_memory(), observation=observations)
    def test_the_first_row_that_may_fire_does(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        state, memory = stand
        mine = [row for row in TABLE if state in row.sources]
        first = next((row for row in mine if fires(row, state, (memory, observation))), None)
        assert FSM.step(state, memory, observation, POLICY).row is first


def see(**fields: Any) -> Tweak:
    return lambda memory, picture: (memory, dataclasses.replace(picture, **fields))


def remember(**fields: Any) -> Tweak:
    return lambda memory, picture: (dataclasses.replace(memory, **fields), picture)


def vm(condition: VmCondition, ended: Optional[VmExit] = None) -> Tweak:
    return see(vm=VmView(condition, ended))


def held(condition: LeaseCondition) -> Tweak:
    return see(lease=lease(condition))


def health(health: Health) -> Tweak:
    """The page is `health`, of a VM that has been running for a while."""

    def tweak(memory: Memory, picture: Observation) -> Stand:
        memory = dataclasses.replace(memory, running_since=NOW - 700.0)
        return memory, dataclasses.replace(picture, health=HealthView(health, taken_at=NOW))

    return tweak


def vm_silent(memory: Memory, picture: Observation) -> Stand:
    """VDSM has just fallen silent; the engine's page may still tell."""
    memory = dataclasses.replace(memory, running_since=NOW - 700.0)
    return memory, dataclasses.replace(picture, vm=VmView())


def outcome(code: OutcomeCode) -> Tweak:
    def tweak(memory: Memory, picture: Observation) -> Stand:
        outcomes = tuple(dataclasses.replace(one, code=code) for one in picture.outcomes)
        return memory, dataclasses.replace(picture, outcomes=outcomes)

    return tweak


def under_way(kind: EffectKind) -> Tweak:
    return remember(pending=Effect(kind, 99, "test"), pending_since=NOW - 1.0)


def held_nonetheless(memory: Memory, picture: Observation) -> Stand:
    """As `held`, and what else is said of the lease stays, however little it agrees."""
    view = dataclasses.replace(picture.lease, condition=LeaseCondition.HELD)
    return memory, dataclasses.replace(picture, lease=view)


def another_has_the_vm(memory: Memory, picture: Observation) -> Stand:
    return memory, dataclasses.replace(picture, peers=(*picture.peers, peer(9, vm_up=True)))


def another_answers(memory: Memory, picture: Observation) -> Stand:
    memory = dataclasses.replace(memory, elsewhere_until=NOW + 0.1, state_since=NOW - 9.0)
    page = HealthView(Health.GOOD, taken_at=NOW)
    return memory, dataclasses.replace(picture, health=page)


def no_reason_left(memory: Memory, picture: Observation) -> Stand:
    return health(Health.GOOD)(*remember(stop_reason=StopReason.HUNG)(memory, picture))


def shutting_down(memory: Memory, picture: Observation) -> Stand:
    order = {"global_maintenance": True, "shutdown": ShutdownView(True, True)}
    memory = dataclasses.replace(memory, stop_reason=StopReason.CLUSTER_SHUTDOWN)
    return see(**order)(memory, picture)


def not_yet_available(memory: Memory, picture: Observation) -> Stand:
    view = dataclasses.replace(picture.lease, available_since=NOW + 0.1)
    return memory, dataclasses.replace(picture, lease=view)


V, L = VmCondition, LeaseCondition
# How a guard comes not to hold. Times are just short of what the policy asks for.
WAYS: dict[str, tuple[Tweak, ...]] = {
    "idle": (under_way(EffectKind.START_VM),),
    "stop_requested": (see(stop_requested=False),),
    "not_stop_has_to_wait": (under_way(EffectKind.TAKE_LEASE),),
    "global_maintenance": (see(global_maintenance=False), see(global_maintenance=None)),
    "not_global_maintenance": (see(global_maintenance=True),),
    "global_maintenance_known": (see(global_maintenance=None),),
    "local_maintenance": (see(local_maintenance=False),),
    "not_local_maintenance": (see(local_maintenance=True),),
    "vm_unknown": (vm(V.ABSENT), vm(V.UP)),
    "not_vm_unknown": (vm(V.UNKNOWN),),
    "vm_running": (vm_silent, vm(V.ABSENT), vm(V.DOWN, VmExit.CRASHED), vm(V.MIGRATING_HERE)),
    "vm_coming": (vm(V.ABSENT), vm(V.UNKNOWN)),
    "vm_leaving": (vm(V.UP), vm(V.MIGRATING_HERE)),
    "not_vm_leaving": (vm(V.MIGRATING_AWAY),),
    "vm_absent": (vm(V.DOWN, VmExit.CRASHED), vm(V.UP), vm(V.UNKNOWN)),
    "vm_down": (vm(V.ABSENT), vm(V.UP), vm(V.UNKNOWN)),
    "vm_gone": (vm(V.UP), vm(V.UNKNOWN), vm(V.MIGRATING_HERE)),
    "vm_migrated": (vm(V.DOWN, VmExit.CRASHED), vm(V.ABSENT)),
    "not_vm_migrated": (vm(V.DOWN, VmExit.MIGRATED),),
    "vm_lease_elsewhere": (vm(V.DOWN, VmExit.CRASHED), vm(V.ABSENT)),
    "lease_known": (held(L.UNKNOWN),),
    "lease_ours": (held(L.FREE), held(L.HELD), held(L.EXPIRED), held(L.UNKNOWN)),
    "not_lease_ours": (held(L.OURS),),
    "lease_available": (held(L.HELD), held(L.OURS), held_nonetheless),
    "lease_expired": (held(L.FREE), held(L.HELD), held(L.OURS), held(L.UNKNOWN)),
    "our_turn": (not_yet_available,),
    "able": (see(definition=DefinitionView()),),
    "not_able": (see(definition=DefinitionView(available=True)),),
    "not_held_back": (remember(not_before=NOW + 0.1),),
    "no_peer_has_vm": (another_has_the_vm,),
    "no_engine_elsewhere": (another_answers,),
    "other_host_able": (see(peers=()),),
    "not_other_host_able": (see(peers=(peer(9),)),),
    "healthy": (health(Health.BAD), health(Health.UNKNOWN)),
    "not_healthy": (health(Health.GOOD),),
    "unhealthy": (health(Health.GOOD), health(Health.UNKNOWN)),
    "given_up": (remember(bad_since=NOW - 119.9), health(Health.GOOD), health(Health.UNKNOWN)),
    "vm_paused": (vm(V.UP), vm(V.UNKNOWN)),
    "paused_too_long": (remember(paused_since=NOW - 119.9), vm(V.UP)),
    "shutdown_ready": (
        see(shutdown=ShutdownView(True, False)),
        see(shutdown=ShutdownView(False, True)),
    ),
    "shutting_down": (see(shutdown=ShutdownView()),),
    "not_shutting_down": (shutting_down,),
    "definition_failing": (
        remember(failed_starts=1),
        remember(failing="d9"),
        see(definition=DefinitionView(available=True, identity="d1")),
    ),
    "start_ordered": (see(vm_order=None),),
    "paused_start_ordered": (see(vm_order=None),),
    "resume_ordered": (see(vm_order=None),),
    "stop_ordered": (see(vm_order=None),),
    "force_stop_ordered": (see(vm_order=None),),
    "not_start_under_way": (
        remember(vm_order=ordered(VmOrderKind.START, OrderPhase.ASKED).vm_order),
    ),
    "cut_off": (see(peers=()), remember(trends=Trends())),
    "not_handed_over_lately": (remember(handed_over_at=NOW - 599.9),),
    "hung": (remember(bad_since=NOW - 119.9), health(Health.GOOD)),
    "starting_too_long": (remember(state_since=NOW - 599.9),),
    "stopping_too_long": (remember(state_since=NOW - 119.9),),
    "penance_done": (remember(state_since=NOW - 119.9),),
    "first_look_overdue": (remember(vm_unknown_since=NOW - 2.9), vm(V.UP)),
    "not_page_out_of_reach": (remember(trends=NETWORK_LOST),),
    "vdsm_silent_too_long": (remember(vm_unknown_since=NOW - 59.9), vm(V.UP)),
    "not_shutdown_asked": (remember(shutdown_asked=True),),
    "restarts_left": (remember(failures=failed(4).failures),),
    "take_refused": (outcome(OutcomeCode.OK), see(outcomes=())),
    "start_lost_race": (outcome(OutcomeCode.FAILED), see(outcomes=())),
    "start_failed": (outcome(OutcomeCode.OK), outcome(OutcomeCode.UNKNOWN), see(outcomes=())),
    "start_settled": (remember(start_open_since=NOW - 10.0),),
    "not_start_settled": (remember(start_open_since=None),),
    "gave_up_here": (remember(stop_reason=StopReason.HUNG),),
    "nothing_to_stop": (remember(stop_reason=StopReason.HUNG),),
    "stop_over": (held(L.EXPIRED), remember(stop_reason=StopReason.LEASE_ELSEWHERE)),
    "not_stop_over": (no_reason_left, see(local_maintenance=False)),
}
NEEDS = [(case, name) for case in CASES for name in case.guards]
WITH_EFFECT = [row for row in TABLE if row.effect is not None]


class TestGuards:
    @pytest.mark.parametrize(
        ("case", "name"), NEEDS, ids=[f"{row_id(case.rows[0])}-{name}" for case, name in NEEDS]
    )
    def test_no_row_fires_when_a_guard_of_it_does_not_hold(self, case: Case, name: str) -> None:
        row = case.rows[0]
        others = dataclasses.replace(row, when=tuple(g for g in row.when if g.__name__ != name))
        for state in case.sources:
            tried = 0
            for way in WAYS[name]:
                stand = way(case.memory, case.picture)
                if fires(others, state, stand) and not fires(row, state, stand):
                    tried += 1
                    assert FSM.step(state, *stand, POLICY).row is not row
            assert tried, f"from {state.value}, in no way {name} alone does not hold"

    @pytest.mark.parametrize("row", WITH_EFFECT, ids=row_id)
    def test_an_effect_waits_for_the_one_under_way(self, row: Row) -> None:
        for case in cases_of(row):
            for kind in EffectKind:
                stand = under_way(kind)(case.memory, case.picture)
                for state in case.sources:
                    decision = FSM.step(state, *stand, POLICY)
                    assert decision.row is not row
                    assert decision.effect is None

    @pytest.mark.parametrize("row", WITH_EFFECT, ids=row_id)
    def test_an_effect_waits_for_a_pause_after_its_like(self, row: Row) -> None:
        pause_seconds = POLICY.retry_pause_seconds
        for case in cases_of(row):
            for state in case.sources:
                for kind in EffectKind:
                    for age_seconds in (0.0, pause_seconds - 0.1, pause_seconds):
                        last = remember(last_kind=kind, last_at=NOW - age_seconds)
                        memory = last(case.memory, case.picture)[0]
                        waits = kind is row.effect and age_seconds < pause_seconds
                        stand = (memory, case.picture)
                        assert fires(row, state, stand) is not waits


LONG_AGO = NOW - 1000.0
THERE = (peer(),)
TAKE_FAILED = ended(
    EffectKind.TAKE_LEASE, OutcomeCode.FAILED, seen(lease_is=LeaseCondition.EXPIRED)
)
START_FAILED = ended(EffectKind.START_VM, OutcomeCode.FAILED, seen(VmCondition.DOWN))

# Pictures in which two rows may fire, and the words of the one that has to.
FIRST: dict[str, tuple[State, Observation, Memory]] = {
    "the agent is stopping; the VM is left alone": (
        State.ENGINE_UP,
        seen(VmCondition.UP, global_maintenance=True, stop_requested=True),
        Memory(),
    ),
    "the VM came here while the lease was being given up": (
        State.ENGINE_STOP,
        seen(VmCondition.UP, LeaseCondition.EXPIRED),
        Memory(stop_reason=StopReason.MIGRATED),
    ),
    "our lease has expired: the guard should have ended the VM, and others may start it now": (
        State.ENGINE_UP,
        seen(VmCondition.UP, LeaseCondition.EXPIRED, local_maintenance=True),
        Memory(),
    ),
    "local maintenance: the VM has to leave this host": (
        State.ENGINE_UP,
        seen(VmCondition.UP, local_maintenance=True),
        Memory(),
    ),
    "local maintenance": (
        State.ENGINE_UNEXPECTEDLY_DOWN,
        seen(lease_is=LeaseCondition.HELD, local_maintenance=True),
        Memory(state_since=LONG_AGO),
    ),
    "global maintenance is over": (
        State.GLOBAL_MAINTENANCE,
        seen(VmCondition.UP),
        Memory(),
    ),
    "VDSM does not answer, so nothing is known of the VM here": (
        State.ENGINE_UNEXPECTEDLY_DOWN,
        seen(VmCondition.UNKNOWN, LeaseCondition.HELD),
        Memory(state_since=LONG_AGO),
    ),
    "local maintenance before the VM was started: give the lease up": (
        State.ENGINE_START,
        dataclasses.replace(TAKE_FAILED[0], local_maintenance=True),
        TAKE_FAILED[1],
    ),
    "the cluster is being shut down, and all other VMs are: the engine VM is the last": (
        State.GLOBAL_MAINTENANCE,
        seen(
            VmCondition.UP,
            LeaseCondition.EXPIRED,
            global_maintenance=True,
            shutdown=ShutdownView(True, True),
        ),
        Memory(),
    ),
    "the VM appeared here in spite of local maintenance": (
        State.LOCAL_MAINTENANCE,
        seen(VmCondition.UP),
        Memory(),
    ),
    "local maintenance is over": (
        State.LOCAL_MAINTENANCE,
        seen(lease_is=LeaseCondition.OURS),
        Memory(),
    ),
    "local maintenance is over; the VM stays": (
        State.LOCAL_MAINTENANCE_MIGRATE_VM,
        seen(VmCondition.UP, LeaseCondition.OURS, health=Health.BAD, peers=THERE),
        Memory(stop_reason=StopReason.MAINTENANCE),
    ),
    "the VM appeared here": (
        State.ENGINE_UNEXPECTEDLY_DOWN,
        seen(VmCondition.UP, LeaseCondition.EXPIRED),
        Memory(state_since=LONG_AGO),
    ),
    "the VM is migrating here": (
        State.ENGINE_UNEXPECTEDLY_DOWN,
        seen(VmCondition.MIGRATING_HERE),
        Memory(state_since=LONG_AGO),
    ),
    "the lease is ours, but this host can't run the VM: give it up": (
        State.ENGINE_UNEXPECTEDLY_DOWN,
        seen(lease_is=LeaseCondition.OURS),
        failed(5, state_since=LONG_AGO),
    ),
    "other hosts had their turn": (
        State.ENGINE_UNEXPECTEDLY_DOWN,
        seen(lease_is=LeaseCondition.HELD),
        Memory(state_since=LONG_AGO),
    ),
    "the VM appeared here before we started it": (
        State.ENGINE_START,
        dataclasses.replace(TAKE_FAILED[0], vm=VmView(VmCondition.UP)),
        TAKE_FAILED[1],
    ),
    "another host holds the VM lease: stand back": (
        State.ENGINE_START,
        *ended(
            EffectKind.START_VM,
            OutcomeCode.LEASE_HELD_ELSEWHERE,
            seen(VmCondition.DOWN, LeaseCondition.OURS),
        ),
    ),
    "the start failed too often: leave the VM to other hosts": (
        State.ENGINE_START,
        START_FAILED[0],
        dataclasses.replace(START_FAILED[1], failures=failed(5).failures),
    ),
    "the lease is not ours": (
        State.ENGINE_START,
        seen(lease_is=LeaseCondition.HELD, definition=DefinitionView()),
        Memory(),
    ),
    "this host can't start the VM now: give the lease up": (
        State.ENGINE_START,
        seen(VmCondition.DOWN, LeaseCondition.OURS, definition=DefinitionView()),
        Memory(state_since=LONG_AGO),
    ),
    "the VM runs here, and with it the VM lease, so nobody else can start it: take the lease "
    "again when it is free": (
        State.ENGINE_UP,
        seen(VmCondition.MIGRATING_AWAY),
        Memory(),
    ),
    "the VM is migrating away": (
        State.ENGINE_STARTING,
        seen(VmCondition.MIGRATING_AWAY, LeaseCondition.OURS, health=Health.GOOD),
        Memory(),
    ),
    "the engine did not become healthy in time": (
        State.ENGINE_STARTING,
        seen(VmCondition.PAUSED, LeaseCondition.OURS, health=Health.BAD),
        Memory(state_since=LONG_AGO, running_since=LONG_AGO, paused_since=LONG_AGO),
    ),
    "the VM is paused, and can't shut down in order": (
        State.ENGINE_STOP,
        seen(VmCondition.PAUSED, LeaseCondition.OURS),
        Memory(state_since=LONG_AGO, stop_reason=StopReason.START_TIMEOUT),
    ),
}


@pytest.mark.parametrize("why", list(FIRST))
def test_which_of_two_rows_comes_first(why: str) -> None:
    state, picture, memory = FIRST[why]
    may_fire = [
        row for row in TABLE if state in row.sources and fires(row, state, (memory, picture))
    ]
    assert len(may_fire) > 1, "an order is shown by two rows"
    decision = FSM.step(state, memory, picture, POLICY)
    assert decision.row is not None
    assert decision.row.why == why


class TestShape:
    def test_every_state_is_reached_and_every_one_but_the_last_is_left(self) -> None:
        reached = {State.START}
        while True:
            more = {
                row.target for row in TABLE if row.target and reached & set(row.sources)
            } - reached
            if not more:
                break
            reached |= more
        assert reached == set(State)
        left = {state for row in TABLE if row.target for state in row.sources}
        assert left == set(State) - {State.AGENT_STOPPED}

    @every_row
    def test_reads_as_a_sentence(self, row: Row) -> None:
        assert row.why
        assert not row.why.endswith(".")
        assert row.when
        assert all(guard.__doc__ for guard in row.when)
        assert len(set(row.sources)) == len(row.sources)
        assert row.target not in row.sources

    def test_reasons_are_told_apart(self) -> None:
        """The reason is all that an operator reads of an edge."""
        edges = [(state, row.why) for row in TABLE for state in row.sources]
        assert len(set(edges)) == len(edges)


def test_a_start_that_lost_the_race_is_no_failure_though_it_left_a_record() -> None:
    """Both rows would fire; to try again at once would only lose again."""
    memory = Memory(last_kind=EffectKind.START_VM, last_at=NOW - 1.0)
    picture = seen(VmCondition.DOWN, LeaseCondition.OURS, exit=VmExit.LEASE_HELD_ELSEWHERE)
    decision = FSM.step(State.ENGINE_START, memory, picture, POLICY)
    assert decision.state is State.ENGINE_STOP
    assert decision.memory.stop_reason is StopReason.LEASE_ELSEWHERE
    assert decision.memory.failures == ()
