# SPDX-License-Identifier: Apache-2.0
"""What holds of every decision, whatever is seen: safety first, then that nothing sticks."""

from __future__ import annotations

import dataclasses
from typing import Optional

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ha_agent.fsm.better_host import Lead
from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.machine import Decision, Fsm
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    LeaseCondition,
    Observation,
    Outcome,
    OutcomeCode,
    VmCondition,
    VmExit,
    VmView,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.row import Row, because, hold_back
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from tests.fsm.pictures import (
    NOW,
    at,
    lease,
    observations,
    peer,
    seen,
    settled,
    states_with_memory,
)

POLICY = Policy()
FSM = Fsm()
RUNNING = {
    VmCondition.STARTING,
    VmCondition.UP,
    VmCondition.PAUSED,
    VmCondition.STOPPING,
    VmCondition.MIGRATING_AWAY,
}
VM_EFFECTS = {EffectKind.START_VM, EffectKind.SHUTDOWN_VM, EffectKind.DESTROY_VM}
STOPS = {EffectKind.SHUTDOWN_VM, EffectKind.DESTROY_VM}
ALMOST_ALL = [state for state in State if state is not State.AGENT_STOPPED]
many = settings(max_examples=max(200, settings().max_examples))


def kind_of(decision: Decision) -> Optional[EffectKind]:
    return decision.effect.kind if decision.effect else None


class TestEveryDecision:
    @many
    @given(states_with_memory(), observations)
    def test_is_legal(self, stand: tuple[State, Memory], observation: Observation) -> None:
        state, memory = stand
        decision = FSM.step(state, memory, observation, POLICY)
        assert decision.previous is state
        if decision.row is None:
            assert decision.state is state
            assert decision.effect is None
        else:
            assert decision.row in TABLE
            assert state in decision.row.sources
            assert decision.state is (decision.row.target or state)
        assert 0 <= decision.score.points <= POLICY.weights.base
        if decision.changed:
            assert decision.memory.state_since == observation.now

    @many
    @given(states_with_memory(), observations)
    def test_is_the_same_twice(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        first = FSM.step(*stand, observation, POLICY)
        assert Fsm().step(*stand, observation, POLICY) == first
        assert FSM.step(*stand, observation, POLICY) == first

    @many
    @given(states_with_memory(), observations)
    def test_asks_for_nothing_while_an_effect_is_under_way(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        state, memory = stand
        decision = FSM.step(state, memory, observation, POLICY)
        ended = memory.pending is not None and any(
            outcome.serial == memory.pending.serial for outcome in observation.outcomes
        )
        if memory.pending is not None and not ended:
            assert decision.effect is None
            assert decision.memory.pending == memory.pending
        if decision.effect is not None:
            assert decision.memory.pending == decision.effect
            assert decision.effect.serial == memory.serial + 1

    @many
    @given(states_with_memory(), observations)
    def test_starts_the_vm_only_under_our_lease(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        decision = FSM.step(*stand, observation, POLICY)
        if kind_of(decision) is EffectKind.START_VM:
            assert observation.lease.condition is LeaseCondition.OURS
            assert observation.vm.condition is VmCondition.ABSENT
            assert observation.definition.available

    @many
    @given(states_with_memory(), observations)
    def test_takes_the_lease_only_when_it_is_to_be_had(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        decision = FSM.step(*stand, observation, POLICY)
        if kind_of(decision) is EffectKind.TAKE_LEASE:
            assert decision.effect is not None
            assert observation.lease.condition in (LeaseCondition.FREE, LeaseCondition.EXPIRED)
            assert decision.effect.lease_epoch == observation.lease.epoch

    @many
    @given(states_with_memory(), observations)
    def test_gives_the_lease_up_only_when_the_vm_is_gone_or_vdsm_long_silent(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        decision = FSM.step(*stand, observation, POLICY)
        if kind_of(decision) is not EffectKind.RELEASE_LEASE:
            return
        assert observation.vm.condition not in RUNNING
        assert observation.vm.condition is not VmCondition.MIGRATING_HERE
        if observation.vm.condition is VmCondition.UNKNOWN:
            assert observation.health.health is not Health.GOOD
            silent_since = decision.memory.vm_unknown_since
            assert silent_since is not None
            assert observation.now - silent_since >= POLICY.vdsm_silent_seconds

    @many
    @given(states_with_memory(), observations)
    @example(
        (State.ENGINE_STOP, Memory(stop_reason=StopReason.HUNG)),
        seen(VmCondition.UP, LeaseCondition.OURS, health=Health.GOOD),
    )
    @example(
        (State.ENGINE_STOP, Memory(stop_reason=StopReason.MIGRATED)),
        seen(VmCondition.UP, LeaseCondition.HELD, health=Health.GOOD),
    )
    @example(
        (State.ENGINE_FORCE_STOP, Memory(stop_reason=StopReason.HUNG)),
        seen(VmCondition.PAUSED, LeaseCondition.UNKNOWN, health=Health.GOOD),
    )
    def test_stops_no_healthy_engine_without_cause(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        decision = FSM.step(*stand, observation, POLICY)
        # A paused guest serves no page: a good one was read before the pause.
        running = observation.vm.condition in RUNNING - {VmCondition.PAUSED}
        if kind_of(decision) in STOPS and running and observation.health.health is Health.GOOD:
            lost = decision.memory.stop_reason is StopReason.LEASE_LOST
            taken = observation.lease.condition in (LeaseCondition.HELD, LeaseCondition.EXPIRED)
            assert observation.local_maintenance or lost or taken
            assert observation.lease.condition is not LeaseCondition.OURS or not lost

    @many
    @given(states_with_memory(), observations)
    @example(
        (State.ENGINE_STOP, Memory(stop_reason=StopReason.HUNG)),
        seen(VmCondition.UP, LeaseCondition.OURS, health=Health.BAD, global_maintenance=True),
    )
    @example(
        (State.ENGINE_UP, Memory()),
        seen(VmCondition.UP, LeaseCondition.HELD, global_maintenance=True),
    )
    def test_keeps_its_hands_off_in_global_maintenance(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        observation = dataclasses.replace(observation, global_maintenance=True)
        decision = FSM.step(*stand, observation, POLICY)
        if decision.memory.shutdown.ordered:
            # The cluster's shutdown keeps the flag on, and ends the VM under it.
            assert kind_of(decision) is not EffectKind.START_VM
        else:
            assert kind_of(decision) not in VM_EFFECTS

    @many
    @given(states_with_memory(), observations)
    def test_stops_only_on_evidence(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        decision = FSM.step(*stand, observation, POLICY)
        if decision.changed and decision.memory.stop_reason in (
            StopReason.HUNG,
            StopReason.START_TIMEOUT,
        ):
            assert observation.health.health is Health.BAD or decision.previous in (
                State.ENGINE_STOP,
                State.ENGINE_FORCE_STOP,
            )

    @many
    @given(states_with_memory(), observations)
    def test_forgets_a_stop_that_is_over(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        decision = FSM.step(*stand, observation, POLICY)
        if decision.changed and decision.state not in (
            State.ENGINE_STOP,
            State.ENGINE_FORCE_STOP,
            State.LOCAL_MAINTENANCE_MIGRATE_VM,
        ):
            assert decision.memory.stop_reason is None
            assert not decision.memory.shutdown_asked

    @many
    @given(states_with_memory(), observations)
    def test_steady_pictures_end_the_changes(
        self, stand: tuple[State, Memory], observation: Observation
    ) -> None:
        """While nothing outside changes and no effect ends, the state comes to rest."""
        state, memory = stand
        observation = dataclasses.replace(observation, outcomes=())
        changes = 0
        for _ in range(12):
            decision = FSM.step(state, memory, observation, POLICY)
            state, memory = decision.state, decision.memory
            changes += decision.changed
        assert not decision.changed
        assert changes <= 6


class World:
    """One host alone, where every effect works at once, and the VM is looked at for each tick."""

    def __init__(self, observation: Observation) -> None:
        self.picture = dataclasses.replace(observation, vm_asked_at=observation.now)
        self.asked: list[EffectKind] = []

    def tick(self, state: State, memory: Memory) -> Decision:
        decision = FSM.step(state, memory, self.picture, POLICY)
        now = self.picture.now + 1.0
        self.picture = dataclasses.replace(at(self.picture, now), vm_asked_at=now)
        if decision.effect is not None:
            self.perform(decision)
        return decision

    def perform(self, decision: Decision) -> None:
        assert decision.effect is not None
        kind = decision.effect.kind
        self.asked.append(kind)
        vm, held = self.picture.vm, self.picture.lease
        if kind is EffectKind.TAKE_LEASE:
            held = lease(LeaseCondition.OURS)
        elif kind is EffectKind.RELEASE_LEASE:
            held = dataclasses.replace(
                lease(LeaseCondition.FREE), available_since=self.picture.now
            )
        elif kind is EffectKind.ABANDON_LEASE:
            held = lease(LeaseCondition.HELD)
        elif kind is EffectKind.START_VM:
            vm = VmView(VmCondition.UP)
        elif kind is EffectKind.SHUTDOWN_VM:
            vm = VmView(VmCondition.DOWN, VmExit.STOPPED)
        else:
            vm = VmView(VmCondition.ABSENT)
        self.picture = dataclasses.replace(
            self.picture,
            vm=vm,
            lease=held,
            outcomes=(Outcome(decision.effect.serial, OutcomeCode.OK),),
        )

    def run(self, state: State, memory: Memory, seconds: int, goal: State) -> bool:
        for _ in range(seconds):
            decision = self.tick(state, memory)
            state, memory = decision.state, decision.memory
            if state is goal:
                return True
        return False


@st.composite
def free_of_effects(draw: st.DrawFn) -> tuple[State, Memory]:
    state, memory = draw(states_with_memory())
    return state, dataclasses.replace(memory, pending=None, pending_since=None)


class TestNothingSticks:
    @settings(max_examples=100, deadline=None)
    @given(free_of_effects())
    def test_alone_in_a_good_world_the_vm_is_started(self, stand: tuple[State, Memory]) -> None:
        state, memory = stand
        if state is State.AGENT_STOPPED:
            return
        world = World(seen(VmCondition.ABSENT, LeaseCondition.FREE, health=Health.GOOD))
        assert world.run(state, memory, 550, State.ENGINE_UP)
        assert world.asked.count(EffectKind.START_VM) == 1

    @settings(max_examples=100, deadline=None)
    @given(free_of_effects(), st.sampled_from([VmCondition.ABSENT, VmCondition.DOWN]))
    def test_a_lease_of_ours_is_used(self, stand: tuple[State, Memory], vm: VmCondition) -> None:
        state, memory = stand
        if state is State.AGENT_STOPPED:
            return
        world = World(seen(vm, LeaseCondition.OURS, health=Health.GOOD))
        assert world.run(state, memory, 550, State.ENGINE_UP)

    @settings(max_examples=100, deadline=None)
    @given(free_of_effects())
    def test_a_healthy_vm_under_our_lease_is_taken_up_unharmed(
        self, stand: tuple[State, Memory]
    ) -> None:
        state, memory = stand
        if state is State.AGENT_STOPPED:
            return
        world = World(seen(VmCondition.UP, LeaseCondition.OURS, health=Health.GOOD))
        assert world.run(state, memory, 10, State.ENGINE_UP)
        assert not world.asked

    @settings(max_examples=100, deadline=None)
    @given(free_of_effects())
    def test_a_lease_is_not_kept_in_local_maintenance(self, stand: tuple[State, Memory]) -> None:
        state, memory = stand
        if state is State.AGENT_STOPPED:
            return
        picture = seen(VmCondition.ABSENT, LeaseCondition.OURS, local_maintenance=True)
        world = World(picture)
        # A start that nobody answered may still take effect, and is waited out first.
        seconds = 30 + int(POLICY.start_open_seconds)
        assert world.run(state, memory, seconds, State.LOCAL_MAINTENANCE)
        world.run(State.LOCAL_MAINTENANCE, Memory(), 5, State.START)
        assert world.picture.lease.condition is LeaseCondition.FREE
        assert EffectKind.START_VM not in world.asked

    @settings(max_examples=100, deadline=None)
    @given(free_of_effects())
    def test_a_silent_vdsm_does_not_keep_the_lease_for_ever(
        self, stand: tuple[State, Memory]
    ) -> None:
        state, memory = stand
        if state in (State.AGENT_STOPPED, State.GLOBAL_MAINTENANCE):
            return
        picture = seen(VmCondition.UNKNOWN, LeaseCondition.OURS, health=Health.BAD)
        world = World(dataclasses.replace(picture, peers=(peer(),)))
        world.run(state, memory, int(POLICY.start_timeout_seconds) + 5, State.AGENT_STOPPED)
        assert world.asked == [EffectKind.ABANDON_LEASE]

    @pytest.mark.parametrize("state", ALMOST_ALL)
    def test_a_stop_is_heeded_everywhere(self, state: State) -> None:
        world = World(seen(VmCondition.UP, LeaseCondition.OURS, stop_requested=True))
        assert world.run(state, Memory(), 1, State.AGENT_STOPPED)
        assert not world.asked

    def test_a_stop_without_vm_gives_the_lease_up(self) -> None:
        """Our broker would renew it on and on, and nobody would start the VM."""
        picture = seen(VmCondition.ABSENT, LeaseCondition.OURS, stop_requested=True)
        world = World(picture)
        assert world.run(State.ENGINE_DOWN, Memory(), 2, State.AGENT_STOPPED)
        assert world.asked == [EffectKind.RELEASE_LEASE]

    def test_a_stop_waits_for_a_lease_that_is_being_taken(self) -> None:
        memory, outcome = settled(Memory(), EffectKind.TAKE_LEASE, OutcomeCode.OK)
        picture = seen(VmCondition.ABSENT, LeaseCondition.FREE, stop_requested=True)
        decision = FSM.step(State.ENGINE_START, memory, picture, POLICY)
        assert decision.state is State.ENGINE_START
        picture = dataclasses.replace(
            picture, lease=lease(LeaseCondition.OURS), outcomes=(outcome,)
        )
        decision = FSM.step(decision.state, decision.memory, picture, POLICY)
        assert decision.state is State.AGENT_STOPPED
        assert kind_of(decision) is EffectKind.RELEASE_LEASE


class TestStarting:
    def start(self, memory: Memory, picture: Observation) -> Decision:
        return FSM.step(State.ENGINE_START, memory, picture, POLICY)

    @pytest.mark.parametrize("code", [OutcomeCode.OK, OutcomeCode.FAILED, OutcomeCode.UNKNOWN])
    def test_a_start_that_leaves_a_down_record_counts_once(self, code: OutcomeCode) -> None:
        memory, outcome = settled(Memory(state_since=NOW - 5.0), EffectKind.START_VM, code)
        picture = seen(
            VmCondition.DOWN,
            LeaseCondition.OURS,
            exit=VmExit.START_FAILED,
            outcomes=(outcome,),
        )
        state = State.ENGINE_START
        for _ in range(3):
            decision = FSM.step(state, memory, picture, POLICY)
            state, memory = decision.state, decision.memory
            picture = at(picture, picture.now + 0.01)
        assert len(memory.failures) == 1
        assert state is State.ENGINE_START
        assert memory.pending is not None
        assert memory.pending.kind is EffectKind.DESTROY_VM

    def test_a_lost_race_is_no_failure(self) -> None:
        memory, outcome = settled(Memory(), EffectKind.START_VM, OutcomeCode.OK)
        picture = seen(
            VmCondition.DOWN,
            LeaseCondition.OURS,
            exit=VmExit.LEASE_HELD_ELSEWHERE,
            outcomes=(outcome,),
        )
        decision = self.start(memory, picture)
        assert decision.state is State.ENGINE_STOP
        assert decision.memory.stop_reason is StopReason.LEASE_ELSEWHERE
        assert not decision.memory.failures
        assert decision.memory.not_before == NOW + POLICY.lease_elsewhere_pause_seconds

    def test_an_old_down_record_is_no_failure(self) -> None:
        memory = Memory(last_kind=EffectKind.TAKE_LEASE, last_at=NOW - 1.0)
        decision = self.start(memory, seen(VmCondition.DOWN, LeaseCondition.OURS))
        assert kind_of(decision) is EffectKind.DESTROY_VM
        assert not decision.memory.failures

    def test_too_many_failed_starts_end_here(self) -> None:
        failures = tuple(NOW - age_seconds for age_seconds in (40.0, 30.0, 20.0, 10.0))
        memory, outcome = settled(Memory(failures=failures), EffectKind.START_VM, OutcomeCode.OK)
        picture = seen(
            VmCondition.DOWN,
            LeaseCondition.OURS,
            exit=VmExit.START_FAILED,
            outcomes=(outcome,),
        )
        decision = self.start(memory, picture)
        assert decision.state is State.ENGINE_STOP
        assert decision.memory.stop_reason is StopReason.FAILED_TOO_OFTEN
        assert len(decision.memory.failures) == 5

    def test_an_unknown_outcome_is_no_failure(self) -> None:
        memory, outcome = settled(Memory(), EffectKind.START_VM, OutcomeCode.UNKNOWN)
        decision = self.start(memory, seen(outcomes=(outcome,), lease_is=LeaseCondition.OURS))
        assert not decision.memory.failures
        assert decision.effect is None  # not again before a pause


class TestMemory:
    def test_grace_begins_anew_when_health_was_not_seen_to_be_bad(self) -> None:
        """BAD, then nothing for longer than the grace time, then BAD: that is no hung engine."""
        memory = Memory()
        for age_seconds, health in ((300.0, Health.BAD), (290.0, Health.UNKNOWN), (0, Health.BAD)):
            picture = seen(VmCondition.UP, LeaseCondition.OURS, health=health)
            picture = at(picture, NOW - age_seconds)
            decision = FSM.step(State.ENGINE_UP_BAD_HEALTH, memory, picture, POLICY)
            memory = decision.memory
            assert decision.state is State.ENGINE_UP_BAD_HEALTH

    def test_global_maintenance_is_remembered_while_it_is_not_known(self) -> None:
        picture = seen(VmCondition.ABSENT, LeaseCondition.FREE, global_maintenance=True)
        decision = FSM.step(State.ENGINE_DOWN, Memory(), picture, POLICY)
        assert decision.state is State.GLOBAL_MAINTENANCE
        picture = dataclasses.replace(picture, global_maintenance=None)
        decision = FSM.step(decision.state, decision.memory, picture, POLICY)
        assert decision.state is State.GLOBAL_MAINTENANCE

    def test_the_first_look_waits_for_global_maintenance_to_be_known(self) -> None:
        picture = seen(VmCondition.ABSENT, LeaseCondition.FREE, global_maintenance=None)
        decision = FSM.step(State.START, Memory(), picture, POLICY)
        assert decision.state is State.START
        picture = dataclasses.replace(picture, global_maintenance=False)
        decision = FSM.step(decision.state, decision.memory, picture, POLICY)
        assert decision.state is State.ENGINE_DOWN

    def test_failures_leave_the_window(self) -> None:
        memory = Memory(failures=(NOW - 601.0, NOW - 10.0))
        decision = FSM.step(State.ENGINE_DOWN, memory, seen(lease_is=LeaseCondition.HELD), POLICY)
        assert decision.memory.failures == (NOW - 10.0,)

    def test_a_failed_shutdown_is_asked_for_again(self) -> None:
        memory, outcome = settled(
            Memory(stop_reason=StopReason.HUNG, shutdown_asked=True),
            EffectKind.SHUTDOWN_VM,
            OutcomeCode.FAILED,
        )
        picture = seen(VmCondition.UP, LeaseCondition.OURS, health=Health.BAD, outcomes=(outcome,))
        decision = FSM.step(State.ENGINE_STOP, memory, picture, POLICY)
        assert decision.effect is None
        later = at(picture, NOW + POLICY.retry_pause_seconds)
        decision = FSM.step(State.ENGINE_STOP, decision.memory, later, POLICY)
        assert kind_of(decision) is EffectKind.SHUTDOWN_VM

    def test_an_outcome_of_another_effect_is_left_aside(self) -> None:
        memory, outcome = settled(Memory(), EffectKind.START_VM, OutcomeCode.FAILED)
        stray = dataclasses.replace(outcome, serial=outcome.serial + 7)
        picture = seen(lease_is=LeaseCondition.OURS, outcomes=(stray,))
        decision = FSM.step(State.ENGINE_START, memory, picture, POLICY)
        assert decision.memory.pending == memory.pending
        assert not decision.memory.failures

    def test_the_time_since_the_vm_runs_is_that_of_this_run(self) -> None:
        """Kept while VDSM is silent, forgotten when the VM is gone: a page of the run before
        would count for the next one."""
        memory = Memory(running_since=NOW - 500.0)
        for vm, expected in (
            (VmCondition.UP, NOW - 500.0),
            (VmCondition.UNKNOWN, NOW - 500.0),
            (VmCondition.ABSENT, None),
            (VmCondition.DOWN, None),
            (VmCondition.MIGRATING_HERE, None),
        ):
            decision = FSM.step(State.ENGINE_UP, memory, seen(vm, LeaseCondition.OURS), POLICY)
            assert decision.memory.running_since == expected
        started = FSM.step(State.ENGINE_UP, Memory(), seen(VmCondition.UP), POLICY)
        assert started.memory.running_since == NOW

    def test_the_time_of_vdsms_silence_is_that_of_this_silence(self) -> None:
        memory = Memory(vm_unknown_since=NOW - 500.0)
        for vm in VmCondition:
            decision = FSM.step(State.ENGINE_UP, memory, seen(vm, LeaseCondition.OURS), POLICY)
            expected = NOW - 500.0 if vm is VmCondition.UNKNOWN else None
            assert decision.memory.vm_unknown_since == expected


def free(_context: Context) -> bool:
    """always"""
    return True


def one(row: Row, memory: Memory, picture: Observation, state: Optional[State] = None) -> Decision:
    """Step where there is no other row."""
    return Fsm((row,)).step(state or row.sources[0], memory, picture, POLICY)


class TestRequest:
    """What is asked for, and what the memory has of it afterwards."""

    def row(self, kind: EffectKind, *, fallback: bool = False) -> Row:
        return Row((State.ENGINE_START,), None, (free,), "go", effect=kind, fallback=fallback)

    def test_it_is_numbered_and_under_way_from_now(self) -> None:
        before = Memory(serial=4, was_healthy=True, started_from="d7", start_fault="no bus")
        decision = one(self.row(EffectKind.TAKE_LEASE), before, seen())
        effect = Effect(EffectKind.TAKE_LEASE, 5, "go", 7, False)
        assert decision.effect == effect
        memory = decision.memory
        assert (memory.serial, memory.pending, memory.pending_since) == (5, effect, NOW)
        assert (memory.last_kind, memory.last_at) == (EffectKind.TAKE_LEASE, NOW)
        assert (memory.was_healthy, memory.started_from, memory.start_fault) == (
            True,
            "d7",
            "no bus",
        )

    @pytest.mark.parametrize(
        ("fallback", "fault", "why", "source"),
        [
            (False, "", "go", "d1"),
            (False, "no bus", "go", "d1"),
            (True, "", "go", "d0"),
            (True, "no bus", "go (no bus)", "d0"),
        ],
    )
    def test_a_start_is_a_new_run_of_a_definition(
        self, fallback: bool, fault: str, why: str, source: str
    ) -> None:
        view = DefinitionView(available=True, identity="d1", memory_mib=4096, fallback="d0")
        before = Memory(was_healthy=True, started_from="d7", start_fault=fault)
        row = self.row(EffectKind.START_VM, fallback=fallback)
        decision = one(row, before, seen(definition=view))
        assert decision.effect == Effect(EffectKind.START_VM, 1, why, 7, fallback)
        memory = decision.memory
        assert (memory.was_healthy, memory.started_from, memory.start_fault) == (False, source, "")

    @pytest.mark.parametrize(
        ("kind", "before", "after"),
        [
            (EffectKind.SHUTDOWN_VM, False, True),
            (EffectKind.DESTROY_VM, False, False),
            (EffectKind.DESTROY_VM, True, True),
        ],
    )
    def test_a_shutdown_is_remembered(self, kind: EffectKind, before: bool, after: bool) -> None:
        decision = one(self.row(kind), Memory(shutdown_asked=before), seen(VmCondition.UP))
        assert decision.memory.shutdown_asked is after

    def test_only_a_row_that_asks_for_something_waits_for_what_is_under_way(self) -> None:
        memory, _outcome = settled(Memory(), EffectKind.START_VM, OutcomeCode.OK)
        asks = self.row(EffectKind.DESTROY_VM)
        asks_nothing = dataclasses.replace(asks, effect=None)
        assert one(asks, memory, seen()).row is None
        assert one(asks_nothing, memory, seen()).row is asks_nothing

    @pytest.mark.parametrize(
        ("kind", "code", "asked"),
        [
            (EffectKind.SHUTDOWN_VM, OutcomeCode.OK, True),
            (EffectKind.SHUTDOWN_VM, OutcomeCode.FAILED, False),
            (EffectKind.DESTROY_VM, OutcomeCode.FAILED, True),
        ],
    )
    def test_its_outcome_is_there_for_one_tick(
        self, kind: EffectKind, code: OutcomeCode, asked: bool
    ) -> None:
        before, outcome = settled(Memory(shutdown_asked=True), kind, code)
        picture = seen(VmCondition.UP, outcomes=(outcome,))
        nothing = Row((State.START,), None, (free,), "nothing")
        memory = one(nothing, before, picture, State.ENGINE_STOP).memory
        assert (memory.settled_effect, memory.settled) == (before.pending, outcome)
        assert (memory.pending, memory.pending_since) == (None, None)
        assert memory.shutdown_asked is asked
        memory = one(nothing, memory, at(picture, NOW + 1.0), State.ENGINE_STOP).memory
        assert (memory.settled_effect, memory.settled) == (None, None)
        assert memory.shutdown_asked is asked


class TestChange:
    """What a change of state leaves of the memory, and what time does to it."""

    @pytest.mark.parametrize(
        ("state", "target", "reason", "asked"),
        [
            (State.ENGINE_UP, State.ENGINE_STOP, StopReason.HUNG, False),
            (State.ENGINE_STOP, State.ENGINE_FORCE_STOP, StopReason.HUNG, True),
            (State.LOCAL_MAINTENANCE_MIGRATE_VM, State.ENGINE_STOP, StopReason.HUNG, True),
            (State.ENGINE_STOP, State.LOCAL_MAINTENANCE_MIGRATE_VM, StopReason.HUNG, True),
            (State.ENGINE_STOP, State.ENGINE_DOWN, None, False),
            (State.ENGINE_UP, None, StopReason.HUNG, True),
        ],
        ids=lambda value: value.value if isinstance(value, State) else None,
    )
    def test_a_stop_goes_on_or_begins_or_is_forgotten(
        self, state: State, target: Optional[State], reason: Optional[StopReason], asked: bool
    ) -> None:
        before = Memory(state_since=NOW - 5.0, stop_reason=StopReason.HUNG, shutdown_asked=True)
        decision = one(Row((state,), target, (free,), "go"), before, seen())
        assert decision.state is (target or state)
        assert decision.changed is (target is not None)
        assert (decision.memory.stop_reason, decision.memory.shutdown_asked) == (reason, asked)
        assert decision.memory.state_since == (NOW if target else NOW - 5.0)

    def test_the_notes_come_after_that(self) -> None:
        notes = (because(StopReason.PAUSED), hold_back)
        row = Row((State.ENGINE_UP,), State.ENGINE_STOP, (free,), "go", notes=notes)
        memory = one(row, Memory(), seen()).memory
        assert memory.stop_reason is StopReason.PAUSED
        assert memory.not_before is not None

    def test_the_first_step_begins_the_time_of_its_state(self) -> None:
        row = Row((State.START,), State.ENGINE_DOWN, (free,), "go")
        memory = one(row, Memory(), seen(), State.ENGINE_UP).memory
        assert memory.state_since == NOW

    def test_a_failure_counts_for_less_than_the_window(self) -> None:
        window_seconds = POLICY.restart_window_seconds
        before = Memory(failures=(NOW - window_seconds, NOW - window_seconds + 1.0))
        row = Row((State.START,), State.ENGINE_DOWN, (free,), "go")
        memory = one(row, before, seen(), State.ENGINE_UP).memory
        assert memory.failures == (NOW - window_seconds + 1.0,)

    @pytest.mark.parametrize(
        ("state", "health", "leads"),
        [
            (State.ENGINE_UP, Health.GOOD, True),
            (State.ENGINE_UP, Health.BAD, False),
            (State.ENGINE_STARTING, Health.GOOD, False),
        ],
    )
    def test_another_host_may_lead_while_a_healthy_engine_is_up_here(
        self, state: State, health: Health, leads: bool
    ) -> None:
        row = Row((State.START,), State.ENGINE_DOWN, (free,), "go")
        picture = seen(VmCondition.UP, LeaseCondition.OURS, health=health)
        picture = dataclasses.replace(picture, peers=(peer(2, score=9000),))
        memory = one(row, Memory(), picture, state).memory
        assert memory.lead == (Lead(2, NOW) if leads else Lead())
        later = at(picture, NOW + POLICY.hysteresis.lead_seconds)
        assert one(row, memory, later, state).better_host == (2 if leads else None)


class TestMigration:
    def test_gone_after_migrating_away_means_migrated(self) -> None:
        """The engine clears the source's Down record itself, often before we look."""
        picture = seen(VmCondition.ABSENT, LeaseCondition.OURS)
        decision = FSM.step(State.ENGINE_MIGRATING_AWAY, Memory(), picture, POLICY)
        assert decision.state is State.ENGINE_STOP
        assert decision.memory.stop_reason is StopReason.MIGRATED
        assert not decision.memory.failures

    def test_a_vm_that_comes_back_while_its_lease_is_given_up_is_taken_up(self) -> None:
        memory = Memory(stop_reason=StopReason.MIGRATED)
        picture = seen(VmCondition.UP, LeaseCondition.FREE, health=Health.GOOD)
        decision = FSM.step(State.ENGINE_STOP, memory, picture, POLICY)
        assert decision.state is State.ENGINE_MIGRATING_HERE
        decision = FSM.step(decision.state, decision.memory, picture, POLICY)
        assert kind_of(decision) is EffectKind.TAKE_LEASE


def test_the_score_of_an_unable_host_does_not_hide_behind_a_state() -> None:
    picture = seen(definition=DefinitionView(available=False, problem="torn"))
    decision = FSM.step(State.ENGINE_DOWN, Memory(), picture, POLICY)
    assert decision.score.points == 0
    assert decision.score.penalties[0].cause == "no definition of the engine VM: torn"


def test_the_score_is_that_of_the_state_and_the_failures_after_the_step() -> None:
    """It is published together with the new state."""
    picture = seen(VmCondition.ABSENT, LeaseCondition.HELD)
    decision = FSM.step(State.START, Memory(), picture, POLICY)
    assert (decision.state, decision.score.points) == (State.ENGINE_DOWN, 3400)
    crashed = seen(VmCondition.DOWN, LeaseCondition.OURS)
    decision = FSM.step(State.ENGINE_UP, Memory(), crashed, POLICY)
    assert (decision.state, decision.score.points) == (State.ENGINE_START, 3350)


def test_peers_and_ties() -> None:
    """Of two equal hosts the lower id goes at once, the other one step later."""
    for peer_id, expected in ((2, EffectKind.TAKE_LEASE), (0, None)):
        picture = seen(peers=(peer(peer_id),))
        picture = dataclasses.replace(
            picture, lease=dataclasses.replace(picture.lease, available_since=NOW)
        )
        decision = FSM.step(State.ENGINE_DOWN, Memory(), picture, POLICY)
        assert kind_of(decision) is expected
    later = dataclasses.replace(picture, now=NOW + POLICY.takeover_step_seconds)
    decision = FSM.step(State.ENGINE_DOWN, Memory(state_since=NOW), later, POLICY)
    assert kind_of(decision) is EffectKind.TAKE_LEASE
