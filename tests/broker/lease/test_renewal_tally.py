# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.lease.renewal_tally import RenewalTally


def test_counts_renewals_and_their_time() -> None:
    tally = RenewalTally()
    assert tally.last_seconds is None
    tally.ended(0.5, True)
    tally.ended(0.25, False)
    assert tally == RenewalTally(ok=1, failed=1, spent_seconds=0.75, last_seconds=0.25)
