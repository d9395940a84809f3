# SPDX-License-Identifier: Apache-2.0
"""The score: 3400 less named penalties, on the predecessor's scale, so that hosts of both
kinds can be compared while a cluster moves from one to the other.

Every point that is lost has a name and a cause, which `ha-agent status` shows: the
predecessor published a bare number and left its users to guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Observation
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.fsm.takeover import able_hosts
from ha_agent.fsm.trends import Trend

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


def score(state: State, memory: Memory, observation: Observation, policy: Policy) -> Score:
    """Return this host's score in `state`.

    What was measured counts as the memory's trends have it; the memory's failures are those
    within the restart window.
    """
    weights = policy.weights
    zero = _ZERO.get(state)
    if state is State.ENGINE_UNEXPECTEDLY_DOWN and not able_hosts(observation):
        zero = None  # nobody else is there to have a turn, and this host goes on trying
    if zero is None and observation.local_maintenance:
        zero = "local maintenance"
    if zero is None and not observation.definition.available:
        problem = observation.definition.problem
        zero = "no definition of the engine VM" + (f": {problem}" if problem else "")
    if zero is not None:
        return Score(0, (Penalty("unable", weights.base, zero),))
    penalties = _measured(memory, observation, policy)
    if observation.definition.stale:
        cause = observation.definition.problem or "the store could not be read lately"
        penalties.append(Penalty("stale definition", weights.stale_definition, cause))
    failures = len(memory.failures)
    if failures:
        word = "failure" if failures == 1 else "failures"
        cause = f"{failures} {word} of the engine VM here lately"
        penalties.append(Penalty("retries", failures * weights.retry, cause))
    points = weights.base - sum(penalty.points for penalty in penalties)
    # 0 is for hosts that can't or must not: a bad host is still better than no host.
    return Score(max(1, points), tuple(p for p in penalties if p.points))


def _measured(memory: Memory, observation: Observation, policy: Policy) -> list[Penalty]:
    trends, weights, rules = memory.trends, policy.weights, policy.hysteresis
    penalties = []
    if trends.network.since is not None:
        lost = trends.network.counted
        cause = f"{lost:.0%} of the network samples lost"
        held = _held(trends.network, f"at most {rules.network_leave:.0%}", policy)
        penalties.append(Penalty("network", round(weights.network * lost), cause + held))
    if trends.bridge.since is not None:
        held = _held(trends.bridge, "up", policy)
        cause = "the management bridge was down" if held else "the management bridge is down"
        penalties.append(Penalty("bridge", weights.bridge, cause + held))
    if trends.cpu_load.since is not None:
        load = trends.cpu_load.counted
        span = weights.cpu_load_high - weights.cpu_load_low
        share = min(1.0, max(0.0, load - weights.cpu_load_low) / span)
        cause = f"{load:.0%} of all CPUs in use"
        held = _held(trends.cpu_load, f"at most {rules.cpu_load_leave:.0%}", policy)
        penalties.append(Penalty("CPU load", round(weights.cpu_load * share), cause + held))
    if trends.memory.since is not None:
        needed_mib = observation.definition.memory_mib
        free_mib = round(needed_mib - trends.memory.counted)
        cause = f"{free_mib} MiB free, the engine VM needs {needed_mib}"
        held = _held(trends.memory, "well above that", policy)
        penalties.append(Penalty("memory", weights.memory, cause + held))
    return penalties


def _held(trend: Trend, good: str, policy: Policy) -> str:
    """What a penalty waits for whose samples are better already; nothing while they are not."""
    if not trend.lingers:
        return ""
    rules = policy.hysteresis
    return (
        f"; better now, but held until it was {good} in {rules.samples_needed} of "
        f"{rules.samples_kept} samples, and for {rules.residency_seconds:g} s at least"
    )
