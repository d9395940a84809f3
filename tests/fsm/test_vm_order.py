# SPDX-License-Identifier: Apache-2.0
"""How far an operator's order has come, picture by picture."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import pytest

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.observation import (
    DefinitionView,
    LeaseCondition,
    Observation,
    Outcome,
    OutcomeCode,
    VmCondition,
    VmExit,
    VmOrder,
    VmOrderKind,
    VmView,
)
from ha_agent.fsm.vm_order import (
    BEGIN_SECONDS,
    START_SECONDS,
    Following,
    OrderPhase,
    OrderProgress,
    follow_order,
    order_due,
)
from tests.fsm.pictures import NOW, US, lease, peer, seen

V, L, K, P = VmCondition, LeaseCondition, VmOrderKind, OrderPhase
QUIET = Following(None, None, None, True, False, 120.0)


def known(
    kind: VmOrderKind, phase: OrderPhase = P.OPEN, age_seconds: float = 1.0
) -> OrderProgress:
    return OrderProgress(3, kind, phase, since=NOW - age_seconds)


def picture(
    kind: Optional[VmOrderKind],
    vm: VmCondition = V.ABSENT,
    lease: LeaseCondition = L.FREE,
    **fields: Any,
) -> Observation:
    order = None if kind is None else VmOrder(3, kind)
    return seen(vm, lease, vm_order=order, global_maintenance=True, **fields)


def ended(kind: EffectKind, code: OutcomeCode, detail: str = "") -> Following:
    effect = Effect(kind, 5, "test")
    return dataclasses.replace(QUIET, settled_effect=effect, settled=Outcome(5, code, detail))


def test_an_order_is_taken_notice_of_once() -> None:
    first = follow_order(OrderProgress(), picture(K.START), QUIET)
    assert first == OrderProgress(3, K.START, P.OPEN, "", NOW)
    done = dataclasses.replace(first, phase=P.DONE)
    assert follow_order(done, picture(K.START), QUIET) == done


def test_the_next_order_waits_for_the_end_of_one_that_was_asked_for() -> None:
    asked = known(K.START, P.ASKED)
    later = dataclasses.replace(picture(K.START), vm_order=VmOrder(4, K.STOP))
    assert follow_order(asked, later, QUIET) == asked
    new = follow_order(known(K.START), later, QUIET)
    assert (new.number, new.phase) == (4, P.REFUSED)  # nothing runs here


@pytest.mark.parametrize("code", [OutcomeCode.OK, OutcomeCode.UNKNOWN])
def test_a_start_that_was_asked_for_is_waited_for(code: OutcomeCode) -> None:
    answer = follow_order(
        known(K.START), picture(K.START, lease=L.OURS), ended(EffectKind.START_VM, code)
    )
    assert answer.phase is P.ASKED
    under_way = dataclasses.replace(QUIET, pending=Effect(EffectKind.START_VM, 5, "test"))
    assert follow_order(known(K.START), picture(None), under_way).phase is P.ASKED


@pytest.mark.parametrize(
    ("view", "lease", "phase"),
    [
        (VmView(V.UP), L.OURS, P.DONE),
        (VmView(V.UP), L.HELD, P.ASKED),
        (VmView(V.STARTING, launching=True), L.OURS, P.ASKED),
        (VmView(V.STARTING), L.OURS, P.DONE),
        (VmView(V.ABSENT), L.OURS, P.ASKED),
        (VmView(V.DOWN, VmExit.LEASE_HELD_ELSEWHERE), L.OURS, P.REFUSED),
    ],
)
def test_the_end_of_a_start(view: VmView, lease: LeaseCondition, phase: OrderPhase) -> None:
    stand = picture(K.START, lease=lease, vm=V.ABSENT)
    stand = dataclasses.replace(stand, vm=view)
    assert follow_order(known(K.START, P.ASKED), stand, QUIET).phase is phase


@pytest.mark.parametrize(
    ("stand", "says"),
    [
        (picture(None), "taken back"),
        (picture(K.START, V.MIGRATING_HERE), "migrating here"),
        (picture(K.START, lease=L.HELD), "host 2"),
        (picture(K.START, peers=(peer(3, vm_up=True),)), "host 3 (h3) says"),
        (picture(K.START, definition=DefinitionView(problem="torn")), "torn"),
    ],
)
def test_what_stands_against_a_start(stand: Observation, says: str) -> None:
    answer = follow_order(known(K.START), stand, QUIET)
    assert (answer.phase, says in answer.detail) == (P.REFUSED, True), answer.detail


@pytest.mark.parametrize(
    ("kind", "vm"), [(K.START, V.ABSENT), (K.START_PAUSED, V.ABSENT), (K.RESUME, V.PAUSED)]
)
def test_a_lease_of_our_own_that_is_being_given_up_is_waited_for(
    kind: VmOrderKind, vm: VmCondition
) -> None:
    """A stop has just ended: the VM is gone, and the release is on its way to storage."""
    stand = dataclasses.replace(picture(kind, vm), lease=lease(L.HELD, host_id=US))
    assert follow_order(known(kind), stand, QUIET).phase is P.OPEN
    late = follow_order(known(kind, age_seconds=BEGIN_SECONDS), stand, QUIET)
    assert (late.phase, "has not given up" in late.detail) == (P.REFUSED, True), late.detail


def test_the_block_of_a_dead_holder_does_not_stand_against_a_start() -> None:
    stand = picture(K.START, lease=L.EXPIRED, peers=(peer(2, vm_up=True),))
    assert follow_order(known(K.START), stand, QUIET).phase is P.OPEN


def test_a_lease_that_is_not_to_be_had_ends_a_start() -> None:
    following = ended(EffectKind.TAKE_LEASE, OutcomeCode.REFUSED, "epoch is 5")
    answer = follow_order(known(K.START), picture(K.START), following)
    assert (answer.phase, "epoch is 5" in answer.detail) == (P.REFUSED, True)
    # It is no matter of a stop's.
    stop = follow_order(known(K.STOP), picture(K.STOP, V.UP), following)
    assert stop.phase is P.OPEN


def test_a_shutdown_of_the_cluster_comes_first() -> None:
    following = dataclasses.replace(QUIET, shutting_down=True)
    assert follow_order(known(K.START), picture(K.START), following).phase is P.REFUSED
    assert follow_order(known(K.STOP), picture(K.STOP, V.UP), following).phase is P.OPEN


@pytest.mark.parametrize("kind", list(K))
def test_without_global_maintenance_the_agents_decide(kind: VmOrderKind) -> None:
    following = dataclasses.replace(QUIET, global_maintenance=False)
    vm = {K.START: V.ABSENT, K.START_PAUSED: V.ABSENT, K.RESUME: V.PAUSED}.get(kind, V.UP)
    assert follow_order(known(kind), picture(kind, vm), following).phase is P.REFUSED
    unknown = dataclasses.replace(QUIET, global_maintenance=None)
    assert follow_order(known(kind), picture(kind, vm), unknown).phase is P.OPEN


def test_what_was_gone_before_was_not_stopped_by_the_order() -> None:
    answer = follow_order(OrderProgress(), picture(K.STOP), QUIET)
    assert (answer.phase, "does not run" in answer.detail) == (P.REFUSED, True)
    assert follow_order(known(K.STOP, P.ASKED), picture(K.STOP), QUIET).phase is P.DONE


def test_a_stop_that_vdsm_refuses() -> None:
    following = ended(EffectKind.SHUTDOWN_VM, OutcomeCode.FAILED, "no guest agent")
    answer = follow_order(known(K.STOP, P.ASKED), picture(K.STOP, V.UP), following)
    assert (answer.phase, "no guest agent" in answer.detail) == (P.REFUSED, True)


@pytest.mark.parametrize(
    ("kind", "vm", "phase", "seconds"),
    [
        (K.START, V.ABSENT, P.OPEN, BEGIN_SECONDS),
        (K.START, V.ABSENT, P.ASKED, START_SECONDS),
        (K.START_PAUSED, V.ABSENT, P.ASKED, START_SECONDS),
        (K.RESUME, V.PAUSED, P.OPEN, BEGIN_SECONDS),
        (K.RESUME, V.PAUSED, P.ASKED, START_SECONDS),
        (K.STOP, V.UP, P.OPEN, BEGIN_SECONDS),
        (K.STOP, V.UP, P.ASKED, 120.0),
    ],
)
def test_no_order_is_carried_out_for_ever(
    kind: VmOrderKind, vm: VmCondition, phase: OrderPhase, seconds: float
) -> None:
    stand = picture(kind, vm, L.UNKNOWN)
    early, late = known(kind, phase, seconds - 0.1), known(kind, phase, seconds)
    assert follow_order(early, stand, QUIET).phase is phase
    assert follow_order(late, stand, QUIET).phase is P.REFUSED
    assert order_due(late, 120.0) == NOW
    assert order_due(dataclasses.replace(late, phase=P.DONE), 120.0) is None


def test_a_start_has_its_time_from_when_it_was_asked_for() -> None:
    """The lease may have taken most of a minute; the end of the order would release it."""
    late = known(K.START, age_seconds=BEGIN_SECONDS - 1)
    asked = dataclasses.replace(QUIET, pending=Effect(EffectKind.START_VM, 5, "test"))
    progress = follow_order(late, picture(K.START, lease=L.OURS), asked)
    assert (progress.phase, progress.since) == (P.ASKED, NOW)
    again = follow_order(progress, picture(K.START, lease=L.OURS), asked)
    assert again == progress
    overdue = dataclasses.replace(progress, since=NOW - 2 * START_SECONDS)
    assert follow_order(overdue, picture(K.START, lease=L.OURS), asked).phase is P.ASKED


def test_a_vm_that_was_only_not_known_to_be_away_was_not_stopped() -> None:
    """VDSM was silent when the order came, and says then that the VM is not here."""
    silent = follow_order(OrderProgress(), picture(K.STOP, V.UNKNOWN), QUIET)
    assert silent.phase is P.OPEN
    answer = follow_order(silent, picture(K.STOP, V.ABSENT), QUIET)
    assert (answer.phase, "does not run" in answer.detail) == (P.REFUSED, True)


def test_a_vm_that_has_migrated_was_not_stopped() -> None:
    gone = dataclasses.replace(picture(K.STOP), vm=VmView(V.DOWN, VmExit.MIGRATED))
    answer = follow_order(known(K.STOP, P.ASKED), gone, QUIET)
    assert (answer.phase, "migrated" in answer.detail) == (P.REFUSED, True)


@pytest.mark.parametrize("condition", [V.PAUSED, V.STOPPING])
def test_what_is_paused_or_stops_was_not_started(condition: VmCondition) -> None:
    answer = follow_order(known(K.START), picture(K.START, condition, L.OURS), QUIET)
    assert (answer.phase, condition.value in answer.detail) == (P.REFUSED, True)


def test_force_does_not_wait_for_patience() -> None:
    forced = dataclasses.replace(picture(K.STOP, V.UP), vm_order=VmOrder(4, K.FORCE_STOP))
    answer = follow_order(known(K.STOP, P.ASKED), forced, QUIET)
    assert (answer.number, answer.phase) == (4, P.OPEN)


def test_a_late_refusal_says_who_is_silent() -> None:
    late = known(K.STOP, age_seconds=BEGIN_SECONDS)
    assert "VDSM" in follow_order(late, picture(K.STOP, V.UNKNOWN), QUIET).detail
    late = known(K.START, age_seconds=BEGIN_SECONDS)
    assert "lease" in follow_order(late, picture(K.START, lease=L.UNKNOWN), QUIET).detail


@pytest.mark.parametrize(
    ("kind", "phase", "view", "lease", "then"),
    [
        (K.START_PAUSED, P.ASKED, VmView(V.STARTING, launching=True), L.OURS, P.ASKED),
        (K.START_PAUSED, P.ASKED, VmView(V.PAUSED), L.OURS, P.DONE),
        (K.START_PAUSED, P.ASKED, VmView(V.PAUSED), L.HELD, P.ASKED),
        (K.START_PAUSED, P.ASKED, VmView(V.UP), L.OURS, P.ASKED),
        (K.START_PAUSED, P.ASKED, VmView(V.DOWN), L.OURS, P.REFUSED),
        (K.START_PAUSED, P.OPEN, VmView(V.PAUSED), L.OURS, P.REFUSED),
        (K.START_PAUSED, P.OPEN, VmView(V.UP), L.OURS, P.REFUSED),
        (K.RESUME, P.ASKED, VmView(V.PAUSED), L.OURS, P.ASKED),
        (K.RESUME, P.ASKED, VmView(V.UP), L.OURS, P.DONE),
        (K.RESUME, P.ASKED, VmView(V.UP), L.HELD, P.ASKED),
        (K.RESUME, P.OPEN, VmView(V.PAUSED), L.OURS, P.OPEN),
        (K.RESUME, P.OPEN, VmView(V.PAUSED), L.FREE, P.OPEN),  # the lease is taken first
        (K.RESUME, P.OPEN, VmView(V.PAUSED), L.HELD, P.REFUSED),
        (K.RESUME, P.OPEN, VmView(V.UP), L.OURS, P.REFUSED),
        (K.RESUME, P.OPEN, VmView(V.ABSENT), L.OURS, P.REFUSED),
        (K.RESUME, P.OPEN, VmView(V.UNKNOWN), L.OURS, P.OPEN),
        (K.STOP, P.OPEN, VmView(V.PAUSED), L.OURS, P.REFUSED),
        (K.FORCE_STOP, P.OPEN, VmView(V.PAUSED), L.OURS, P.OPEN),
    ],
)
def test_a_vm_that_is_paused(
    kind: VmOrderKind, phase: OrderPhase, view: VmView, lease: LeaseCondition, then: OrderPhase
) -> None:
    stand = dataclasses.replace(picture(kind, lease=lease), vm=view)
    answer = follow_order(known(kind, phase), stand, QUIET)
    assert answer.phase is then, answer.detail


def test_a_resume_that_the_vm_lease_refuses_says_where_the_vm_may_be() -> None:
    following = ended(EffectKind.RESUME_VM, OutcomeCode.LEASE_HELD_ELSEWHERE, "error -243")
    stand = picture(K.RESUME, V.PAUSED, L.OURS)
    answer = follow_order(known(K.RESUME, P.ASKED), stand, following)
    assert answer.phase is P.REFUSED
    assert answer.detail == (
        "the VM lease is held elsewhere, where the engine VM may run: it stays paused here"
        " (error -243)"
    )


def test_another_host_that_claims_the_vm_stands_against_a_resume() -> None:
    stand = picture(K.RESUME, V.PAUSED, L.OURS, peers=(peer(3, vm_up=True),))
    answer = follow_order(known(K.RESUME), stand, QUIET)
    assert (answer.phase, "host 3" in answer.detail) == (P.REFUSED, True)
