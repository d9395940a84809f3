# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Any, Optional

import pytest

from ha_agent import observe
from ha_agent.broker.snapshot import (
    BridgeEntry,
    CpuEntry,
    DefinitionEntry,
    HealthEntry,
    HostEntry,
    LeaseEntry,
    MemoryEntry,
    NetworkEntry,
    OrderEntry,
    Snapshot,
)
from ha_agent.fsm.observation import (
    Health,
    HostFacts,
    LeaseCondition,
    LeaseView,
    Outcome,
    OutcomeCode,
    PeerView,
    ShutdownView,
    VmCondition,
    VmExit,
    VmView,
)
from ha_agent.instant import Instant
from ha_agent.vdsm.vm_status import ExitReason, VmStats, VmStatus

NOW = Instant(1000.0)
C, X = VmCondition, VmExit


def picture(**parts: Any) -> Snapshot:
    return Snapshot(1, 1, "h1", "vm", NOW, **parts)


# The VM -----------------------------------------------------------------------------------

CONDITIONS = {
    VmStatus.WAIT_FOR_LAUNCH: C.STARTING,
    VmStatus.POWERING_UP: C.STARTING,
    VmStatus.UP: C.UP,
    VmStatus.POWERING_DOWN: C.STOPPING,
    VmStatus.REBOOT_IN_PROGRESS: C.UP,
    VmStatus.PAUSED: C.PAUSED,
    VmStatus.MIGRATION_SOURCE: C.MIGRATING_AWAY,
    VmStatus.MIGRATION_DESTINATION: C.MIGRATING_HERE,
    VmStatus.SAVING_STATE: C.PAUSED,
    VmStatus.RESTORING_STATE: C.STARTING,
    VmStatus.DOWN: C.DOWN,
}
EXITS = {
    ExitReason.SUCCESS: X.POWERED_OFF,
    ExitReason.GENERIC_ERROR: X.CRASHED,
    ExitReason.LOST_QEMU_CONNECTION: X.CRASHED,
    ExitReason.LIBVIRT_START_FAILED: X.START_FAILED,
    ExitReason.MIGRATION_SUCCEEDED: X.MIGRATED,
    ExitReason.SAVE_STATE_SUCCEEDED: X.STOPPED,
    ExitReason.ADMIN_SHUTDOWN: X.STOPPED,
    ExitReason.USER_SHUTDOWN: X.POWERED_OFF,
    ExitReason.MIGRATION_FAILED: X.CRASHED,
    ExitReason.LIBVIRT_DOMAIN_MISSING: X.CRASHED,
    ExitReason.DESTROYED_ON_STARTUP: X.CRASHED,
    ExitReason.HOST_SHUTDOWN: X.STOPPED,
    ExitReason.POSTCOPY_MIGRATION_FAILED: X.CRASHED,
    ExitReason.DESTROYED_ON_REBOOT: X.CRASHED,
    ExitReason.DESTROYED_ON_PAUSE_TIMEOUT: X.CRASHED,
}


@pytest.mark.parametrize("status", list(VmStatus), ids=lambda status: status.value)
def test_every_word_of_vdsm_has_a_condition(status: VmStatus) -> None:
    view = observe.vm_view(VmStats("vm", status, status.value))
    assert view.launching is (status is VmStatus.WAIT_FOR_LAUNCH)
    assert view.condition is CONDITIONS[status]
    assert view.detail == status.value
    assert (view.exit is None) is (status is not VmStatus.DOWN)


@pytest.mark.parametrize("reason", list(ExitReason), ids=lambda reason: reason.name)
def test_every_exit_reason_has_an_end(reason: ExitReason) -> None:
    stats = VmStats("vm", VmStatus.DOWN, "Down", exit_reason=reason, exit_message="so it is")
    assert observe.vm_view(stats) == VmView(C.DOWN, EXITS[reason], "Down: so it is")


def test_no_record_is_no_vm() -> None:
    assert observe.vm_view(None).condition is C.ABSENT


@pytest.mark.parametrize("text", ["Frozen", ""])
def test_a_word_that_is_not_known_is_no_guess(text: str) -> None:
    assert observe.vm_view(VmStats("vm", None, text)) == VmView(C.UNKNOWN, None, text)


@pytest.mark.parametrize("number", [None, 99])
def test_an_exit_reason_that_is_not_known_is_a_crash(number: Optional[int]) -> None:
    stats = VmStats("vm", VmStatus.DOWN, "Down", exit_reason_number=number)
    assert observe.vm_view(stats) == VmView(C.DOWN, X.CRASHED, "Down")


@pytest.mark.parametrize(
    ("message", "ended"),
    [
        ("Failed to acquire lock: Lease is held by another host", X.LEASE_HELD_ELSEWHERE),
        ("Failed to acquire lock: File exists", X.LEASE_HELD_ELSEWHERE),
        ("Is another process using the image [/x]?", X.LEASE_HELD_ELSEWHERE),
        ("Failed to acquire lock: No space left on device", X.CRASHED),
        ("internal error: process exited", X.CRASHED),
    ],
)
def test_a_lost_race_for_the_vm_lease_comes_before_its_exit_reason(
    message: str, ended: VmExit
) -> None:
    """VDSM gives reason 1, "generic error", for these."""
    stats = VmStats(
        "vm",
        VmStatus.DOWN,
        "Down",
        exit_reason=ExitReason.GENERIC_ERROR,
        exit_message=message,
    )
    assert observe.vm_view(stats).exit is ended


# Peers and the lease ----------------------------------------------------------------------


def test_a_peer_is_what_its_block_says() -> None:
    host = HostEntry(
        2,
        "h2",
        alive=True,
        score=2400,
        engine_status={"vm": "up", "health": "bad"},
        maintenance=True,
        stopped=True,
    )
    assert observe.peer_view(host) == PeerView(2, "h2", True, 2400, True, True, True)


@pytest.mark.parametrize(
    ("page", "health"),
    [("", Health.UNKNOWN), ("good", Health.GOOD), ("bad", Health.BAD), ("odd", Health.UNKNOWN)],
)
def test_what_a_peer_says_of_network_and_page(page: str, health: Health) -> None:
    host = HostEntry(
        2, network_lost=True, engine_page=page, page_bad_seconds=45, changed_at=NOW - 2.0
    )
    view = observe.peer_view(host)
    assert (view.network_lost, view.page, view.page_bad_seconds) == (True, health, 45)
    assert view.page_told_at == (NOW - 2.0 if page else None)


@pytest.mark.parametrize(
    "news",
    [{"network_lost": True}, {"engine_page": "bad"}, {"page_bad_seconds": 46}, {"fresh": False}],
)
def test_each_of_these_is_seen_anew(news: dict[str, Any]) -> None:
    before = HostEntry(2, alive=True, page_bad_seconds=45)
    known = observe.hosts_view(1, (before,), observe.HostsView())
    after = dataclasses.replace(before, **news)
    assert observe.hosts_view(1, (after,), known).peers == (observe.peer_view(after),)


@pytest.mark.parametrize("word", ["down", "down_unexpected", "down_missing", "unknown", None])
def test_a_peer_has_the_vm_only_when_it_says_so(word: Optional[str]) -> None:
    status = {} if word is None else {"vm": word}
    assert not observe.peer_view(HostEntry(2, alive=True, engine_status=status)).vm_up


def test_a_peer_whose_block_can_not_be_used_is_not_counted_on() -> None:
    assert not observe.peer_view(HostEntry(2, alive=True, problem="damaged")).alive


@pytest.mark.parametrize(
    ("state", "ours", "fence_at", "condition"),
    [
        ("unknown", False, None, LeaseCondition.UNKNOWN),
        ("unreadable", False, None, LeaseCondition.UNKNOWN),
        ("a later broker's word", False, None, LeaseCondition.UNKNOWN),
        ("free", False, None, LeaseCondition.FREE),
        ("held", False, None, LeaseCondition.HELD),
        ("expired", False, None, LeaseCondition.EXPIRED),
        ("held", True, NOW + 0.1, LeaseCondition.OURS),
        # Past the fence: the broker may have renewed behind our back, or the guard may be at it.
        ("held", True, NOW, LeaseCondition.UNKNOWN),
        ("held", True, NOW - 60.0, LeaseCondition.UNKNOWN),
        ("held", True, None, LeaseCondition.UNKNOWN),
        ("expired", True, NOW - 60.0, LeaseCondition.EXPIRED),
        # Nobody fences another host's lease here.
        ("held", False, NOW - 60.0, LeaseCondition.HELD),
    ],
)
def test_the_lease_as_of_now(
    state: str, ours: bool, fence_at: Optional[Instant], condition: LeaseCondition
) -> None:
    entry = LeaseEntry(state, ours, 2, "h2", 7, NOW - 5.0, fence_at=fence_at, detail="so it is")
    available = condition in (LeaseCondition.FREE, LeaseCondition.EXPIRED)
    since = NOW - 5.0 if available else None
    expected = LeaseView(condition, 2, "h2", 7, since, "so it is")
    assert observe.lease_view(picture(lease=entry), NOW) == expected


# One picture ------------------------------------------------------------------------------


def test_without_any_answer_nothing_is_known() -> None:
    seen = observe.observation(NOW, 1, observe.Inputs(), [])
    assert (seen.now, seen.host_id) == (NOW, 1)
    assert seen.vm.condition is C.UNKNOWN
    assert seen.lease.condition is LeaseCondition.UNKNOWN
    assert seen.global_maintenance is None
    assert seen.published_score is None
    assert not seen.definition.available
    assert seen.peers == ()


def test_what_is_ours_needs_no_broker() -> None:
    outcome = Outcome(3, OutcomeCode.OK)
    inputs = observe.Inputs(
        vm=VmView(C.UP),
        local_maintenance=True,
        stop_requested=True,
    )
    seen = observe.observation(NOW, 1, inputs, [outcome])
    assert (seen.vm, seen.facts) == (inputs.vm, HostFacts())
    assert seen.local_maintenance
    assert seen.stop_requested
    assert seen.outcomes == (outcome,)


def test_what_the_broker_says() -> None:
    hosts = (
        HostEntry(1, "h1", alive=True, score=3000),
        HostEntry(2, "h2", alive=True, score=2000),
    )
    snapshot = picture(
        hosts=hosts,
        global_maintenance=True,
        definition=DefinitionEntry(
            available=True,
            identity="d1",
            memory_mib=4096,
            stale=True,
            problem="torn",
            fallback="d0",
        ),
        health=HealthEntry("good", "fine", NOW - 1.0),
        network=NetworkEntry(0.25, "", NOW - 4.0),
        bridge=BridgeEntry(True, "", NOW - 5.0),
        cpu=CpuEntry(0.5, "", NOW - 6.0),
        memory=MemoryEntry(4711, "", NOW - 7.0),
        lease=LeaseEntry("free", epoch=7, available_since=NOW - 3.0),
    )
    inputs = observe.Inputs(snapshot=snapshot)
    seen = observe.observation(NOW, 1, inputs, [])
    assert [peer.host_id for peer in seen.peers] == [2], "we are no peer of ours"
    assert seen.published_score == 3000
    assert seen.global_maintenance is True
    assert dataclasses.astuple(seen.definition) == (True, "d1", 4096, True, "torn", "d0")
    assert (seen.health.health, seen.health.taken_at) == (Health.GOOD, NOW - 1.0)
    times = (NOW - 4.0, NOW - 5.0, NOW - 6.0, NOW - 7.0)
    assert seen.facts == HostFacts(0.25, True, 0.5, 4711, *times)
    assert seen.lease == LeaseView(LeaseCondition.FREE, epoch=7, available_since=NOW - 3.0)


def test_a_score_that_was_not_published_is_not_known() -> None:
    others = picture(hosts=(HostEntry(2, score=2000),))
    seen = observe.observation(NOW, 1, observe.Inputs(snapshot=others), [])
    assert seen.published_score is None


@pytest.mark.parametrize("word", ["unknown", "excellent", ""])
def test_health_in_other_words_is_unknown(word: str) -> None:
    inputs = observe.Inputs(snapshot=picture(health=HealthEntry(word, "", NOW)))
    assert observe.observation(NOW, 1, inputs, []).health.health is Health.UNKNOWN


# The status block's words -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("vm", "word"),
    [
        (VmView(C.UNKNOWN), "unknown"),
        (VmView(C.ABSENT), "down_missing"),
        (VmView(C.DOWN, X.CRASHED), "down_unexpected"),
        (VmView(C.DOWN, X.START_FAILED), "down_unexpected"),
        (VmView(C.DOWN, X.POWERED_OFF), "down_unexpected"),
        (VmView(C.DOWN, X.STOPPED), "down"),
        (VmView(C.DOWN, X.MIGRATED), "down"),
        (VmView(C.DOWN, X.LEASE_HELD_ELSEWHERE), "down"),
        (VmView(C.MIGRATING_HERE), "down"),
        (VmView(C.STARTING), "up"),
        (VmView(C.UP), "up"),
        (VmView(C.PAUSED), "up"),
        (VmView(C.STOPPING), "up"),
        (VmView(C.MIGRATING_AWAY), "up"),
    ],
)
def test_every_condition_has_the_predecessors_word(vm: VmView, word: str) -> None:
    """facts/predecessor-and-peers.md 2.3: vm, health and detail are always there, and a reason
    whenever the health is not good."""
    for health in Health:
        status = observe.engine_status(vm, health, "why")
        assert status["vm"] == word
        assert status["health"] in ("good", "bad", "unknown")
        assert "detail" in status
        assert ("reason" in status) is (status["health"] != "good")
        assert all(isinstance(value, str) for value in status.values())


def test_a_block_that_the_predecessor_wrote_of_a_missing_vm() -> None:
    """facts/ovf-and-volumes.md 4.3."""
    assert observe.engine_status(observe.vm_view(None), Health.UNKNOWN, "") == {
        "vm": "down_missing",
        "health": "bad",
        "detail": "unknown",
        "reason": "vm not running on this host",
    }


def test_a_good_engine_as_setup_waits_for_it() -> None:
    """ovirt.hosted_engine_setup waits for health good and detail Up (facts 2.5)."""
    status = observe.engine_status(VmView(C.UP, detail="Up"), Health.GOOD, "")
    assert status == {"vm": "up", "health": "good", "detail": "Up"}


@pytest.mark.parametrize("condition", [C.UNKNOWN, C.ABSENT, C.DOWN, C.MIGRATING_HERE, C.PAUSED])
def test_a_health_page_does_not_make_a_vm_good_that_does_not_run_here(
    condition: VmCondition,
) -> None:
    """Its last answer may be some seconds old."""
    status = observe.engine_status(VmView(condition), Health.GOOD, "")
    assert status["health"] != "good"


def test_bad_health_has_its_reason() -> None:
    up = VmView(C.UP, detail="Up")
    assert observe.engine_status(up, Health.BAD, "HTTP 503")["reason"] == "HTTP 503"
    silent = observe.engine_status(up, Health.UNKNOWN, "")
    assert silent["reason"] == "the engine's health page has not answered yet"


ORDER = OrderEntry(4, "shutdown", "root", in_force=True)
SEEN = (HostEntry(1, "h1", alive=True, order_seen=4), HostEntry(2, "h2", alive=True, order_seen=4))


@pytest.mark.parametrize(
    ("fields", "view"),
    [
        ({"global_maintenance": None, "order": ORDER}, None),
        ({"order": None}, ShutdownView()),
        ({"order": dataclasses.replace(ORDER, what="maintenance")}, ShutdownView()),
        ({"order": dataclasses.replace(ORDER, in_force=False)}, ShutdownView()),
        ({"order": ORDER}, ShutdownView(True, True)),
        (
            {"order": ORDER, "hosts": (SEEN[0], dataclasses.replace(SEEN[1], other_vms=2))},
            ShutdownView(True, False, "2 other VMs on h2 to end"),
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_order_to_shut_down(fields: dict[str, Any], view: Optional[ShutdownView]) -> None:
    snapshot = picture(**{"global_maintenance": True, "hosts": SEEN, **fields})
    seen = observe.observation(NOW, 1, observe.Inputs(snapshot=snapshot), [])
    assert seen.shutdown == view


def test_a_peer_of_the_predecessors_version_is_known_as_one() -> None:
    assert observe.peer_view(HostEntry(2, predecessor=True)).predecessor
