# SPDX-License-Identifier: Apache-2.0
"""The switch of units, either way: never both kinds, never by an alias."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.setup.upgrade.backup import UnitEntry
from ha_agent.setup.upgrade.switch_over import (
    WATCH_SECONDS,
    SeeItWatch,
    StartTheirs,
    SwitchToOurs,
    SwitchToTheirs,
)
from tests.broker.store_world import JumpingClock
from tests.setup.upgrade_world import Units

NOWHERE = Path("/nonexistent")
OWN = "etc/systemd/system"


def silent(_line: str) -> None:
    """Show nothing."""


async def test_a_rerun_does_not_stop_ours_by_the_old_name() -> None:
    units = Units()
    step = SwitchToOurs(units, NOWHERE)
    await step.do(silent)
    units.log.clear()
    units.running.discard("ha-agent.service")
    assert not (await step.look()).done
    await step.do(silent)
    assert [line for line in units.log if "ovirt" in line or line.startswith("stop")] == []
    assert (await step.look()).done


async def test_ours_that_ran_beside_theirs_are_started_anew() -> None:
    """As by a preset of the package; what they run with is from before the upgrade."""
    units = Units(running={*OUR_UNITS, "ovirt-ha-broker.service"})
    await SwitchToOurs(units, NOWHERE).do(silent)
    assert units.running == set(OUR_UNITS)
    for name in OUR_UNITS:
        assert units.log.index(f"stop {name}") < units.log.index(f"start {name}")


async def test_a_unit_that_only_a_reboot_would_start_is_retired_too() -> None:
    units = Units(running=set())
    step = SwitchToOurs(units, NOWHERE)
    assert not (await step.look()).done
    await step.do(silent)
    assert units.enabled == set(OUR_UNITS)


async def test_the_way_back_stops_the_agent_first() -> None:
    units = Units()
    await SwitchToOurs(units, NOWHERE).do(silent)
    units.log.clear()
    await SwitchToTheirs(units).do(silent)
    assert units.log[:3] == [f"stop {name}" for name in (OUR_UNITS[2], OUR_UNITS[0], OUR_UNITS[1])]
    assert not units.running & {*OUR_UNITS, *PREDECESSOR_UNITS}
    assert (await SwitchToTheirs(units).look()).done


@pytest.mark.parametrize("verb", ["stop ovirt-ha-agent", "enable ha-agent", "start ha-broker"])
async def test_a_switch_that_stops_half_way_says_what_that_means(verb: str) -> None:
    units = Units(fault=f"{verb}.service")
    step = SwitchToOurs(units, NOWHERE)
    with pytest.raises(SetupFailed, match=r"may be without an agent.*`ha-agent downgrade`"):
        await step.do(silent)
    units.fault = ""
    await step.do(silent)
    assert (await step.look()).done


async def test_a_way_back_that_stops_half_way_says_so_too(tmp_path: Path) -> None:
    units = Units(running=set(), enabled=set(), fault="start ovirt-ha-agent.service")
    kept = {name: UnitEntry(True, True) for name in PREDECESSOR_UNITS}
    with pytest.raises(SetupFailed, match="may be without an agent"):
        await StartTheirs(units, kept, tmp_path).do(silent)


@pytest.mark.parametrize("kind", ["own file", "masked"])
async def test_a_place_that_our_alias_can_not_have_is_told_before_theirs_stop(
    kind: str, tmp_path: Path
) -> None:
    """`systemctl enable` would refuse it when theirs are stopped."""
    path = tmp_path / OWN / "ovirt-ha-broker.service"
    path.parent.mkdir(parents=True)
    if kind == "masked":
        path.symlink_to("/dev/null")
    else:
        path.write_text("[Service]\n")
    with pytest.raises(SetupRefused, match="is in the way"):
        await SwitchToOurs(Units(), tmp_path).look()


async def test_our_own_alias_is_not_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / OWN / "ovirt-ha-agent.service"
    path.parent.mkdir(parents=True)
    path.symlink_to("/usr/lib/systemd/system/ha-agent.service")
    await SwitchToOurs(Units(), tmp_path).look()


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
