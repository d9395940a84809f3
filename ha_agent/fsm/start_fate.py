# SPDX-License-Identifier: Apache-2.0
"""What became of a VM.create that nobody answered. Pure; runs before the rows are asked.

    VM.create sent --> answer: done, or refused           its fate is known, not that of one before
                   --> no answer (deadline, connection
                       lost), or our agent ended meanwhile  it may still take effect: open

An open start ends when the VM is seen to run here, or when a look that was asked for
`start_open_seconds` after it shows no VM that runs. Until then "no such VM" may be true and the
VM about to start: the ownership lease must not be released, or the VM would run without it, in
the way of the host that takes it. A Down record ends nothing: it may be older than the create.

To ask again is safe at any time after a look: the VM's record on this host is one, so VDSM
refuses the second create with "exists" (code 4), whichever of the two it is.

Where the lease is free or another host's there is nothing to keep for the VM: the VM lease
alone forbids the second start.

An agent that begins takes it that the one before it asked at that very moment, as it can't know.
"""

from __future__ import annotations

from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.guards import RUNNING
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import LeaseCondition, Observation, OutcomeCode, VmCondition
from ha_agent.fsm.policy import Policy

_NOT_OURS = (LeaseCondition.FREE, LeaseCondition.HELD)


def start_settled(context: Context) -> bool:
    """no start that was asked for can still take effect"""
    return context.memory.start_open_since is None


def follow_start(memory: Memory, observation: Observation, policy: Policy) -> Memory:
    """Return the memory with the start whose fate is open after this picture, if there is one.

    `settled` is this tick's. While a start is under way its call is open anyway, and no row asks
    for anything.
    """
    memory = _take_outcome(memory)
    if memory.start_open_since is not None and is_told(memory, observation, policy):
        return memory.having(start_open_since=None)
    return memory


def is_told(memory: Memory, observation: Observation, policy: Policy) -> bool:
    """Return whether a picture shows what became of the open start, or that it is no matter."""
    if observation.vm.condition in RUNNING or _is_not_ours(observation):
        return True
    since, asked_at = memory.start_open_since, observation.vm_asked_at
    if since is None or asked_at is None:
        return False
    gone = observation.vm.condition in (VmCondition.ABSENT, VmCondition.DOWN)
    return gone and asked_at - since >= policy.start_open_seconds


def _is_not_ours(observation: Observation) -> bool:
    """Return whether the lease is free or another host's, expired or not."""
    lease = observation.lease
    if lease.condition is LeaseCondition.EXPIRED:
        return lease.host_id != observation.host_id
    return lease.condition in _NOT_OURS


def _take_outcome(memory: Memory) -> Memory:
    effect, outcome = memory.settled_effect, memory.settled
    if effect is None or outcome is None or effect.kind is not EffectKind.START_VM:
        return memory
    if not outcome.definition:
        return memory  # there was nothing to start from, so VDSM was not asked
    if outcome.code is not OutcomeCode.UNKNOWN:
        return memory  # an earlier one, sent before the connection ended, may still be under way
    return memory.having(start_open_since=memory.last_at)
