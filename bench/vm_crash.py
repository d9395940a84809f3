# SPDX-License-Identifier: Apache-2.0
"""Claims 2 and 5: QEMU is killed; VM.create is sent on the same host within a second, and within
50 ms of the event by which VDSM tells that the VM is down.

    SIGKILL to QEMU ── the kernel has ended it ── VDSM's event ── VM.destroy ── VM.create
    └──── against, 2 ────────────┘                │  └ against, 5 ┘             │
    │                                             └────────── measured, 5 ──────┘
    └───────────────────────── measured, 2 ─────────────────────────────────────┘

Event and verbs are those on the host's wire to VDSM (wire.py): from the last byte of the event's
name that VDSM has sent to the last byte of the verb's name that the agent has. In between the
agent looks at the VM twice, has VDSM destroy the record of the ended VM, which is its first
effect, and asks the broker for the definition.

Against, for 2: the kernel's own exit of the same process, as its pidfd tells; nobody can know of
the crash before. For 5: that first effect. Each time the engine is healthy first, so that it is
a crash and not a failed start. The hosts run with CONFIG: by default only the first restart
within ten minutes is at once, and the waits after that are policy, not speed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from bench.cluster import Cluster, NotMeasured
from bench.report import WORST, Bound, Row
from bench.wire import DESTROY, STATUS_EVENT

RUNS = 6
CONFIG = f"[restart]\nbackoff_seconds = {', '.join('0' * (RUNS + 2))}\n"
LIMIT_SECONDS = 1.0
EVENT_LIMIT_SECONDS = 0.05
GIVE_UP_SECONDS = 30.0


def measure(cluster: Cluster) -> list[Row]:
    """Kill QEMU, six times. Raises NotMeasured."""
    samples: list[float] = []
    floors: list[float] = []
    first_effects: list[float] = []
    from_event: list[float] = []
    for run in range(RUNS):
        owner, pid = cluster.wait_runner()
        cluster.wait_healthy(owner)
        killed_at = time.monotonic()
        floors.append(_kill(pid))
        relay = cluster.relays[owner]
        created_at = cluster.wait(
            lambda relay=relay, at=killed_at: relay.first_since(at),  # type: ignore[misc]
            GIVE_UP_SECONDS,
            f"host {owner} has not sent VM.create",
        )
        samples.append(created_at - killed_at)
        event_at = relay.first_since(killed_at, STATUS_EVENT)
        destroyed_at = relay.first_since(killed_at, DESTROY)
        if event_at is None or destroyed_at is None or not event_at < destroyed_at < created_at:
            raise NotMeasured(f"host {owner}: not event, VM.destroy, VM.create, in this order")
        first_effects.append(destroyed_at - event_at)
        from_event.append(created_at - event_at)
        cluster.say(
            f"crash {run + 1} of {RUNS}: host {owner} sent VM.create {samples[-1] * 1e3:.0f} ms "
            f"after the kill and {from_event[-1] * 1e3:.1f} ms after VDSM's event; "
            f"QEMU's exit took {floors[-1] * 1e3:.1f} ms"
        )
        _wait_replaced(cluster, pid)
    return [
        Row(
            "QEMU killed -> VM.create on the same host",
            tuple(samples),
            "the kernel's exit of QEMU, the floor",
            tuple(floors),
            Bound(WORST, LIMIT_SECONDS),
        ),
        Row(
            "VDSM's event sent -> VM.create at VDSM",
            tuple(from_event),
            "the same -> VM.destroy, the first effect",
            tuple(first_effects),
            Bound(WORST, EVENT_LIMIT_SECONDS),
        ),
    ]


def _kill(pid: int) -> float:
    """SIGKILL through a pidfd; return the seconds until the kernel says that it has ended."""
    with contextlib.ExitStack() as stack:
        try:
            pidfd = os.pidfd_open(pid)
            stack.callback(os.close, pidfd)
            begun = time.monotonic()
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            raise NotMeasured(f"QEMU, pid {pid}, ended before it was killed") from None
        readable, _, _ = select.select([pidfd], [], [], GIVE_UP_SECONDS)
        if not readable:
            raise NotMeasured(f"QEMU, pid {pid}, has not ended by SIGKILL")
        return time.monotonic() - begun


def _wait_replaced(cluster: Cluster, old_pid: int) -> None:
    def another() -> object:
        runner = cluster.runner()
        return runner if runner is not None and runner[1] != old_pid else None

    cluster.wait(another, GIVE_UP_SECONDS, "QEMU has not been started again")
