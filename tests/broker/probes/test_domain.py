# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.broker.probes.domain import DomainState, OwnReads, judge
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.vdsm.client.answers import DomainVitals

NOW = Instant(1000.0)
LATE_SECONDS = 11.0
READS = OwnReads(NOW - 11.0, "", 0.002)
LATE = OwnReads(NOW - 11.1, "", 0.002)


def vitals(*, valid: bool = True, actual: bool = True, code: int = 0) -> DomainVitals:
    return DomainVitals(code, valid, True, actual, 0.0005, 3.0, 5)


@pytest.mark.parametrize(
    ("own", "told", "state"),
    [
        (READS, vitals(), DomainState(True, "the broker and VDSM read it", 0.002, 0.0005)),
        (READS, None, DomainState(True, "the broker reads it; VDSM does not tell", 0.002)),
        (
            READS,
            vitals(valid=False, actual=False),
            DomainState(True, "the broker reads it; VDSM has not looked yet", 0.002, 0.0005),
        ),
        (
            READS,
            vitals(valid=False, code=358),
            DomainState(False, "the broker reads it, but VDSM does not (code 358)", 0.002, 0.0005),
        ),
        (
            LATE,
            vitals(),
            DomainState(False, "the status blocks are not read in time", None, 0.0005),
        ),
        (OwnReads(NOW - 60.0, "read: EIO"), None, DomainState(False, "read: EIO")),
        (OwnReads(None, "read: EIO"), None, DomainState(False, "read: EIO")),
    ],
)
def test_who_reaches_it(own: OwnReads, told: Optional[DomainVitals], state: DomainState) -> None:
    assert judge(own, told, NOW, LATE_SECONDS) == state


def test_a_problem_of_a_moment_is_none() -> None:
    """One read that failed, with a good one just before."""
    own = OwnReads(NOW - 2.0, "read: EIO", 0.002)
    assert judge(own, vitals(), NOW, LATE_SECONDS).accessible


def test_before_the_first_read_nothing_is_known() -> None:
    with pytest.raises(EnvironmentFault, match="not been read yet"):
        judge(OwnReads(None), vitals(), NOW, LATE_SECONDS)
