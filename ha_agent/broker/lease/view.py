# SPDX-License-Identifier: Apache-2.0
"""How the lease is told to others: the one that we hold, and another host's. Pure.

What the observer judges of the record is not always what others may act on: a lease that is
about to be adopted is not another host's, and one that this host may not take is not free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.lease.rules import Judgement, LeaseRecord, LeaseTimes
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.instant import Instant


@dataclass(frozen=True)
class OwnedLease:
    """A lease of ours: the record on storage, the Instant before its last renewal was sent, and
    the deadline that is armed for it."""

    record: LeaseRecord
    renewed_at: Instant
    fence_at: Instant

    def entry(self, times: LeaseTimes, last_success: Optional[Instant], error: str) -> LeaseEntry:
        """Return the entry for the snapshot; good until `fence_at`."""
        return LeaseEntry(
            state="held",
            ours=True,
            host_id=self.record.host_id,
            host_name=self.record.host_name,
            epoch=self.record.epoch,
            expires_at=self.renewed_at + times.lease_expiry_seconds,
            fence_at=self.fence_at,
            last_success=last_success,
            detail=error,
        )


def watched_entry(
    judged: Judgement,
    *,
    may_be_ours: bool,
    may_take: bool,
    last_success: Optional[Instant],
    error: str,
) -> LeaseEntry:
    """Return the entry for the snapshot. `may_be_ours`: the record has our instance, and we
    never gave that epoch up; `may_take`: our host id is locked by us; `last_success`: when
    storage was last reached; `error`: what is wrong since."""
    record, state = judged.record, judged.state
    if may_be_ours and state == "held":
        state = "unknown"  # "held, not ours" would have the agent end a VM that stays ours
    elif state in ("free", "expired") and not may_take:
        state = "unknown"  # not to be had by us: the agent would try again and again
    available_since = {"free": judged.since, "expired": judged.expires_at}.get(state)
    holder = record if record is not None and record.host_id else None  # 0: nobody yet
    return LeaseEntry(
        state=state,
        host_id=holder.host_id if holder else None,
        host_name=holder.host_name if holder else "",
        epoch=record.epoch if record else 0,
        available_since=available_since,
        expires_at=judged.expires_at,
        last_success=last_success,
        detail=error or judged.reason or (record.note if record else ""),
    )
