# SPDX-License-Identifier: Apache-2.0
"""Claim 1: a host dies; VM.create is sent on another one within lease_expiry + 1 s.

    last renewal of the dead host ── its death ── ... ── VM.create on another host's wire
    └────────────────────────── measured ──────────────────────────────────────────┘

The last renewal is read from the lock file by a reader of our own (lease_watch.py), VM.create
is seen on the wire to the new host's VDSM (wire.py). Against: lease_expiry itself; who takes
over sooner may start a second VM. The guest need not have booted: that changes nothing here.
"""

from __future__ import annotations

import time
from typing import Optional

from bench.cluster import Cluster, NotMeasured
from bench.report import WORST, Bound, Row
from ha_agent.config import layers

RUNS = 5
LIMIT_OVER_EXPIRY_SECONDS = 1.0
GIVE_UP_SECONDS = 60.0


def measure(cluster: Cluster) -> list[Row]:
    """Kill the owner's whole host, five times. Raises NotMeasured."""
    lease = layers.load([cluster.hosts[1].config], cluster.hosts[1].environ).lease
    expiry_seconds = lease.lease_expiry_seconds
    samples = []
    for run in range(RUNS):
        owner, _pid = cluster.wait_runner()
        cluster.wait_bystanders(owner)
        # A death may fall anywhere between two renewals.
        time.sleep(lease.renew_interval_seconds * run / RUNS)
        samples.append(_one_death(cluster, owner, run))
    return [
        Row(
            "host death: last renewal -> VM.create elsewhere",
            tuple(samples),
            "lease_expiry, the floor",
            (expiry_seconds,),
            Bound(WORST, expiry_seconds + LIMIT_OVER_EXPIRY_SECONDS),
        )
    ]


def _one_death(cluster: Cluster, owner: int, run: int) -> float:
    killed_at = time.monotonic()
    cluster.hosts[owner].power_cut()

    def taken_over() -> Optional[tuple[float, int]]:
        found = [(relay.first_since(killed_at), n) for n, relay in cluster.relays.items()]
        return min(((at, n) for at, n in found if at is not None), default=None)

    created_at, heir = cluster.wait(taken_over, GIVE_UP_SECONDS, "no host has sent VM.create")
    renewal = cluster.lease_watch.last_by(owner)
    if renewal is None or heir == owner:
        raise NotMeasured(f"host {owner} was killed, host {heir} sent VM.create")
    seconds = created_at - renewal.not_before
    taken = cluster.lease_watch.first_by(heir, killed_at)
    taken_text = f"{taken.not_before - renewal.not_before:.3f} s" if taken else "unseen"
    cluster.say(
        f"death {run + 1} of {RUNS}: host {owner} killed "
        f"{killed_at - renewal.not_before:.2f} s after its last renewal; counted from that, "
        f"host {heir} took the lease at {taken_text} and sent VM.create at {seconds:.3f} s"
    )
    cluster.hosts[owner].start()
    return seconds
