# SPDX-License-Identifier: Apache-2.0
"""The start of a VM, from the decision to a QEMU that runs, split by step.

    VDSM's event: QEMU has ended ── VM.destroy ── VM.create ── definition ── command ── lease ──
    └────── decision and sending ────────────────┘│                     by the embedded VDSM
    spawn ── qmp ── running ── VDSM's event: the VM powers up
                             ───────────────────────────────┘

QEMU is killed, RUNS times, as in vm_crash.py, on hosts with its CONFIG. The agent decides as soon
as it knows; a log's time would be its own word, so the first step counts from the event that tells
it. Events and verbs are those on the wire (wire.py). The steps between are VDSM's own log line
(ha_agent/vdsm/vm/start.py): no other can see them. "spawn" ends when QEMU's process is there,
"qmp" when it answers.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from bench.cluster import Cluster, NotMeasured
from bench.report import Row
from bench.vm_crash import GIVE_UP_SECONDS
from bench.wire import CREATE, STATUS_EVENT

RUNS = 6
STEPS = ("definition", "command", "lease", "spawn", "qmp", "running")
_LINE = re.compile(r"started in [\d.]+ ms: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Start:
    """One start, in seconds: until VM.create, from there to VDSM's first event, and its steps."""

    decision: float
    until_event: float
    steps: dict[str, float]


def measure(cluster: Cluster) -> list[Row]:
    """Kill QEMU and watch the next start, six times. Raises NotMeasured."""
    starts = []
    for run in range(RUNS):
        start = _one(cluster)
        starts.append(start)
        parts = ", ".join(f"{name} {took * 1e3:.1f}" for name, took in start.steps.items())
        decision = f"VM.create {start.decision * 1e3:.1f} ms after VDSM's event"
        cluster.say(f"start {run + 1} of {RUNS}: {decision}; ms: {parts}")
    return rows(starts)


def _one(cluster: Cluster) -> Start:
    owner, pid = cluster.wait_runner()
    cluster.wait_healthy(owner)
    relay = cluster.relays[owner]
    log = cluster.hosts[owner].folder / "ha-vdsm.log"
    before = len(started(log.read_text()))

    def told() -> Optional[dict[str, float]]:
        found = started(log.read_text())
        return found[-1] if len(found) > before else None

    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    created_at = cluster.wait(
        functools.partial(relay.first_since, killed_at, CREATE),
        GIVE_UP_SECONDS,
        f"host {owner} has not sent VM.create",
    )
    event_at = relay.first_since(killed_at, STATUS_EVENT)
    if event_at is None or event_at > created_at:
        raise NotMeasured(f"host {owner}: VM.create before VDSM's event")
    up_at = cluster.wait(
        functools.partial(relay.first_since, created_at, STATUS_EVENT),
        GIVE_UP_SECONDS,
        f"host {owner}: no event after VM.create",
    )
    steps = cluster.wait(told, GIVE_UP_SECONDS, f"host {owner}: VDSM tells of no start")
    return Start(created_at - event_at, up_at - created_at, steps)


def started(log: str) -> list[dict[str, float]]:
    """Return what VDSM's log tells of each start: seconds by step."""
    return [
        {
            name: float(milliseconds) / 1e3
            for name, _, milliseconds in (part.partition(" ") for part in line.split(", "))
        }
        for line in _LINE.findall(log)
    ]


def rows(starts: list[Start]) -> list[Row]:
    """Return the table's rows: what there is to each start, against the start as a whole."""
    wholes = tuple(sum(start.steps.values()) for start in starts)
    until_process = STEPS[: STEPS.index("spawn") + 1]

    def row(what: str, samples: Iterable[float]) -> Row:
        return Row(what, tuple(samples), "VM.create -> the VM is up", wholes)

    return [
        row("VDSM's event -> VM.create at VDSM", (start.decision for start in starts)),
        row(
            "VM.create -> QEMU's process",
            (sum(start.steps.get(name, 0.0) for name in until_process) for start in starts),
        ),
        *(
            row(f"  of the start: {name}", (start.steps.get(name, 0.0) for start in starts))
            for name in STEPS
        ),
        row("VM.create -> VDSM's next event", (start.until_event for start in starts)),
    ]
