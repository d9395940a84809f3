# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.broker.lease.rules import Judgement, LeaseIdentity, LeaseTimes, initial_record
from ha_agent.broker.lease.view import OwnedLease, watched_entry
from ha_agent.instant import Instant

SINCE, EXPIRES = Instant(100.0), Instant(115.0)
RECORD = initial_record().taken(LeaseIdentity(2, "beta", "i2", "vm"), 6, "taken: free")


def test_a_lease_of_ours() -> None:
    entry = OwnedLease(RECORD, SINCE, SINCE + 11.0).entry(LeaseTimes(), SINCE, "slow")
    assert (entry.state, entry.ours, entry.host_id, entry.epoch) == ("held", True, 2, 7)
    assert (entry.expires_at, entry.fence_at) == (EXPIRES, SINCE + 11.0)
    assert (entry.last_success, entry.detail) == (SINCE, "slow")


@pytest.mark.parametrize(
    ("state", "may_be_ours", "may_take", "said", "available_since"),
    [
        ("held", False, True, "held", None),
        ("held", True, True, "unknown", None),
        ("held", False, False, "held", None),
        ("free", True, True, "free", SINCE),
        ("free", False, False, "unknown", None),
        ("expired", True, True, "expired", EXPIRES),
        ("expired", False, False, "unknown", None),
        ("unreadable", False, False, "unreadable", None),
    ],
)
def test_a_lease_that_is_not_ours(
    state: str, may_be_ours: bool, may_take: bool, said: str, available_since: Optional[Instant]
) -> None:
    entry = watched_entry(
        Judgement(state, RECORD, SINCE, EXPIRES),
        may_be_ours=may_be_ours,
        may_take=may_take,
        last_success=SINCE,
        error="",
    )
    assert (entry.state, entry.available_since) == (said, available_since)
    assert (entry.ours, entry.host_name, entry.epoch) == (False, "beta", 7)
    assert entry.detail == "taken: free"


def test_a_lease_that_nobody_had_has_no_holder() -> None:
    judged = Judgement("free", initial_record(), SINCE)
    entry = watched_entry(judged, may_be_ours=False, may_take=True, last_success=None, error="EIO")
    assert (entry.host_id, entry.host_name, entry.detail) == (None, "", "EIO")


def test_a_lease_that_could_not_be_read_is_nobodys() -> None:
    judged = Judgement("unreadable", reason="no magic")
    entry = watched_entry(judged, may_be_ours=False, may_take=True, last_success=SINCE, error="")
    assert (entry.host_id, entry.host_name, entry.epoch) == (None, "", 0)
    assert (entry.state, entry.detail) == ("unreadable", "no magic")
