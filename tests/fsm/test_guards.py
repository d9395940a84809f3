# SPDX-License-Identifier: Apache-2.0
"""What each guard answers to each picture. Guards about a condition are held against all
conditions; guards about time against the moment before and the moment of their time."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import pytest

from ha_agent.fsm import guards as g
from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.guards import Guard
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    HealthView,
    LeaseCondition,
    Observation,
    Outcome,
    OutcomeCode,
    PeerView,
    VmCondition,
    VmExit,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.table import TABLE
from ha_agent.fsm.trends import Trend, Trends
from tests.fsm.pictures import NOW, US, context, failed, lease, peer, seen

V, L, E, R = VmCondition, LeaseCondition, EffectKind, StopReason
RUNNING = {V.STARTING, V.UP, V.PAUSED, V.STOPPING, V.MIGRATING_AWAY}


def remembering(**fields: Any) -> Context:
    return context(seen(), dataclasses.replace(Memory(), **fields))


def pending(kind: EffectKind) -> Memory:
    return Memory(serial=1, pending=Effect(kind, 1, "test"), pending_since=NOW - 1.0)


def brought(kind: EffectKind, code: OutcomeCode, picture: Optional[Observation] = None) -> Context:
    """Return the context of the tick that brings this outcome."""
    effect = Effect(kind, 1, "test")
    memory = Memory(settled_effect=effect, settled=Outcome(1, code), last_kind=kind)
    return context(picture or seen(), dataclasses.replace(memory, last_at=NOW - 1.0))


class TestVm:
    @pytest.mark.parametrize(
        ("guard", "conditions"),
        [
            (g.vm_unknown, {V.UNKNOWN}),
            (g.vm_running, RUNNING),
            (g.vm_coming, {V.MIGRATING_HERE}),
            (g.vm_leaving, {V.MIGRATING_AWAY}),
            (g.vm_absent, {V.ABSENT}),
            (g.vm_down, {V.DOWN}),
            (g.vm_gone, {V.ABSENT, V.DOWN}),
        ],
    )
    def test_conditions(self, guard: Guard, conditions: set[VmCondition]) -> None:
        assert {c for c in VmCondition if guard(context(seen(c)))} == conditions

    def test_each_condition_is_just_one_of_four(self) -> None:
        """Or a row's guards could hold together that were never meant to."""
        kinds = (g.vm_unknown, g.vm_running, g.vm_coming, g.vm_gone)
        for condition in VmCondition:
            assert sum(kind(context(seen(condition))) for kind in kinds) == 1

    @pytest.mark.parametrize(
        ("guard", "ended"),
        [(g.vm_migrated, VmExit.MIGRATED), (g.vm_lease_elsewhere, VmExit.LEASE_HELD_ELSEWHERE)],
    )
    def test_how_it_ended(self, guard: Guard, ended: VmExit) -> None:
        assert {e for e in VmExit if guard(context(seen(V.DOWN, exit=e)))} == {ended}
        others = [condition for condition in V if condition is not V.DOWN]
        for condition in others:  # a word left over from the last run
            assert not guard(context(seen(condition, exit=ended)))


class TestLease:
    @pytest.mark.parametrize(
        ("guard", "conditions"),
        [
            (g.lease_known, {L.FREE, L.OURS, L.HELD, L.EXPIRED}),
            (g.lease_ours, {L.OURS}),
            (g.lease_available, {L.FREE, L.EXPIRED}),
            (g.lease_expired, {L.EXPIRED}),
            (g.lease_taken_away, {L.HELD, L.EXPIRED}),
        ],
    )
    def test_conditions(self, guard: Guard, conditions: set[LeaseCondition]) -> None:
        assert {c for c in L if guard(context(seen(lease_is=c)))} == conditions

    def test_our_turn_comes_to_the_instant(self) -> None:
        step_seconds = Policy().takeover_step_seconds
        for late_seconds, expected in ((-0.01, False), (0.0, True), (9.0, True)):
            view = dataclasses.replace(
                lease(L.FREE), available_since=NOW - step_seconds - late_seconds
            )
            picture = seen(lease=view, peers=(peer(3),))
            assert g.our_turn(context(picture, score=3399)) is expected

    def test_it_is_never_our_turn_while_the_lease_is_held(self) -> None:
        assert not g.our_turn(context(seen(lease_is=L.HELD)))

    def test_our_turn_goes_by_the_published_score(self) -> None:
        view = dataclasses.replace(lease(L.FREE), available_since=NOW)
        picture = seen(lease=view, peers=(peer(3, score=3000),), published_score=3400)
        assert g.our_turn(context(picture, score=1))


class TestWishes:
    @pytest.mark.parametrize("wish", [False, True])
    def test_are_as_they_are_seen(self, wish: bool) -> None:
        assert g.stop_requested(context(seen(stop_requested=wish))) is wish
        assert g.local_maintenance(context(seen(local_maintenance=wish))) is wish

    @pytest.mark.parametrize(
        ("remembered", "on", "known"),
        [(None, False, False), (False, False, True), (True, True, True)],
    )
    def test_global_maintenance_is_as_it_was_last_known(
        self, remembered: Optional[bool], on: bool, known: bool
    ) -> None:
        for now_seen in (None, False, True):
            picture = seen(global_maintenance=now_seen)
            looked = context(picture, Memory(global_maintenance=remembered))
            assert g.global_maintenance(looked) is on
            assert g.global_maintenance_known(looked) is known


class TestEffectsUnderWay:
    @pytest.mark.parametrize("kind", EffectKind)
    def test_idle_means_none(self, kind: EffectKind) -> None:
        assert g.idle(context(seen()))
        assert not g.idle(context(seen(), pending(kind)))

    def test_a_stop_need_not_wait_for_nothing(self) -> None:
        assert not g.stop_has_to_wait(context(seen(V.ABSENT, L.OURS)))

    @pytest.mark.parametrize("vm", [V.UP, V.ABSENT, V.UNKNOWN])
    @pytest.mark.parametrize("condition", LeaseCondition)
    def test_a_stop_waits_for_a_lease_being_taken(
        self, vm: VmCondition, condition: LeaseCondition
    ) -> None:
        assert g.stop_has_to_wait(context(seen(vm, condition), pending(E.TAKE_LEASE)))

    @pytest.mark.parametrize("kind", [kind for kind in E if kind is not E.TAKE_LEASE])
    @pytest.mark.parametrize(
        ("vm", "condition", "expected"),
        [
            (V.ABSENT, L.OURS, True),
            (V.DOWN, L.OURS, True),
            (V.UP, L.OURS, False),
            (V.UNKNOWN, L.OURS, False),
            (V.ABSENT, L.FREE, False),
            (V.ABSENT, L.HELD, False),
        ],
    )
    def test_a_stop_waits_for_others_only_while_the_lease_is_ours_without_vm(
        self, kind: EffectKind, vm: VmCondition, condition: LeaseCondition, expected: bool
    ) -> None:
        assert g.stop_has_to_wait(context(seen(vm, condition), pending(kind))) is expected

    def test_an_effect_is_possible_when_none_is_under_way_nor_its_like_was_just_now(self) -> None:
        pause_seconds = Policy().retry_pause_seconds
        for kind in EffectKind:
            assert g.effect_possible(context(seen()), kind)
            assert not g.effect_possible(context(seen(), pending(E.START_VM)), kind)
            for age_seconds in (0.0, pause_seconds - 0.01, pause_seconds):
                looked = remembering(last_kind=E.START_VM, last_at=NOW - age_seconds)
                expected = kind is not E.START_VM or age_seconds >= pause_seconds
                assert g.effect_possible(looked, kind) is expected


class TestAbility:
    @pytest.mark.parametrize(
        ("score", "available", "expected"),
        [(1, True, True), (0, True, False), (3400, False, False)],
    )
    def test_able(self, score: int, available: bool, expected: bool) -> None:
        picture = seen(definition=DefinitionView(available=available))
        assert g.able(context(picture, score=score)) is expected

    @pytest.mark.parametrize(
        ("not_before", "expected"),
        [(None, True), (NOW - 1.0, True), (NOW, True), (NOW + 0.01, False)],
    )
    def test_not_held_back(self, not_before: Any, expected: bool) -> None:
        assert g.not_held_back(remembering(not_before=not_before)) is expected

    def test_restarts_left_until_each_back_off_is_used(self) -> None:
        left = [g.restarts_left(context(seen(), failed(times))) for times in range(6)]
        assert left == [True, True, True, True, False, False]


class TestPeers:
    def test_nobody_has_the_vm_where_nobody_is(self) -> None:
        assert g.no_peer_has_vm(context(seen()))
        assert not g.other_host_able(context(seen()))

    @pytest.mark.parametrize("condition", LeaseCondition)
    def test_a_live_claim_counts(self, condition: LeaseCondition) -> None:
        assert not g.no_peer_has_vm(
            context(seen(lease_is=condition, peers=(peer(3), peer(4, vm_up=True))))
        )

    def test_the_claim_of_a_host_that_can_not_start_it_counts_as_well(self) -> None:
        faults: tuple[dict[str, Any], ...] = (
            {"score": 0},
            {"maintenance": True},
            {"stopped": True},
        )
        for fault in faults:
            claim = peer(3, vm_up=True, **fault)
            assert not g.no_peer_has_vm(context(seen(peers=(claim,))))

    def test_the_claim_of_a_dead_host_does_not(self) -> None:
        assert g.no_peer_has_vm(context(seen(peers=(peer(3, vm_up=True, alive=False),))))

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [(L.EXPIRED, True), (L.FREE, True), (L.HELD, False), (L.UNKNOWN, False)],
    )
    def test_the_last_holders_claim_counts_only_while_it_holds(
        self, condition: LeaseCondition, expected: bool
    ) -> None:
        picture = seen(lease=lease(condition, host_id=2), peers=(peer(2, vm_up=True),))
        assert g.no_peer_has_vm(context(picture)) is expected

    @pytest.mark.parametrize("condition", [L.EXPIRED, L.FREE])
    def test_one_that_went_back_to_the_predecessor_renews_no_lease_and_lives(
        self, condition: LeaseCondition
    ) -> None:
        claim = peer(2, vm_up=True, predecessor=True)
        picture = seen(lease=lease(condition, host_id=2), peers=(claim,))
        assert not g.no_peer_has_vm(context(picture))

    def test_another_host_is_able(self) -> None:
        assert g.other_host_able(context(seen(peers=(peer(3),))))
        assert not g.other_host_able(context(seen(peers=(peer(3, score=0),))))

    def test_the_holder_of_an_expired_lease_is_not(self) -> None:
        expired = lease(L.EXPIRED, host_id=2)
        assert not g.other_host_able(context(seen(lease=expired, peers=(peer(2),))))
        assert g.other_host_able(context(seen(lease=expired, peers=(peer(2), peer(3)))))

    def test_our_own_expired_lease_hides_nobody(self) -> None:
        expired = lease(L.EXPIRED, host_id=US)
        assert g.other_host_able(context(seen(lease=expired, peers=(peer(2),))))


class TestHealth:
    def look(self, health: Health, **memory: Any) -> Context:
        fields = {"running_since": NOW - 700.0, **memory}
        return context(seen(V.UP, L.OURS, health=health), Memory(**fields))

    @pytest.mark.parametrize("health", Health)
    def test_is_the_pages(self, health: Health) -> None:
        assert g.healthy(self.look(health)) is (health is Health.GOOD)
        assert g.unhealthy(self.look(health)) is (health is Health.BAD)

    @pytest.mark.parametrize("health", Health)
    def test_a_page_from_before_this_vm_is_neither(self, health: Health) -> None:
        for looked in (
            self.look(health, running_since=NOW + 0.1),
            self.look(health, running_since=None),
            context(
                dataclasses.replace(seen(V.UP), health=HealthView(health, taken_at=None)),
                Memory(running_since=NOW - 700.0),
            ),
        ):
            assert not g.healthy(looked)
            assert not g.unhealthy(looked)

    def test_hung_means_bad_for_the_whole_grace_time_and_still_bad(self) -> None:
        assert not g.hung(self.look(Health.BAD))
        assert not g.hung(self.look(Health.BAD, bad_since=NOW - 119.9))
        assert g.hung(self.look(Health.BAD, bad_since=NOW - 120.0))
        assert not g.hung(self.look(Health.GOOD, bad_since=NOW - 500.0))
        assert not g.hung(self.look(Health.UNKNOWN, bad_since=NOW - 500.0))


class TestPageOutOfReach:
    def looked(self, *peers: PeerView, lost: Optional[float] = 60.0, bad: float = 90.0) -> bool:
        network = Trend(since=None if lost is None else NOW - lost)
        memory = Memory(trends=Trends(network=network), bad_since=NOW - bad)
        return g.page_out_of_reach(Context(memory, seen(peers=peers), Policy(), 1800))

    def test_is_for_a_host_whose_own_network_is_lost(self) -> None:
        assert self.looked()
        assert not self.looked(lost=None)

    def test_a_page_that_was_good_without_the_network_does_not_need_it(self) -> None:
        """Where the tested address never answers, a hung engine is still a hung engine."""
        assert self.looked(lost=240.0, bad=120.0)
        assert not self.looked(lost=240.1, bad=120.0)
        picture = seen(V.UP, L.OURS)
        assert not g.page_out_of_reach(
            context(picture, Memory(trends=Trends(network=Trend(since=NOW))))
        )

    def test_a_host_that_is_far_better_would_reach_it(self) -> None:
        assert self.looked(peer(2, score=2599))
        assert not self.looked(peer(2, score=2599), peer(3, score=2600))

    def test_only_one_that_could_run_the_vm(self) -> None:
        assert self.looked(peer(2, score=3400, alive=False), peer(3, score=3400, maintenance=True))


class TestTimes:
    @pytest.mark.parametrize(
        ("guard", "seconds"),
        [(g.starting_too_long, 600.0), (g.stopping_too_long, 120.0), (g.penance_done, 120.0)],
    )
    def test_count_from_the_change_of_state(self, guard: Guard, seconds: float) -> None:
        assert not guard(remembering(state_since=None))
        assert not guard(remembering(state_since=NOW - seconds + 0.1))
        assert guard(remembering(state_since=NOW - seconds))

    def test_are_each_the_policys_own(self) -> None:
        policy = Policy(
            start_timeout_seconds=10.0, stop_timeout_seconds=20.0, unexpected_down_seconds=30.0
        )
        for age_seconds, expected in ((10.0, 1), (20.0, 2), (30.0, 3)):
            looked = Context(Memory(state_since=NOW - age_seconds), seen(), policy, 3400)
            times = (g.starting_too_long, g.stopping_too_long, g.penance_done)
            assert sum(guard(looked) for guard in times) == expected

    def test_the_first_look_at_vdsm_has_a_moment(self) -> None:
        silent = seen(V.UNKNOWN)
        assert not g.first_look_overdue(context(silent, Memory(vm_unknown_since=NOW - 2.9)))
        assert g.first_look_overdue(context(silent, Memory(vm_unknown_since=NOW - 3.0)))
        assert not g.first_look_overdue(context(seen(), Memory(vm_unknown_since=NOW - 9.0)))

    def test_vdsm_is_silent_for_too_long_after_its_time(self) -> None:
        for vm, age_seconds, expected in (
            (V.UNKNOWN, 59.9, False),
            (V.UNKNOWN, 60.0, True),
            (V.ABSENT, 500.0, False),
        ):
            memory = Memory(vm_unknown_since=NOW - age_seconds)
            assert g.vdsm_silent_too_long(context(seen(vm), memory)) is expected
        assert not g.vdsm_silent_too_long(context(seen(V.UNKNOWN)))


class TestOutcomes:
    @pytest.mark.parametrize("code", OutcomeCode)
    def test_taking_the_lease_was_refused_unless_it_was_ok(self, code: OutcomeCode) -> None:
        refused = code is not OutcomeCode.OK
        assert g.take_refused(brought(E.TAKE_LEASE, code)) is refused
        assert not g.take_refused(brought(E.RELEASE_LEASE, code))
        assert not g.take_refused(context(seen()))

    @pytest.mark.parametrize("code", OutcomeCode)
    def test_the_answer_to_a_start(self, code: OutcomeCode) -> None:
        looked = brought(E.START_VM, code)
        assert g.start_failed(looked) is (code in (OutcomeCode.FAILED, OutcomeCode.REFUSED))
        assert g.start_lost_race(looked) is (code is OutcomeCode.LEASE_HELD_ELSEWHERE)

    @pytest.mark.parametrize("code", OutcomeCode)
    def test_the_answer_to_another_effect_is_no_failed_start(self, code: OutcomeCode) -> None:
        for kind in set(EffectKind) - {E.START_VM}:
            assert not g.start_failed(brought(kind, code, seen(V.DOWN)))
            assert not g.start_lost_race(brought(kind, code, seen(V.DOWN)))

    @pytest.mark.parametrize("ended", VmExit)
    def test_a_record_that_our_start_left_is_a_failed_one(self, ended: VmExit) -> None:
        looked = brought(E.START_VM, OutcomeCode.OK, seen(V.DOWN, exit=ended))
        assert g.start_left_record(looked)
        assert g.start_failed(looked)
        assert g.start_lost_race(looked) is (ended is VmExit.LEASE_HELD_ELSEWHERE)

    def test_a_record_is_left_by_our_start_only_once_and_only_after_it(self) -> None:
        started = Memory(last_kind=E.START_VM, last_at=NOW - 5.0)
        down = seen(V.DOWN)
        assert g.start_left_record(context(down, started))
        for memory in (
            dataclasses.replace(started, last_kind=E.DESTROY_VM),
            dataclasses.replace(started, last_at=None),
            dataclasses.replace(started, failures=(NOW - 5.0,)),
            dataclasses.replace(started, failures=(NOW - 99.0, NOW - 1.0)),
            dataclasses.replace(started, pending=Effect(E.START_VM, 1, "test")),
        ):
            assert not g.start_left_record(context(down, memory))
        older = dataclasses.replace(started, failures=(NOW - 5.1,))
        assert g.start_left_record(context(down, older))
        assert not g.start_left_record(context(seen(V.ABSENT), started))


class TestStops:
    def test_shutdown_asked_is_remembered(self) -> None:
        assert g.shutdown_asked(remembering(shutdown_asked=True))
        assert not g.shutdown_asked(remembering())


class TestWords:
    def test_negate_turns_the_answer_and_says_so(self) -> None:
        negated = g.negate(g.vm_unknown)
        assert negated.__name__ == "not_vm_unknown"
        assert negated.__doc__ == "not: VDSM does not answer"
        for condition in VmCondition:
            looked = context(seen(condition))
            assert negated(looked) is not g.vm_unknown(looked)

    def test_each_guard_of_the_table_reads_as_a_condition(self) -> None:
        """Their docstrings are the column "when" in ARCHITECTURE.md."""
        words = {guard.__name__: guard.__doc__ or "" for row in TABLE for guard in row.when}
        assert len(set(words.values())) == len(words)
        for text in words.values():
            assert text
            assert "\n" not in text
            assert "|" not in text
            assert not text.endswith(".")

    def test_an_age_counts_from_its_instant(self) -> None:
        assert context(seen()).age_seconds(NOW - 5.0) == 5.0
        assert context(seen()).age_seconds(None) == 0.0


class TestDefinitionFailing:
    @staticmethod
    def failing(failed_starts: int, failing: str = "d1", fallback: str = "d0") -> bool:
        definition = DefinitionView(available=True, identity="d1", fallback=fallback)
        memory = Memory(failing=failing, failed_starts=failed_starts)
        return g.definition_failing(context(seen(definition=definition), memory))

    def test_two_failed_starts_are_the_definitions_fault_one_is_not(self) -> None:
        assert [self.failing(starts) for starts in range(4)] == [False, False, True, True]

    def test_another_definitions_failures_are_not_its_own(self) -> None:
        assert not self.failing(9, failing="d0")

    def test_without_another_one_it_stays_in_use(self) -> None:
        assert not self.failing(9, fallback="")


class TestGivingUp:
    """`hung` in these: bad for the whole grace time, as seen now."""

    GRACE_SECONDS = Policy().bad_health_grace_seconds
    START_SECONDS = Policy().start_timeout_seconds

    @pytest.mark.parametrize("condition", VmCondition)
    def test_paused_for_the_whole_grace_time(self, condition: VmCondition) -> None:
        paused = condition is V.PAUSED
        assert g.vm_paused(context(seen(condition))) is paused
        for age_seconds, long in ((self.GRACE_SECONDS, True), (self.GRACE_SECONDS - 0.1, False)):
            memory = Memory(paused_since=NOW - age_seconds)
            assert g.paused_too_long(context(seen(condition), memory)) is (paused and long)

    def given_up(self, **fields: Any) -> bool:
        memory = Memory(bad_since=NOW - self.GRACE_SECONDS)
        memory = dataclasses.replace(memory, **fields)
        return g.given_up(context(seen(V.UP, health=Health.BAD), memory))

    def test_an_engine_that_was_healthy_has_the_grace_time_only(self) -> None:
        running_since = NOW - (self.GRACE_SECONDS + 1.0)
        assert self.given_up(was_healthy=True, running_since=running_since)
        bad_since = NOW - (self.GRACE_SECONDS - 0.1)
        assert not self.given_up(
            was_healthy=True, running_since=running_since, bad_since=bad_since
        )

    def test_one_that_never_was_has_its_start_time_too(self) -> None:
        assert self.given_up(running_since=NOW - self.START_SECONDS)
        assert not self.given_up(running_since=NOW - (self.START_SECONDS - 0.1))

    def test_one_that_was_asked_for_and_never_seen_counts_from_there(self) -> None:
        def asked_for(kind: EffectKind, age_seconds: float) -> bool:
            unknown = dataclasses.replace(
                Memory(), last_kind=kind, last_at=NOW - age_seconds,
                vm_unknown_since=NOW - 500.0, bad_since=NOW - self.GRACE_SECONDS,
            )  # fmt: skip
            picture = seen(V.UNKNOWN, health=Health.BAD)
            return g.given_up(context(picture, unknown))

        assert asked_for(E.START_VM, self.START_SECONDS)
        assert not asked_for(E.START_VM, self.START_SECONDS - 0.1)
        # No start of ours: since when it may run, nobody here knows.
        assert asked_for(E.TAKE_LEASE, 1.0)

    def test_what_is_seen_to_run_counts_from_then_and_not_from_the_start(self) -> None:
        begun = {"last_kind": E.START_VM, "last_at": NOW - (self.START_SECONDS + 5.0)}
        assert not self.given_up(running_since=NOW - (self.START_SECONDS - 0.1), **begun)
        begun = {"last_kind": E.START_VM, "last_at": NOW - 1.0}
        assert self.given_up(running_since=NOW - self.START_SECONDS, **begun)


def test_an_effect_without_a_time_is_no_reason_to_wait() -> None:
    memory = Memory(last_kind=E.START_VM, last_at=None)
    assert g.effect_possible(context(seen(), memory), E.START_VM)


class TestMoreEdges:
    def test_a_record_that_is_not_our_starts_is_no_lost_race(self) -> None:
        down = seen(V.DOWN, exit=VmExit.LEASE_HELD_ELSEWHERE)
        assert g.start_lost_race(context(down, Memory(last_kind=E.START_VM, last_at=NOW - 1.0)))
        assert not g.start_lost_race(context(down, Memory()))

    @pytest.mark.parametrize("taken_seconds_ago", [400.0, 600.0])
    def test_a_page_counts_since_vdsm_fell_silent_where_the_start_was_not_seen(
        self, taken_seconds_ago: float
    ) -> None:
        memory = Memory(vm_unknown_since=NOW - 500.0)
        page = HealthView(Health.GOOD, taken_at=NOW - taken_seconds_ago)
        looked = dataclasses.replace(seen(V.UNKNOWN), health=page)
        assert g.healthy(context(looked, memory)) is (taken_seconds_ago < 500.0)

    @pytest.mark.parametrize("settled", [Outcome(1, OutcomeCode.FAILED), None])
    @pytest.mark.parametrize("effect", [Effect(E.TAKE_LEASE, 1, "test"), None])
    def test_an_outcome_needs_its_effect_and_an_effect_its_outcome(
        self, settled: Optional[Outcome], effect: Optional[Effect]
    ) -> None:
        memory = Memory(settled_effect=effect, settled=settled)
        both = settled is not None and effect is not None
        assert g.take_refused(context(seen(), memory)) is both
