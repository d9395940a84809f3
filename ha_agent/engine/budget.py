# SPDX-License-Identifier: Apache-2.0
"""How long a whole run may take: one deadline over all its calls and waits."""

from __future__ import annotations

from typing import Protocol

from ha_agent.errors import DeadlineExceeded
from ha_agent.instant import Instant

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 3.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class Budget:
    """`total_seconds` from now on."""

    def __init__(self, clock: Clock, total_seconds: float) -> None:
        self._clock = clock
        self._begun = clock.now()
        self._total_seconds = total_seconds

    @property
    def elapsed_seconds(self) -> float:
        """How long it has taken until now."""
        return self._clock.now() - self._begun

    def remaining_seconds(self, what: str) -> float:
        """Return how long `what` may still take. Raises DeadlineExceeded when that is nothing."""
        remaining = self._total_seconds - self.elapsed_seconds
        if remaining <= 0:
            raise DeadlineExceeded(what, self._total_seconds)
        return remaining

    async def pause(self, what: str, looks: int) -> None:
        """Sleep until it is time to look again, longer with each of the `looks` that were in vain.

        Not beyond the end. Raises DeadlineExceeded at the end.
        """
        grown = FIRST_PAUSE_SECONDS * 2.0 ** min(looks, 10)
        seconds = min(grown, LONGEST_PAUSE_SECONDS, self.remaining_seconds(what))
        await self._clock.sleep(seconds)
        self.remaining_seconds(what)
