# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.push.entry import CertificateEntry, PushEntry
from ha_agent.broker.snapshot import (
    BridgeEntry,
    DefinitionEntry,
    HealthEntry,
    HostEntry,
    LeaseEntry,
    NetworkEntry,
    OrderEntry,
    PenaltyEntry,
    PendingEntry,
    Report,
    Snapshot,
    StorageEntry,
)
from ha_agent.fsm.state import State
from ha_agent.instant import Instant, WallTime
from ha_agent.status_text import predecessor_json, predecessor_text, status_text

NOW = Instant(1000.0)
UP = {"vm": "up", "health": "good", "detail": "Up"}
SICK = {"vm": "up", "health": "bad", "detail": "Up", "reason": "connection refused"}
GONE = {"vm": "down_missing", "health": "bad", "detail": "unknown", "reason": "not here"}


def host(number: int, **fields: object) -> HostEntry:
    sound = HostEntry(
        number,
        f"host{number}",
        alive=True,
        score=3400,
        engine_status=GONE,
        state="EngineDown",
        changed_at=NOW - 1.5,
        crc32="0badcafe",
    )
    return replace(sound, **fields)  # type: ignore[arg-type]


PICTURE = Snapshot(
    version=1,
    host_id=1,
    host_name="host1",
    vm_uuid="00000000-0000-4000-8000-000000000001",
    made_at=NOW,
    lease=LeaseEntry(
        state="held",
        host_id=2,
        host_name="host2",
        epoch=7,
        expires_at=NOW + 14.2,
        last_success=NOW - 0.3,
        detail="taken: free",
    ),
    hosts=(host(1), host(2, engine_status=UP, state="EngineUp"), host(3, maintenance=True)),
    global_maintenance=False,
    definition=DefinitionEntry(
        available=True,
        identity="be763bb45689",
        vm_name="HostedEngine",
        memory_mib=192,
        source="volume v",
        accepted_at_unix_seconds=0.0,
    ),
    storage=StorageEntry(read_at=NOW - 1),
    agent=Report(
        state="EngineDown",
        state_meaning=State.ENGINE_DOWN.meaning,
        state_since=NOW - 95,
        reason="host2 runs the VM",
        score=3400,
        engine_status=GONE,
        made_at=NOW - 1,
    ),
)


def test_a_sound_cluster() -> None:
    assert status_text(PICTURE).splitlines() == [
        "Engine VM HostedEngine runs on host2 (id 2), healthy",
        "Lease: held by host2 (id 2), epoch 7; unless renewed, it expires in 14 s; last looked at "
        "0.3 s ago",
        "Global maintenance: off",
        "",
        "ID  HOST   LIVE  SCORE  STATE       ENGINE VM    MAINTENANCE  LAST CHANGE",
        "*1  host1  yes   3400   EngineDown  not here     -            1.5 s ago",
        " 2  host2  yes   3400   EngineUp    up, healthy  -            1.5 s ago",
        " 3  host3  yes   3400   EngineDown  not here     local        1.5 s ago",
        "",
        "This host: host1 (id 1): engine VM is not here; watching the lease (EngineDown)"
        " for 1 min 35 s",
        "  because: host2 runs the VM",
        "  score 3400, no penalty",
        "  definition be763bb45689, 192 MiB, from volume v, accepted 1970-01-01T00:00:00Z",
    ]


def test_the_push_and_the_certificates_are_told_and_their_ends_warned_of() -> None:
    ends = CertificateEntry("vdsm", "/pki/c.pem", "CN=h1", 0.0, 86400.0, warning_days=7)
    picture = replace(
        PICTURE,
        push=PushEntry("waiting", "[::]:54324", "can't listen: in use", last_peer="CN=e"),
        certificates=(ends, CertificateEntry("push CA", "/pki/ca.pem", problem="No such file")),
    )
    lines = status_text(picture).splitlines()
    assert "  the engine's push: waiting at [::]:54324, last from CN=e" in lines
    assert "  certificates: vdsm until 1970-01-02" in lines
    assert "! the engine's push: can't listen: in use" in lines
    assert any(line.startswith("! The vdsm certificate in /pki/c.pem (CN=h1)") for line in lines)
    assert "! The push CA certificate in /pki/ca.pem can't be read: No such file" in lines


def with_host2(**fields: object) -> Snapshot:
    return replace(PICTURE, hosts=(host(1), host(2, **fields)))


def line_of(text: str, name: str) -> list[str]:
    rows = [line.split() for line in text.splitlines()]
    (row,) = (row for row in rows if row[1:2] == [name] and row[0].isdigit())
    return row


def test_a_dead_hosts_word_is_told_as_past() -> None:
    dead = with_host2(alive=False, engine_status=UP, state="EngineUp", changed_at=NOW - 3700)
    dead = replace(dead, lease=LeaseEntry("expired", host_id=2, host_name="host2", epoch=7))
    text = status_text(dead)
    assert "runs on no live host; it ran on host2 (id 2), last heard of 1 h 1 min ago" in text
    assert line_of(text, "host2")[2:8] == ["no", "-", "was", "EngineUp", "unknown,", "was"]


def test_a_silent_host_that_still_holds_the_lease_may_well_run_it() -> None:
    text = status_text(with_host2(alive=False, engine_status=UP, changed_at=NOW - 40))
    assert "was up on host2 (id 2) 40 s ago; that host still holds the lease" in text


def test_an_engine_that_is_starting_is_not_called_broken() -> None:
    text = status_text(with_host2(engine_status=SICK, state="EngineStarting"))
    assert "starts on host2 (id 2); the engine does not answer yet: connection refused" in text


def test_two_that_say_that_they_run_it() -> None:
    both = replace(PICTURE, hosts=(host(1, engine_status=UP), host(2, engine_status=SICK)))
    assert "host1 (id 1) and host2 (id 2) both say that it runs there" in status_text(both)


def test_an_engine_that_does_not_answer_is_told_with_its_reason() -> None:
    text = status_text(with_host2(engine_status=SICK))
    assert "runs on host2 (id 2), but the engine does not answer: connection refused" in text


def test_a_live_host_that_can_not_tell() -> None:
    assert "host2 (id 2) can't tell" in status_text(with_host2(engine_status={"vm": "unknown"}))


def test_a_bad_block_is_named() -> None:
    text = status_text(with_host2(problem="slot 2: CRC differs", host_name="", changed_at=None))
    assert "! host id 2: its status block can't be used: slot 2: CRC differs" in text
    assert "bad block" in text


def test_a_host_of_the_predecessors_version_is_told() -> None:
    row = line_of(status_text(with_host2(predecessor=True)), "host2")
    assert row[2:4] == ["yes,", "predecessor"]


def test_who_set_maintenance_stands_at_the_top() -> None:
    order = OrderEntry(7, "maintenance", "root", 1, "host1", 0.0, reason="a\x1b[2J", in_force=True)
    hosts = (host(1), host(2, maintenance=True, maintenance_note="by root: disks"))
    text = status_text(replace(PICTURE, global_maintenance=True, order=order, hosts=hosts))
    top = text.splitlines()[2:5]
    assert "by root on host1: a?[2J" in top[0]
    assert top[1:] == [
        "  nobody starts or stops the engine VM",
        "Local maintenance of host2: by root: disks",
    ]


def test_open_incidents_have_a_line_each() -> None:
    down = IncidentEntry("1-7", "engine-down", "critical", "The engine VM is down")
    text = status_text(replace(PICTURE, incidents=(down,)))
    lines = [line for line in text.splitlines() if "incident (critical) since" in line]
    assert len(lines) == 1
    assert lines[0].endswith(": The engine VM is down")


def test_a_stopped_agent_is_told() -> None:
    assert line_of(status_text(with_host2(stopped=True)), "host2")[2] == "stopped"


def test_a_host_that_has_only_joined_is_told() -> None:
    joined = {"state": "AgentStopped", "alive": False, "extra": "score=0\njoined=0123456789ab\n"}
    text = status_text(with_host2(stopped=True, **joined))
    assert "stopped  -      joined, agent not started yet" in text
    assert "joined" not in status_text(with_host2(**joined))  # its agent runs by now


def test_no_agent() -> None:
    text = status_text(replace(PICTURE, agent=Report()))
    assert "This host: host1 (id 1), whose agent has not reported to the broker" in text


def test_a_silent_agent() -> None:
    silent = replace(PICTURE, agent=replace(PICTURE.agent, made_at=NOW - 61))
    assert "! this host's agent last reported 1 min 1 s ago" in status_text(silent)


@pytest.mark.parametrize(
    ("lease", "told"),
    [
        (
            LeaseEntry("held", True, 1, "host1", 7, fence_at=NOW + 9.5, last_success=NOW),
            "Lease: held by host1 (id 1), epoch 7, this host; unless renewed, the engine VM is "
            "ended here in 9.5 s",
        ),
        (
            LeaseEntry("expired", False, 2, "host2", 7, available_since=NOW - 2),
            "Lease: expired 2.0 s ago, was held by host2 (id 2), epoch 7; last looked at never",
        ),
        (
            LeaseEntry("free", detail="released: maintenance", last_success=NOW - 1),
            "Lease: free (released: maintenance); last looked at 1.0 s ago",
        ),
        (LeaseEntry(), "Lease: unknown; last looked at never"),
        (
            LeaseEntry("unreadable", detail="x.lease: all zeros"),
            "! lease: this host can't take it, nor start the VM: x.lease: all zeros",
        ),
        (
            LeaseEntry("held", True, 1, "host1", 7, fence_at=NOW + 4, detail="no answer"),
            "! lease: not renewed at the last try: no answer",
        ),
    ],
)
def test_the_lease(lease: LeaseEntry, told: str) -> None:
    assert told in status_text(replace(PICTURE, lease=lease)).splitlines()


def test_a_store_that_can_not_be_read_is_told_once() -> None:
    fault = "no copy of the OVF_STORE can be used: volume v is torn"
    agent = replace(PICTURE.agent, penalties=(PenaltyEntry("stale definition", 1000, fault),))
    definition = replace(PICTURE.definition, stale=True, problem=fault)
    text = status_text(replace(PICTURE, agent=agent, definition=definition))
    assert text.count(fault) == 1
    assert f"! definition: the last good one is used; {fault}" in text
    assert "    -1000  stale definition: see below" in text


def test_the_last_good_definition_has_an_age() -> None:
    definition = replace(
        PICTURE.definition, stale=True, problem="torn", accepted_at_unix_seconds=1000.0
    )
    text = status_text(replace(PICTURE, definition=definition), WallTime(8800.0))
    assert "! definition: the last good one, accepted 2 h 10 min ago, is used; torn" in text


def test_a_definition_that_waits_and_one_that_is_not_kept() -> None:
    pending = PendingEntry(
        identity="0123456789ab",
        codes=("no_nic",),
        sentences=("the VM would have no NIC",),
        differences=("NIC nic1 removed",),
        may_force=True,
        advice="to use it all the same: ha-agent ovf accept 0123456789ab --force",
    )
    definition = replace(
        PICTURE.definition,
        pending=pending,
        problem=f"0123456789ab is not used; {pending.advice}",
        history_problem="/var/lib/x: No space left on device",
    )
    text = status_text(replace(PICTURE, definition=definition))
    assert "ha-agent ovf accept 0123456789ab --force" in text
    assert "! definition 0123456789ab: NIC nic1 removed" in text
    assert "not kept on this host: /var/lib/x: No space left" in text


def test_storage_that_hangs() -> None:
    storage = StorageEntry(read_at=NOW - 75, problem="no answer within 5 s", workers_stuck=1)
    lines = status_text(replace(PICTURE, storage=storage)).splitlines()
    assert "! status volume, last read 1 min 15 s ago: no answer within 5 s" in lines
    assert "! 1 storage process hangs in the kernel: storage does not answer" in lines


def test_a_domain_that_is_not_connected() -> None:
    storage = StorageEntry(read_at=NOW, connection_problem="portal a:3260 is not connected")
    lines = status_text(replace(PICTURE, storage=storage)).splitlines()
    assert "! storage domain: portal a:3260 is not connected" in lines


def test_the_engines_page_as_this_host_sees_it() -> None:
    health = HealthEntry("bad", "no complete answer within 5 s", NOW - 1)
    text = status_text(replace(PICTURE, health=health))
    assert "  engine's health page: bad, 1.0 s ago: no complete answer within 5 s" in text


def test_what_the_broker_measured_of_this_host() -> None:
    picture = replace(
        PICTURE,
        network=NetworkEntry(0.4, "no answer", NOW - 3, "2 of the last 5 pings to 10.0.0.1 lost"),
        bridge=BridgeEntry(detail="no bridge is looked at"),
    )
    lines = status_text(picture).splitlines()
    assert (
        "  network, 3.0 s ago: 2 of the last 5 pings to 10.0.0.1 lost; the last one: no answer"
        in lines
    )
    assert "  management bridge: no bridge is looked at" in lines


def test_before_anything_is_known() -> None:
    text = status_text(Snapshot(0, 1, "host1", PICTURE.vm_uuid, NOW))
    assert "No host has written a status block yet." in text
    assert "Global maintenance: not known yet" in text


@given(st.text(max_size=40))
def test_what_others_write_can_not_steer_a_terminal(text: str) -> None:
    shown = status_text(with_host2(state=text, host_name=text, engine_status={"vm": text}))
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_the_predecessors_json() -> None:
    """The keys that its readers look for: facts/predecessor-and-peers.md 2.3."""
    never_read = host(3, changed_at=None, problem="slot 3: damaged")
    dead = host(2, alive=False, maintenance=True, engine_status=UP)
    value = json.loads(
        json.dumps(predecessor_json(replace(PICTURE, hosts=(host(1), dead, never_read))))
    )
    assert list(value) == ["1", "2", "global_maintenance"]
    assert value["1"] == {
        "host-id": 1,
        "host-ts": 0,
        "score": 3400,
        "engine-status": GONE,
        "hostname": "host1",
        "maintenance": False,
        "stopped": False,
        "crc32": "0badcafe",
        "conf_on_shared_storage": True,
        "local_conf_timestamp": 0,
        "live-data": True,
    }
    assert value["2"]["live-data"] is False
    assert value["2"]["maintenance"] is True
    assert value["2"]["engine-status"]["vm"] == "unknown"
    assert value["global_maintenance"] is False


def test_the_predecessors_json_has_the_healthy_host_first() -> None:
    picture = with_host2(engine_status=UP)
    assert list(predecessor_json(picture)) == ["2", "1", "global_maintenance"]
    assert list(predecessor_json(with_host2(engine_status=SICK))) == [
        "1",
        "2",
        "global_maintenance",
    ]


@given(st.text(alphabet="ab=\n\x0b\x85\r ", max_size=40))
def test_every_line_of_extra_can_be_cut_at_one_equals_sign(extra: str) -> None:
    entry = predecessor_json(with_host2(extra=extra))["2"]
    assert all(line.count("=") == 1 for line in entry.get("extra", "").splitlines())


def test_the_predecessors_text_without_hosts_is_empty() -> None:
    none = replace(PICTURE, hosts=())
    assert predecessor_text(none) == ""
    banner = "\n\n!! Cluster is in GLOBAL MAINTENANCE mode !!\n\n"
    assert predecessor_text(replace(none, global_maintenance=True)) == banner * 2


@given(st.text(max_size=40))
def test_the_predecessors_text_can_not_steer_a_terminal(text: str) -> None:
    shown = predecessor_text(with_host2(extra=f"state={text}", host_name=text))
    assert all(char.isprintable() or char in "\n\t" for char in shown)


def test_a_definition_that_waits_for_the_next_start() -> None:
    changed = replace(PICTURE.definition, running="0123456789ab")
    text = status_text(replace(PICTURE, definition=changed))
    assert "it will apply at the next start; the VM runs with 0123456789ab" in text
    same = replace(PICTURE.definition, running=PICTURE.definition.identity)
    assert "next start" not in status_text(replace(PICTURE, definition=same))


def test_a_definition_that_failed_to_start() -> None:
    fault = "definition be763bb45689 failed to start twice: the engine VM runs with 0123456789ab"
    failed = replace(PICTURE.definition, running="0123456789ab", running_problem=fault)
    text = status_text(replace(PICTURE, definition=failed))
    assert f"! {fault}" in text
    assert "next start" not in text


def test_another_host_that_claims_the_vm() -> None:
    agent = replace(PICTURE.agent, second_vm_on=("gamma",))
    text = status_text(replace(PICTURE, agent=agent))
    assert "! gamma says that the engine VM runs there, too" in text
