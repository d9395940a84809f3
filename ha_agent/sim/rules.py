# SPDX-License-Identifier: Apache-2.0
"""All rules together: one subscriber for the world, and the violations it found."""

from __future__ import annotations

from typing import Callable, Optional, Protocol

from ha_agent.sim import answers, checkers, liveness
from ha_agent.sim import events as e
from ha_agent.sim.ground import Ground
from ha_agent.sim.spec import Spec, Violation

VIOLATIONS_MAX = 20
"""What comes after so many says nothing new of a run."""


class Checker(Protocol):
    """One rule."""

    name: str

    def saw(self, event: e.Event) -> None: ...


RULES = (
    checkers.OneVm,
    checkers.Covered,
    checkers.OnlyVmLease,
    checkers.NoNeedlessStop,
    answers.FlagDurable,
    answers.StatusAnswered,
    answers.KeepsTicking,
    answers.EffectsEnd,
    answers.ScoreInRange,
    liveness.ComesUp,
    liveness.NothingFlaps,
)


class Rules:
    """Give `saw` to the world as a subscriber; it must hear of everything, in order."""

    def __init__(self, spec: Spec, violate: Callable[[str, str], None] = lambda *_: None) -> None:
        """`violate` is called with each violation's checker and words, too."""
        self.violations: list[Violation] = []
        self._violate = violate
        self._ground = Ground(spec)
        self._at_seconds = 0.0
        self._checkers: tuple[Checker, ...] = tuple(
            rule(self._ground, self._report) for rule in RULES
        )

    def saw(self, event: e.Event) -> None:
        """Take in an event and hold it against every rule."""
        self._at_seconds = event.at_seconds
        self._ground.saw(event)
        for checker in self._checkers:
            checker.saw(event)

    def first(self, name: str) -> Optional[Violation]:
        """Return the first violation that a checker found."""
        return next((found for found in self.violations if found.checker == name), None)

    def _report(self, name: str, what: str) -> None:
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(self._at_seconds, name, what))
            self._violate(name, what)
