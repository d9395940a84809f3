# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any, Optional

import pytest

from ha_agent.broker.snapshot import HostEntry, LeaseEntry, OrderEntry, Report, Snapshot
from ha_agent.instant import Instant, WallTime
from ha_agent.maintenance_text import (
    SHUT_DOWN,
    Progress,
    duration_text,
    global_lines,
    local_lines,
    local_progress,
    moment_text,
    resume_progress,
    shutdown_progress,
)

NOW = Instant(1000.0)
NOON = datetime.datetime(2026, 11, 22, 12, 3).astimezone().timestamp()
UP = {"vm": "up", "health": "good", "detail": "Up"}
GONE = {"vm": "down_missing"}
ORDER = OrderEntry(
    7, "maintenance", "root (uid 0)", 1, "h1", NOON, reason="new switch", in_force=True
)
SHUTDOWN = replace(ORDER, what="shutdown")


def host(number: int, **fields: Any) -> HostEntry:
    values = {"alive": True, "score": 3400, "order_seen": 7, "engine_status": GONE, **fields}
    return HostEntry(number, f"h{number}", **values)


def picture(*hosts: HostEntry, **parts: Any) -> Snapshot:
    values = {"global_maintenance": True, "lease": LeaseEntry("free"), **parts}
    return Snapshot(1, 1, "h1", "vm", NOW, hosts=hosts or (host(1), host(2)), **values)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (9.94, "9.9 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3660, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_time_of_today_has_no_date() -> None:
    assert moment_text(NOON, WallTime(NOON + 60)) == "12:03"
    assert moment_text(NOON, WallTime(NOON + 86400)) == "2026-11-22 12:03"
    assert moment_text(NOON) == "2026-11-22 12:03"


@pytest.mark.parametrize(
    ("flag", "order", "line"),
    [
        (None, None, "Global maintenance: not known yet"),
        (False, replace(ORDER, in_force=False), "Global maintenance: off"),
        (True, None, "Global maintenance: ON: nobody starts or stops the engine VM"),
        (
            True,
            replace(ORDER, in_force=False),
            "Global maintenance: ON: nobody starts or stops the engine VM",
        ),
        (True, ORDER, "Global maintenance: ON since 12:03 by root (uid 0) on h1: new switch"),
        (
            True,
            replace(ORDER, until_unix_seconds=NOON, remaining_seconds=0.0, reason=""),
            "Global maintenance: ON since 12:03 by root (uid 0) on h1 until 12:03 "
            "(over, but not ended yet)",
        ),
        (
            True,
            replace(ORDER, until_unix_seconds=NOON + 7200, remaining_seconds=3720.0, reason=""),
            "Global maintenance: ON since 12:03 by root (uid 0) on h1 until 14:03 "
            "(1 h 2 min left)",
        ),
        (
            True,
            SHUTDOWN,
            "Cluster shutdown: in force since 12:03 by root (uid 0) on h1: new switch",
        ),
    ],
)
def test_who_when_why_and_until(
    flag: Optional[bool], order: Optional[OrderEntry], line: str
) -> None:
    lines = global_lines(picture(global_maintenance=flag, order=order), WallTime(NOON + 60))
    assert lines[0] == line


def test_local_maintenance_has_its_note_from_any_host() -> None:
    note = "since 2026 by root: disks"
    hosts = (
        host(1, maintenance_note="over"),
        host(2, maintenance=True, maintenance_note=note),
        host(3, maintenance=True),
    )
    assert local_lines(picture(*hosts)) == [f"Local maintenance of h2: {note}"]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"lease": LeaseEntry("free")}, SHUT_DOWN),
        ({"lease": LeaseEntry("expired")}, SHUT_DOWN),
        ({"lease": LeaseEntry("held", host_name="h2")}, "waits for h2 to give the lease back"),
        ({"lease": LeaseEntry("unreadable")}, "the lease can't be read"),
        ({"hosts": [host(1), host(2, order_seen=6)]}, "waits for h2 to take notice"),
        ({"hosts": [host(1), host(2, other_vms=2)]}, "waits for 2 other VMs on h2 to end"),
        (
            {"hosts": [host(1), host(2, engine_status=UP)]},
            "the engine VM on h2 is about to be stopped",
        ),
        (
            {"hosts": [host(1), host(2, engine_status=UP, state="EngineStop")]},
            "the engine VM is stopping on h2",
        ),
        (
            {"hosts": [host(1), host(2, engine_status=UP, predecessor=True)]},
            "the engine VM runs on h2, whose software does not know this order: "
            "hosted-engine --vm-shutdown there",
        ),
        (
            {"hosts": [host(1), host(2, engine_status={"vm": "unknown"})]},
            "h2 can't tell whether the engine VM runs there",
        ),
        # What a dead host said last does not hold the shutdown up: its lease does.
        ({"hosts": [host(1), host(2, engine_status=UP, alive=False)]}, SHUT_DOWN),
        ({"hosts": [host(1), host(2, engine_status={"vm": "unknown"}, stopped=True)]}, SHUT_DOWN),
    ],
)
def test_how_far_a_shutdown_has_come(parts: dict[str, Any], text: str) -> None:
    hosts = parts.pop("hosts", [])
    snapshot = picture(*hosts, order=SHUTDOWN, **parts)
    assert shutdown_progress(snapshot) == Progress(text == SHUT_DOWN, text)
    assert global_lines(snapshot)[1] == f"  {text}"


@pytest.mark.parametrize("order", [None, ORDER, replace(SHUTDOWN, in_force=False)])
def test_an_order_that_somebody_took_back(order: Optional[OrderEntry]) -> None:
    assert shutdown_progress(picture(order=order)).failed


@pytest.mark.parametrize(
    ("hosts", "done", "text"),
    [
        ([host(1, engine_status=UP)], True, "the engine VM runs on h1, healthy"),
        (
            [host(1, engine_status={"vm": "up", "health": "bad"})],
            True,
            "the engine VM runs on h1, the engine does not answer yet",
        ),
        ([host(1), host(2, state="EngineStart")], False, "the engine VM starts on h2"),
        ([host(1), host(2)], False, "the hosts have not started the engine VM yet"),
        (
            [host(1, score=0), host(2, maintenance=True)],
            False,
            "no live host can take the engine VM",
        ),
    ],
)
def test_how_far_a_resume_has_come(hosts: list[HostEntry], done: bool, text: str) -> None:
    assert resume_progress(picture(*hosts, global_maintenance=False)) == Progress(done, text)
    assert resume_progress(picture(*hosts)).failed


def report(**fields: Any) -> Report:
    return replace(Report(state="EngineUp", engine_status=UP, made_at=NOW), **fields)


@pytest.mark.parametrize(
    ("agent", "parts", "text"),
    [
        (Report(), {}, "this host's agent does not report: does ha-agent run?"),
        (report(made_at=NOW - 21.0), {}, "this host's agent does not report: does ha-agent run?"),
        (
            report(state="LocalMaintenance", engine_status=GONE),
            {},
            "this host is in local maintenance; the engine VM is not here",
        ),
        (
            report(engine_status=GONE),
            {},
            "the engine VM is not here; the agent takes notice in a moment",
        ),
        (
            report(),
            {"global_maintenance": True},
            "global maintenance is on: nobody starts or stops the engine VM, here neither",
        ),
        (
            report(),
            {"hosts": [host(1), host(2, score=0), host(3, stopped=True)]},
            "no other host can take the engine VM: it stays here until one can",
        ),
        (
            report(),
            {"hosts": [host(1), host(2, score=100), host(4), host(3)]},
            "the engine VM is stopped here in order, and started elsewhere: h3 is next",
        ),
        (
            report(state="EngineStop"),
            {},
            "the engine VM is stopping here; another host starts it then",
        ),
    ],
)
def test_the_way_into_local_maintenance(agent: Report, parts: dict[str, Any], text: str) -> None:
    hosts = parts.pop("hosts", [])
    snapshot = picture(*hosts, agent=agent, **{"global_maintenance": False, **parts})
    done = agent.state == "LocalMaintenance"
    assert local_progress(snapshot) == Progress(done, text)
