# SPDX-License-Identifier: Apache-2.0
"""The broker's picture as text for people and as the predecessor's JSON. Pure.

The predecessor's JSON and text are its own to the key and to the byte
(facts/predecessor-and-peers.md 2.2 and 2.3): monitoring and set-up tools parse them. The other
text is ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Optional

from ha_agent.broker.blocks.entry import is_newly_joined
from ha_agent.broker.push.entry import expiry_text
from ha_agent.broker.snapshot import DefinitionEntry, HostEntry, Snapshot
from ha_agent.broker.timeline import second_vms
from ha_agent.cut_off_text import cut_off_lines
from ha_agent.instant import Instant, WallTime
from ha_agent.maintenance_text import (
    AGENT_SILENT_SECONDS,
    duration_text,
    global_lines,
    local_lines,
)
from ha_agent.probe_text import probe_lines

GLOBAL_MAINTENANCE_LINES = "\n\n!! Cluster is in GLOBAL MAINTENANCE mode !!\n\n"


def predecessor_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the object of `hosted-engine --vm-status --json` (facts 2.3), in its key order.

    Its readers are obeyed, not only its layout (facts 2.5). Set-up asks the *first* host whether
    the engine is well, so the one that runs it healthy comes first. A host that is not live is
    told as "unknown", not as it was: the predecessor showed a dead host's engine as up. Every
    line of `extra` has one "=", every host all the keys.
    """
    answer: dict[str, Any] = {
        str(host.host_id): _predecessor_entry(host)
        for host in sorted(_readable(snapshot), key=lambda host: not _runs_well(host))
    }
    answer["global_maintenance"] = bool(snapshot.global_maintenance)
    return answer


def predecessor_text(snapshot: Snapshot) -> str:
    """Return what `hosted-engine --vm-status` prints, byte for byte (facts 2.2).

    Where nothing is known of any host this is "", or the lines of global maintenance alone.
    """
    banner = GLOBAL_MAINTENANCE_LINES if snapshot.global_maintenance else ""
    parts = [banner]
    for host in _readable(snapshot):
        name = _one_line(host.host_name)
        parts.append(f"\n\n--== Host {name} (id: {host.host_id}) status ==--\n\n")
        entry = _predecessor_entry(host)
        extra = entry.pop("extra", "")
        entry["engine-status"] = _status_words(host)
        parts += [
            f"{_PREDECESSOR_LABELS.get(key, key):35}: {_one_line(str(value))}\n"
            for key, value in entry.items()
        ]
        if extra:
            parts.append(f"{'Extra metadata (valid at timestamp)':35}:\n")
            parts += [f"\t{_one_line(line)}\n" for line in extra.split("\n")[:-1]]
    return "".join([*parts, banner])


# The predecessor printed the rest of the keys as they are.
_PREDECESSOR_LABELS = {
    "host-id": "Host ID",
    "host-ts": "Host timestamp",
    "score": "Score",
    "engine-status": "Engine status",
    "hostname": "Hostname",
    "maintenance": "Local maintenance",
    "live-data": "Status up-to-date",
}


def _readable(snapshot: Snapshot) -> list[HostEntry]:
    """Return the hosts whose block has ever been readable: of others there is nothing to say."""
    return [host for host in snapshot.hosts if host.changed_at is not None]


def _runs_well(host: HostEntry) -> bool:
    return _is_live(host) and host.engine_status.get("health") == "good"


def _predecessor_entry(host: HostEntry) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "host-id": host.host_id,
        "host-ts": host.timestamp_seconds,
        "score": host.score,
        "engine-status": _predecessor_status(host),
        "hostname": host.host_name,
        "maintenance": host.maintenance,
        "stopped": host.stopped,
        "crc32": host.crc32,
        "conf_on_shared_storage": host.conf_on_shared_storage,
        "local_conf_timestamp": host.local_conf_timestamp_seconds,
    }
    extra = _extra_lines(host.extra)
    if extra:
        entry["extra"] = extra
    entry["live-data"] = _is_live(host)
    return entry


def _predecessor_status(host: HostEntry) -> dict[str, str]:
    if _is_live(host) and {"vm", "health"} <= set(host.engine_status):
        return dict(host.engine_status)
    unknown = {"vm": "unknown", "health": "unknown", "detail": "unknown"}
    if _is_live(host):
        return {**unknown, "reason": "this host does not tell"}
    last = host.engine_status.get("vm", "unknown")
    return {**unknown, "reason": f"stale-data, last known: {last}"}


def _status_words(host: HostEntry) -> str:
    if not _is_live(host):
        return "unknown stale-data"
    return json.dumps(dict(host.engine_status)) if host.engine_status else "None"


def _extra_lines(extra: str) -> str:
    """Return the lines that have a key and a value, with no further "=" in the value."""
    lines = []
    for line in extra.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            lines.append(f"{key}={value.replace('=', ':')}\n")
    return "".join(lines)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def status_text(snapshot: Snapshot, today: Optional[WallTime] = None) -> str:
    """Return the whole of `ha-agent status`. What other hosts wrote can't steer a terminal.

    With `today` the age of a definition is told, which may be older than this boot, and times of
    this day without their date.
    """
    parts = [_headline(snapshot, today), _table(snapshot), _here(snapshot)]
    warnings = _warnings(snapshot, today)
    if warnings:
        parts.append("\n".join(f"! {warning}" for warning in warnings))
    text = "\n\n".join(parts) + "\n"
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _age(now: Instant, then: Optional[Instant]) -> str:
    return "never" if then is None else f"{duration_text(now - then)} ago"


def _headline(snapshot: Snapshot, today: Optional[WallTime]) -> str:
    lines = [_engine_line(snapshot), *cut_off_lines(snapshot), _lease_line(snapshot)]
    return "\n".join([*lines, *global_lines(snapshot, today), *local_lines(snapshot)])


def _engine_line(snapshot: Snapshot) -> str:
    name = f"Engine VM {snapshot.definition.vm_name or snapshot.vm_uuid}"
    up = [host for host in snapshot.hosts if host.engine_status.get("vm") == "up"]
    live = [host for host in up if _is_live(host)]
    if len(live) > 1:
        # Right after a move the old host's block may be the older one; more than that is bad.
        return f"{name}: {' and '.join(_who(host) for host in live)} both say that it runs there"
    if live:
        status, reason = live[0].engine_status, live[0].engine_status.get("reason", "?")
        if live[0].state == "EngineStarting":
            return f"{name} starts on {_who(live[0])}; the engine does not answer yet: {reason}"
        where = f"{name} runs on {_who(live[0])}"
        if status.get("health") == "good":
            return f"{where}, healthy"
        return f"{where}, but the engine does not answer: {reason}"
    silent = [h for h in snapshot.hosts if _is_live(h) and h.engine_status.get("vm") == "unknown"]
    if silent:
        return f"{name}: no live host runs it as far as known; {_who(silent[0])} can't tell"
    if up:
        age, lease = _age(snapshot.made_at, up[0].changed_at), snapshot.lease
        if lease.state == "held" and lease.host_id == up[0].host_id:
            # A hung agent leaves its VM running; a dead host loses the lease in a moment.
            return f"{name} was up on {_who(up[0])} {age}; that host still holds the lease"
        return f"{name} runs on no live host; it ran on {_who(up[0])}, last heard of {age}"
    return f"{name} runs on no live host"


def _who(host: HostEntry) -> str:
    return f"{host.host_name or '?'} (id {host.host_id})"


def _is_live(host: HostEntry) -> bool:
    return host.alive and not host.problem


def _lease_line(snapshot: Snapshot) -> str:
    lease, now = snapshot.lease, snapshot.made_at
    who = f"{lease.host_name or '?'} (id {lease.host_id}), epoch {lease.epoch}"
    looked = f"last looked at {_age(now, lease.last_success)}"
    if lease.state == "held":
        text = f"Lease: held by {who}"
        if lease.ours and lease.fence_at is not None:
            left = duration_text(lease.fence_at - now)
            return f"{text}, this host; unless renewed, the engine VM is ended here in {left}"
        if lease.expires_at is not None:
            text += f"; unless renewed, it expires in {duration_text(lease.expires_at - now)}"
        return f"{text}; {looked}"
    if lease.state == "expired":
        since = f" {_age(now, lease.available_since)}" if lease.available_since else ""
        return f"Lease: expired{since}, was held by {who}; {looked}"
    if lease.state == "free":
        return f"Lease: free{f' ({lease.detail})' if lease.detail else ''}; {looked}"
    return f"Lease: {lease.state}; {looked}"


def _table(snapshot: Snapshot) -> str:
    rows = [("ID", "HOST", "LIVE", "SCORE", "STATE", "ENGINE VM", "MAINTENANCE", "LAST CHANGE")]
    for host in snapshot.hosts:
        here = "*" if host.host_id == snapshot.host_id else ""
        live = _is_live(host)
        # What a dead host said last is told as past, and its score counts for nobody.
        rows.append(
            (
                f"{here}{host.host_id}",
                host.host_name or "?",
                _live_word(host),
                str(host.score) if live else "-",
                _state_words(host, live),
                _engine_words(host),
                "local" if host.maintenance else "-",
                _age(snapshot.made_at, host.changed_at),
            )
        )
    if len(rows) == 1:
        return "No host has written a status block yet."
    return _columns(rows)


def _state_words(host: HostEntry, live: bool) -> str:
    if is_newly_joined(host):
        return "joined, agent not started yet"
    state = host.state or "?"
    return state if live or state == "?" else f"was {state}"


def _live_word(host: HostEntry) -> str:
    if host.problem:
        return "bad block"
    if host.stopped:
        return "stopped"
    word = "yes" if host.alive else "no"
    return f"{word}, predecessor" if host.predecessor else word


def _engine_words(host: HostEntry) -> str:
    status = host.engine_status
    if not _is_live(host):
        return "unknown, was up" if status.get("vm") == "up" else "unknown"
    if status.get("vm") == "up":
        return "up, healthy" if status.get("health") == "good" else "up, not healthy"
    word = status.get("vm", "?")
    return "not here" if word == "down_missing" else word.replace("_", " ")


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].rjust(widths[0]), *(c.ljust(w) for c, w in zip(row[1:], widths[1:]))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _here(snapshot: Snapshot) -> str:
    agent, now = snapshot.agent, snapshot.made_at
    this = f"This host: {snapshot.host_name} (id {snapshot.host_id})"
    lines = []
    if agent.made_at is None:
        lines.append(f"{this}, whose agent has not reported to the broker; does ha-agent run?")
    else:
        words = f"{agent.state_meaning} ({agent.state})" if agent.state_meaning else agent.state
        lines.append(f"{this}: {words}{_for(now, agent.state_since)}")
        lines.append(f"  because: {agent.reason}")
        lines.append(f"  score {agent.score}" + ("" if agent.penalties else ", no penalty"))
        # The store's fault is long, and stands among the warnings already.
        problem = snapshot.definition.problem or "\0"
        lines += [
            f"    -{p.points}  {p.name}: {p.cause.replace(problem, 'see below')}"
            for p in agent.penalties
        ]
    health = snapshot.health
    if health.health != "unknown" or health.detail:
        taken = _age(now, health.taken_at)
        lines.append(f"  engine's health page: {health.health}, {taken}: {health.detail}")
    for probe in probe_lines(snapshot):
        taken = "" if probe.age_seconds is None else f", {duration_text(probe.age_seconds)} ago"
        lines.append(f"  {probe.name}{taken}: {probe.text}")
    definition = snapshot.definition
    if definition.available:
        accepted = WallTime(definition.accepted_at_unix_seconds).iso()
        lines.append(
            f"  definition {definition.identity}, {definition.memory_mib} MiB, from "
            f"{definition.source}, accepted {accepted}"
        )
        waits = definition.running not in ("", definition.identity)
        if waits and not definition.running_problem:
            lines.append(
                f"    it will apply at the next start; the VM runs with {definition.running}"
            )
        lines += [f"    note: {note}" for note in definition.notes]
    push = snapshot.push
    if push.state != "off":
        last = f", last from {push.last_peer}" if push.last_peer else ""
        lines.append(f"  the engine's push: {push.state} at {push.address}{last}")
    ends = [
        f"{one.role} until {WallTime(one.not_after_unix_seconds).iso()[:10]}"
        for one in snapshot.certificates
        if not one.problem
    ]
    if ends:
        lines.append(f"  certificates: {', '.join(ends)}")
    return "\n".join(lines)


def _for(now: Instant, since: Optional[Instant]) -> str:
    return "" if since is None else f" for {duration_text(now - since)}"


def _warnings(snapshot: Snapshot, today: Optional[WallTime]) -> list[str]:
    now, agent, storage = snapshot.made_at, snapshot.agent, snapshot.storage
    lease = snapshot.lease
    warnings = [
        f"incident ({one.severity}) since {WallTime(one.opened_unix_seconds).local()}: {one.title}"
        for one in snapshot.incidents
    ]
    if agent.made_at is not None and now - agent.made_at > AGENT_SILENT_SECONDS:
        since = _age(now, agent.made_at)
        warnings.append(f"this host's agent last reported {since}: does ha-agent run?")
    if lease.state in ("unknown", "unreadable") and lease.detail:
        warnings.append(f"lease: this host can't take it, nor start the VM: {lease.detail}")
    elif lease.ours and lease.detail:
        warnings.append(f"lease: not renewed at the last try: {lease.detail}")
    warnings += [
        f"{name} says that the engine VM runs there, too: look there; the VM here is left alone"
        for name in second_vms(snapshot)
    ]
    if storage.problem:
        read = _age(now, storage.read_at)
        warnings.append(f"status volume, last read {read}: {storage.problem}")
    if storage.connection_problem:
        warnings.append(f"storage domain: {storage.connection_problem}")
    if storage.workers_stuck:
        stuck = storage.workers_stuck
        noun = "process hangs" if stuck == 1 else "processes hang"
        warnings.append(f"{stuck} storage {noun} in the kernel: storage does not answer")
    warnings += _definition_warnings(snapshot.definition, today)
    if snapshot.push.problem:
        warnings.append(f"the engine's push: {snapshot.push.problem}")
    for one in snapshot.certificates:
        text = expiry_text(one, WallTime(one.not_after_unix_seconds).iso())
        warnings += [text] if text else []
    warnings += [
        f"host id {host.host_id}: its status block can't be used: {host.problem}"
        for host in snapshot.hosts
        if host.problem
    ]
    return warnings


def _definition_warnings(definition: DefinitionEntry, today: Optional[WallTime]) -> list[str]:
    warnings = []
    if definition.problem:
        stale = ""
        if definition.stale and definition.available:
            age = ""
            if today is not None:
                seconds = today.unix_seconds - definition.accepted_at_unix_seconds
                age = f", accepted {duration_text(seconds)} ago,"
            stale = f"the last good one{age} is used; "
        warnings.append(f"definition: {stale}{definition.problem}")
    if definition.running_problem:
        warnings.append(definition.running_problem)
    if definition.pending is not None:
        changes = definition.pending.differences
        warnings += [f"definition {definition.pending.identity}: {change}" for change in changes]
    if definition.history_problem:
        warnings.append(
            f"definition: it is used, but not kept on this host: {definition.history_problem}"
        )
    return warnings
