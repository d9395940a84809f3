# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ha_agent.broker.snapshot import (
    DefinitionEntry,
    EventEntry,
    HostEntry,
    LeaseEntry,
    NetworkEntry,
    OrderEntry,
    OtherEntry,
    PenaltyEntry,
    PendingEntry,
    Report,
    Snapshot,
    StorageEntry,
    WaitEntry,
)
from ha_agent.explain import LAST_EVENTS, document
from ha_agent.instant import Instant, WallTime

NOW = Instant(1000.0)
WALL = WallTime(1_700_000_000.0)
GOOD = {"vm": "up", "health": "good", "detail": "Up"}
ABSENT = {"vm": "down_missing", "health": "bad"}
ALPHA = HostEntry(
    1, "alpha", alive=True, score=3400, engine_status=GOOD, state="EngineUp", changed_at=NOW - 1.0
)
BETA = HostEntry(
    2,
    "beta",
    alive=True,
    score=2400,
    engine_status=ABSENT,
    state="EngineDown",
    changed_at=NOW - 2.0,
)
GAMMA = replace(BETA, host_id=3, host_name="gamma", score=3000)
ORDER = OrderEntry(
    4,
    "maintenance",
    who="kim",
    host_id=1,
    host_name="alpha",
    at_unix_seconds=WALL.unix_seconds - 60.0,
    remaining_seconds=7140.0,
    reason="new disks",
    in_force=True,
)
PLAIN = Snapshot(
    1,
    2,
    "beta",
    "vm",
    NOW,
    lease=LeaseEntry("held", host_id=1, host_name="alpha", epoch=8, expires_at=NOW + 13.0),
    hosts=(ALPHA, BETA, GAMMA),
    global_maintenance=False,
    definition=DefinitionEntry(available=True, identity="d1", vm_name="HostedEngine"),
    storage=StorageEntry(read_at=NOW - 1.0),
    network=NetworkEntry(
        0.4, "ping: no answer within 5 s", NOW - 3.0, "2 of the last 5 pings to 10.0.0.1 lost"
    ),
    agent=Report(
        state="EngineDown",
        state_since=NOW - 100.0,
        reason="first look done",
        score=2400,
        penalties=(PenaltyEntry("stale definition", 1000, "EIO"),),
        waits=(WaitEntry("nothing: alpha holds the lease"), WaitEntry("a pause", NOW + 7.0)),
        others=(OtherEntry(1, able=True), OtherEntry(3, able=True)),
        made_at=NOW - 1.0,
    ),
)


def explained(events: tuple[EventEntry, ...] = (), **parts: Any) -> dict[str, Any]:
    made = document(replace(PLAIN, **parts), events, WALL)
    assert json.loads(json.dumps(made)) == made
    return made


def hosts(*, alpha: Any = None, beta: Any = None, gamma: Any = None) -> tuple[HostEntry, ...]:
    return (
        replace(ALPHA, **(alpha or {})),
        replace(BETA, **(beta or {})),
        replace(GAMMA, **(gamma or {})),
    )


def test_all_is_well_and_this_host_stands_by() -> None:
    made = explained()
    assert made["troubles"] == []
    assert made["engine"] == [
        "The engine VM HostedEngine runs on alpha (id 1), and the engine is healthy.",
        "alpha (id 1) holds the lease; if it is not renewed any more, it expires in 13 s.",
    ]
    assert made["here"] == {
        "known": True,
        "state": "EngineDown",
        "since_seconds": 100.0,
        "reason": "first look done",
        "score": 2400,
        "penalties": [{"name": "stale definition", "points": 1000, "cause": "EIO"}],
        "probes": [
            {
                "name": "network",
                "text": "2 of the last 5 pings to 10.0.0.1 lost; the last one: ping: no answer "
                "within 5 s",
                "age_seconds": 3.0,
            }
        ],
    }
    assert made["waits"] == [
        {"what": "nothing: alpha holds the lease", "seconds_left": None},
        {"what": "a pause", "seconds_left": 7.0},
    ]
    assert [(host["host_id"], host["able"]) for host in made["hosts"]] == [
        (1, True),
        (3, True),
        (2, True),
    ]
    assert [host["here"] for host in made["hosts"]] == [False, False, True]


def test_a_restarted_broker_does_not_make_the_engine_younger() -> None:
    came = EventEntry("host", "x", WALL.unix_seconds - 7200, number=1, values={"has_vm": "1"})
    found = EventEntry("host", "x", WALL.unix_seconds - 60, number=2, values={"had_vm": "1"})
    assert "(2 h 0 min)" in " ".join(explained((came, found))["engine"])
    away = replace(came, values={"has_vm": "3"})
    assert "has been there since" not in " ".join(explained((came, away, found))["engine"])
    assert "has been there since" not in " ".join(explained((found,))["engine"])


@pytest.mark.parametrize(
    ("kind", "values"), [("host", {"has_vm": "1"}), ("state", {"vm": "came"})]
)
def test_since_when_the_engine_is_there_comes_from_the_timeline(
    kind: str, values: dict[str, str]
) -> None:
    here = kind == "state"
    events = (
        EventEntry(
            "host", "x", at_unix_seconds=WALL.unix_seconds - 9000.0, values={"has_vm": "7"}
        ),
        EventEntry(kind, "x", at_unix_seconds=WALL.unix_seconds - 7200.0, values=values),
        EventEntry("host", "x", at_unix_seconds=WALL.unix_seconds - 60.0),
    )
    made = explained(events, host_id=1 if here else 2)
    since = WallTime(WALL.unix_seconds - 7200.0).local()
    assert made["engine"][1] == f"It has been there since {since} (2 h 0 min)."


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (
            {"engine_status": {"vm": "up", "health": "bad", "reason": "HTTP 503"}},
            "runs on alpha (id 1), but the engine does not answer well: HTTP 503.",
        ),
        (
            {
                "engine_status": {"vm": "up", "health": "bad", "reason": "no answer yet"},
                "state": "EngineStarting",
            },
            "It was started lately; the engine does not answer yet: no answer yet.",
        ),
        ({"alive": False}, "It was up on alpha (id 1), which was last heard of 1.0 s ago."),
        ({"engine_status": ABSENT}, "runs on no host that is heard of."),
        (
            {"engine_status": {"vm": "unknown", "reason": "VDSM is silent"}},
            "But alpha (id 1) can't tell whether it runs there: VDSM is silent.",
        ),
    ],
)
def test_where_the_engine_is(alpha: dict[str, Any], said: str) -> None:
    assert said in " ".join(explained(hosts=hosts(alpha=alpha))["engine"])


def test_two_hosts_that_say_the_same_is_said_first() -> None:
    made = explained(hosts=hosts(gamma={"engine_status": GOOD}))
    assert made["engine"][0].startswith("alpha (id 1) and gamma (id 3) all report that they run")


LEASES = [
    (LeaseEntry("held", ours=True, host_id=2, epoch=9), "This host holds the lease."),
    (
        LeaseEntry("expired", host_id=1, host_name="alpha", available_since=NOW - 4.0),
        "The lease of alpha (id 1) expired 4.0 s ago",
    ),
    (LeaseEntry("free"), "The lease is free"),
    (LeaseEntry("unreadable", detail="torn"), "so it can't start the VM: torn."),
    (LeaseEntry(), "it has not been read yet."),
]


@pytest.mark.parametrize(("lease", "said"), LEASES)
def test_who_holds_the_lease(lease: LeaseEntry, said: str) -> None:
    assert said in " ".join(explained(lease=lease)["engine"])


def test_maintenance_with_who_why_and_until() -> None:
    made = explained(global_maintenance=True, order=ORDER)
    said = made["engine"][-1]
    assert "kim ordered that on alpha (id 1)" in said
    assert "(“new disks”)" in said
    assert "ends by itself in 1 h 59 min" in said
    assert made["waits"][-1] == {
        "what": "global maintenance to end by itself",
        "seconds_left": 7140.0,
    }
    made = explained(global_maintenance=True, order=replace(ORDER, what="shutdown"))
    assert made["engine"][-1].startswith("The shutdown of the cluster is in force; kim ordered")
    assert "So far: waits for " in made["engine"][-1]
    assert "is on: no host" in explained(global_maintenance=True)["engine"][-1]
    assert "not known yet" in explained(global_maintenance=None)["engine"][-1]


def test_a_definition_that_is_missing_stale_or_held_back() -> None:
    missing = DefinitionEntry(problem="no copy of it")
    assert "no definition" in explained(definition=missing)["engine"][-1]
    stale = replace(PLAIN.definition, stale=True, problem="EIO")
    assert "last good definition. EIO." in explained(definition=stale)["engine"][-1]
    pending = PendingEntry("d2", sentences=("it has no disk",), advice="correct it")
    held = explained(definition=replace(PLAIN.definition, pending=pending))["engine"][-1]
    assert "(d2), which the guard holds back: it has no disk. correct it." in held


def test_a_definition_that_applies_at_the_next_start() -> None:
    running = replace(PLAIN.definition, running="d0")
    said = explained(definition=running)["engine"][-1]
    assert "runs from the definition d0; d1 will apply at its next start." in said
    same = replace(PLAIN.definition, running="d1")
    assert explained(definition=same)["engine"] == explained()["engine"]


def test_a_better_host_is_said() -> None:
    said = explained(agent=replace(PLAIN.agent, better_host=3))["engine"][-1]
    assert said.startswith("gamma (id 3) would be much better")


def test_an_owner_without_network_is_said() -> None:
    hosts = tuple(
        replace(host, network_lost=host.engine_status.get("vm") == "up") for host in PLAIN.hosts
    )
    [said] = [text for text in explained(hosts=hosts)["engine"] if "lost its network" in text]
    assert said.endswith("no other host has said yet whether it can reach the engine.")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"agent": Report()}, "has not reported since the broker was started"),
        ({"made_at": NOW + 100.0}, "has been silent for 1 min 41 s"),
        (
            {"storage": StorageEntry(read_at=NOW - 40.0, problem="not readable: EIO")},
            "were last read 40 s ago. Not readable: EIO.",
        ),
        ({"storage": StorageEntry(read_at=NOW - 40.0)}, "were last read 40 s ago; what is said"),
        (
            {"agent": replace(PLAIN.agent, second_vm_on=("gamma",))},
            "gamma says that the engine VM runs there, too",
        ),
        ({"storage": StorageEntry(workers_stuck=2)}, "2 of our processes stuck"),
        (
            {"storage": StorageEntry(connection_problem="portal a:3260: code 465")},
            "is not connected as it should be: portal a:3260: code 465.",
        ),
        (
            {"lease": LeaseEntry("held", ours=True, detail="EIO", fence_at=NOW + 5.0)},
            "failed: EIO. Unless it is renewed, the engine VM is ended here in 5.0 s.",
        ),
    ],
)
def test_trouble_comes_first_with_its_age(parts: dict[str, Any], said: str) -> None:
    assert said in explained(**parts)["troubles"][0]


def test_nobody_is_said_to_act_in_global_maintenance() -> None:
    for lease in (LeaseEntry("free"), LeaseEntry("expired", host_id=1, host_name="alpha")):
        made = explained(lease=lease, global_maintenance=True)
        assert made["hands_off"] is True
        assert "may take" not in " ".join(made["engine"])
        assert "may take" in " ".join(explained(lease=lease)["engine"])


def test_a_host_with_a_silent_agent_can_not_take_it() -> None:
    (here,) = (host for host in explained(made_at=NOW + 100.0)["hosts"] if host["here"])
    assert (here["able"], here["why"]) == (False, "its agent is silent")


def test_right_after_the_brokers_start_nobody_is_known_to_live() -> None:
    fresh = hosts(alpha={"alive": False, "changed_at": None})
    said = " ".join(explained(hosts=fresh)["engine"])
    assert "whether that host lives is not known yet" in said
    assert "never" not in said


def test_what_a_silent_agent_waited_for_is_not_told() -> None:
    assert explained(made_at=NOW + 100.0)["waits"] == []
    assert explained(agent=Report())["here"]["known"] is False


@pytest.mark.parametrize(
    ("gamma", "why"),
    [
        ({"problem": "bad CRC"}, "its status block can't be used: bad CRC"),
        ({"stopped": True}, "its agent is stopped"),
        ({"stopped": True, "extra": "joined=0123456789ab\n"}, "it was not started there yet"),
        ({"alive": False}, "it is silent: its status block last changed 2.0 s ago"),
        ({"alive": False, "changed_at": None}, "has not changed since this broker was started"),
        ({"maintenance": True}, "it is in local maintenance"),
        (
            {"maintenance": True, "maintenance_note": "by kim: disks"},
            "it is in local maintenance (by kim: disks)",
        ),
        ({"score": 0}, "its score is 0"),
    ],
)
def test_who_could_not_take_over_and_why(gamma: dict[str, Any], why: str) -> None:
    last = explained(hosts=hosts(gamma=gamma))["hosts"][-1]
    assert (last["host_id"], last["able"]) == (3, False)
    assert why in last["why"]


def test_what_only_the_agent_knows_counts_too() -> None:
    agent = replace(PLAIN.agent, others=(OtherEntry(3, able=False, why="it is taken for dead"),))
    last = explained(agent=agent)["hosts"][-1]
    assert (last["able"], last["why"]) == (False, "it is taken for dead")


def test_our_own_score_of_0_has_its_cause() -> None:
    agent = replace(PLAIN.agent, penalties=(PenaltyEntry("unable", 3400, "VDSM is silent"),))
    made = explained(agent=agent, hosts=hosts(beta={"score": 0}))
    assert made["hosts"][-1]["why"] == "its score is 0: VDSM is silent"


def test_a_predecessor_is_named() -> None:
    made = explained(hosts=hosts(gamma={"predecessor": True}))
    assert "the predecessor's agent" in made["hosts"][1]["why"]


def test_the_last_events_only() -> None:
    events = tuple(EventEntry("lease", f"x{i}", float(i), number=i) for i in range(1, 100))
    made = explained(events)
    assert [event["number"] for event in made["events"]] == list(range(100 - LAST_EVENTS, 100))
