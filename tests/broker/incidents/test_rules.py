# SPDX-License-Identifier: Apache-2.0
"""What is wrong in a picture, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import pytest

from ha_agent.broker.incidents.incident import Trouble
from ha_agent.broker.incidents.rules import (
    Local,
    VmTrack,
    cluster_troubles,
    is_fresh,
    own_troubles,
    track_vm,
    without_followers,
)
from ha_agent.broker.push.entry import CertificateEntry
from ha_agent.broker.snapshot import (
    DefinitionEntry,
    HostEntry,
    LeaseEntry,
    OrderEntry,
    PenaltyEntry,
    PendingEntry,
    Report,
    Snapshot,
    StorageEntry,
)
from ha_agent.instant import Instant, WallTime

NOW, WALL = Instant(1000.0), WallTime(1_700_000_000.0)
UP = {"vm": "up", "health": "good"}
GOOD = Snapshot(
    1,
    1,
    "alpha",
    "vm",
    NOW,
    lease=LeaseEntry(state="held", ours=True),
    hosts=(
        HostEntry(1, "alpha", alive=True, score=3400, engine_status=UP),
        HostEntry(2, "beta", alive=True, score=3400, engine_status={"vm": "down"}),
    ),
    global_maintenance=False,
    definition=DefinitionEntry(available=True),
    storage=StorageEntry(read_at=NOW),
    agent=Report(made_at=NOW, score=3400),
)


def host(index: int, **more: Any) -> Snapshot:
    hosts = list(GOOD.hosts)
    hosts[index] = replace(hosts[index], **more)
    return replace(GOOD, hosts=tuple(hosts))


def own(snapshot: Snapshot, local: Optional[Local] = None) -> list[str]:
    return [one.kind for one in own_troubles(snapshot, local or Local())]


def cluster(snapshot: Snapshot) -> list[str]:
    return [one.kind for one in cluster_troubles(snapshot, WALL, frozenset({1, 2}))]


def test_nothing_is_wrong() -> None:
    assert own(GOOD) == []
    assert cluster(GOOD) == []


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ({"storage": StorageEntry(read_at=NOW, problem="EIO")}, "storage"),
        ({"storage": StorageEntry(read_at=NOW - 31.0)}, "storage"),
        ({"storage": StorageEntry(read_at=NOW, workers_stuck=1)}, "storage-stuck"),
        ({"storage": StorageEntry(read_at=NOW, connection_problem="portal")}, "storage-path"),
        ({"lease": LeaseEntry(state="held", ours=True, detail="EIO")}, "lease"),
        ({"lease": LeaseEntry(state="unreadable", detail="EIO")}, "lease"),
        ({"definition": DefinitionEntry()}, "definition"),
        ({"definition": DefinitionEntry(available=True, stale=True)}, "definition"),
        (
            {"definition": DefinitionEntry(available=True, pending=PendingEntry("x"))},
            "definition-held",
        ),
        (
            {"definition": DefinitionEntry(available=True, running_problem="x")},
            "definition-fallback",
        ),
        ({"agent": Report()}, "agent-silent"),
        ({"agent": Report(made_at=NOW - 21.0)}, "agent-silent"),
        (
            {"agent": Report(made_at=NOW, penalties=(PenaltyEntry("network", 1600, "lost"),))},
            "penalty",
        ),
        ({"certificates": (CertificateEntry("vdsm", problem="absent"),)}, "certificate"),
        ({"certificates": (CertificateEntry("vdsm", warning_days=7),)}, "certificate"),
    ],
)
def test_what_is_wrong_with_this_host(parts: dict[str, Any], kind: str) -> None:
    assert own(replace(GOOD, **parts)) == [kind]


def test_a_certificate_that_a_peer_showed_has_no_file() -> None:
    shown = CertificateEntry("vdsm server", warning_days=0)
    [trouble] = own_troubles(replace(GOOD, certificates=(shown,)), Local())
    assert trouble.detail == "vdsm server: it ended on 1970-01-01T00:00:00Z"


def test_what_is_no_trouble_of_this_host() -> None:
    assert own(replace(GOOD, lease=LeaseEntry(state="held", detail="EIO"))) == []
    assert own(replace(GOOD, certificates=(CertificateEntry("vdsm", "x"),))) == []
    penalty = (PenaltyEntry("local maintenance", 3400, "set"),)
    report = Report(made_at=NOW, penalties=penalty, local_maintenance=True)
    assert own(replace(GOOD, agent=report)) == []


def test_an_agent_that_ended_on_purpose_is_not_silent() -> None:
    report = Report(made_at=NOW - 600.0)
    assert own(replace(GOOD, agent=report)) == ["agent-silent"]
    assert own(replace(GOOD, agent=replace(report, stopped=True))) == []


def test_restarts_and_jumps_of_the_clock() -> None:
    starts = tuple(NOW - 10.0 * n for n in range(5))
    assert own(GOOD, Local((starts, ()))) == ["restarts"]
    assert own(GOOD, Local((starts[:4], starts[:4]))) == []
    assert own(GOOD, Local((tuple(at - 600.0 for at in starts),))) == []
    assert own(GOOD, Local(clock_step_seconds=-31.0)) == ["clock"]
    assert own(GOOD, Local(clock_step_seconds=29.0)) == []


@pytest.mark.parametrize(
    ("snapshot", "kinds"),
    [
        (host(0, engine_status={"vm": "down"}), ["engine-down"]),
        (host(0, engine_status={"vm": "up", "health": "bad"}), ["engine-unhealthy"]),
        (host(1, engine_status=UP), ["two-vms"]),
        (
            replace(GOOD, agent=replace(GOOD.agent, second_vm_on=("beta",))),
            ["two-vms"],
        ),
        (host(1, alive=False), ["host-silent", "no-spare-host"]),
        (host(1, problem="bad CRC"), ["bad-block", "no-spare-host"]),
        (host(1, maintenance=True), ["no-spare-host", "maintenance-forgotten"]),
        (host(1, score=0), ["no-spare-host"]),
        (host(1, alive=False, stopped=True), ["no-spare-host"]),
        (host(1, alive=False, maintenance=True), ["no-spare-host"]),
        (replace(GOOD, global_maintenance=True), ["maintenance-forgotten"]),
    ],
)
def test_what_is_wrong_with_the_cluster(snapshot: Snapshot, kinds: list[str]) -> None:
    assert cluster(snapshot) == kinds


def test_a_host_that_nobody_has_seen_alive_is_no_news() -> None:
    seen = frozenset({1})
    troubles = cluster_troubles(host(1, alive=False), WALL, seen)
    assert "host-silent" not in [one.kind for one in troubles]


def test_under_maintenance_an_engine_that_is_down_is_meant() -> None:
    down = replace(host(0, engine_status={"vm": "down"}), global_maintenance=True)
    assert cluster(down) == ["maintenance-forgotten"]
    shut = OrderEntry(1, "shutdown", in_force=True)
    assert cluster(replace(down, order=shut)) == []


def test_maintenance_past_its_end_is_told_at_once() -> None:
    def at_once(until: float) -> bool:
        order = OrderEntry(1, "maintenance", who="ann", until_unix_seconds=until, in_force=True)
        on = replace(GOOD, global_maintenance=True, order=order)
        (one,) = cluster_troubles(on, WALL, frozenset())
        assert "ann" in one.detail
        return one.at_once

    assert at_once(WALL.unix_seconds - 601)
    assert not at_once(WALL.unix_seconds - 599)


def test_a_picture_that_is_old_is_none() -> None:
    assert is_fresh(GOOD)
    assert not is_fresh(replace(GOOD, storage=StorageEntry()))
    assert not is_fresh(replace(GOOD, storage=StorageEntry(read_at=NOW, problem="EIO")))
    assert not is_fresh(replace(GOOD, storage=StorageEntry(read_at=NOW - 31.0)))


def moved(first: HostEntry, second: HostEntry) -> Snapshot:
    return replace(GOOD, hosts=(first, second))


def test_a_move_after_a_fault_is_told_and_a_migration_is_not() -> None:
    alpha, beta = GOOD.hosts
    gone = replace(alpha, engine_status={"vm": "down"})
    there = replace(beta, engine_status=UP)
    track, found = track_vm(VmTrack(), GOOD)
    assert (track, found) == (VmTrack(1, "alpha"), None)
    # Handed over within a moment.
    between, found = track_vm(track, moved(gone, beta))
    assert found is None
    soon = replace(moved(gone, there), made_at=NOW + 5.0)
    assert track_vm(between, soon) == (VmTrack(2, "beta"), None)
    # Gone for long, or its host is dead.
    late = replace(soon, made_at=NOW + 20.0)
    track, found = track_vm(between, late)
    assert found is not None
    assert found.detail == "it ran on alpha (id 1) and runs on beta (id 2) now"
    assert track_vm(track, late)[1] is None
    dead = moved(replace(alpha, alive=False), there)
    assert track_vm(VmTrack(1, "alpha"), dead)[1] is not None
    assert track_vm(VmTrack(1, "alpha"), replace(dead, global_maintenance=True))[1] is None


@pytest.mark.parametrize("where", ["global", "local"])
def test_a_vm_that_a_person_took_away_moves_without_a_fault(where: str) -> None:
    alpha, beta = GOOD.hosts
    cleared = replace(alpha, engine_status={"vm": "down"}, maintenance=where == "local")
    stopped = replace(moved(cleared, beta), global_maintenance=where == "global")
    track, _ = track_vm(VmTrack(1, "alpha"), stopped)
    there = moved(replace(cleared, maintenance=False), replace(beta, engine_status=UP))
    later = replace(there, made_at=NOW + 600.0, storage=StorageEntry(read_at=NOW + 600.0))
    assert track_vm(track, later) == (VmTrack(2, "beta"), None)


def test_a_vm_whose_owner_does_not_tell_is_not_said_to_be_down() -> None:
    alpha, beta = GOOD.hosts
    held = replace(GOOD, lease=LeaseEntry(state="held", host_id=1))
    unknown = {"vm": "unknown", "reason": "VDSM does not answer"}
    blind = replace(held, hosts=(replace(alpha, engine_status=unknown), beta))
    found = cluster_troubles(blind, WALL, frozenset({1, 2}))
    assert [(one.kind, one.detail, one.hosts) for one in found] == [
        ("engine-unwatched", "VDSM does not answer", ("alpha",))
    ]
    ended = replace(alpha, alive=False, stopped=True)
    found = cluster_troubles(replace(held, hosts=(ended, beta)), WALL, frozenset())
    assert [(one.kind, one.detail) for one in found] == [
        ("engine-unwatched", "its agent was ended")
    ]
    # It says that it is down, or nobody holds the lease any more.
    gone = replace(alpha, engine_status={"vm": "down", "reason": "crashed"})
    found = cluster_troubles(replace(held, hosts=(gone, beta)), WALL, frozenset())
    assert [(one.kind, one.detail) for one in found] == [
        ("engine-down", "no host that is heard of has it running; alpha: crashed")
    ]
    free = replace(blind, lease=LeaseEntry(state="expired", host_id=1))
    assert "engine-down" in cluster(free)


def test_a_second_move_soon_after_is_one_of_its_own() -> None:
    alpha, beta = GOOD.hosts
    dead = moved(replace(alpha, alive=False), replace(beta, engine_status=UP))
    track, there = track_vm(VmTrack(1, "alpha"), dead)
    back = moved(alpha, replace(beta, alive=False))
    _, again = track_vm(track, back)
    assert there is not None
    assert again is not None
    assert there.name != again.name


def test_what_follows_from_storage_that_is_lost_is_not_told_beside_it() -> None:
    lost, stuck = Trouble("storage", "EIO"), Trouble("storage-stuck", "2")
    old, lease = Trouble("definition", "old"), Trouble("lease", "EIO")
    assert without_followers([lost, stuck, old, lease], []) == [lost, lease]
    assert without_followers([lost, stuck, old], ["definition"]) == [lost, old]
    assert without_followers([stuck, old], []) == [stuck, old]
