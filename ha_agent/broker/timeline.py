# SPDX-License-Identifier: Apache-2.0
"""What happened between two pictures of the broker's, as events for people. Pure.

One function for each part of the picture. Nothing is said of a part that is seen for the first
time in the broker's life, unless it is bad news: a restart of the broker is no event of the
cluster's. Ages and counters never make an event, only what somebody would be told on the phone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Optional

from ha_agent.broker.maintenance.order import NONE, SHUTDOWN
from ha_agent.broker.snapshot import (
    DefinitionEntry,
    EventEntry,
    HostEntry,
    OrderEntry,
    Snapshot,
)
from ha_agent.instant import WallTime

# The agent reports every few seconds, whatever happens.
AGENT_SILENT_SECONDS = 20.0
_NAMED_HOSTS = 10
_PUSHED_BY = "pushed by "  # how api/definition.py notes who put it
_UNREADABLE = ("unknown", "unreadable")
# What lease/cycle.py notes in the record, and sanlock/keeper.py says while it releases: nothing is
# wrong, then.
_IN_ORDER = ("taken: ", "released: ")


def changes(before: Snapshot, after: Snapshot, *, settling: bool = False) -> list[EventEntry]:
    """Return what happened, without times and numbers, which the log gives. `settling`: the
    broker has just begun, and sees for the first time what may have been so for days."""
    return [
        *_lease(before, after),
        *_storage(before, after, settling),
        *_maintenance(before, after),
        *_hosts(before, after, settling),
        *_definition(before.definition, after.definition),
        *_health(before, after),
        *_agent(before, after),
    ]


def host_name(name: str, host_id: Optional[int]) -> str:
    """Return how a host is called in a sentence."""
    return f"{name or 'host'} (id {'?' if host_id is None else host_id})"


def agent_is_silent(snapshot: Snapshot) -> bool:
    """Tell whether the agent of this host has reported once, and then no more."""
    made_at = snapshot.agent.made_at
    return made_at is not None and snapshot.made_at - made_at > AGENT_SILENT_SECONDS


def second_vms(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the hosts that say that the engine VM runs there, too, with a block that is newer
    than this host's state: the last word of an owner that died counts as alive for longer than
    the fail-over takes."""
    agent = snapshot.agent
    since = agent.state_since
    old = {
        host.host_name
        for host in snapshot.hosts
        if since is not None and host.changed_at is not None and host.changed_at < since
    }
    return tuple(name for name in agent.second_vm_on if name not in old)


def _event(kind: str, text: str, message: str = "", **values: str) -> EventEntry:
    """`message` is the name of one of journal_messages, "" where the journal has it otherwise."""
    return EventEntry(kind, text, values=values, message=message)


def _lease(before: Snapshot, after: Snapshot) -> Iterable[EventEntry]:
    old, new = before.lease, after.lease
    if (old.state, old.ours, old.host_id, old.epoch) == (
        *(new.state, new.ours, new.host_id, new.epoch),
    ):
        return
    holder = "this host" if new.ours else host_name(new.host_name, new.host_id)
    said = {"state": new.state, "host": new.host_name, "epoch": str(new.epoch)}
    detail = f": {new.detail}" if new.detail else ""
    # The record is still ours: it was not renewed, or the release is not on storage yet.
    on_record = (new.state, new.host_id, new.epoch) == ("held", after.host_id, old.epoch)
    if old.ours and not new.ours and new.state != "free":
        if not on_record or not new.detail.startswith(_IN_ORDER):
            text = f"This host lost the lease (epoch {old.epoch}){detail}."
            yield _event("lease", text, "LEASE_LOST", **said)
        if on_record:
            return
    if new.state in _UNREADABLE:
        if old.state not in _UNREADABLE and not old.ours:
            text = f"Nothing is known of the lease any more{detail}."
            yield _event("lease", text, "LEASE_UNREADABLE", **said)
    elif new.state == "held" and old.state in _UNREADABLE and old.epoch in (0, new.epoch):
        yield _event("lease", f"The lease is held by {holder}, epoch {new.epoch}.", **said)
    elif new.state == "held":
        taken = "TAKEN_OVER" if old.state == "expired" else "LEASE_TAKEN"
        text = f"{_capital(holder)} took the lease (epoch {new.epoch})."
        yield _event("lease", text, taken if new.ours else "LEASE_ELSEWHERE", **said)
    elif new.state == "expired":
        text = f"The lease of {holder} has expired (epoch {new.epoch}): it was not renewed."
        yield _event("lease", text, "LEASE_EXPIRED", **said)
    elif new.state == "free" and old.state == "held":
        ours = old.ours or old.host_id == after.host_id
        who = "This host" if ours else _capital(host_name(old.host_name, old.host_id))
        text = f"{who} gave the lease up (epoch {new.epoch}){detail}."
        yield _event("lease", text, "LEASE_RELEASED", **said)
    elif new.state == "free" and old.state in _UNREADABLE:
        yield _event("lease", f"The lease is free{detail}.", **said)


def _storage(before: Snapshot, after: Snapshot, settling: bool) -> Iterable[EventEntry]:
    old, new = before.storage, after.storage
    if new.problem and not old.problem:
        yield _event("storage", f"Shared storage is in trouble: {new.problem}.", "STORAGE_LOST")
    elif old.problem and not new.problem and not settling:
        text = f"Shared storage is fine again (it was: {old.problem})."
        yield _event("storage", text, "STORAGE_BACK")
    if new.workers_stuck > old.workers_stuck:
        text = f"Shared storage hangs: {new.workers_stuck} of our processes stuck in the kernel."
        yield _event("storage", text, "STORAGE_HUNG")


def _maintenance(before: Snapshot, after: Snapshot) -> Iterable[EventEntry]:
    was_on, is_on = before.global_maintenance, after.global_maintenance
    old, new = before.order, after.order
    fresh = new if new is not None and (old is None or _key(old) != _key(new)) else None
    was_ordered, ordered = _ordered(before), _ordered(after)
    changed = fresh is not None or was_ordered != ordered
    text = ""
    # What was on before this broker began is no news; it stands in status and explain.
    if is_on and was_on is not None and ordered == SHUTDOWN and changed:
        again = " again" if was_ordered == SHUTDOWN else ""
        text = f"The shutdown of the cluster was ordered{again}{_by(new)}."
    elif is_on and was_on is not None and ordered and changed:
        told = "Global maintenance is on" if not was_on else "Global maintenance was set"
        over = "The cluster's shutdown is over; global maintenance stays on"
        text = f"{over if was_ordered == SHUTDOWN else told}{_by(new)}."
    elif is_on and was_on is False and not ordered:
        who = "who set it is not known: a predecessor's host does not tell"
        text = f"Global maintenance is on; {who}."
    elif was_on and is_on is False:
        over = "The cluster's shutdown is over" if was_ordered == SHUTDOWN else ""
        ended = fresh if fresh is not None and fresh.what == NONE else None
        text = f"{over or 'Global maintenance is off'}{', ended' if ended else ''}{_by(ended)}."
    elif is_on is False and fresh is not None and fresh.what == NONE and was_on is False:
        # The flag goes before the order is taken back, and says nothing of who and why.
        what = old.what if old is not None else NONE
        over = "The cluster's shutdown" if what == SHUTDOWN else "Global maintenance"
        text = f"{over} was ended{_by(fresh)}."
    if text:
        yield _event("maintenance", text, "MAINTENANCE")
    yield from _local_maintenance(before, after)


def _key(order: OrderEntry) -> tuple[int, int]:
    return order.number, order.host_id


def _ordered(snapshot: Snapshot) -> str:
    order = snapshot.order
    in_force = snapshot.global_maintenance and order is not None and order.in_force
    return order.what if order is not None and in_force else ""


def _local_maintenance(before: Snapshot, after: Snapshot) -> Iterable[EventEntry]:
    """Of this host; who, when and why stand in its block, which may be written later."""
    notes = [
        next((h.maintenance_note for h in one.hosts if h.host_id == one.host_id), None)
        for one in (before, after)
    ]
    if notes[1] and notes[0] is not None and notes[0] != notes[1]:
        text = f"Local maintenance of this host: {notes[1]}."
        yield _event("maintenance", text, "MAINTENANCE")
    if before.agent.made_at is None or after.agent.made_at is None:
        return
    if after.agent.local_maintenance is not before.agent.local_maintenance:
        word = "on" if after.agent.local_maintenance else "off"
        text = f"Local maintenance of this host is {word}."
        yield _event("maintenance", text, "MAINTENANCE")


def _by(order: Optional[OrderEntry]) -> str:
    """Who gave an order, when it ends, and why, as the end of a sentence."""
    if order is None:
        return ""
    who = f" by {order.who}" if order.who else ""
    where = f" on {host_name(order.host_name, order.host_id)}" if order.host_id else ""
    until = ""
    if order.until_unix_seconds is not None:
        until = f", until {WallTime(order.until_unix_seconds).local()}"
    return f"{who}{where}{until}{f': {order.reason}' if order.reason else ''}"


def _hosts(before: Snapshot, after: Snapshot, settling: bool) -> Iterable[EventEntry]:
    old = {host.host_id: host for host in before.hosts}
    others = [host for host in after.hosts if host.host_id != after.host_id]
    new = [host for host in others if old and host.host_id not in old and not host.problem]
    known = [(old[host.host_id], host) for host in others if host.host_id in old]
    yield from _told(new, "appeared", "PEER_BACK")
    seen_new = {host.host_id for host in new}
    back = [b for a, b in known if b.alive and not a.alive and b.host_id not in seen_new]
    first = {host.host_id for host in back if settling and old[host.host_id].changed_at is None}
    back = [host for host in back if host.host_id not in first]
    yield from _told(
        back, "alive: the status block changes again", "PEER_BACK", verb=("is", "are")
    )
    dead = [b for a, b in known if a.alive and not b.alive and not b.stopped]
    yield from _told(
        dead,
        "fallen silent: the status block does not change any more",
        "PEER_SILENT",
        verb=("has", "have"),
    )
    stopped = [b for a, b in known if b.stopped and not a.stopped]
    yield from _told(stopped, "said that the agent there stops", "PEER_CHANGED")
    gone = [host for host in before.hosts if host.host_id not in {h.host_id for h in after.hosts}]
    yield from _told(
        gone, "gone: the status block was cleared", "PEER_CHANGED", verb=("is", "are")
    )
    for was, now in known:
        name = _capital(host_name(now.host_name, now.host_id))
        if now.problem and not was.problem:
            text = f"{name}: the status block can't be used: {now.problem}."
            yield _event("host", text, "PEER_UNREADABLE")
        if now.maintenance is not was.maintenance:
            word = "went into" if now.maintenance else "left"
            note = f" ({now.maintenance_note})" if now.maintenance and now.maintenance_note else ""
            text = f"{name} {word} local maintenance{note}."
            yield _event("maintenance", text, "MAINTENANCE")
        if _has_vm(now) and not _has_vm(was):
            key = "had_vm" if now.host_id in first else "has_vm"
            text = f"{name} has the engine VM running."
            yield _event("host", text, "PEER_CHANGED", **{key: str(now.host_id)})
        elif _has_vm(was) and not _has_vm(now) and now.alive:
            yield _event("host", f"{name} has the engine VM no longer.", "PEER_CHANGED")


def _has_vm(host: HostEntry) -> bool:
    return host.alive and host.engine_status.get("vm") == "up"


def _told(
    hosts: Sequence[HostEntry], what: str, message: str, *, verb: tuple[str, str] = ("", "")
) -> Iterable[EventEntry]:
    """One event for all hosts of which the same is to be said: a cluster may have hundreds."""
    if not hosts:
        return
    names = [host_name(host.host_name, host.host_id) for host in hosts[:_NAMED_HOSTS]]
    more = len(hosts) - len(names)
    if more:
        names.append(f"{more} more hosts")
    word = verb[0] if len(hosts) == 1 else verb[1]
    subject = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    ids = ",".join(str(host.host_id) for host in hosts)
    text = " ".join(filter(None, (_capital(subject), word, what))) + "."
    yield _event("host", text, message, hosts=ids)


def _definition(old: DefinitionEntry, new: DefinitionEntry) -> Iterable[EventEntry]:
    if new.available and new.identity != old.identity:
        number = f" (version {new.version} on this host)" if new.version else ""
        if new.how == "pushed":
            told = new.source.startswith(_PUSHED_BY)
            who = f" ({new.source[len(_PUSHED_BY) :]})" if told else ""
            text = f"The engine{who} sent the definition {new.identity} of its VM{number}."
            yield _event("push", text, "PUSH_TAKEN", identity=new.identity)
        elif old.identity:
            text = f"The definition of the engine VM is {new.identity} now{number}; {_came(new)}."
            values = {"identity": new.identity, "before": old.identity}
            yield _event("definition", text, "DEFINITION_CHANGED", **values)
        else:
            text = f"The definition of the engine VM is {new.identity}{number}."
            yield _event("definition", text, "DEFINITION_CHANGED", identity=new.identity)
    was, pending = old.pending, new.pending
    if pending is not None and (
        was is None or (was.identity, was.codes) != (pending.identity, pending.codes)
    ):
        why = "; ".join(pending.sentences)
        text = f"The guard holds the definition {pending.identity} back: {why}; {pending.advice}."
        codes = ",".join(pending.codes)
        values = {"identity": pending.identity, "codes": codes}
        yield _event("definition", text, "DEFINITION_HELD", **values)
    elif was is not None and pending is None and new.identity != was.identity:
        yield _event("definition", f"The definition {was.identity} is not held back any more.")
    if new.stale and not old.stale:
        reason = f": {new.problem}" if new.problem else ""
        text = f"The last good definition is used{reason}."
        yield _event("definition", text, "DEFINITION_STALE")
    elif old.stale and not new.stale and new.available:
        yield _event("definition", "The definition is read from the store again.")


def _came(definition: DefinitionEntry) -> str:
    words = {
        "read": "it was read from the store",
        "put": "a person put it into the store",
        "rollback": "a person went back to an earlier version",
        "forced": "a person insisted on it",
    }
    return words.get(definition.how, f"it came by {definition.how or 'an unknown way'}")


def _health(before: Snapshot, after: Snapshot) -> Iterable[EventEntry]:
    health = after.health
    if health.health != before.health.health and health.health != "unknown":
        detail = f" ({health.detail})" if health.detail else ""
        good = health.health == "good"
        owner = next((h for h in after.hosts if h.host_id == after.lease.host_id), None)
        if owner is not None and owner.network_lost and not after.lease.ours:
            # Looked at for the owner (fsm/sight.py): what follows from it is not this host's.
            where = f"The engine on {host_name(owner.host_name, owner.host_id)}"
            text = f"{where} {'answers' if good else 'does not answer'} this host{detail}."
            yield _event("health", text, health=health.health)
            return
        text = f"The engine {'is healthy' if good else 'does not answer well'}{detail}."
        yield _event("health", text, "ENGINE_GOOD" if good else "ENGINE_BAD", health=health.health)


def _agent(before: Snapshot, after: Snapshot) -> Iterable[EventEntry]:
    if agent_is_silent(after) and not agent_is_silent(before):
        seconds = AGENT_SILENT_SECONDS
        text = f"This host's agent has not reported for {seconds:.0f} seconds."
        yield _event("agent", text, "AGENT_SILENT")
    elif before.agent.made_at is None and after.agent.made_at is not None:
        yield _event("agent", "This host's agent reports.", "AGENT_BACK")
    elif agent_is_silent(before) and not agent_is_silent(after):
        yield _event("agent", "This host's agent reports again.", "AGENT_BACK")
    for name in sorted(set(second_vms(after)) - set(second_vms(before))):
        text = f"{name} says that the engine VM runs there, too; the VM here is left alone."
        yield _event("host", text, "SECOND_VM")
    old, new = before.agent.better_host, after.agent.better_host
    if new is not None and new != old:
        host = next((h for h in after.hosts if h.host_id == new), HostEntry(new))
        text = (
            f"{_capital(host_name(host.host_name, new))} would be much better for the engine VM"
            f" (score {host.score}, here {after.agent.score}); the engine may migrate it there."
        )
        yield _event("better host", text, host=str(new))
    elif old is not None and new is None:
        yield _event("better host", "No other host is much better for the engine VM any more.")


def _capital(text: str) -> str:
    return "This" + text[4:] if text.startswith("this ") else text
