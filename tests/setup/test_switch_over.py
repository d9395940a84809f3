# SPDX-License-Identifier: Apache-2.0
"""The switch of units, either way: never both kinds, never by an alias."""

from __future__ import annotations

import pytest

from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS
from ha_agent.setup.step import SetupFailed
from ha_agent.setup.switch_over import WATCH_SECONDS, SeeItWatch, SwitchToOurs, SwitchToTheirs
from tests.broker.store_world import JumpingClock
from tests.setup.upgrade_world import Units


def silent(_line: str) -> None:
    """Show nothing."""


async def test_a_rerun_does_not_stop_ours_by_the_old_name() -> None:
    units = Units()
    step = SwitchToOurs(units)
    await step.do(silent)
    units.log.clear()
    units.running.discard("ha-agent.service")
    assert not (await step.look()).done
    await step.do(silent)
    assert [line for line in units.log if "ovirt" in line or line.startswith("stop")] == []
    assert (await step.look()).done


async def test_a_unit_that_only_a_reboot_would_start_is_retired_too() -> None:
    units = Units(running=set())
    step = SwitchToOurs(units)
    assert not (await step.look()).done
    await step.do(silent)
    assert units.enabled == set(OUR_UNITS)


async def test_the_way_back_stops_the_agent_first() -> None:
    units = Units()
    await SwitchToOurs(units).do(silent)
    units.log.clear()
    await SwitchToTheirs(units).do(silent)
    assert units.log[:3] == [f"stop {name}" for name in (OUR_UNITS[2], OUR_UNITS[0], OUR_UNITS[1])]
    assert not units.running & {*OUR_UNITS, *PREDECESSOR_UNITS}
    assert (await SwitchToTheirs(units).look()).done


class Late:
    """An agent that watches after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    async def look(self) -> tuple[bool, str]:
        self.looks -= 1
        return self.looks <= 0, f"{self.looks} looks to go"


async def test_it_waits_until_the_agent_watches() -> None:
    said: list[str] = []
    assert await SeeItWatch(Late(3), JumpingClock()).do(said.append) == "0 looks to go"
    assert said == ["2 looks to go", "1 looks to go"]


async def test_an_agent_that_never_watches_is_told_with_what_to_do() -> None:
    clock = JumpingClock()
    with pytest.raises(SetupFailed, match="`ha-agent downgrade` goes back"):
        await SeeItWatch(Late(10_000), clock).do(silent)
    assert clock.now().boottime_seconds >= WATCH_SECONDS
