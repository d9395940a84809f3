# SPDX-License-Identifier: Apache-2.0
"""What the guards of one tick look at. A value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Observation
from ha_agent.fsm.policy import Policy
from ha_agent.instant import Instant


@dataclass(frozen=True)
class Context:
    """What a row may look at: memory and observation of this tick, policy, our score."""

    memory: Memory
    observation: Observation
    policy: Policy
    score: int

    @property
    def now(self) -> Instant:
        return self.observation.now

    def age_seconds(self, since: Optional[Instant]) -> float:
        """Return how long ago `since` was; 0 where there is none."""
        return 0.0 if since is None else self.now - since
