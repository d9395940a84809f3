# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Optional

import pytest

from ha_agent.broker.lease.storage import HostIdHold
from ha_agent.broker.sanlock.member import Membership, WatchdogCheck
from ha_agent.broker.sanlock.port import Look
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant
from tests.broker.lease_world import FakeFence, HostClock, run_virtual
from tests.broker.sanlock_world import Area, FakeDaemon, FakeSanlock


class Counting(FakeSanlock):
    def __init__(self) -> None:
        super().__init__(FakeDaemon(Area(), 1, "alpha"))
        self.asked = 0
        self.fault: Optional[Exception] = None

    async def join(self, deadline_seconds: float) -> None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        await super().join(deadline_seconds)


def test_joined_and_left() -> None:
    async def scenario() -> None:
        member = Membership(
            FakeSanlock(FakeDaemon(Area(), 1, "alpha")), 1, HostClock(), FakeFence()
        )
        assert not member.hold.held
        await member.join()
        assert "host id 1 is being joined" in member.hold.reason
        member.saw(Look(None))
        assert not member.hold.held
        member.saw(Look(True))
        assert member.hold == HostIdHold(True)
        member.saw(Look(False))
        assert "was left" in member.hold.reason

    run_virtual(scenario())


@pytest.mark.parametrize("fault", [BadInput("host id 251 is above 250"), EnvironmentFault("no")])
def test_why_it_cant_be_joined_is_told_and_it_is_tried_again_later(fault: Exception) -> None:
    async def scenario() -> None:
        sanlock, clock = Counting(), HostClock()
        sanlock.fault = fault
        member = Membership(sanlock, 1, clock, FakeFence())
        await member.join()
        assert member.problem == member.hold.reason == str(fault)
        await member.join()
        assert sanlock.asked == 1
        await clock.sleep(5.0)
        sanlock.fault = None
        await member.join()
        assert sanlock.asked == 2
        assert member.problem == ""

    run_virtual(scenario())


class Telling(FakeSanlock):
    def __init__(self, told: Optional[int]) -> None:
        super().__init__(FakeDaemon(Area(), 1, "alpha"))
        self.told = told

    async def watchdog_fire_seconds(self, deadline_seconds: float) -> Optional[int]:
        return self.told


@pytest.mark.parametrize(
    ("told", "configured", "problem", "refusal"),
    [
        (None, 60, "", ""),
        (60, 60, "", ""),
        (30, 30, "", ""),
        (None, 30, "is 30, but this host's daemon counts with 60", ""),
        (30, 60, "is 60, but this host's daemon counts with 30", ""),
        (10, 60, "is 60, but this host's daemon counts with 10", "must be at least 23"),
    ],
)
def test_the_watchdogs_time_is_checked(
    told: Optional[int], configured: int, problem: str, refusal: str
) -> None:
    async def scenario() -> None:
        check = WatchdogCheck(Telling(told), SanlockTimes(10, configured))
        found = await check.problem()
        assert problem in found
        assert bool(problem) == bool(found)
        assert refusal in check.refusal
        assert bool(refusal) == bool(check.refusal)

    run_virtual(scenario())


def test_it_is_not_joined_while_a_deadline_is_in_force() -> None:
    async def scenario() -> None:
        sanlock, clock, fence = Counting(), HostClock(), FakeFence()
        member = Membership(sanlock, 1, clock, fence)
        fence.arm(Instant(1.0), 7, final=True)
        await member.join()
        assert sanlock.asked == 0
        assert "when the engine VM's deadline is over" in member.hold.reason
        fence.disarm()
        await clock.sleep(5.0)
        await member.join()
        assert sanlock.asked == 1

    run_virtual(scenario())
