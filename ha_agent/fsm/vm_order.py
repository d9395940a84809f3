# SPDX-License-Identifier: Apache-2.0
"""An operator's order to start, resume or stop the engine VM on this host, and how far it is.

Only under global maintenance, where the agents decide nothing of their own: outside of it the VM
that was stopped would be started again at once. The rows of the table ask for the effects; this
module says when the order is done, and when and why it can't be. It decides on no effect.

    OPEN      taken notice of; nothing that can't be taken back has been asked for
    ASKED     VDSM has been asked, so the end is waited for, also when the order is taken back
    DONE, REFUSED

A VM that is started paused holds no VM lease until it is resumed (facts/vdsm.md 3): meanwhile the
ownership lease alone keeps other hosts from a start. So it is resumed only under that, and the
hypervisor takes the VM lease then, or refuses, and the VM stays paused.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Optional

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.observation import (
    LeaseCondition,
    Observation,
    Outcome,
    OutcomeCode,
    VmCondition,
    VmExit,
    VmOrder,
    VmOrderKind,
)
from ha_agent.fsm.takeover import peers_with_vm
from ha_agent.instant import Instant, reached

# To get ready: a look at VDSM and storage, the lease, a record that is cleared away.
BEGIN_SECONDS = 60.0
# From VM.create, whose answer may be lost, on; a start that is not seen by then will hardly come.
# Until then the lease that was taken for it is kept: a release would disarm the fence.
START_SECONDS = 60.0

_RUNS = (VmCondition.STARTING, VmCondition.UP)
_GONE = (VmCondition.ABSENT, VmCondition.DOWN)
# Orders that end with the VM here, which need the lease.
STARTS = (VmOrderKind.START, VmOrderKind.START_PAUSED)
_NEED_LEASE = (*STARTS, VmOrderKind.RESUME)
_MOVES = (VmCondition.MIGRATING_AWAY, VmCondition.MIGRATING_HERE)
_ASKS = {
    VmOrderKind.START: EffectKind.START_VM,
    VmOrderKind.START_PAUSED: EffectKind.START_VM,
    VmOrderKind.RESUME: EffectKind.RESUME_VM,
    VmOrderKind.STOP: EffectKind.SHUTDOWN_VM,
    VmOrderKind.FORCE_STOP: EffectKind.DESTROY_VM,
}
_LEASE_ELSEWHERE = OutcomeCode.LEASE_HELD_ELSEWHERE
_RESUME = "`ha-agent vm resume`"
# No answer is not a no: the next look at VDSM tells.
_MAY_HAVE_WORKED = (OutcomeCode.OK, OutcomeCode.UNKNOWN)


class OrderPhase(enum.Enum):
    """How far an order has come."""

    NONE = "none"
    OPEN = "open"
    ASKED = "asked"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True)
class OrderProgress:
    """The last order that this agent has taken notice of. `detail` is a sentence's end."""

    number: int = 0
    kind: VmOrderKind = VmOrderKind.START
    phase: OrderPhase = OrderPhase.NONE
    detail: str = ""
    since: Optional[Instant] = None

    @property
    def is_open(self) -> bool:
        """Whether it is being carried out."""
        return self.phase in (OrderPhase.OPEN, OrderPhase.ASKED)


@dataclass(frozen=True)
class Following:
    """What an order's end depends on, besides the picture of this tick."""

    pending: Optional[Effect]
    settled_effect: Optional[Effect]
    settled: Optional[Outcome]
    global_maintenance: Optional[bool]
    shutting_down: bool
    stop_timeout_seconds: float


def follow_order(
    before: OrderProgress, observation: Observation, following: Following
) -> OrderProgress:
    """Return how far the order has come with this picture."""
    order, progress = observation.vm_order, before
    if order is not None and order.number != before.number and _has_way(order, before):
        progress = OrderProgress(order.number, order.kind, OrderPhase.OPEN, "", observation.now)
    if not progress.is_open:
        return progress
    asks = _ASKS[progress.kind]
    asked = asks in (_kind(following.pending), _kind(following.settled_effect))
    if asked and not _asked(progress):
        progress = replace(progress, phase=OrderPhase.ASKED, since=observation.now)
    done = _done(progress, observation)
    if done:
        return replace(progress, phase=OrderPhase.DONE, detail=done)
    fault = _fault(progress, observation, following)
    if fault:
        return replace(progress, phase=OrderPhase.REFUSED, detail=fault)
    return progress


def order_due(progress: OrderProgress, stop_timeout_seconds: float) -> Optional[Instant]:
    """Return when an open order will have taken too long; None without one."""
    if not progress.is_open or progress.since is None:
        return None
    if not _asked(progress):
        seconds = BEGIN_SECONDS
    else:
        seconds = START_SECONDS if progress.kind in _NEED_LEASE else stop_timeout_seconds
    return reached(progress.since, seconds)


def _has_way(order: VmOrder, before: OrderProgress) -> bool:
    """Return whether an order has not to wait for the one before: force need not for patience."""
    kinds = (before.kind, order.kind)
    return not _asked(before) or kinds == (VmOrderKind.STOP, VmOrderKind.FORCE_STOP)


def _asked(progress: OrderProgress) -> bool:
    return progress.phase is OrderPhase.ASKED


def _kind(effect: Optional[Effect]) -> Optional[EffectKind]:
    return None if effect is None else effect.kind


def _done(progress: OrderProgress, observation: Observation) -> str:
    condition = observation.vm.condition
    ours = observation.lease.condition is LeaseCondition.OURS
    if progress.kind is VmOrderKind.START_PAUSED:
        paused = condition is VmCondition.PAUSED and _asked(progress)
        return f"the engine VM is here, paused; {_RESUME} lets it run" if paused and ours else ""
    if progress.kind in _NEED_LEASE:
        # One that is launching may yet be refused by its VM lease.
        runs = condition in _RUNS and not observation.vm.launching
        counts = progress.kind is VmOrderKind.START or _asked(progress)
        return "the engine VM runs here" if runs and ours and counts else ""
    # What is gone unasked, or has left for another host, was not stopped by this order.
    stopped = condition in _GONE and observation.vm.exit is not VmExit.MIGRATED
    return "the engine VM is stopped" if stopped and _asked(progress) else ""


def _fault(progress: OrderProgress, observation: Observation, following: Following) -> str:
    """Return why the order can't be carried out, "" while it may."""
    due = order_due(progress, following.stop_timeout_seconds)
    late = due is not None and observation.now >= due
    effect, outcome = following.settled_effect, following.settled
    if effect is not None and outcome is not None and outcome.code not in _MAY_HAVE_WORKED:
        if (effect.kind, outcome.code) == (EffectKind.RESUME_VM, _LEASE_ELSEWHERE):
            return (
                "the VM lease is held elsewhere, where the engine VM may run: it stays paused"
                f" here ({outcome.detail})"
            )
        taking = progress.kind in _NEED_LEASE and effect.kind is EffectKind.TAKE_LEASE
        if taking or effect.kind is _ASKS[progress.kind]:
            return f"{effect.kind.value} did not work: {outcome.detail}"
    if _asked(progress):
        return _fault_after_asking(progress, observation, following, late=late)
    if observation.vm_order is None or observation.vm_order.number != progress.number:
        return "the order was taken back"
    if following.global_maintenance is False:
        return "global maintenance is over, and the agents decide again"
    if observation.vm.condition in _MOVES:
        return f"the engine VM is {observation.vm.condition.value}"
    fault = ""
    if progress.kind in _NEED_LEASE:
        fault = _elsewhere_fault(observation, following)
    fault = fault or _here_fault(progress.kind, observation)
    return fault or (_late_fault(observation) if late else "")


def _late_fault(observation: Observation) -> str:
    if observation.vm.condition is VmCondition.UNKNOWN:
        return "VDSM does not answer, so nothing is known of the engine VM here"
    if observation.lease.condition is LeaseCondition.UNKNOWN:
        return f"it is not known who holds the lease: {observation.lease.detail}"
    if observation.lease.condition is LeaseCondition.HELD:
        return "this host has not given up in time the lease that it held before"
    return f"it could not be begun in time: the engine VM is {observation.vm.condition.value}"


def _fault_after_asking(
    progress: OrderProgress, observation: Observation, following: Following, *, late: bool
) -> str:
    if progress.kind in _NEED_LEASE:
        condition = observation.vm.condition
        if condition is VmCondition.DOWN and following.pending is None:
            return f"the engine VM ended at once: {observation.vm.detail}"
        waits = _kind(following.pending) is _ASKS[progress.kind]
        word = "be paused" if progress.kind is VmOrderKind.START_PAUSED else "run"
        fault = f"the engine VM was not seen to {word} in time: it is {condition.value}"
        return fault if late and not waits else ""
    if observation.vm.exit is VmExit.MIGRATED:
        return "the engine VM has migrated to another host"
    if not late:
        return ""
    seconds = following.stop_timeout_seconds
    return f"the engine VM has not ended within {seconds:g} s; by force it is ended at once"


def _elsewhere_fault(observation: Observation, following: Following) -> str:
    lease = observation.lease
    if following.shutting_down:
        return "the cluster is being shut down"
    # One that has our id is being given up, as after a stop, or is from before a reboot: it gets
    # free or expires, and is taken then.
    if lease.condition is LeaseCondition.HELD and lease.host_id != observation.host_id:
        return f"host {lease.host_id} ({lease.host_name}) holds the lease"
    for peer in peers_with_vm(observation):
        return f"host {peer.host_id} ({peer.host_name}) says that the engine VM runs there"
    return ""


def _here_fault(kind: VmOrderKind, observation: Observation) -> str:
    """Return what stands against the order on this host itself."""
    condition = observation.vm.condition
    if condition in _GONE:
        if kind not in STARTS:
            return "the engine VM does not run on this host"
        if not observation.definition.available:
            return f"there is no definition to start it from: {observation.definition.problem}"
        return ""
    if condition is VmCondition.PAUSED:
        if kind in STARTS:
            return f"the engine VM is here already, and paused; {_RESUME} lets it run"
        if kind is VmOrderKind.STOP:
            return f"the engine VM is paused and can't shut down; {_RESUME} first, or use force"
        return ""
    if kind in STARTS and condition is VmCondition.STOPPING:
        # A guest may ignore that it is asked to stop, for ever.
        return "the engine VM is here already, and stopping"
    if kind is VmOrderKind.START_PAUSED and condition in _RUNS:
        return "the engine VM runs here already"
    if kind is VmOrderKind.RESUME and condition is not VmCondition.UNKNOWN:
        return f"the engine VM is not paused: it is {condition.value}"
    return ""
