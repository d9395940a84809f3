# SPDX-License-Identifier: Apache-2.0
"""Runs a scenario in the simulated world, and says what is wrong with what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from ha_agent.sim import runner
from ha_agent.sim.expect import History
from ha_agent.sim.scenario import Scenario
from ha_agent.sim.spec import Result


@dataclass(frozen=True)
class Played:
    """A run of a scenario: its result, and what its expectations ask for."""

    scenario: Scenario
    result: Result
    history: History

    @property
    def broken(self) -> list[str]:
        """What is wrong, a sentence each: expectations that don't hold, violated rules."""
        return self.scenario.broken(self.result, self.history)

    @property
    def difference(self) -> str:
        """The unified diff from the expected log to this run's; "" when they are equal."""
        return self.scenario.difference(self.result.log)


def play(scenario: Scenario) -> Played:
    """Run a scenario under all rules."""
    history = History()
    result = runner.run(scenario.spec, (history.saw,))
    return Played(scenario, result, history)
