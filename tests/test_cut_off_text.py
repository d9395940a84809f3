# SPDX-License-Identifier: Apache-2.0
"""What is said of an owner that has lost its network."""

from __future__ import annotations

from typing import Any

import pytest

from ha_agent.broker.snapshot import HostEntry, Report, Snapshot
from ha_agent.cut_off_text import cut_off_lines
from ha_agent.instant import Instant
from ha_agent.status_text import status_text

NOW = Instant(1000.0)


def host(number: int, **fields: Any) -> HostEntry:
    return HostEntry(number, f"host{number}", **{"alive": True, **fields})


SILENT = Report()
NOBODY = "no other host has said yet whether it can reach the engine"
OWNER = host(1, network_lost=True, engine_status={"vm": "up", "health": "good"})


def picture(*hosts: HostEntry, host_id: int = 2, agent: Report = SILENT) -> Snapshot:
    return Snapshot(1, host_id, f"host{host_id}", "vm", NOW, hosts=hosts, agent=agent)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((), NOBODY),
        (
            (host(2), host(3, engine_page="bad", alive=False)),
            "no other host has said yet whether it can reach the engine",
        ),
        (
            (host(2, engine_page="bad", page_bad_seconds=45), host(3)),
            "host2 can't reach the engine, for 45 s",
        ),
        (
            (host(2, engine_page="bad", page_bad_seconds=9), host(3, engine_page="bad")),
            "host2 and host3 can't reach the engine, for 9.0 s",
        ),
        (
            (host(2, engine_page="bad", page_bad_seconds=45), host(3, engine_page="good")),
            "host3 can reach the engine, so it stays there",
        ),
    ],
)
def test_what_the_others_see(others: tuple[HostEntry, ...], said: str) -> None:
    line = f"host1 has lost its network; {said}"
    assert cut_off_lines(picture(OWNER, *others)) == [line]
    assert line in status_text(picture(OWNER, *others)).splitlines()


def test_the_owner_says_when() -> None:
    blind = host(2, engine_page="bad", page_bad_seconds=45)
    soon = picture(OWNER, blind, host_id=1, agent=Report(hand_over_at=NOW + 72.0))
    assert cut_off_lines(soon) == [
        "host1 has lost its network; host2 can't reach the engine: handing over in 1 min 12 s"
    ]


@pytest.mark.parametrize(
    "owner",
    [
        host(1, engine_status={"vm": "up"}),
        host(1, network_lost=True, engine_status={"vm": "down_missing"}),
        host(1, network_lost=True, engine_status={"vm": "up"}, alive=False),
        host(1, network_lost=True, engine_status={"vm": "up"}, problem="torn"),
    ],
    ids=["has network", "has no VM", "is silent", "has a bad block"],
)
def test_of_others_nothing_is_said(owner: HostEntry) -> None:
    assert cut_off_lines(picture(owner, host(2, engine_page="bad"))) == []
