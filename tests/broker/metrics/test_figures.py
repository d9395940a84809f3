# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ha_agent.broker.incidents.incident import KINDS, IncidentEntry
from ha_agent.broker.lease.renewal_tally import RenewalTally
from ha_agent.broker.metrics.catalogue import CATALOGUE
from ha_agent.broker.metrics.figures import Sources, collect
from ha_agent.broker.push.entry import CertificateEntry, PushEntry
from ha_agent.broker.rpc.tally import RpcTally
from ha_agent.broker.snapshot import (
    BridgeEntry,
    CpuEntry,
    DefinitionEntry,
    DomainEntry,
    HealthEntry,
    HostEntry,
    LeaseEntry,
    MemoryEntry,
    NetworkEntry,
    PenaltyEntry,
    PendingEntry,
    Report,
    Snapshot,
    StorageEntry,
)
from ha_agent.broker.storage.lane_tally import LaneFigures, LaneTally
from ha_agent.instant import Instant

NOW = Instant(1000.0)
INCIDENT = next(iter(KINDS))
FIRST = Snapshot(version=0, host_id=1, host_name="alpha", vm_uuid="vm", made_at=NOW)
FULL = dataclasses.replace(
    FIRST,
    lease=LeaseEntry(
        state="held",
        ours=True,
        host_id=1,
        epoch=7,
        last_success=NOW - 2.0,
        expires_at=NOW + 13.0,
        fence_at=NOW + 9.0,
    ),
    hosts=(
        HostEntry(1, "alpha", alive=True, score=3400, changed_at=NOW - 1.0),
        HostEntry(2, "beta", score=0, problem="slot 2: damaged"),
    ),
    global_maintenance=False,
    definition=DefinitionEntry(
        available=True,
        version=3,
        accepted_at_unix_seconds=5e8,
        pending=PendingEntry("0123456789ab"),
    ),
    health=HealthEntry("good", taken_at=NOW),
    network=NetworkEntry(0.2, taken_at=NOW - 5.0),
    bridge=BridgeEntry(True, taken_at=NOW),
    cpu=CpuEntry(0.25),
    memory=MemoryEntry(2048),
    domain=DomainEntry(True, 0.01, taken_at=NOW),
    push=PushEntry(state="listening"),
    certificates=(
        CertificateEntry("vdsm", not_after_unix_seconds=3e9),
        CertificateEntry("vdsm", not_after_unix_seconds=2e9),
        CertificateEntry("push", problem="no such file"),
    ),
    incidents=(
        IncidentEntry("1", INCIDENT, "critical", "it is bad"),
        IncidentEntry("2", INCIDENT, "critical", "it was bad", closed_unix_seconds=5.0),
    ),
    storage=StorageEntry(read_at=NOW - 2.0, written_at=NOW - 4.0),
    agent=Report(
        state="EngineUp",
        state_since=NOW - 60.0,
        score=3080,
        penalties=(PenaltyEntry("network", 320, "one of five tests failed"),),
        engine_status={"vm": "up", "health": "good"},
        made_at=NOW - 1.5,
    ),
)


def full_sources() -> Sources:
    tally = LaneTally(answered=2, spent_seconds=0.5, reads=3, read_bytes=4096)
    tally.errors["EIO"] += 1
    socket = RpcTally(connections=5, open_connections=1, turned_away=2)
    socket.calls["status", "ok"] += 4
    return Sources(
        lambda: FULL,
        lambda: [LaneFigures("status", tally, 1, NOW - 3.0, 4, 2)],
        RenewalTally(ok=9, failed=1, spent_seconds=0.9, last_seconds=0.1),
        socket,
        lambda: {"lease": 2},
    )


def figures(sources: Sources) -> Mapping[str, Mapping[tuple[str, ...], float]]:
    return {family.metric.name: dict(family.samples) for family in collect(sources)}


def test_everything_that_is_documented_is_told() -> None:
    assert list(figures(full_sources())) == [metric.name for metric in CATALOGUE]


def test_each_sample_has_the_labels_of_its_metric_and_is_there_once() -> None:
    for family in collect(full_sources()):
        labels = [labels for labels, _value in family.samples]
        assert len(set(labels)) == len(labels), family.metric.name
        assert {len(values) for values in labels} == {len(family.metric.labels)}


def test_figures_are_those_of_the_picture() -> None:
    found = figures(full_sources())
    assert found["ha_agent_lease_owned"] == {(): 1.0}
    assert found["ha_agent_lease_state"][("held",)] == 1.0
    assert sum(found["ha_agent_lease_state"].values()) == 1.0
    assert found["ha_agent_lease_remaining_seconds"] == {(): 13.0}
    assert found["ha_agent_lease_renewals_total"] == {("ok",): 9.0, ("failed",): 1.0}
    assert found["ha_agent_host_alive"] == {("1", "alpha"): 1.0, ("2", "beta"): 0.0}
    assert found["ha_agent_host_status_unreadable"][("2", "beta")] == 1.0
    assert found["ha_agent_score_penalty_points"] == {("network",): 320.0}
    assert found["ha_agent_storage_errors_total"] == {("status", "EIO"): 1.0}
    assert found["ha_agent_storage_workers_stuck"] == {("status",): 2.0}
    assert found["ha_agent_incidents_open"][INCIDENT,] == 1.0
    assert found["ha_agent_certificate_expiry_timestamp_seconds"] == {("vdsm",): 2e9}
    assert found["ha_agent_probe_success"]["network",] == 0.0
    assert found["ha_agent_probe_age_seconds"]["network",] == 5.0
    assert found["ha_agent_storage_busy_seconds"] == {("status",): 3.0}
    assert found["ha_agent_socket_calls_total"] == {("status", "ok"): 4.0}
    assert found["ha_agent_maintenance"] == {("local",): 0.0, ("global",): 0.0}


def test_what_is_not_known_is_not_told() -> None:
    nothing = Sources(lambda: FIRST, list, RenewalTally(), RpcTally(), dict)
    found = figures(nothing)
    for name in (
        "ha_agent_lease_look_age_seconds",
        "ha_agent_lease_remaining_seconds",
        "ha_agent_lease_renewal_last_seconds",
        "ha_agent_lease_owner_host_id",
        "ha_agent_agent_report_age_seconds",
        "ha_agent_score_points",
        "ha_agent_status_read_age_seconds",
        "ha_agent_network_lost_ratio",
    ):
        assert name not in found
    assert ("global",) not in found["ha_agent_maintenance"]
