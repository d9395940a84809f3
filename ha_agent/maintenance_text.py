# SPDX-License-Identifier: Apache-2.0
"""Maintenance, and how far the cluster's shutdown has come, in words. Pure.

`status` says it as it is, the commands that wait say it again at each change: one source, so that
both always say the same.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.maintenance.order import SHUTDOWN, is_live, shutdown_waits
from ha_agent.broker.snapshot import HostEntry, OrderEntry, Snapshot
from ha_agent.instant import WallTime

# The agent reports every few seconds, whatever happens.
AGENT_SILENT_SECONDS = 20.0
SHUT_DOWN = "the cluster is shut down: hosts may be powered off"
_NOBODY = "nobody starts or stops the engine VM"


@dataclass(frozen=True)
class Progress:
    """How far something has come. `failed`: it will not come any further."""

    done: bool
    text: str
    failed: bool = False


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: 0.4 s, 12 s, 3 min 5 s, 2 h 3 min, 4 d 1 h."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment_text(unix_seconds: float, today: Optional[WallTime] = None) -> str:
    """Return a calendar time in the local zone; of `today` only the time of day."""
    moment = datetime.datetime.fromtimestamp(unix_seconds).astimezone()
    if today is not None:
        day = datetime.datetime.fromtimestamp(today.unix_seconds).astimezone()
        if day.date() == moment.date():
            return f"{moment:%H:%M}"
    return f"{moment:%Y-%m-%d %H:%M}"


def order_text(order: OrderEntry, today: Optional[WallTime] = None) -> str:
    """Return since when, by whom, until when and why."""
    text = f"since {moment_text(order.at_unix_seconds, today)} by {order.who or '?'}"
    text += f" on {order.host_name or '?'}"
    if order.until_unix_seconds is not None:
        text += f" until {moment_text(order.until_unix_seconds, today)}"
        if order.remaining_seconds is not None and order.remaining_seconds > 0:
            text += f" ({duration_text(order.remaining_seconds)} left)"
        elif order.remaining_seconds is not None:
            text += " (over, but not ended yet)"
    return f"{text}: {order.reason}" if order.reason else text


def global_lines(snapshot: Snapshot, today: Optional[WallTime] = None) -> list[str]:
    """Return what is to be said of global maintenance and of the cluster's shutdown."""
    if snapshot.global_maintenance is None:
        return ["Global maintenance: not known yet"]
    if not snapshot.global_maintenance:
        return ["Global maintenance: off"]
    order = snapshot.order
    if order is None or not order.in_force:
        return [f"Global maintenance: ON: {_NOBODY}"]
    told = order_text(order, today)
    if order.what == SHUTDOWN:
        return [f"Cluster shutdown: in force {told}", f"  {shutdown_progress(snapshot).text}"]
    return [f"Global maintenance: ON {told}", f"  {_NOBODY}"]


def local_lines(snapshot: Snapshot) -> list[str]:
    """Return who is in local maintenance, as far as its block tells more than that it is."""
    return [
        f"Local maintenance of {host.host_name or '?'}: {host.maintenance_note}"
        for host in snapshot.hosts
        if host.maintenance and host.maintenance_note
    ]


def shutdown_progress(snapshot: Snapshot) -> Progress:
    """Return how far the cluster's shutdown has come."""
    order = snapshot.order
    if order is None or not order.in_force or order.what != SHUTDOWN:
        return Progress(False, "the order is not in force any more", failed=True)
    waits = shutdown_waits(snapshot)
    if waits:
        return Progress(False, f"waits for {'; '.join(waits)}")
    live = [host for host in snapshot.hosts if is_live(host)]
    up = next((host for host in live if host.engine_status.get("vm") == "up"), None)
    if up is not None:
        return Progress(False, _stopping(up))
    silent = next((h for h in live if h.engine_status.get("vm") == "unknown"), None)
    if silent is not None and not silent.stopped:
        return Progress(False, f"{_name(silent)} can't tell whether the engine VM runs there")
    lease = snapshot.lease
    if lease.state == "held":
        return Progress(False, f"waits for {lease.host_name or '?'} to give the lease back")
    if lease.state not in ("free", "expired"):
        return Progress(False, "the lease can't be read")
    return Progress(True, SHUT_DOWN)


def _stopping(host: HostEntry) -> str:
    if host.predecessor:
        return (
            f"the engine VM runs on {_name(host)}, whose software does not know this order: "
            "hosted-engine --vm-shutdown there"
        )
    if host.state == "EngineStop" or host.engine_status.get("detail") == "Powering down":
        return f"the engine VM is stopping on {_name(host)}"
    return f"the engine VM on {_name(host)} is about to be stopped"


def resume_progress(snapshot: Snapshot) -> Progress:
    """Return how far the start of the engine VM after the end of maintenance has come."""
    if snapshot.global_maintenance:
        return Progress(False, "global maintenance was set again", failed=True)
    live = [host for host in snapshot.hosts if is_live(host)]
    up = next((host for host in live if host.engine_status.get("vm") == "up"), None)
    if up is not None:
        healthy = up.engine_status.get("health") == "good"
        word = "healthy" if healthy else "the engine does not answer yet"
        return Progress(True, f"the engine VM runs on {_name(up)}, {word}")
    starting = next(
        (host for host in live if host.state in ("EngineStart", "EngineStarting")), None
    )
    if starting is not None:
        return Progress(False, f"the engine VM starts on {_name(starting)}")
    if not any(_able(host) for host in live):
        return Progress(False, "no live host can take the engine VM")
    return Progress(False, "the hosts have not started the engine VM yet")


def local_progress(snapshot: Snapshot) -> Progress:
    """Return how far this host's way into local maintenance has come."""
    agent = snapshot.agent
    if agent.made_at is None or snapshot.made_at - agent.made_at > AGENT_SILENT_SECONDS:
        return Progress(False, "this host's agent does not report: does ha-agent run?")
    if agent.state == "LocalMaintenance":
        return Progress(True, "this host is in local maintenance; the engine VM is not here")
    if snapshot.global_maintenance:
        return Progress(False, f"global maintenance is on: {_NOBODY}, here neither")
    if agent.engine_status.get("vm") != "up":
        return Progress(False, "the engine VM is not here; the agent takes notice in a moment")
    others = [h for h in snapshot.hosts if h.host_id != snapshot.host_id and _able(h)]
    if not others and agent.state != "EngineStop":
        return Progress(False, "no other host can take the engine VM: it stays here until one can")
    if agent.engine_status.get("detail") == "Powering down" or agent.state == "EngineStop":
        return Progress(False, "the engine VM is stopping here; another host starts it then")
    best = max(others, key=lambda h: (h.score, -h.host_id))
    return Progress(
        False,
        f"the engine VM is stopped here in order, and started elsewhere: {_name(best)} is next",
    )


def _able(host: HostEntry) -> bool:
    return is_live(host) and host.score > 0 and not host.maintenance and not host.stopped


def _name(host: HostEntry) -> str:
    return host.host_name or f"host id {host.host_id}"
