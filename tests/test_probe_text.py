# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.snapshot import (
    BridgeEntry,
    CpuEntry,
    DomainEntry,
    MemoryEntry,
    Report,
    Snapshot,
)
from ha_agent.instant import Instant
from ha_agent.probe_text import ProbeLine, probe_lines

NOW = Instant(500.0)


def test_of_what_nothing_is_known_nothing_is_said() -> None:
    assert probe_lines(Snapshot(1, 1, "h1", "vm", NOW)) == []


def test_the_last_samples_then_the_newest_with_the_age_of_the_figure() -> None:
    snapshot = Snapshot(
        1,
        1,
        "h1",
        "vm",
        NOW,
        bridge=BridgeEntry(False, "b0 is down", NOW - 2.0, "up in 3 of the last 5 looks"),
        cpu=CpuEntry(detail="not measured yet"),
        memory=MemoryEntry(1, "", NOW - 9.0, "at least 1 MiB in the last 2 looks"),
        domain=DomainEntry(None, None, "VDSM is slow", NOW - 1.0),
    )
    assert probe_lines(snapshot) == [
        ProbeLine(
            "management bridge", "up in 3 of the last 5 looks; the last one: b0 is down", 2.0
        ),
        ProbeLine("CPU load", "not measured yet", None),
        ProbeLine("memory", "at least 1 MiB in the last 2 looks", 9.0),
        ProbeLine("storage domain", "VDSM is slow", 1.0),
    ]


def test_a_silent_vdsm_is_told_with_what_it_said_last_and_when() -> None:
    silent = Report(vdsm_silent_since=NOW - 30.0, vm_seen="Up", vm_seen_at=NOW - 32.0)
    assert probe_lines(Snapshot(1, 1, "h1", "vm", NOW, agent=silent)) == [
        ProbeLine(
            "VDSM or libvirt",
            "has not answered for 30 s; the engine VM was last seen 32 s ago: Up",
            None,
        )
    ]
    never = Report(vdsm_silent_since=NOW - 30.0)
    (line,) = probe_lines(Snapshot(1, 1, "h1", "vm", NOW, agent=never))
    assert "nothing was heard" in line.text
    assert line.age_seconds is None
