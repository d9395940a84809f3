# SPDX-License-Identifier: Apache-2.0
"""What the memory follows of the engine VM on this host, tick by tick: since when it runs,
since when its page is bad, since when it is paused, which definition it was started from.

Runs before the rows are asked; it decides nothing.
"""

from __future__ import annotations

from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.guards import RUNNING, engine_health
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, Observation, VmCondition


def follow(memory: Memory, observation: Observation) -> Memory:
    """Return the memory with what this picture says of the VM. `settled` is this tick's."""
    now, condition = observation.now, observation.vm.condition
    running_since = None
    if condition in RUNNING and not observation.vm.launching:
        running_since = memory.running_since or now
    elif condition is VmCondition.UNKNOWN:
        running_since = memory.running_since
    appeared = running_since is not None and memory.running_since is None
    started_here = memory.last_kind is EffectKind.START_VM
    unknown = condition is VmCondition.UNKNOWN
    # Under global maintenance a pause is the operator's matter: it may be asked for, and last as
    # long as somebody looks at the console. The grace time for it begins when the agents decide.
    paused = condition is VmCondition.PAUSED and not memory.global_maintenance
    memory = memory.having(
        running_since=running_since,
        # A VM that came by migration, or was started by hand: from what, nobody here knows.
        started_from="" if appeared and not started_here else memory.started_from,
        vm_unknown_since=(memory.vm_unknown_since or now) if unknown else None,
        paused_since=(memory.paused_since or now) if paused else None,
        shutdown=memory.shutdown if observation.shutdown is None else observation.shutdown,
    )
    health = engine_health(memory, observation)
    hangs = health is Health.BAD and condition is not VmCondition.PAUSED
    memory = memory.having(
        # Only an unbroken row of bad pictures is evidence: what was not seen may have been good,
        # and a guest that was paused needs a moment until its page answers again.
        bad_since=(memory.bad_since or now) if hangs else None,
        was_healthy=memory.was_healthy or health is Health.GOOD,
    )
    return _definition(memory, observation)


def _definition(memory: Memory, observation: Observation) -> Memory:
    effect, outcome = memory.settled_effect, memory.settled
    if effect is not None and outcome is not None and effect.kind is EffectKind.START_VM:
        # The broker's definition may be newer than the picture that the start was decided on.
        memory = memory.having(
            started_from=outcome.definition or memory.started_from,
            start_fault=memory.start_fault if outcome.ok else outcome.detail,
        )
    current = observation.definition
    if current.available and memory.failing and memory.failing != current.identity:
        memory = memory.having(failing="", failed_starts=0)
    return memory
