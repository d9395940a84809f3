# SPDX-License-Identifier: Apache-2.0
"""A simulated host's clocks: each begins anywhere, runs a little fast or slow, and may jump.

Implements ports.Clock. Only the true time of the loop is shared, and only the world sees it.
"""

from __future__ import annotations

from ha_agent.instant import Instant, WallTime
from ha_agent.sim.loop import SimLoop

EPOCH_UNIX_SECONDS = 1_700_000_000.0

# A real clock goes on by itself. Here a pause of less than what the sum of two floats can show
# would be over at the time at which it began, again and again.
_SHORTEST_SECONDS = 1e-6


class SimClock:
    """Boot-time clock and calendar of one host."""

    def __init__(self, loop: SimLoop, rate: float = 1.0, offset_seconds: float = 0.0) -> None:
        self.rate = rate
        self._loop = loop
        self._true_seconds = loop.now
        self._boottime_seconds = offset_seconds
        self._wall_ahead_seconds = 0.0
        self._read_at = -1.0
        self._now = Instant(offset_seconds)

    def now(self) -> Instant:
        """Read the boot-time clock."""
        true_seconds = self._loop.now
        if true_seconds != self._read_at:
            self._read_at = true_seconds
            passed_seconds = (true_seconds - self._true_seconds) * self.rate
            self._now = Instant(self._boottime_seconds + passed_seconds)
        return self._now

    def wall(self) -> WallTime:
        """Read the calendar."""
        return WallTime(EPOCH_UNIX_SECONDS + self._loop.now + self._wall_ahead_seconds)

    async def sleep(self, duration_seconds: float) -> None:
        """Sleep by this host's clock: the loop knows the rate of the process that asks."""
        if duration_seconds > 0.0:
            duration_seconds = max(_SHORTEST_SECONDS, duration_seconds)
        await self._loop.sleep(duration_seconds)

    def set_rate(self, rate: float) -> None:
        """Run at another rate from now on."""
        self._boottime_seconds = self.now().boottime_seconds
        self._true_seconds = self._read_at = self._loop.now
        self.rate = rate

    def jump(self, duration_seconds: float) -> None:
        """The calendar is set to another time; the boot-time clock does not care."""
        self._wall_ahead_seconds += duration_seconds

    def boot(self) -> None:
        """The host boots: its boot-time clock begins anew."""
        self._true_seconds, self._boottime_seconds = self._loop.now, 1.0
        self._read_at = -1.0
