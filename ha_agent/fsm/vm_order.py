# SPDX-License-Identifier: Apache-2.0
"""An operator's order to start or stop the engine VM on this host, and how far it has come.

Only under global maintenance, where the agents decide nothing of their own: outside of it the VM
that was stopped would be started again at once. The rows of the table ask for the effects; this
module says when the order is done, and when and why it can't be. It decides on no effect.

    OPEN      taken notice of; nothing that can't be taken back has been asked for
    ASKED     VDSM has been asked, so the end is waited for, also when the order is taken back
    DONE, REFUSED
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
from ha_agent.instant import Instant, reached

# To get ready: a look at VDSM and storage, the lease, a record that is cleared away.
BEGIN_SECONDS = 60.0
# From VM.create, whose answer may be lost, on; a start that is not seen by then will hardly come.
# Until then the lease that was taken for it is kept: a release would disarm the fence.
START_SECONDS = 60.0

_RUNS = (VmCondition.STARTING, VmCondition.UP)
_GONE = (VmCondition.ABSENT, VmCondition.DOWN)
_MOVES = (VmCondition.MIGRATING_AWAY, VmCondition.MIGRATING_HERE)
_ASKS = {
    VmOrderKind.START: EffectKind.START_VM,
    VmOrderKind.STOP: EffectKind.SHUTDOWN_VM,
    VmOrderKind.FORCE_STOP: EffectKind.DESTROY_VM,
}
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
        seconds = START_SECONDS if progress.kind is VmOrderKind.START else stop_timeout_seconds
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
    if progress.kind is VmOrderKind.START:
        # One that is launching may yet be refused by its VM lease.
        runs = condition in _RUNS and not observation.vm.launching
        ours = observation.lease.condition is LeaseCondition.OURS
        return "the engine VM runs here" if runs and ours else ""
    # What is gone unasked, or has left for another host, was not stopped by this order.
    stopped = condition in _GONE and observation.vm.exit is not VmExit.MIGRATED
    return "the engine VM is stopped" if stopped and _asked(progress) else ""


def _fault(progress: OrderProgress, observation: Observation, following: Following) -> str:
    """Return why the order can't be carried out, "" while it may."""
    due = order_due(progress, following.stop_timeout_seconds)
    late = due is not None and observation.now >= due
    effect, outcome = following.settled_effect, following.settled
    if effect is not None and outcome is not None and outcome.code not in _MAY_HAVE_WORKED:
        taking = progress.kind is VmOrderKind.START and effect.kind is EffectKind.TAKE_LEASE
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
    find = _start_fault if progress.kind is VmOrderKind.START else _stop_fault
    fault = find(observation, following)
    return fault or (_late_fault(observation) if late else "")


def _late_fault(observation: Observation) -> str:
    if observation.vm.condition is VmCondition.UNKNOWN:
        return "VDSM does not answer, so nothing is known of the engine VM here"
    if observation.lease.condition is LeaseCondition.UNKNOWN:
        return f"it is not known who holds the lease: {observation.lease.detail}"
    return f"it could not be begun in time: the engine VM is {observation.vm.condition.value}"


def _fault_after_asking(
    progress: OrderProgress, observation: Observation, following: Following, *, late: bool
) -> str:
    if progress.kind is VmOrderKind.START:
        if observation.vm.condition is VmCondition.DOWN and following.pending is None:
            return f"the engine VM ended at once: {observation.vm.detail}"
        waits = _kind(following.pending) is EffectKind.START_VM
        return "the engine VM was not seen to run in time" if late and not waits else ""
    if observation.vm.exit is VmExit.MIGRATED:
        return "the engine VM has migrated to another host"
    if not late:
        return ""
    seconds = following.stop_timeout_seconds
    return f"the engine VM has not ended within {seconds:g} s; by force it is ended at once"


def _start_fault(observation: Observation, following: Following) -> str:
    lease = observation.lease
    if following.shutting_down:
        return "the cluster is being shut down"
    if lease.condition is LeaseCondition.HELD:
        return f"host {lease.host_id} ({lease.host_name}) holds the lease"
    holder = lease.host_id  # of a lease that has expired or was released: its block is older
    for peer in observation.peers:
        if peer.alive and peer.vm_up and peer.host_id != holder:
            return f"host {peer.host_id} ({peer.host_name}) says that the engine VM runs there"
    if observation.vm.condition in (VmCondition.PAUSED, VmCondition.STOPPING):
        # A guest may ignore that it is asked to stop, for ever.
        return f"the engine VM is here already, and {observation.vm.condition.value}"
    if observation.vm.condition in _GONE and not observation.definition.available:
        return f"there is no definition to start it from: {observation.definition.problem}"
    return ""


def _stop_fault(observation: Observation, _following: Following) -> str:
    gone = observation.vm.condition in _GONE
    return "the engine VM does not run on this host" if gone else ""
