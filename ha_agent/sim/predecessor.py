# SPDX-License-Identifier: Apache-2.0
"""The predecessor's agent as a state machine, as far as its peers can notice it. Pure.

Looks come every 10 s (old_peer.py makes them); `step` says what to do. What it does:

    who lives     a peer whose timestamp is not the one of a look more than 60 s ago. So a peer
                  is dead after 60 to 70 s, and nobody is known to live, nor is a VM started, in
                  the first 60 s
    the engine    the best engine status of itself and of those that live: down, paused, bad
                  page, good page; at a draw its own
    EngineDown    starts the VM when nobody has it and no peer that lives has a better score: of
                  hosts with equal scores all do, and the VM lease is for one of them
    EngineStart   -> EngineStarting, or EngineDown with 50 points less when VDSM refuses. The
                  count of tries is cleared at the next look, so that its limit never holds
    EngineStarting   the VM lease was another's -> clears the record, EngineDown, and all over
                  again; the VM ended -> EngineUnexpectedlyDown; not healthy in 600 s -> EngineStop
    EngineUp      ended unasked -> EngineUnexpectedlyDown; gone, or better elsewhere ->
                  EngineMaybeAway; a peer leads by 800 points -> EngineStop; page bad ->
                  EngineUpBadHealth, and after 300 s of that EngineStop
    EngineMaybeAway    40 s for the VM to turn up elsewhere, else EngineUnexpectedlyDown
    EngineUnexpectedlyDown    score 0 for 560 s
    EngineStop    the guest is asked; after 300 s EngineForceStop
    maintenance   global: hands off. Local: score 0; the VM is the engine's to migrate

Sources: facts/predecessor-and-peers.md 1.1 (constants), 1.2, 1.3, 6 (defects); its states.py,
state_machine.py and engine_health.py, read for facts. EngineMaybeAway's end is told by its
constant only (ENGINE_AWAY_EXPIRATION_SECS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

BASE_SCORE = 3400
ALIVE_SECONDS = 60.0
BETTER_POINTS = 800
RETRY_POINTS = 50
AWAY_SECONDS = 40.0
STARTING_SECONDS = 600.0
UNEXPECTED_SECONDS = 560.0
_BAD_HEALTH_SECONDS = 300.0
_HISTORY_SECONDS = 900.0
_TIMEOUTS = {
    "EngineStop": _BAD_HEALTH_SECONDS,
    "EngineUpBadHealth": _BAD_HEALTH_SECONDS,
    "EngineUnexpectedlyDown": UNEXPECTED_SECONDS,
    "EngineMaybeAway": AWAY_SECONDS,
    "EngineStarting": STARTING_SECONDS,
}
_SCORE_ZERO = ("StartState", "ReinitializeFSM", "EngineUnexpectedlyDown", "LocalMaintenance",
               "AgentStopped")  # fmt: skip
_WITH_VM = ("EngineStarting", "EngineUp", "EngineUpBadHealth", "EngineStop", "EngineMaybeAway")

Status = Mapping[str, str]


@dataclass(frozen=True)
class Peer:
    """What another host's block says, in the predecessor's words."""

    timestamp: int
    score: int
    status: Status


@dataclass(frozen=True)
class Look:
    """One look. `at` in seconds by its own clock; `refused`: VDSM refused the last start."""

    at: float
    status: Status
    peers: Mapping[int, Peer] = field(default_factory=dict)
    global_maintenance: bool = False
    local_maintenance: bool = False
    penalty: int = 0
    refused: bool = False


@dataclass(frozen=True)
class Machine:
    """The state and what is remembered with it. `since`: when the state began."""

    state: str = "StartState"
    since: float = 0.0
    retries: int = 0
    history: tuple[tuple[float, Mapping[int, int]], ...] = ()

    def score(self, penalty: int) -> int:
        """Return the score that is published in this state."""
        if self.state in _SCORE_ZERO:
            return 0
        return max(0, BASE_SCORE - penalty - self.retries * RETRY_POINTS)

    @property
    def timeout_at(self) -> Optional[float]:
        """When its timeout ends, where its block tells."""
        told = ("EngineStop", "EngineUpBadHealth", "EngineUnexpectedlyDown")
        return self.since + _TIMEOUTS[self.state] if self.state in told else None


@dataclass(frozen=True)
class Step:
    """What follows of a look. `action`: "", start, shutdown, destroy."""

    machine: Machine
    action: str = ""
    why: str = ""


def engine_rank(status: Status) -> int:
    """Return how good an engine is: 0 unknown, 1 down, 2 paused, 3 bad page, 4 good page."""
    if status["vm"] == "unknown":
        return 0
    if status["vm"] != "up":
        return 1
    if status["detail"] == "Paused":
        return 2
    return {"bad": 3, "good": 4}[status["health"]]


def step(machine: Machine, look: Look) -> Step:
    """Return what the agent does after a look."""
    alive = _alive(machine, look)
    heard = (look.at, {host_id: peer.timestamp for host_id, peer in look.peers.items()})
    kept = tuple(each for each in machine.history if each[0] > look.at - _HISTORY_SECONDS)
    # The tries of the last start are counted for one block only: the time that they should be
    # remembered for is compared with another clock (facts 6, 5).
    machine = replace(machine, history=(heard, *kept), retries=0)
    end = _TIMEOUTS.get(machine.state)
    common = _common(machine, look)
    if common is not None:
        return common
    if end is not None and look.at >= machine.since + end:
        return _timeout(machine, look)
    return _STATES.get(machine.state, _reinitialized)(machine, look, alive)


def _alive(machine: Machine, look: Look) -> dict[int, Peer]:
    old = next((seen for at, seen in machine.history if at + ALIVE_SECONDS < look.at), None)
    if old is None:
        return {}
    return {
        host_id: peer for host_id, peer in look.peers.items() if old.get(host_id) != peer.timestamp
    }


def _go(machine: Machine, look: Look, state: str, why: str, action: str = "") -> Step:
    since = machine.since if state == machine.state else look.at
    return Step(replace(machine, state=state, since=since), action, why)


def _common(machine: Machine, look: Look) -> Optional[Step]:
    if look.global_maintenance:
        return _go(machine, look, "GlobalMaintenance", "global maintenance")
    if look.status["vm"] == "unknown":
        return _go(machine, look, "UnknownLocalVmState", "VDSM does not tell")
    if look.local_maintenance and not (machine.state in _WITH_VM and look.status["vm"] == "up"):
        return _go(machine, look, "LocalMaintenance", "local maintenance")
    return None


def _timeout(machine: Machine, look: Look) -> Step:
    if machine.state == "EngineStop":
        return _go(machine, look, "EngineDown", "the guest did not shut down", "destroy")
    if machine.state == "EngineMaybeAway":
        return _go(machine, look, "EngineUnexpectedlyDown", "the VM is nowhere")
    if machine.state == "EngineUnexpectedlyDown":
        return _go(machine, look, "EngineDown", "560 s are over")
    return _go(machine, look, "EngineStop", "the engine is not healthy", "shutdown")


def _reinitialized(machine: Machine, look: Look, _alive: Mapping[int, Peer]) -> Step:
    if look.status["vm"] == "up":
        return _go(machine, look, "EngineStarting", "the VM runs here")
    return _go(machine, look, "EngineDown", "no VM here")


def _elsewhere(look: Look, alive: Mapping[int, Peer]) -> int:
    """Return the host with a better engine than here; 0: none."""
    best = max(alive, key=lambda host_id: engine_rank(alive[host_id].status), default=0)
    here = engine_rank(look.status)
    return best if best and engine_rank(alive[best].status) > here else 0


def _down(machine: Machine, look: Look, alive: Mapping[int, Peer]) -> Step:
    other = _elsewhere(look, alive)
    if other and alive[other].status["vm"] == "up":
        return _go(machine, look, "EngineDown", f"the VM is on h{other}")
    if look.status["vm"] == "up":
        return _go(machine, look, "EngineStarting", "the VM appeared here")
    newest, oldest = machine.history[0][0], machine.history[-1][0]
    best = max((peer.score for peer in alive.values()), default=0)
    if newest - oldest < ALIVE_SECONDS or best > machine.score(look.penalty):
        return _go(machine, look, "EngineDown", "not here, or not yet")
    return _go(machine, look, "EngineStart", "no better score than this host's", "start")


def _start(machine: Machine, look: Look, _alive: Mapping[int, Peer]) -> Step:
    if look.refused:
        return _go(replace(machine, retries=1), look, "EngineDown", "VDSM refused the start")
    return _starting(_go(machine, look, "EngineStarting", "").machine, look, _alive)


def _starting(machine: Machine, look: Look, _alive: Mapping[int, Peer]) -> Step:
    if look.status["vm"] == "up":
        good = look.status["health"] == "good"
        state = "EngineUp" if good else "EngineStarting"
        return _go(machine, look, state, "the engine is healthy" if good else "the VM runs")
    if look.status["vm"] == "down":
        return _go(machine, look, "EngineDown", "another host already took over", "destroy")
    return _go(machine, look, "EngineUnexpectedlyDown", "the VM ended")


def _up(machine: Machine, look: Look, alive: Mapping[int, Peer]) -> Step:
    if look.status["vm"] == "down_unexpected":
        return _go(machine, look, "EngineUnexpectedlyDown", "the VM ended unexpectedly")
    other = _elsewhere(look, alive)
    if look.status["vm"] != "up" or other:
        return _go(machine, look, "EngineMaybeAway", "the VM may be elsewhere")
    best = max((peer.score for peer in alive.values()), default=0)
    if best >= machine.score(look.penalty) + BETTER_POINTS:
        return _go(machine, look, "EngineStop", f"another host has {best} points", "shutdown")
    if look.status["health"] == "bad":
        return _go(machine, look, "EngineUpBadHealth", "the engine's page is bad")
    return _go(machine, look, "EngineUp", "the engine is healthy")


def _maybe_away(machine: Machine, look: Look, alive: Mapping[int, Peer]) -> Step:
    other = _elsewhere(look, alive)
    if other and alive[other].status["vm"] == "up":
        return _go(machine, look, "EngineDown", f"the VM is on h{other}")
    if look.status["vm"] == "up":
        return _go(machine, look, "EngineStarting", "the VM is here")
    return _go(machine, look, "EngineMaybeAway", "the VM may be elsewhere")


def _unexpectedly_down(machine: Machine, look: Look, _alive: Mapping[int, Peer]) -> Step:
    if look.status["vm"] == "up":
        return _go(machine, look, "EngineUp", "the VM appeared here")
    return _go(machine, look, "EngineUnexpectedlyDown", "waiting")


def _stop(machine: Machine, look: Look, _alive: Mapping[int, Peer]) -> Step:
    if look.status["vm"] != "up":
        return _go(machine, look, "EngineDown", "the VM has ended")
    return _go(machine, look, "EngineStop", "the guest is shutting down")


_STATES = {
    "EngineDown": _down,
    "EngineStart": _start,
    "EngineStarting": _starting,
    "EngineUp": _up,
    "EngineUpBadHealth": _up,
    "EngineMaybeAway": _maybe_away,
    "EngineUnexpectedlyDown": _unexpectedly_down,
    "EngineStop": _stop,
}
