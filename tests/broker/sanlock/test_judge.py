# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.broker.sanlock.judge import (
    LOOK_SECONDS,
    QUICK_SECONDS,
    Distance,
    OwnerWatch,
    OwnRenewals,
    SanlockJudgement,
)
from ha_agent.broker.sanlock.place import Leader
from ha_agent.broker.sanlock.port import HostSight, Look
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.instant import Instant

TIMES = SanlockTimes(2, 10)


def leader(held: bool = True, epoch: int = 7) -> Leader:
    return Leader(512, 1, 3, epoch, "ha-agent", "vm", held)


def sight(flag: str, generation: int = 3, timestamp: int = 100, io_timeout: int = 2) -> HostSight:
    return HostSight(1, generation, timestamp, io_timeout, flag)


def look(owner: Optional[HostSight], found: Optional[Leader]) -> Look:
    hosts = {2: HostSight(2, 1, 50, 2, "LIVE")}
    if owner is not None:
        hosts[1] = owner
    return Look(True, hosts, None, found)


@pytest.mark.parametrize(
    ("owner", "held", "state"),
    [
        (sight("LIVE"), False, "free"),
        (sight("LIVE"), True, "held"),
        (sight("FAIL"), True, "held"),
        (sight("UNKNOWN"), True, "held"),
        (sight("DEAD"), True, "expired"),
        (sight("FREE"), True, "expired"),
        (sight("LIVE", generation=4), True, "expired"),
        (sight("DEAD", generation=2), True, "expired"),
        (None, True, "expired"),
    ],
)
def test_the_table(owner: Optional[HostSight], held: bool, state: str) -> None:
    watch = OwnerWatch(TIMES)
    watch.saw(look(owner, leader(held)), Instant(10.0))
    assert watch.judge().state == state
    assert watch.judge().since == Instant(10.0)


def test_nothing_is_known_before_storage_was_read_and_the_daemon_knows_hosts() -> None:
    watch = OwnerWatch(TIMES)
    assert watch.judge().state == "unknown"
    watch.saw(look(sight("LIVE"), None), Instant(1.0))
    assert watch.judge().state == "unknown"
    watch.saw(Look(True, {}, None, leader()), Instant(2.0))
    assert watch.judge().state == "unknown"
    watch.saw(look(sight("LIVE"), leader()), Instant(3.0))
    assert watch.judge().state == "held"
    watch.forget()
    assert watch.judge() == SanlockJudgement("unknown")


def test_the_wait_begins_anew_with_each_renewal_by_the_owners_own_io_timeout() -> None:
    watch = OwnerWatch(TIMES)
    watch.saw(look(sight("LIVE"), leader()), Instant(10.0))
    watch.saw(look(sight("LIVE"), None), Instant(12.0))
    assert watch.judge().expires_at == Instant(10.0) + 26
    watch.saw(look(sight("LIVE", timestamp=104), None), Instant(14.0))
    assert watch.judge().expires_at == Instant(14.0) + 26
    watch.saw(look(sight("LIVE", timestamp=108, io_timeout=5), None), Instant(18.0))
    assert watch.judge().expires_at == Instant(18.0) + 50


def test_since_is_when_it_became_so() -> None:
    watch = OwnerWatch(TIMES)
    watch.saw(look(sight("LIVE"), leader()), Instant(10.0))
    watch.saw(look(sight("DEAD"), leader()), Instant(40.0))
    watch.saw(look(sight("DEAD"), leader()), Instant(41.0))
    assert watch.judge().since == Instant(40.0)
    watch.saw(look(sight("LIVE"), leader(held=False, epoch=8)), Instant(50.0))
    assert watch.judge().since == Instant(50.0)


def test_a_lease_is_looked_at_more_often_when_it_is_about_to_expire() -> None:
    held = SanlockJudgement("held", leader(), Instant(0.0), expires_at=Instant(30.0))
    assert held.pause_seconds(Instant(10.0), 0.4) == LOOK_SECONDS
    assert held.pause_seconds(Instant(28.5), 0.4) == QUICK_SECONDS
    assert held.pause_seconds(Instant(31.0), 0.4) == QUICK_SECONDS
    assert SanlockJudgement("free").pause_seconds(Instant(0.0), 0.4) == 0.4


def own(timestamp: int, generation: int = 1) -> HostSight:
    return HostSight(2, generation, timestamp, 2, "LIVE")


def test_a_renewal_counts_from_the_look_before_the_one_that_showed_it() -> None:
    renewals = OwnRenewals()
    renewals.saw(own(100), Instant(1000.0), False)
    assert renewals.sight is None  # nobody knows how old it is
    renewals.saw(own(100), Instant(1001.0), False)
    assert renewals.sight is None
    renewals.saw(own(104), Instant(1002.0), False)
    assert renewals.sight == Instant(1001.0)
    renewals.saw(own(104), Instant(1003.0), True)
    assert renewals.sight == Instant(1001.0)


def test_a_read_back_that_took_long_does_not_count_from_when_it_came() -> None:
    renewals = OwnRenewals()
    renewals.saw(own(100), Instant(1000.0), False)
    renewals.saw(own(104), Instant(1001.0), False)
    assert renewals.sight == Instant(1000.0)
    renewals.saw(own(104), Instant(1012.0), True)
    renewals.saw(own(108), Instant(1013.0), True)
    assert renewals.sight == Instant(1004.0)


def test_while_nothing_is_owned_a_clock_that_stood_still_is_followed() -> None:
    renewals = OwnRenewals()
    renewals.saw(own(100), Instant(1000.0), False)
    renewals.saw(own(104), Instant(1001.0), False)
    renewals.saw(own(104), Instant(2000.0), False)  # suspended, and the daemon's clock with it
    renewals.saw(own(108), Instant(2001.0), False)
    assert renewals.sight == Instant(2000.0)


def test_a_membership_that_is_gone_or_new_has_no_renewals_yet() -> None:
    renewals = OwnRenewals()
    renewals.saw(own(100), Instant(1000.0), False)
    renewals.saw(own(104), Instant(1001.0), False)
    renewals.saw(own(108, generation=2), Instant(1002.0), False)
    assert renewals.sight is None
    renewals.saw(own(112, generation=2), Instant(1003.0), False)
    assert renewals.sight == Instant(1002.0)
    renewals.saw(None, Instant(1004.0), False)
    assert renewals.sight is None


def test_a_broker_that_starts_anew_goes_on_from_the_distance_that_was_in_force() -> None:
    kept: list[Distance] = []
    renewals = OwnRenewals(None, kept.append)
    renewals.saw(own(100), Instant(1000.0), False)
    renewals.saw(own(104), Instant(1001.0), False)
    renewals.saw(own(104), Instant(1005.0), True)
    renewals.saw(own(108), Instant(1006.0), True)  # no nearer than before
    assert kept == [Distance(1, Instant(896.0))]
    # 112 was read back while nobody looked; 104 + 896 = 1000 was the sight of 104.
    anew = OwnRenewals(kept[-1], kept.append)
    anew.saw(own(112), Instant(1011.0), False)
    assert anew.sight == Instant(1008.0)
    anew.saw(own(112), Instant(1016.0), True)
    anew.saw(own(116), Instant(1017.0), True)  # its read-back took long
    assert anew.sight == Instant(1012.0)
    assert len(kept) == 1


def test_the_distance_of_another_membership_is_not_gone_by() -> None:
    renewals = OwnRenewals(Distance(1, Instant(896.0)))
    renewals.saw(own(112, generation=2), Instant(1011.0), False)
    assert renewals.sight is None
