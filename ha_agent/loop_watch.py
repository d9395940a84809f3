# SPDX-License-Identifier: Apache-2.0
"""Tells in the journal when a daemon's loop has stood still, before systemd's watchdog has to.

It can only tell afterwards: a loop that never goes on is ended by systemd, and the guard has ended
the VM long before, where that was needed.
"""

from __future__ import annotations

import logging
from typing import Optional, Protocol

from ha_agent.instant import Instant
from ha_agent.journal_messages import LOOP_LATE
from ha_agent.log import fields

log = logging.getLogger(__name__)

# Much more than a busy host needs, and well below WatchdogSec= and the lease's deadline.
LATE_SECONDS = 4.0


class _Clock(Protocol):
    def now(self) -> Instant: ...


class LoopWatch:
    """For one loop, which goes round every `usual_seconds` at least."""

    def __init__(self, clock: _Clock, usual_seconds: float) -> None:
        self._clock = clock
        self._usual_seconds = usual_seconds
        self._last: Optional[Instant] = None

    def passed(self) -> None:
        """Take notice that the loop has come round."""
        now = self._clock.now()
        gap_seconds = 0.0 if self._last is None else now - self._last
        self._last = now
        if gap_seconds > self._usual_seconds + LATE_SECONDS:
            told = fields(LOOP_LATE, key="loop late", seconds=f"{gap_seconds:.1f}")
            log.warning("the loop stood still for %.1f s", gap_seconds, extra=told)
