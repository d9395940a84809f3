# SPDX-License-Identifier: Apache-2.0
"""When to look at another host's lease: rarely, and yet right after each renewal. Pure.

Others count the lease's expiry from when they saw the last renewal. A renewal that is seen late
makes a dead host's VM come back late by as much, and looking all the time costs every host a
read a moment. But an owner renews in a steady rhythm:

    renewal seen, and the look before it still showed the old record: its time is known
    -> no look until shortly before the next one is due
    -> then a look every QUICK_SECONDS until it is there

An owner that lives costs two or three reads a renewal; of one that died, the last renewal was
seen QUICK_SECONDS late at most.
"""

from __future__ import annotations

from typing import Optional

from ha_agent.broker.lease.rules import LeaseRecord
from ha_agent.instant import Instant

QUICK_SECONDS = 0.2
# How long before the next renewal is due to look again: more than what storage makes of it.
_EARLY_SECONDS = 0.05


class RenewalRhythm:
    """Follows one owner's renewals by the looks of one host."""

    def __init__(self, renew_interval_seconds: float) -> None:
        self._renew_interval_seconds = renew_interval_seconds
        self._quick_seconds = min(QUICK_SECONDS, renew_interval_seconds / 10)
        self._early_seconds = min(_EARLY_SECONDS, renew_interval_seconds / 60)
        self._record: Optional[LeaseRecord] = None
        self._sent_at: Optional[Instant] = None
        self._written_after: Optional[Instant] = None

    def looked(self, record: Optional[LeaseRecord], sent: Instant, received: Instant) -> None:
        """Take what a look showed; `sent` and `received` are our clock around it."""
        if record != self._record:
            before = self._sent_at
            # 3: a look, the pause after it, and the look that brought this.
            exact = before is not None and received - before <= 3 * self._quick_seconds
            # It was written after the look before was sent. Counting from there, the next look
            # that is too early is followed by one soon; one too late would lose the rhythm.
            self._written_after = before if exact else None
            self._record = record
        self._sent_at = sent

    def pause_seconds(self, now: Instant) -> float:
        """Return how long to wait before the next look."""
        if self._written_after is None:
            return self._quick_seconds
        due = self._written_after + (self._renew_interval_seconds - self._early_seconds)
        return max(self._quick_seconds, due - now)
