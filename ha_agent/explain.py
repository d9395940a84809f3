# SPDX-License-Identifier: Apache-2.0
"""Why things are as they are, from the broker's picture and its timeline. Pure.

`document` is what the socket's verb `explain` answers: plain values, with sentences where a
person is told something. It is made in the broker, from recorded reasons only: what the agent
knows (why its score is what it is, what it waits for, who could take over) came in its report,
so an agent that is dead or silent, or storage that hangs, can't keep the answer back; it is
then the first thing that is said, with its age. explain_text.py makes the text of it.

    {"at": "2026-11-22T13:04:24Z", "host_id": 2, "host_name": "beta",
     "troubles": ["…"],                     what has to be known before anything else
     "engine": ["…"],                       where the engine is, since when, who holds the lease
     "here": {"state": "EngineDown", "since_seconds": 3.5, "reason": "…", "score": 3400,
              "penalties": [{"name": "…", "points": 1000, "cause": "…"}], "known": true,
              "probes": [{"name": "…", "text": "…", "age_seconds": 3.5}]},      nil: no figure
     "hosts": [{"host_id": 1, "host_name": "alpha", "here": false, "able": true, "score": 3400,
                "state": "EngineUp", "why": "…"}],         who would take over first stands first
     "hands_off": false,                    global maintenance: none of them does anything now
     "waits": [{"what": "…", "seconds_left": 4.0}],        nil: as long as it takes
     "events": [{"number": 57, "at": 1700000000.0, "kind": "lease", "text": "…"}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from ha_agent.broker.blocks.entry import is_newly_joined
from ha_agent.broker.snapshot import EventEntry, HostEntry, OrderEntry, Snapshot
from ha_agent.broker.timeline import agent_is_silent, host_name, second_vms
from ha_agent.cut_off_text import cut_off_lines
from ha_agent.instant import Instant, WallTime
from ha_agent.maintenance_text import duration_text, shutdown_progress
from ha_agent.probe_text import probe_lines

LAST_EVENTS = 12
_OLD_READ_SECONDS = 30.0


def document(snapshot: Snapshot, events: Sequence[EventEntry], wall: WallTime) -> dict[str, Any]:
    """Return why things are as they are, as described above. `wall` is now on the calendar."""
    return {
        "at": wall.iso(),
        "host_id": snapshot.host_id,
        "host_name": snapshot.host_name,
        "troubles": _troubles(snapshot),
        "engine": [
            *_engine(snapshot, events, wall),
            _lease(snapshot),
            *_maintenance(snapshot),
            *_definition(snapshot),
            *(_end(line) for line in cut_off_lines(snapshot)),
            *_better_host(snapshot),
        ],
        "here": _here(snapshot),
        "hosts": _hosts(snapshot),
        "hands_off": bool(snapshot.global_maintenance),
        "waits": _waits(snapshot),
        "events": [
            {"number": one.number, "at": one.at_unix_seconds, "kind": one.kind, "text": one.text}
            for one in events[-LAST_EVENTS:]
        ],
    }


def _ago(now: Instant, then: Optional[Instant]) -> str:
    return "never" if then is None else f"{duration_text(now - then)} ago"


def _end(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


# What has to be known first ------------------------------------------------------------------


def _troubles(snapshot: Snapshot) -> list[str]:
    now, agent, storage = snapshot.made_at, snapshot.agent, snapshot.storage
    found = []
    if agent.made_at is None:
        found.append(
            "The agent of this host has not reported since the broker was started, so this host "
            "starts and stops nothing. Is ha-agent.service running?"
        )
    elif agent_is_silent(snapshot):
        found.append(
            f"The agent of this host has been silent for {duration_text(now - agent.made_at)}: "
            "what is said of this host below is as old. Is ha-agent.service running?"
        )
    found += [
        f"{name} says that the engine VM runs there, too, while it runs here. The VM here is left "
        f"alone. Look at {name} at once: two VMs on one disk destroy it."
        for name in second_vms(snapshot)
    ]
    if storage.workers_stuck:
        found.append(
            f"Shared storage hangs: {storage.workers_stuck} of our processes stuck in the kernel."
        )
    if storage.problem:
        found.append(
            "Shared storage is in trouble. The status blocks of the hosts were last read "
            f"{_ago(now, storage.read_at)}. "
            f"{storage.problem[0].upper()}{_end(storage.problem[1:])}"
        )
    elif storage.read_at is not None and now - storage.read_at > _OLD_READ_SECONDS:
        found.append(
            f"The status blocks of the hosts were last read {_ago(now, storage.read_at)}; "
            "what is said of other hosts is as old."
        )
    if storage.connection_problem:
        why = _end(storage.connection_problem)
        found.append(f"The storage domain is not connected as it should be: {why}")
    if snapshot.lease.ours and snapshot.lease.detail:
        found.append(
            "This host holds the lease, but the last try to renew it failed: "
            f"{_end(snapshot.lease.detail)}{_fence(snapshot)}"
        )
    return found


def _fence(snapshot: Snapshot) -> str:
    fence_at = snapshot.lease.fence_at
    if fence_at is None:
        return ""
    left = duration_text(fence_at - snapshot.made_at)
    return f" Unless it is renewed, the engine VM is ended here in {left}."


# The engine ----------------------------------------------------------------------------------


def _is_live(host: HostEntry) -> bool:
    return host.alive and not host.problem


def _engine(snapshot: Snapshot, events: Sequence[EventEntry], wall: WallTime) -> list[str]:
    vm = f"The engine VM {snapshot.definition.vm_name or snapshot.vm_uuid}"
    up = [host for host in snapshot.hosts if host.engine_status.get("vm") == "up"]
    live = [host for host in up if _is_live(host)]
    if len(live) > 1:
        names = " and ".join(_who(host, snapshot) for host in live)
        return [
            f"{names} all report that they run {vm[0].lower()}{vm[1:]}. Right after a move that "
            "is so for some seconds; if it stays so, look at those hosts at once."
        ]
    if live:
        return _engine_on(live[0], vm, snapshot, events, wall)
    said = [f"{vm} runs on no host that is heard of."]
    silent = [host for host in snapshot.hosts if _is_live(host) and _cannot_tell(host)]
    if silent:
        said.append(
            f"But {_who(silent[0], snapshot)} can't tell whether it runs there: "
            f"{_end(silent[0].engine_status.get('reason') or 'its hypervisor does not answer')}"
        )
    for host in up:
        who = _who(host, snapshot)
        if host.changed_at is None:
            said.append(
                f"The status block of {who} says that it is up there, but has not changed since "
                "this broker was started: whether that host lives is not known yet."
            )
        else:
            heard = _ago(snapshot.made_at, host.changed_at)
            said.append(f"It was up on {who}, which was last heard of {heard}.")
    return said


def _cannot_tell(host: HostEntry) -> bool:
    return host.engine_status.get("vm") == "unknown"


def _engine_on(
    host: HostEntry, vm: str, snapshot: Snapshot, events: Sequence[EventEntry], wall: WallTime
) -> list[str]:
    status = host.engine_status
    where = f"{vm} runs on {_who(host, snapshot)}"
    reason = status.get("reason") or status.get("detail") or "no reason is known"
    if status.get("health") == "good":
        said = [f"{where}, and the engine is healthy."]
    elif host.state == "EngineStarting":
        said = [f"{where}. It was started lately; the engine does not answer yet: {_end(reason)}"]
    else:
        said = [f"{where}, but the engine does not answer well: {_end(reason)}"]
    since = _vm_since(host.host_id, snapshot, events)
    if since is not None and since <= wall:
        said.append(f"It has been there since {since.local()} ({duration_text(wall - since)}).")
    return said


def _vm_since(
    host_id: int, snapshot: Snapshot, events: Sequence[EventEntry]
) -> Optional[WallTime]:
    """When the VM came to the host where it is, as far as the timeline tells.

    What a broker found at its start ("had_vm") tells where the VM was, not since when.
    """
    for event in reversed(events):
        values = event.values
        came = values.get("has_vm", "") if event.kind == "host" else ""
        if event.kind == "state" and values.get("vm") == "came":
            came = str(snapshot.host_id)
        elsewhere = {came, values.get("had_vm", "")} - {"", str(host_id)}
        if elsewhere:
            return None
        if came:
            return WallTime(event.at_unix_seconds)
    return None


def _lease(snapshot: Snapshot) -> str:
    lease, now = snapshot.lease, snapshot.made_at
    holder = host_name(lease.host_name, lease.host_id)
    if lease.state == "held" and lease.ours:
        return "This host holds the lease."
    if lease.state == "held":
        expires = ""
        if lease.expires_at is not None:
            left = duration_text(lease.expires_at - now)
            expires = f"; if it is not renewed any more, it expires in {left}"
        return f"{holder} holds the lease{expires}."
    taking = ""
    if not snapshot.global_maintenance:
        taking = "the best host that is able may take "
    if lease.state == "expired":
        since = f" {_ago(now, lease.available_since)}" if lease.available_since else ""
        after = f", and {taking}the lease" if taking else ""
        return f"The lease of {holder} expired{since}: that host is taken for dead{after}."
    if lease.state == "free":
        return f"The lease is free: {taking}it." if taking else "The lease is free."
    detail = lease.detail or "it has not been read yet"
    return f"This host can't tell who holds the lease, so it can't start the VM: {_end(detail)}"


def _maintenance(snapshot: Snapshot) -> list[str]:
    order = snapshot.order
    in_force = order if order is not None and order.in_force else None
    if snapshot.global_maintenance is None:
        return ["Whether global maintenance is on is not known yet."]
    if not snapshot.global_maintenance:
        return []
    if in_force is not None and in_force.what == "shutdown":
        return [
            f"The shutdown of the cluster is in force{_ordered(in_force)}. So far: "
            f"{_end(shutdown_progress(snapshot).text)} `ha-agent cluster resume` ends that."
        ]
    by = _ordered(in_force) if in_force is not None else ""
    return [
        f"Global maintenance is on{by}: no host starts or stops the engine VM. `ha-agent "
        "maintenance global --off` ends that."
    ]


def _ordered(order: OrderEntry) -> str:
    when = WallTime(order.at_unix_seconds).local() if order.at_unix_seconds else ""
    who = f"; {order.who or 'somebody'} ordered that"
    where = f" on {host_name(order.host_name, order.host_id)}" if order.host_id else ""
    at = f" at {when}" if when else ""
    why = f" (“{order.reason}”)" if order.reason else ""
    until = ""
    if order.remaining_seconds is not None:
        until = f", and it ends by itself in {duration_text(order.remaining_seconds)}"
    return f"{who}{where}{at}{why}{until}"


def _definition(snapshot: Snapshot) -> list[str]:
    definition = snapshot.definition
    said = []
    if not definition.available:
        why = definition.problem or "it has not been read yet"
        said.append(f"This host has no definition of the engine VM to start it from: {_end(why)}")
    elif definition.stale:
        why = f" {_end(definition.problem)}" if definition.problem else ""
        said.append(f"The engine VM would be started from the last good definition.{why}")
    if definition.running and definition.running != definition.identity:
        why = f" {_end(definition.running_problem)}" if definition.running_problem else ""
        said.append(
            f"The engine VM runs from the definition {definition.running}; {definition.identity} "
            f"will apply at its next start.{why}"
        )
    if definition.pending is not None:
        pending = definition.pending
        said.append(
            f"The store has another definition ({pending.identity}), which the guard holds back: "
            f"{_end('; '.join(pending.sentences))} {_end(pending.advice)}".strip()
        )
    return said


def _better_host(snapshot: Snapshot) -> list[str]:
    better = snapshot.agent.better_host
    if better is None:
        return []
    name = next((host.host_name for host in snapshot.hosts if host.host_id == better), "")
    return [
        f"{host_name(name, better)} would be much better for the engine VM. A healthy engine is "
        "never stopped for that; the engine may migrate its VM there."
    ]


# This host, the others, and what is waited for -------------------------------------------------


def _who(host: HostEntry, snapshot: Snapshot) -> str:
    here = ", this host" if host.host_id == snapshot.host_id else ""
    return f"{host_name(host.host_name, host.host_id)}{here}"


def _here(snapshot: Snapshot) -> dict[str, Any]:
    agent = snapshot.agent
    since = agent.state_since
    return {
        "known": agent.made_at is not None,
        "state": agent.state,
        "since_seconds": None if since is None else snapshot.made_at - since,
        "reason": agent.reason,
        "score": agent.score,
        "penalties": [
            {"name": p.name, "points": p.points, "cause": p.cause} for p in agent.penalties
        ],
        "probes": [
            {"name": probe.name, "text": probe.text, "age_seconds": probe.age_seconds}
            for probe in probe_lines(snapshot)
        ],
    }


def _hosts(snapshot: Snapshot) -> list[dict[str, Any]]:
    told = {other.host_id: other for other in snapshot.agent.others}
    found = []
    for host in snapshot.hosts:
        why = _why_not(host, snapshot)
        other = told.get(host.host_id)
        if not why and other is not None and not other.able:
            why = other.why
        found.append(
            {
                "host_id": host.host_id,
                "host_name": host.host_name,
                "here": host.host_id == snapshot.host_id,
                "able": not why,
                "score": host.score,
                "state": host.state,
                "why": why or _why(host),
            }
        )
    return sorted(found, key=lambda one: (not one["able"], -one["score"], one["host_id"]))


def _why_not(host: HostEntry, snapshot: Snapshot) -> str:
    heard = _ago(snapshot.made_at, host.changed_at)
    if host.problem:
        return f"its status block can't be used: {host.problem}"
    if is_newly_joined(host):
        return "it has joined, and its agent is stopped: it was not started there yet"
    if host.stopped:
        return "its agent is stopped"
    if not host.alive and host.changed_at is None:
        return "it is silent: its status block has not changed since this broker was started"
    if not host.alive:
        return f"it is silent: its status block last changed {heard}"
    if host.maintenance:
        note = f" ({host.maintenance_note})" if host.maintenance_note else ""
        return f"it is in local maintenance{note}"
    if host.score <= 0 and host.host_id == snapshot.host_id and snapshot.agent.penalties:
        return f"its score is 0: {snapshot.agent.penalties[0].cause}"
    if host.host_id == snapshot.host_id and agent_is_silent(snapshot):
        return "its agent is silent"
    return "its score is 0" if host.score <= 0 else ""


def _why(host: HostEntry) -> str:
    kind = "; it runs the predecessor's agent, which goes by its own rules"
    return f"its score is {host.score}{kind if host.predecessor else ''}"


def _waits(snapshot: Snapshot) -> list[dict[str, Any]]:
    if agent_is_silent(snapshot) or snapshot.agent.made_at is None:
        return []
    found: list[dict[str, Any]] = []
    for wait in snapshot.agent.waits:
        left = None if wait.until is None else max(0.0, wait.until - snapshot.made_at)
        found.append({"what": wait.what, "seconds_left": left})
    order = snapshot.order
    if order is not None and order.in_force and order.remaining_seconds is not None:
        what = "global maintenance to end by itself"
        found.append({"what": what, "seconds_left": order.remaining_seconds})
    return found
