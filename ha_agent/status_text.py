# SPDX-License-Identifier: Apache-2.0
"""The broker's picture as text for people and as the predecessor's JSON. Pure.

The JSON shape is the predecessor's to the key (facts/predecessor-and-peers.md 2.3): monitoring
and set-up tools parse it. The text is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.instant import Instant, WallTime


def predecessor_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the object of `hosted-engine --vm-status --json`."""
    answer: dict[str, Any] = {}
    for host in snapshot.hosts:
        if host.changed_at is None:
            continue  # its block has never been readable: there is nothing to say of it
        entry: dict[str, Any] = {
            "host-id": host.host_id,
            "host-ts": host.timestamp_seconds,
            "score": host.score,
            "engine-status": dict(host.engine_status),
            "hostname": host.host_name,
            "maintenance": host.maintenance,
            "stopped": host.stopped,
            "crc32": host.crc32,
            "conf_on_shared_storage": host.conf_on_shared_storage,
            "local_conf_timestamp": host.local_conf_timestamp_seconds,
            "extra": host.extra,
            "live-data": host.alive and not host.problem,
        }
        answer[str(host.host_id)] = entry
    answer["global_maintenance"] = bool(snapshot.global_maintenance)
    return answer


def status_text(snapshot: Snapshot) -> str:
    """Return the whole of `ha-agent status`."""
    parts = [_headline(snapshot), _table(snapshot), _here(snapshot)]
    warnings = _warnings(snapshot)
    if warnings:
        parts.append("\n".join(f"! {warning}" for warning in warnings))
    return "\n\n".join(parts) + "\n"


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


def _age(now: Instant, then: Optional[Instant]) -> str:
    return "never" if then is None else f"{duration_text(now - then)} ago"


def _headline(snapshot: Snapshot) -> str:
    name = snapshot.definition.vm_name or snapshot.vm_uuid
    with_vm = [h for h in snapshot.hosts if h.alive and h.engine_status.get("vm") == "up"]
    if not with_vm:
        engine = f"Engine VM {name} does not run on any live host"
    else:
        places = " and ".join(f"{h.host_name} (id {h.host_id})" for h in with_vm)
        healths = {h.engine_status.get("health") for h in with_vm}
        engine = f"Engine VM {name} runs on {places}, "
        engine += "healthy" if healths == {"good"} else "not healthy"
    return f"{engine}\n{_lease_line(snapshot)}\n{_maintenance_line(snapshot)}"


def _lease_line(snapshot: Snapshot) -> str:
    lease = snapshot.lease
    if lease.state in ("held", "expired"):
        who = f"{lease.host_name} (id {lease.host_id}), epoch {lease.epoch}"
        text = (
            f"Lease: {lease.state} by {who}"
            if lease.state == "held"
            else f"Lease of {who}: expired"
        )
    else:
        text = f"Lease: {lease.state}"
    text += f", last read or renewed here {_age(snapshot.made_at, lease.last_success)}"
    return f"{text} ({lease.detail})" if lease.detail and lease.state != "held" else text


def _maintenance_line(snapshot: Snapshot) -> str:
    words = {True: "ON: nobody starts or stops the engine VM", False: "off", None: "not known yet"}
    return f"Global maintenance: {words[snapshot.global_maintenance]}"


def _table(snapshot: Snapshot) -> str:
    rows = [("ID", "HOST", "LIVE", "SCORE", "STATE", "ENGINE VM", "MAINTENANCE", "BLOCK CHANGED")]
    for host in snapshot.hosts:
        here = "*" if host.host_id == snapshot.host_id else ""
        rows.append(
            (
                f"{here}{host.host_id}",
                host.host_name or "?",
                "yes" if host.alive and not host.problem else "no",
                str(host.score),
                host.state or "?",
                _engine_words(host),
                "local" if host.maintenance else "-",
                _age(snapshot.made_at, host.changed_at),
            )
        )
    if len(rows) == 1:
        return "No host has written a status block yet."
    return _columns(rows)


def _engine_words(host: HostEntry) -> str:
    status = host.engine_status
    if not host.alive:
        return "unknown (block is old)"
    if status.get("vm") == "up":
        return "up, healthy" if status.get("health") == "good" else "up, not healthy"
    return status.get("vm", "?").replace("_", " ")


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].rjust(widths[0]), *(c.ljust(w) for c, w in zip(row[1:], widths[1:]))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _here(snapshot: Snapshot) -> str:
    agent = snapshot.agent
    lines = []
    if agent.made_at is None:
        lines.append(f"This host (id {snapshot.host_id}): no agent has reported to the broker yet")
    else:
        since = _age(snapshot.made_at, agent.state_since)
        lines.append(f"This host (id {snapshot.host_id}): {agent.state} since {since}")
        lines.append(f"  because: {agent.reason}")
        lines.append(f"  score {agent.score}" + ("" if agent.penalties else ", no penalty"))
        lines += [f"    -{p.points}  {p.name}: {p.cause}" for p in agent.penalties]
    definition = snapshot.definition
    if definition.available:
        accepted = WallTime(definition.accepted_at_unix_seconds).iso()
        lines.append(
            f"  definition {definition.identity}, {definition.memory_mib} MiB, from "
            f"{definition.source}, accepted {accepted}"
        )
        lines += [f"    note: {note}" for note in definition.notes]
    return "\n".join(lines)


def _warnings(snapshot: Snapshot) -> list[str]:
    now, agent, storage = snapshot.made_at, snapshot.agent, snapshot.storage
    warnings = []
    if agent.made_at is not None and now - agent.made_at > 20:
        warnings.append(f"the agent of this host last reported {_age(now, agent.made_at)}")
    if storage.problem:
        warnings.append(
            f"status volume: {storage.problem}; figures are from {_age(now, storage.read_at)}"
        )
    if storage.workers_stuck:
        warnings.append(f"{storage.workers_stuck} storage workers are stuck")
    if snapshot.definition.problem:
        stale = "the last good one is used: " if snapshot.definition.stale else ""
        warnings.append(f"definition: {stale}{snapshot.definition.problem}")
    warnings += [
        f"host id {host.host_id}: status block: {host.problem}"
        for host in snapshot.hosts
        if host.problem
    ]
    if snapshot.lease.ours and snapshot.lease.detail:
        warnings.append(f"lease: {snapshot.lease.detail}")
    return warnings
