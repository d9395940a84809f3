# SPDX-License-Identifier: Apache-2.0
"""What the agent has to tell for the timeline, kept until the broker has taken it.

Events travel in the reports. A report that fails may have been taken all the same, so each
event has a serial number, by which the broker knows it again. Serials begin at the boot-time
clock's milliseconds, so that those of the next run of the agent are higher. While no broker
takes them the oldest give way, and the first of the others tells how many.

Values in and out; the cycle brings the times and sends the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Callable, Optional

from ha_agent.broker.snapshot import EventEntry
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.guards import RUNNING
from ha_agent.fsm.machine import Step
from ha_agent.fsm.observation import Outcome, OutcomeCode, VmCondition
from ha_agent.fsm.state import State
from ha_agent.instant import Instant, WallTime

_KEPT = 200
_DOING = {
    EffectKind.TAKE_LEASE: ("take the lease", "Taking the lease"),
    EffectKind.RELEASE_LEASE: ("give the lease up", "Giving the lease up"),
    EffectKind.ABANDON_LEASE: ("let the lease run out", "Letting the lease run out"),
    EffectKind.START_VM: ("start the engine VM", "Starting the engine VM"),
    EffectKind.RESUME_VM: ("let the paused engine VM go on", "Letting the paused engine VM go on"),
    EffectKind.SHUTDOWN_VM: ("shut the engine VM down", "Shutting the engine VM down"),
    EffectKind.DESTROY_VM: ("end the engine VM by force", "Ending the engine VM by force"),
}
# The same call to VDSM, which keeps a VM that has ended until it is told to forget it.
_FORGET = ("have VDSM forget the ended engine VM", "Forgetting the ended engine VM")


class AgentEvents:
    """The events that no report has carried to the broker yet. Not for several threads."""

    def __init__(self, now: Instant, said: Callable[[str], str] = str) -> None:
        """`said` puts the state machine's words into this host's own."""
        self._said = said
        self._serial = int(now.boottime_seconds * 1000)
        self._waiting: list[EventEntry] = []
        self._dropped = 0
        self._vm_told = False
        self._forgets: Optional[Effect] = None

    @property
    def waiting(self) -> tuple[EventEntry, ...]:
        """The events that the next report is to carry, oldest first."""
        if not self._dropped or not self._waiting:
            return tuple(self._waiting)
        first, *rest = self._waiting
        lost = f"{self._dropped} events before this one are lost, as no broker took them."
        values = {**first.values, "dropped_before": str(self._dropped)}
        return (replace(first, text=f"{first.text} {lost}", values=values), *rest)

    def decided(self, step: Step, at: WallTime) -> None:
        """Tell of an edge that changed the state or asked for something; for every step."""
        decision = step.decision
        if step.observation.vm.condition not in RUNNING:
            self._vm_told = False
        if decision.row is None:
            return
        why = decision.row.why
        if decision.changed:
            meaning = decision.state.meaning
            text = f"This host: {meaning} ({decision.state.value}), because: {why}."
            values = {
                "from": decision.previous.value,
                "to": decision.state.value,
                "why": why,
                "score": str(decision.score.points),
            }
            if not self._vm_told and step.observation.vm.condition in RUNNING:
                # What a new agent finds here has been here before it.
                if step.state is not State.START:
                    values["vm"] = "came"
                self._vm_told = True
            self._tell("state", text, at, values)
        if decision.effect is not None:
            if step.observation.vm.condition is VmCondition.DOWN:
                self._forgets = decision.effect
            self._asked(decision.effect, at)

    def ended(self, effect: Effect, outcome: Outcome, at: WallTime) -> None:
        """Tell what became of an effect."""
        detail = f": {outcome.detail}" if outcome.detail else ""
        words = {
            OutcomeCode.OK: "accepted",
            OutcomeCode.REFUSED: "refused",
            OutcomeCode.FAILED: "failed",
            OutcomeCode.UNKNOWN: "no answer, so it may still take effect",
        }
        word = words.get(outcome.code, outcome.code.value)
        values = {"effect": effect.kind.value, "code": outcome.code.value}
        text = f"{self._doing(effect)[1]}: {word}{detail}."
        self._tell("outcome", text, at, values)

    def taken(self, events: Sequence[EventEntry]) -> None:
        """Forget the events that a report carried to the broker."""
        serials = {event.serial for event in events}
        if self._waiting and self._waiting[0].serial in serials:
            self._dropped = 0
        self._waiting = [event for event in self._waiting if event.serial not in serials]

    def forgets(self, effect: Effect) -> bool:
        """Whether an effect only has VDSM forget a VM that has ended."""
        return effect.kind is EffectKind.DESTROY_VM and effect == self._forgets

    def _doing(self, effect: Effect) -> tuple[str, str]:
        if self.forgets(effect):
            return _FORGET
        return _DOING[effect.kind]

    def _asked(self, effect: Effect, at: WallTime) -> None:
        how = ""
        values = {"effect": effect.kind.value, "why": effect.why}
        if effect.fallback:
            how = " from the last definition with which the engine became healthy"
            values["fallback"] = "yes"
        if effect.paused:
            how = ", paused"
            values["paused"] = "yes"
        text = f"The agent asks to {self._doing(effect)[0]}{how}, because: {effect.why}."
        self._tell("effect", text, at, values)

    def _tell(self, kind: str, text: str, at: WallTime, values: dict[str, str]) -> None:
        self._serial += 1
        if len(self._waiting) >= _KEPT:
            del self._waiting[0]
            self._dropped += 1
        text = self._said(text)
        values = {key: self._said(value) for key, value in values.items()}
        self._waiting.append(
            EventEntry(
                kind, text, at_unix_seconds=at.unix_seconds, serial=self._serial, values=values
            )
        )
