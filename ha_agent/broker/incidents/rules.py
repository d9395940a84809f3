# SPDX-License-Identifier: Apache-2.0
"""What is wrong in a picture of the broker's, as troubles (incident.py). Pure.

`own_troubles` is what this host alone can see of itself; `cluster_troubles` what every host sees
alike from the status blocks, and what is only asked where the picture of them is fresh: a host
that can't read them knows nothing of the others, good or bad.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.incidents.incident import Trouble
from ha_agent.broker.maintenance.order import SHUTDOWN
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.broker.timeline import agent_is_silent, host_name, second_vms
from ha_agent.instant import Instant, WallTime
from ha_agent.maintenance_text import duration_text

_OLD_READ_SECONDS = 30.0
_MANY_STARTS, _STARTS_SECONDS = 5, 600.0
_CLOCK_STEP_SECONDS = 30.0
_LATE_SECONDS = 600.0
_MANY_REASONS = 5
# The lease stays: it is told in the same message, and it may be the one that was first.
_FOLLOWERS = ("storage-stuck", "storage-path", "definition")
# A VM that a migration hands over is seen on no host for a moment at most.
_FAULT_GAP_SECONDS = 20.0


@dataclass(frozen=True)
class Local:
    """What of this host is not in the picture: when each of its daemons was started, and how
    far the calendar jumped since the last look."""

    starts: tuple[tuple[Instant, ...], ...] = ()
    clock_step_seconds: float = 0.0


@dataclass(frozen=True)
class VmTrack:
    """Where the engine VM was: `host_id` the last live host that had it, `gone_since` since when
    none has. Kept from one look to the next."""

    host_id: Optional[int] = None
    host_name: str = ""
    gone_since: Optional[Instant] = None


def is_fresh(snapshot: Snapshot) -> bool:
    """Tell whether this host knows how the others are."""
    read_at = snapshot.storage.read_at
    if read_at is None or snapshot.storage.problem:
        return False
    return snapshot.made_at - read_at <= _OLD_READ_SECONDS


# This host -----------------------------------------------------------------------------------


def own_troubles(snapshot: Snapshot, local: Local) -> list[Trouble]:
    """Return what is wrong with this host as it sees itself."""
    found = [
        *_storage(snapshot),
        *_lease(snapshot),
        *_definition(snapshot),
        *_agent(snapshot),
        *_certificates(snapshot),
    ]
    counts = [
        sum(snapshot.made_at - at <= _STARTS_SECONDS for at in starts) for starts in local.starts
    ]
    if max(counts, default=0) >= _MANY_STARTS:
        # The number grows with each, and would be another detail each time.
        text = f"at least {_MANY_STARTS} starts within {duration_text(_STARTS_SECONDS)}"
        found.append(Trouble("restarts", text))
    step = local.clock_step_seconds
    if abs(step) >= _CLOCK_STEP_SECONDS:
        way = "forward" if step > 0 else "back"
        found.append(Trouble("clock", f"it jumped {duration_text(abs(step))} {way} at once"))
    return found


def without_followers(troubles: Iterable[Trouble], are_open: Iterable[str]) -> list[Trouble]:
    """Leave out what only follows from storage that is lost: one cause is one message. What was
    an incident before goes on, for it is not resolved."""
    found, known = list(troubles), set(are_open)
    if not any(one.kind == "storage" for one in found):
        return found
    return [one for one in found if one.kind not in _FOLLOWERS or one.name in known]


def _storage(snapshot: Snapshot) -> Iterable[Trouble]:
    storage, now = snapshot.storage, snapshot.made_at
    if storage.problem:
        both = (storage.problem, storage.connection_problem)
        yield Trouble("storage", "; ".join(filter(None, both)))
    elif storage.read_at is not None and now - storage.read_at > _OLD_READ_SECONDS:
        yield Trouble("storage", "it does not answer, and says nothing of why")
    if storage.connection_problem:
        yield Trouble("storage-path", storage.connection_problem)
    if storage.workers_stuck:
        noun = "process hangs" if storage.workers_stuck == 1 else "processes hang"
        yield Trouble("storage-stuck", f"{storage.workers_stuck} storage {noun} in the kernel")


def _lease(snapshot: Snapshot) -> Iterable[Trouble]:
    lease = snapshot.lease
    if lease.detail and (lease.ours or lease.state in ("unknown", "unreadable")):
        yield Trouble("lease", lease.detail)


def _definition(snapshot: Snapshot) -> Iterable[Trouble]:
    definition = snapshot.definition
    if not definition.available:
        why = definition.problem or "it has not been read yet"
        yield Trouble("definition", f"there is none to start the engine VM from: {why}")
    elif definition.stale:
        why = definition.problem or "the store can't be read"
        yield Trouble("definition", f"the last good one is used: {why}")
    if definition.pending is not None:
        why = "; ".join((*definition.pending.sentences, definition.pending.advice))
        yield Trouble("definition-held", why)
    if definition.running_problem:
        yield Trouble("definition-fallback", definition.running_problem)


def _agent(snapshot: Snapshot) -> Iterable[Trouble]:
    agent = snapshot.agent
    if agent.stopped:
        return  # on purpose, and the others see it
    if agent.made_at is None:
        yield Trouble("agent-silent", "it has not reported since the broker was started")
    elif agent_is_silent(snapshot):
        yield Trouble("agent-silent", "it reported once, and then no more")
    elif agent.penalties and not agent.local_maintenance:
        # The points change with every sample; what they are for does not.
        yield Trouble("penalty", "; ".join(f"{p.name}: {p.cause}" for p in agent.penalties))


def _certificates(snapshot: Snapshot) -> Iterable[Trouble]:
    for one in snapshot.certificates:
        if one.problem:
            yield Trouble("certificate", f"{one.role}: {one.problem}", at_once=True)
            return
    ends = [one for one in snapshot.certificates if one.warning_days >= 0]
    for one in sorted(ends, key=lambda one: one.not_after_unix_seconds)[:1]:
        day = WallTime(one.not_after_unix_seconds).iso()
        word = "ends" if one.warning_days else "ended"
        where = f" ({one.path})" if one.path else ""
        yield Trouble("certificate", f"{one.role}{where}: it {word} on {day}")


# The cluster ---------------------------------------------------------------------------------


def track_vm(track: VmTrack, snapshot: Snapshot) -> tuple[VmTrack, Optional[Trouble]]:
    """Follow where the engine VM is; returns a move after a fault as a trouble, once."""
    if not is_fresh(snapshot):
        return track, None
    up = [host for host in snapshot.hosts if _has_vm(host)]
    before = next((h for h in snapshot.hosts if h.host_id == track.host_id), None)
    if not up:
        cleared = before is not None and is_live(before) and before.maintenance
        if snapshot.global_maintenance or cleared:
            return VmTrack(), None  # a person took it away; where it comes up is no news
        gone = track.gone_since if track.gone_since is not None else snapshot.made_at
        return VmTrack(track.host_id, track.host_name, gone), None
    if any(host.host_id == track.host_id for host in up):
        return VmTrack(track.host_id, track.host_name), None
    host, gone_since = up[0], track.gone_since
    now_there = VmTrack(host.host_id, host.host_name)
    dead = before is None or not before.alive
    long_gone = gone_since is not None and snapshot.made_at - gone_since >= _FAULT_GAP_SECONDS
    if track.host_id is None or not (dead or long_gone) or snapshot.global_maintenance:
        return now_there, None
    was, is_ = host_name(track.host_name, track.host_id), host_name(host.host_name, host.host_id)
    text = f"it ran on {was} and runs on {is_} now"
    hosts = (track.host_name or str(track.host_id), host.host_name or str(host.host_id))
    # Each move is one of its own: a second one soon after must not pass for the first.
    return now_there, Trouble("engine-moved", text, f"engine-moved:{host.host_id}", hosts)


def cluster_troubles(
    snapshot: Snapshot, wall: WallTime, seen_alive: frozenset[int]
) -> list[Trouble]:
    """Return what is wrong with the cluster; for a fresh picture. `seen_alive` are the ids of
    hosts that lived at some time: what was written by others months ago is no news."""
    return [
        *_engine(snapshot),
        *_hosts(snapshot, seen_alive),
        *_maintenance(snapshot, wall),
    ]


def _has_vm(host: HostEntry) -> bool:
    return is_live(host) and host.engine_status.get("vm") == "up"


def is_live(host: HostEntry) -> bool:
    """Tell whether a host lives and says things that can be understood."""
    return host.alive and not host.problem


def _engine(snapshot: Snapshot) -> Iterable[Trouble]:
    up = [host for host in snapshot.hosts if _has_vm(host)]
    names = tuple(host.shown_name for host in up)
    second = second_vms(snapshot)
    if len(up) > 1 or second:
        said = " and ".join(dict.fromkeys((*names, *second)))
        yield Trouble("two-vms", f"{said} say so", hosts=names)
    if snapshot.global_maintenance is not False:
        return
    owner = _silent_owner(snapshot)
    if not up and owner is not None:
        why = owner.engine_status.get("reason") or "it can't tell whether the VM runs"
        if not is_live(owner):
            why = "its agent was ended" if owner.stopped else "its agent says nothing"
        yield Trouble("engine-unwatched", why, hosts=(owner.shown_name,))
    elif not up:
        reasons = [
            f"{host.shown_name}: {host.engine_status['reason']}"
            for host in snapshot.hosts
            if is_live(host) and host.engine_status.get("reason")
        ]
        text = "; ".join(("no host that is heard of has it running", *reasons[:_MANY_REASONS]))
        yield Trouble("engine-down", text, key="engine")
    elif all(host.engine_status.get("health") != "good" for host in up):
        status = up[0].engine_status
        why = status.get("reason") or status.get("detail") or "no reason is known"
        text = (
            f"its VM runs on {names[0]}, but its health page does not say that it is well: {why}"
        )
        yield Trouble("engine-unhealthy", text, key="engine", hosts=names)


def _silent_owner(snapshot: Snapshot) -> Optional[HostEntry]:
    """The holder of the lease, where it does not say whether its VM runs: it most likely does,
    because the lease of a host that is dead is not held for long."""
    lease = snapshot.lease
    if lease.state != "held":
        return None
    owner = next((h for h in snapshot.hosts if h.host_id == lease.host_id), None)
    if owner is None or (is_live(owner) and owner.engine_status.get("vm") != "unknown"):
        return None
    return owner


def _hosts(snapshot: Snapshot, seen_alive: frozenset[int]) -> Iterable[Trouble]:
    shut_down = _shut_down(snapshot)
    for host in snapshot.hosts:
        name = (host.shown_name,)
        if host.problem:
            yield Trouble("bad-block", host.problem, f"bad-block:{host.host_id}", name)
        elif not host.alive and not host.stopped and not host.maintenance and not shut_down:
            if host.host_id not in seen_alive:
                continue
            had = "it had the engine VM" if host.engine_status.get("vm") == "up" else ""
            text = had or "it did not have the engine VM"
            yield Trouble("host-silent", text, f"host-silent:{host.host_id}", name)
    members = [h for h in snapshot.hosts if not h.stopped or h.host_id in seen_alive]
    able = [h for h in members if is_live(h) and not h.maintenance and not h.stopped and h.score]
    if len(members) > 1 and len(able) == 1 and not snapshot.global_maintenance:
        text = f"only {able[0].shown_name} can run it now"
        yield Trouble("no-spare-host", text, hosts=(able[0].shown_name,))


def _shut_down(snapshot: Snapshot) -> bool:
    order = snapshot.order
    return order is not None and order.in_force and order.what == SHUTDOWN


def _maintenance(snapshot: Snapshot, wall: WallTime) -> Iterable[Trouble]:
    order = snapshot.order
    if snapshot.global_maintenance and not _shut_down(snapshot):
        ordered = order if order is not None and order.in_force else None
        who = f", set by {ordered.who}" if ordered is not None and ordered.who else ""
        why = f" (“{ordered.reason}”)" if ordered is not None and ordered.reason else ""
        until = ordered.until_unix_seconds if ordered is not None else None
        late = until is not None and wall.unix_seconds - until > _LATE_SECONDS
        past = "; its end has passed" if late else ""
        text = f"global maintenance is on{who}{why}{past}"
        yield Trouble("maintenance-forgotten", text, "maintenance:global", at_once=late)
    for host in snapshot.hosts:
        if host.maintenance and is_live(host):
            note = f" ({host.maintenance_note})" if host.maintenance_note else ""
            text = f"{host.shown_name} is in local maintenance{note}"
            key = f"maintenance:{host.host_id}"
            yield Trouble("maintenance-forgotten", text, key, (host.shown_name,))
