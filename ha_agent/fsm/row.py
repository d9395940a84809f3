# SPDX-License-Identifier: Apache-2.0
"""What an edge of the state machine is, and the notes that edges leave in the memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Optional

from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.guards import Guard, other_host_able
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.state import State

Note = Callable[[Context, Memory], Memory]

_PREDECESSOR_PAUSE_SECONDS = 30.0


@dataclass(frozen=True)
class Row:
    """One edge. `fallback` and `paused` go with START_VM (effect.py)."""

    sources: tuple[State, ...]
    target: Optional[State]
    when: tuple[Guard, ...]
    why: str
    effect: Optional[EffectKind] = None
    fallback: bool = False
    paused: bool = False
    notes: tuple[Note, ...] = ()


def failure(context: Context, memory: Memory) -> Memory:
    """Count a failure of the VM here and hold the next start back accordingly."""
    failures = (*memory.failures, context.now)
    backoff = context.policy.restart_backoff_seconds
    delay_seconds = backoff[min(len(failures), len(backoff)) - 1] if backoff else 0.0
    memory = replace(memory, failures=failures, not_before=context.now + delay_seconds)
    return memory if memory.was_healthy else _start_failed(context, memory)


def _start_failed(context: Context, memory: Memory) -> Memory:
    """Count a failed start against the definition in use, if it was started from that."""
    identity, current = memory.started_from, context.observation.definition.identity
    if identity and identity != current and memory.failing == current:
        # So did the start from the fallback: what is wrong is not in the definition, and to
        # hold on to the fallback might never start the VM again.
        return replace(memory, failing="", failed_starts=0)
    if not identity or identity != current:
        return memory
    before = memory.failed_starts if memory.failing == identity else 0
    fault = memory.start_fault or context.observation.vm.detail
    return replace(memory, failing=identity, failed_starts=before + 1, start_fault=fault)


def failures_forgiven(_context: Context, memory: Memory) -> Memory:
    """Start counting anew."""
    return replace(memory, failures=(), not_before=None)


def hold_back(context: Context, memory: Memory) -> Memory:
    """Give the host that holds the VM lease time to take up the ownership as well."""
    pause_seconds = context.policy.lease_elsewhere_pause_seconds
    # One of the predecessor's never does. It was believed for its whole minute of silence, and
    # is right all the same: an agent that hangs, say. If the page does not tell whether its VM
    # runs (believe_page), it is tried again, but not as if that were a matter of seconds.
    if any(peer.predecessor and peer.vm_up for peer in context.observation.peers):
        pause_seconds = max(pause_seconds, _PREDECESSOR_PAUSE_SECONDS)
    return replace(memory, not_before=context.now + pause_seconds)


def after_you(context: Context, memory: Memory) -> Memory:
    """Let other hosts have the lease that is given up here, if there are any."""
    # They see that it is free at their next look, which may be a renewal away: by then this
    # host's own turn would have come.
    if not other_host_able(context):
        return memory
    until = context.now + context.policy.lease_elsewhere_pause_seconds
    if memory.not_before is not None and memory.not_before > until:
        return memory
    return replace(memory, not_before=until)


def because(reason: StopReason) -> Note:
    """Return the note that remembers why things are being stopped."""

    def note(_context: Context, memory: Memory) -> Memory:
        return replace(memory, stop_reason=reason)

    return note
