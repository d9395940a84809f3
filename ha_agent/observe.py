# SPDX-License-Identifier: Apache-2.0
"""From answers of broker and VDSM to one `fsm.Observation`. Pure.

This is where the outside's words end: states and exit reasons of VDSM, lease states and
status blocks of the broker become the state machine's own enums, in one place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Optional

from ha_agent.broker.maintenance.order import shutdown_waits
from ha_agent.broker.snapshot import HostEntry, Snapshot, VmProgressEntry
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    HealthView,
    HostFacts,
    LeaseCondition,
    LeaseView,
    Observation,
    Outcome,
    PeerView,
    ShutdownView,
    VmCondition,
    VmExit,
    VmOrder,
    VmOrderKind,
    VmView,
)
from ha_agent.fsm.vm_order import OrderProgress
from ha_agent.instant import Instant
from ha_agent.vdsm.vm_status import (
    ExitReason,
    VmStats,
    VmStatus,
    is_lost_race,
    lock_failure_of_end,
)

_CONDITIONS = {
    VmStatus.WAIT_FOR_LAUNCH: VmCondition.STARTING,
    VmStatus.POWERING_UP: VmCondition.STARTING,
    VmStatus.UP: VmCondition.UP,
    VmStatus.POWERING_DOWN: VmCondition.STOPPING,
    VmStatus.REBOOT_IN_PROGRESS: VmCondition.UP,
    VmStatus.PAUSED: VmCondition.PAUSED,
    VmStatus.MIGRATION_SOURCE: VmCondition.MIGRATING_AWAY,
    VmStatus.MIGRATION_DESTINATION: VmCondition.MIGRATING_HERE,
    VmStatus.SAVING_STATE: VmCondition.PAUSED,
    VmStatus.RESTORING_STATE: VmCondition.STARTING,
    VmStatus.DOWN: VmCondition.DOWN,
}

_EXITS = {
    ExitReason.MIGRATION_SUCCEEDED: VmExit.MIGRATED,
    ExitReason.ADMIN_SHUTDOWN: VmExit.STOPPED,
    ExitReason.USER_SHUTDOWN: VmExit.POWERED_OFF,
    ExitReason.SUCCESS: VmExit.POWERED_OFF,
    ExitReason.SAVE_STATE_SUCCEEDED: VmExit.STOPPED,
    ExitReason.HOST_SHUTDOWN: VmExit.STOPPED,
    ExitReason.LIBVIRT_START_FAILED: VmExit.START_FAILED,
}

_ORDERS = {kind.value: kind for kind in VmOrderKind}
_HEALTHS = {health.value: health for health in Health}


def vm_view(stats: Optional[VmStats]) -> VmView:
    """Return what `VM.getStats` says; None means that VDSM has no record of the VM.

    A status that we don't know is UNKNOWN: nothing is started or stopped on a guess.
    """
    if stats is None:
        return VmView(VmCondition.ABSENT, detail="no such VM")
    condition = VmCondition.UNKNOWN
    if stats.status is not None:
        condition = _CONDITIONS[stats.status]
    if condition is not VmCondition.DOWN:
        launching = stats.status is VmStatus.WAIT_FOR_LAUNCH
        return VmView(condition, detail=stats.status_text, launching=launching)
    detail = f"{stats.status_text}: {stats.exit_message}" if stats.exit_message else "Down"
    return VmView(condition, _exit(stats), detail)


def _exit(stats: VmStats) -> VmExit:
    if is_lost_race(lock_failure_of_end(stats)):
        return VmExit.LEASE_HELD_ELSEWHERE
    if stats.exit_reason is None:
        return VmExit.CRASHED
    return _EXITS.get(stats.exit_reason, VmExit.CRASHED)


def peer_view(host: HostEntry) -> PeerView:
    """Return another host's status block as the state machine sees it."""
    return PeerView(
        host_id=host.host_id,
        host_name=host.host_name,
        alive=host.alive and not host.problem,
        score=host.score,
        vm_up=host.engine_status.get("vm") == "up",
        maintenance=host.maintenance,
        stopped=host.stopped,
        predecessor=host.predecessor,
        network_lost=host.network_lost,
        page=_HEALTHS.get(host.engine_page, Health.UNKNOWN),
        page_bad_seconds=host.page_bad_seconds,
        page_told_at=host.changed_at if host.engine_page else None,
        fresh=host.fresh,
    )


# What `peer_view` looks at.
_OF_PEER = attrgetter(
    *("host_name", "alive", "problem", "score", "engine_status", "maintenance", "stopped"),
    *("predecessor", "network_lost", "engine_page", "page_bad_seconds", "fresh"),
)


@dataclasses.dataclass(frozen=True)
class HostsView:
    """All status blocks of a snapshot as the state machine sees them.

    `entries` are what it was made of, and `known` each block with its view by host id, so that
    the next snapshot's blocks are only read where they are others.
    """

    entries: tuple[HostEntry, ...] = ()
    known: Mapping[int, tuple[HostEntry, PeerView]] = dataclasses.field(default_factory=dict)
    peers: tuple[PeerView, ...] = ()
    published_score: Optional[int] = None


def hosts_view(host_id: int, entries: tuple[HostEntry, ...], before: HostsView) -> HostsView:
    """Return the blocks of `entries` as host `host_id` sees them; parts of `before` that say the
    same are the same objects in it."""
    if entries is before.entries:
        return before
    known = {}
    for entry in entries:
        pair = before.known.get(entry.host_id)
        if pair is None or pair[0] is not entry:
            same = pair is not None and _OF_PEER(pair[0]) == _OF_PEER(entry)
            pair = (entry, pair[1] if pair is not None and same else peer_view(entry))
        known[entry.host_id] = pair
    peers = tuple(view for number, (_entry, view) in known.items() if number != host_id)
    if peers == before.peers:
        peers = before.peers
    own = known.get(host_id)
    return HostsView(entries, known, peers, own[1].score if own is not None else None)


def shutdown_view(snapshot: Snapshot) -> Optional[ShutdownView]:
    """Return the order to shut the cluster down; None while the flag could not be read."""
    if snapshot.global_maintenance is None:
        return None
    order = snapshot.order
    if order is None or not order.in_force or order.what != "shutdown":
        return ShutdownView()
    waits = shutdown_waits(snapshot)
    return ShutdownView(ordered=True, ready=not waits, waiting_for="; ".join(waits))


def vm_order_view(snapshot: Snapshot) -> Optional[VmOrder]:
    """Return an operator's order for this host. One that we don't know is none."""
    entry = snapshot.vm_order
    kind = None if entry is None else _ORDERS.get(entry.what)
    return None if entry is None or kind is None else VmOrder(entry.number, kind)


def order_entry(progress: OrderProgress) -> VmProgressEntry:
    """Return how far the order has come, in the broker's words."""
    return VmProgressEntry(progress.number, progress.phase.value, progress.detail)


def lease_view(snapshot: Snapshot, now: Instant) -> LeaseView:
    """Return the lease as of `now`: of a lease of ours past its fence nothing is known."""
    entry = snapshot.lease
    condition = {
        "free": LeaseCondition.FREE,
        "held": LeaseCondition.HELD,
        "expired": LeaseCondition.EXPIRED,
    }.get(entry.state, LeaseCondition.UNKNOWN)
    if entry.ours and condition is LeaseCondition.HELD:
        # Past the fence the guard ends the VM, if the broker did not renew behind our back: this
        # picture is too old to tell, and no reason to end a VM that may be quite in order.
        in_force = entry.fence_at is not None and now < entry.fence_at
        condition = LeaseCondition.OURS if in_force else LeaseCondition.UNKNOWN
    available = condition in (LeaseCondition.FREE, LeaseCondition.EXPIRED)
    return LeaseView(
        condition=condition,
        host_id=entry.host_id,
        host_name=entry.host_name,
        epoch=entry.epoch,
        available_since=entry.available_since if available else None,
        detail=entry.detail,
    )


def lease_end(snapshot: Snapshot) -> Optional[Instant]:
    """Return when `lease_view` ceases to take the lease for ours; None when it is not ours."""
    entry = snapshot.lease
    return entry.fence_at if entry.ours and entry.state == "held" else None


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The latest answers; None for what has not answered, or not lately enough to be used.

    `hosts` is the view of the snapshot's blocks, or of an earlier one's.
    """

    snapshot: Optional[Snapshot] = None
    hosts: HostsView = dataclasses.field(default_factory=HostsView)
    vm: Optional[VmView] = None
    vm_asked_at: Optional[Instant] = None
    local_maintenance: bool = False
    stop_requested: bool = False


def observation(
    now: Instant, host_id: int, inputs: Inputs, outcomes: Sequence[Outcome]
) -> Observation:
    """Return one tick's picture."""
    snapshot = inputs.snapshot
    vm = inputs.vm or VmView(VmCondition.UNKNOWN, detail="the hypervisor does not answer")
    if snapshot is None:
        return Observation(
            now=now,
            host_id=host_id,
            vm=vm,
            vm_asked_at=inputs.vm_asked_at,
            local_maintenance=inputs.local_maintenance,
            stop_requested=inputs.stop_requested,
            outcomes=tuple(outcomes),
        )
    hosts = hosts_view(host_id, snapshot.hosts, inputs.hosts)
    return Observation(
        now=now,
        host_id=host_id,
        vm=vm,
        vm_asked_at=inputs.vm_asked_at,
        lease=lease_view(snapshot, now),
        peers=hosts.peers,
        definition=definition_view(snapshot),
        health=HealthView(
            _HEALTHS.get(snapshot.health.health, Health.UNKNOWN),
            snapshot.health.detail,
            snapshot.health.taken_at,
        ),
        facts=host_facts(snapshot),
        local_maintenance=inputs.local_maintenance,
        global_maintenance=snapshot.global_maintenance,
        shutdown=shutdown_view(snapshot),
        vm_order=vm_order_view(snapshot),
        stop_requested=inputs.stop_requested,
        outcomes=tuple(outcomes),
        published_score=hosts.published_score,
    )


def host_facts(snapshot: Snapshot) -> HostFacts:
    """Return what the broker measured of this host, each figure with the time of its sample."""
    network, bridge = snapshot.network, snapshot.bridge
    cpu, memory = snapshot.cpu, snapshot.memory
    return HostFacts(
        network_share_lost=network.share_lost,
        bridge_up=bridge.up,
        cpu_load=cpu.load,
        memory_free_mib=memory.free_mib,
        network_at=network.taken_at,
        bridge_at=bridge.taken_at,
        cpu_at=cpu.taken_at,
        memory_at=memory.taken_at,
    )


def definition_view(snapshot: Snapshot) -> DefinitionView:
    """Return the engine VM's definition as the broker holds it."""
    entry = snapshot.definition
    return DefinitionView(
        available=entry.available,
        identity=entry.identity,
        memory_mib=entry.memory_mib,
        stale=entry.stale,
        problem=entry.problem,
        fallback=entry.fallback,
    )


def engine_status(vm: VmView, health: Health, detail: str) -> dict[str, str]:
    """Return the predecessor's engine-status object (facts 2.3): vm, health, detail, reason."""
    if vm.condition is VmCondition.UNKNOWN:
        return {"vm": "unknown", "health": "unknown", "detail": "unknown", "reason": vm.detail}
    if vm.condition is VmCondition.ABSENT:
        reason = "vm not running on this host"
        return {"vm": "down_missing", "health": "bad", "detail": "unknown", "reason": reason}
    if vm.condition is VmCondition.DOWN:
        planned = vm.exit in (VmExit.MIGRATED, VmExit.STOPPED, VmExit.LEASE_HELD_ELSEWHERE)
        word = "down" if planned else "down_unexpected"
        return {"vm": word, "health": "bad", "detail": "Down", "reason": vm.detail}
    if vm.condition is VmCondition.MIGRATING_HERE:
        return {"vm": "down", "health": "bad", "detail": vm.detail, "reason": "migrating here"}
    if vm.condition is VmCondition.PAUSED:
        return {"vm": "up", "health": "bad", "detail": vm.detail, "reason": "the VM is paused"}
    if health is Health.GOOD:
        return {"vm": "up", "health": "good", "detail": vm.detail}
    reason = detail or "the engine's health page has not answered yet"
    return {"vm": "up", "health": "bad", "detail": vm.detail, "reason": reason}
