# SPDX-License-Identifier: Apache-2.0
"""What the agent says in the journal of what it decides and does, with message ids and fields."""

from __future__ import annotations

import logging

from ha_agent.broker.event_journal import incident_ids
from ha_agent.broker.snapshot import Snapshot
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.machine import Decision, Step
from ha_agent.fsm.memory import StopReason
from ha_agent.fsm.observation import Outcome, OutcomeCode, VmCondition
from ha_agent.fsm.state import State
from ha_agent.journal_messages import STATE_CHANGED, VM_DIED, VM_STARTED, VM_STOPPED
from ha_agent.log import fields, remember

log = logging.getLogger(__name__)

_RAN = (
    State.ENGINE_STARTING,
    State.ENGINE_UP,
    State.ENGINE_UP_BAD_HEALTH,
    State.ENGINE_MIGRATING_AWAY,
)
_GONE = (VmCondition.ABSENT, VmCondition.DOWN)
_DONE = {
    EffectKind.START_VM: (VM_STARTED, "the engine VM was started"),
    EffectKind.SHUTDOWN_VM: (VM_STOPPED, "the engine VM is being shut down"),
    EffectKind.DESTROY_VM: (VM_STOPPED, "the engine VM is being ended by force"),
}


def decided(step: Step, reason: str) -> None:
    """Tell of an edge that changed the state or asked for something. `reason` is its why."""
    decision = step.decision
    told: dict[str, object] = {"reason": reason}
    words = f"{decision.state.value}: {reason}"
    if decision.effect is not None:
        told["effect"] = decision.effect.kind.value
        words += f" ({decision.effect.kind.value})"
    if decision.changed:
        previous = decision.previous.value
        extra = fields(STATE_CHANGED, prev_state=previous, **told)  # type: ignore[arg-type]
        log.info("%s -> %s", previous, words, extra=extra)
    elif decision.effect is not None:
        log.info("%s", words, extra=fields(**told))  # type: ignore[arg-type]
    if _died(step):
        how = step.observation.vm.detail or reason
        log.warning("the engine VM ended unasked: %s", how, extra=fields(VM_DIED, reason=how))


def stands(decision: Decision) -> None:
    """Have state and score on all that is logged from now on."""
    remember(state=decision.state.value, score=decision.score.points)


def performed(effect: Effect, outcome: Outcome, *, forgets: bool) -> None:
    """Tell of what was done to the VM; what failed perform.py has told. `forgets`: VDSM was
    only to forget a VM that had ended."""
    done = _DONE.get(effect.kind)
    if done is not None and outcome.code is OutcomeCode.OK and not forgets:
        message, words = done
        told = fields(message, reason=effect.why, effect=effect.kind.value)
        log.info("%s: %s", words, effect.why, extra=told)


def better_host(step: Step) -> None:
    """Tell that another host is better by far, or that none is any more."""
    host_id, score = step.decision.better_host, step.decision.score
    extra = fields(better_host=host_id)
    if host_id is None:
        log.info("no other host is better for the engine VM by far any more", extra=extra)
        return
    peer = next(peer for peer in step.observation.peers if peer.host_id == host_id)
    why = "; ".join(f"{p.name} -{p.points} ({p.cause})" for p in score.penalties)
    log.info(
        "host %d (%s) would be better by %d points: %s; the engine may migrate its VM there",
        host_id,
        peer.host_name,
        peer.score - score.points,
        why or "this host has lost none",
        extra=extra,
    )


def heard(snapshot: Snapshot) -> None:
    """Have what the broker's picture says of the cluster on all that is logged from now on."""
    remember(epoch=snapshot.lease.epoch, incident=incident_ids(snapshot.incidents))


def _died(step: Step) -> bool:
    decision = step.decision
    if decision.previous not in _RAN or step.observation.vm.condition not in _GONE:
        return False
    too_often = decision.memory.stop_reason is StopReason.FAILED_TOO_OFTEN
    return decision.state is State.ENGINE_START or too_often
