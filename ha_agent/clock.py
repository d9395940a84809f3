# SPDX-License-Identifier: Apache-2.0
"""The only caller of time.*: a test holds the rest of the package to that."""

from __future__ import annotations

import time

from ha_agent.instant import Instant, WallTime


class SystemClock:
    """This host's clocks; implements ports.Clock."""

    def now(self) -> Instant:
        """Read CLOCK_BOOTTIME."""
        return Instant(time.clock_gettime(time.CLOCK_BOOTTIME))

    def wall(self) -> WallTime:
        """Read the calendar clock."""
        return WallTime(time.time())

    async def sleep(self, duration_seconds: float) -> None:
        """Sleep without blocking the loop. A suspend of the host is not counted by this."""
        # Here, because a command that only reads a clock would start 50 ms later with it.
        import asyncio

        await asyncio.sleep(max(0.0, duration_seconds))

    def block(self, duration_seconds: float) -> None:
        """Sleep and block the thread; for worker processes and start-up code only."""
        time.sleep(max(0.0, duration_seconds))
