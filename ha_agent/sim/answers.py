# SPDX-License-Identifier: Apache-2.0
"""The rules about what hosts say and promise: a flag that is set stays set, a question is
answered at once, an agent goes on ticking, an effect ends, a score is a score.

As in checkers.py, exceptions stand with their rule.
"""

from __future__ import annotations

from typing import Optional

from ha_agent.sim import events as e
from ha_agent.sim.checkers import Report
from ha_agent.sim.faults import Fault
from ha_agent.sim.ground import Ground, end_of
from ha_agent.sim.spec import Spec

SCORE_MAX = 3400
STATUS_SECONDS = 0.05
"""A status query is answered from memory: this is room for the loop, not for storage."""
TICK_SECONDS = 12.0
"""An agent ticks when something happens and every 10 s at least, by a clock that is 2 % off."""
EFFECT_SECONDS = 120.0
"""Longer than any effect's deadlines together: the definition, VDSM's slowest verb, a look."""
ORDER_SECONDS = 200.0
"""How long an order may take: people try again for a minute, and storage may hang as long."""
# Two hosts' clocks, each 2 % off at most, and times that are written in whole seconds.
_CLOCKS_APART = 0.05
_SECONDS_ROUNDED = 2.0


class FlagDurable:
    """A flag that was reported set is on storage at the moment of the answer, and stays there
    until somebody clears it (or sets it, for one that was reported cleared)."""

    name = "flag-durable"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report
        self._enabled: Optional[bool] = None

    def saw(self, event: e.Event) -> None:
        """Look at answers, and at writes of slot 0."""
        if isinstance(event, e.FlagAnswered):
            self._enabled = event.enabled
            if not event.durable:
                word = "on" if event.enabled else "off"
                self._report(
                    self.name,
                    f"h{event.host_id} says that global maintenance is {word}; storage does not",
                )
        elif isinstance(event, e.FlagLanded) and self._enabled is (not event.enabled):
            self._changed(event)

    def _changed(self, event: e.FlagLanded) -> None:
        spec = self._ground.spec
        if _ends_by_a_clock_that_jumped(spec, event):
            return
        for fault in spec.faults:
            ordered_at = _orders(fault, event.enabled)
            if ordered_at is None or event.at_seconds < ordered_at:
                continue
            # A hung storage lets a write land as late as it hangs.
            hung = self._ground.trouble(
                event.host_id, _holds_writes, event.at_seconds, ORDER_SECONDS
            )
            if hung or event.at_seconds <= ordered_at + ORDER_SECONDS:
                return
        word = "on" if event.enabled else "off"
        self._report(
            self.name, f"h{event.host_id} wrote global maintenance {word}; nobody asked for it"
        )


def _ends_by_a_clock_that_jumped(spec: Spec, event: e.FlagLanded) -> bool:
    """An end is a time of the calendar; a clock that jumped over it ends it at once."""
    jumped = any(f.kind == "clock-jump" and f.at_seconds <= event.at_seconds for f in spec.faults)
    return (
        jumped
        and not event.enabled
        and any(f.kind == "global-maintenance" and f.duration_seconds for f in spec.faults)
    )


def _orders(fault: Fault, enabled: bool) -> Optional[float]:
    """Return when a fault orders this, or None."""
    if fault.kind == "shutdown":
        return fault.at_seconds if enabled else None
    if fault.kind == "resume":
        return None if enabled else fault.at_seconds
    if fault.kind != "global-maintenance":
        return None
    if (fault.value == "on") is enabled:
        return fault.at_seconds
    if fault.value != "on" or fault.duration_seconds is None:
        return None
    # `on for 300` is off after it, by whoever is there then, and by that host's calendar clock.
    return end_of(fault) - fault.duration_seconds * _CLOCKS_APART - _SECONDS_ROUNDED


def _stops_agent(fault: Fault) -> bool:
    return fault.kind in ("hang", "suspend", "power-off", "kill", "kill-at", "stop")


def _holds_writes(fault: Fault) -> bool:
    return fault.kind in ("storage-hang", "storage-slow", "suspend", "hang")


class StatusAnswered:
    """A broker that runs answers a status query from memory, whatever storage does."""

    name = "status-answered"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report

    def saw(self, event: e.Event) -> None:
        """Look at answers."""
        if isinstance(event, e.StatusAnswered) and event.seconds > STATUS_SECONDS:
            self._report(self.name, f"h{event.host_id}: a status query took {event.seconds:.2f} s")


class KeepsTicking:
    """An agent waits on nothing: while its process runs, it ticks, whatever hangs. One that was
    stopped or asleep has ticked before that; it has a moment to do so again."""

    name = "keeps-ticking"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report

    def saw(self, event: e.Event) -> None:
        """Look at the last tick."""
        if not isinstance(event, e.Ticked) or event.ago_seconds <= TICK_SECONDS:
            return
        if not self._ground.trouble(event.host_id, _stops_agent, event.at_seconds, TICK_SECONDS):
            self._report(self.name, f"h{event.host_id}: no tick for {event.ago_seconds:.1f} s")


class EffectsEnd:
    """No effect without an outcome within its deadlines, one effect at a time."""

    name = "effects-end"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report
        self._begun: dict[int, tuple[int, str, float]] = {}

    def saw(self, event: e.Event) -> None:
        """Look at what begins and ends; a process that ends takes its effect with it."""
        if isinstance(event, e.Decided):
            if event.effect is not None:
                if event.host_id in self._begun:
                    _, kind, _ = self._begun[event.host_id]
                    self._report(
                        self.name, f"h{event.host_id}: {event.effect[1]} begins during {kind}"
                    )
                self._begun[event.host_id] = (*event.effect, event.at_seconds)
            self._late(event.host_id, event.at_seconds)
        elif isinstance(event, e.EffectEnded):
            self._late(event.host_id, event.at_seconds)
            if self._begun.get(event.host_id, (None,))[0] == event.serial:
                del self._begun[event.host_id]
        elif isinstance(event, e.ProcessChanged) and event.process == "agent":
            self._begun.pop(event.host_id, None)
        elif isinstance(event, e.Ended):
            for host_id in tuple(self._begun):
                self._late(host_id, event.at_seconds)

    def _late(self, host_id: int, at_seconds: float) -> None:
        if host_id not in self._begun:
            return
        _, kind, begun = self._begun[host_id]
        if at_seconds - begun > EFFECT_SECONDS:
            del self._begun[host_id]
            self._report(
                self.name, f"h{host_id}: {kind} has no outcome after {at_seconds - begun:.0f} s"
            )


class ScoreInRange:
    """A score is within the predecessor's scale, 0 to 3400: old peers compare it."""

    name = "score-range"

    def __init__(self, ground: Ground, report: Report) -> None:
        self._ground, self._report = ground, report

    def saw(self, event: e.Event) -> None:
        """Look at each decision."""
        if isinstance(event, e.Decided) and not 0 <= event.score <= SCORE_MAX:
            self._report(self.name, f"h{event.host_id}: score {event.score}")
