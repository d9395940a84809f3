# SPDX-License-Identifier: Apache-2.0
"""Claim 6: local maintenance is set on the owner; VM.shutdown is sent within 50 ms.

    maintenance.set on the broker's socket ── its answer, read back from the file
    │                                      ── the agent sees the file ── VM.shutdown
    │                                                                            │
    └───────────────────────── measured ─────────────────────────────────────────┘

From before the caller connects to the socket to the last byte of the verb's name on the host's
wire to VDSM (wire.py). The VM may leave at once, as two other hosts are able to take it. Against:
the broker's own answer, which comes when the file has been read back; the agent waits for the
file and not for it, so it may well be sooner.

After each, maintenance is cleared, and the engine runs on another host.
"""

from __future__ import annotations

import time

from bench.cluster import CALL_DEADLINE_SECONDS, Cluster, NotMeasured
from bench.report import WORST, Bound, Row
from bench.wire import SHUTDOWN
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError

RUNS = 4
LIMIT_SECONDS = 0.05
GIVE_UP_SECONDS = 60.0


def measure(cluster: Cluster) -> list[Row]:
    """Set local maintenance on the owner, four times. Raises NotMeasured."""
    samples, answers = [], []
    for run in range(RUNS):
        owner, pid = cluster.wait_runner()
        cluster.wait_healthy(owner)
        cluster.wait_bystanders(owner)
        begun = time.monotonic()
        _set(cluster, owner, True)
        answers.append(time.monotonic() - begun)
        relay = cluster.relays[owner]
        asked_at = cluster.wait(
            lambda relay=relay, at=begun: relay.first_since(at, SHUTDOWN),  # type: ignore[misc]
            GIVE_UP_SECONDS,
            f"host {owner} has not sent VM.shutdown",
        )
        samples.append(asked_at - begun)
        cluster.say(
            f"maintenance {run + 1} of {RUNS}: host {owner} sent VM.shutdown "
            f"{samples[-1] * 1e3:.1f} ms after the call, answered after {answers[-1] * 1e3:.1f} ms"
        )
        _wait_moved(cluster, pid)
        _set(cluster, owner, False)
    return [
        Row(
            "local maintenance set -> VM.shutdown at VDSM",
            tuple(samples),
            "the broker's answer, read back",
            tuple(answers),
            Bound(WORST, LIMIT_SECONDS),
        )
    ]


def _set(cluster: Cluster, number: int, enabled: bool) -> None:
    params = {"scope": "local", "enabled": enabled, "reason": "bench"}
    path = str(cluster.socket(number))
    try:
        rpc_call.call_once(
            path, "maintenance.set", params, CALL_DEADLINE_SECONDS, clock=SystemClock()
        )
    except HaAgentError as error:
        raise NotMeasured(f"host {number}: {error}") from error


def _wait_moved(cluster: Cluster, old_pid: int) -> None:
    def another() -> object:
        runner = cluster.runner()
        return runner if runner is not None and runner[1] != old_pid else None

    cluster.wait(another, GIVE_UP_SECONDS, "no other host has started the VM")
