# SPDX-License-Identifier: Apache-2.0
"""The score: 3400 less named penalties, on the predecessor's scale, so that hosts of both
kinds can be compared while a cluster moves from one to the other.

Every point that is lost has a name and a cause, which `ha-agent status` shows: the
predecessor published a bare number and left its users to guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_agent.fsm.observation import HostFacts, Observation, VmCondition
from ha_agent.fsm.policy import Policy, ScoreWeights
from ha_agent.fsm.state import State

# States in which this host can't or must not be chosen, and the word for it.
_ZERO = {
    State.START: "the agent has not looked at everything yet",
    State.UNKNOWN_LOCAL_VM: "VDSM does not answer",
    State.LOCAL_MAINTENANCE: "local maintenance",
    State.LOCAL_MAINTENANCE_MIGRATE_VM: "local maintenance",
    State.ENGINE_UNEXPECTEDLY_DOWN: "the engine VM failed here too often",
    State.AGENT_STOPPED: "the agent is stopped",
}


@dataclass(frozen=True)
class Penalty:
    """Points lost, what for, and the measured cause."""

    name: str
    points: int
    cause: str


@dataclass(frozen=True)
class Score:
    """Points from 0 to the base, and where the missing ones went."""

    points: int
    penalties: tuple[Penalty, ...] = ()


def score(state: State, failures: int, observation: Observation, policy: Policy) -> Score:
    """Return this host's score in `state`. `failures` are those within the restart window."""
    weights = policy.weights
    zero = _ZERO.get(state)
    if zero is None and observation.local_maintenance:
        zero = "local maintenance"
    if zero is None and not observation.definition.available:
        problem = observation.definition.problem
        zero = "no definition of the engine VM" + (f": {problem}" if problem else "")
    if zero is not None:
        return Score(0, (Penalty("unable", weights.base, zero),))
    penalties = _measured(observation.facts, weights)
    penalties += _memory(observation, weights)
    if observation.definition.stale:
        cause = observation.definition.problem or "the store could not be read lately"
        penalties.append(Penalty("stale definition", weights.stale_definition, cause))
    if failures:
        word = "failure" if failures == 1 else "failures"
        cause = f"{failures} {word} of the engine VM here lately"
        penalties.append(Penalty("retries", failures * weights.retry, cause))
    points = weights.base - sum(penalty.points for penalty in penalties)
    # 0 is for hosts that can't or must not: a bad host is still better than no host.
    return Score(max(1, points), tuple(p for p in penalties if p.points))


def _measured(facts: HostFacts, weights: ScoreWeights) -> list[Penalty]:
    penalties = []
    if facts.network_share_lost:
        points = round(weights.network * facts.network_share_lost)
        cause = f"{facts.network_share_lost:.0%} of the network samples lost"
        penalties.append(Penalty("network", points, cause))
    if facts.bridge_up is False:
        penalties.append(Penalty("bridge", weights.bridge, "the management bridge is down"))
    if facts.cpu_load is not None and facts.cpu_load > weights.cpu_load_low:
        span = weights.cpu_load_high - weights.cpu_load_low
        share = min(1.0, (facts.cpu_load - weights.cpu_load_low) / span)
        cause = f"{facts.cpu_load:.0%} of all CPUs in use"
        penalties.append(Penalty("CPU load", round(weights.cpu_load * share), cause))
    return penalties


def _memory(observation: Observation, weights: ScoreWeights) -> list[Penalty]:
    """Free memory counts only where the VM is not: where it runs it has its memory already."""
    free_mib = observation.facts.memory_free_mib
    needed_mib = observation.definition.memory_mib
    vm_here = observation.vm.condition not in (VmCondition.ABSENT, VmCondition.DOWN)
    if free_mib is None or vm_here or free_mib >= needed_mib:
        return []
    cause = f"{free_mib} MiB free, the engine VM needs {needed_mib}"
    return [Penalty("memory", weights.memory, cause)]
