# SPDX-License-Identifier: Apache-2.0
"""How a lease of sanlock is told to others: the one that we hold, and another host's. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.broker.sanlock.judge import SanlockJudgement
from ha_agent.broker.sanlock.port import Look
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.instant import Instant

HostName = Callable[[int], str]
"""Tells the name of a host id, "" for one that is not known: sanlock does not say it."""


@dataclass(frozen=True)
class OwnedEpoch:
    """A lease of ours, and the deadline that is armed for it."""

    epoch: int
    fence_at: Instant


def owned_entry(
    owned: OwnedEpoch,
    times: SanlockTimes,
    host_id: int,
    host_name: HostName,
    last_success: Optional[Instant],
    error: str,
) -> LeaseEntry:
    """Return the entry of the lease that we hold; good until `fence_at`."""
    late_seconds = times.host_dead_seconds - times.fence_after_seconds
    return LeaseEntry(
        state="held",
        ours=True,
        host_id=host_id,
        host_name=host_name(host_id),
        epoch=owned.epoch,
        expires_at=owned.fence_at + late_seconds,
        fence_at=owned.fence_at,
        last_success=last_success,
        detail=error,
    )


def watched_entry(
    judged: SanlockJudgement,
    host_name: HostName,
    *,
    may_be_ours: bool,
    obstacle: str,
    last_success: Optional[Instant],
    error: str,
) -> LeaseEntry:
    """Return the entry of a lease that we do not hold. `may_be_ours`: our holder has it, and it
    will be adopted; `obstacle`: why we could not take it now, "" for nothing."""
    state, leader = judged.state, judged.leader
    if state in ("free", "expired") and obstacle:
        state = "unknown"  # not to be had by us: the agent would try again and again
    elif may_be_ours:
        state = "unknown"  # "held, not ours" would have the agent end a VM that stays ours
    host_id = leader.host_id if leader is not None and leader.host_id else None
    return LeaseEntry(
        state=state,
        host_id=host_id,
        host_name=host_name(host_id) if host_id else "",
        epoch=leader.epoch if leader else 0,
        available_since=judged.since if state in ("free", "expired") else None,
        expires_at=judged.expires_at,
        last_success=last_success,
        detail=error or obstacle or (f"sanlock says {judged.flag}" if judged.flag else ""),
    )


def io_timeout_mismatch(look: Look, times: SanlockTimes) -> str:
    """Say which hosts use another I/O timeout, "" for none.

    It is not unsafe: sanlock goes by what each host wrote into its own lease. But nobody would
    know how long a fail-over takes.
    """
    wanted_seconds = times.io_timeout_seconds
    other = [
        f"host {sight.host_id} {sight.io_timeout_seconds} s"
        for sight in look.hosts.values()
        if sight.flag == "LIVE" and sight.io_timeout_seconds not in (0, wanted_seconds)
    ]
    if not other:
        return ""
    return (
        f"the I/O timeout of sanlock is not the same on all hosts ({wanted_seconds} s here;"
        f" {', '.join(other)}): set the same profile in [sanlock] everywhere"
    )
