# SPDX-License-Identifier: Apache-2.0
"""A host that is in local maintenance stays there when it changes hands, and no other does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent import maintenance_file
from ha_agent.errors import BadInput
from ha_agent.maintenance_file import LocalMaintenance
from ha_agent.setup.services import OUR_UNITS
from ha_agent.setup.step import SetupFailed
from ha_agent.setup.upgrade.kept_maintenance import ForgetOldMaintenance, HandMaintenanceBack
from ha_agent.setup.upgrade.predecessor_host import HA_CONF
from tests.setup.upgrade_world import Units, put

STOPPED = Units(running=set(), enabled=set())
IN, OUT = LocalMaintenance(by_operator=True), LocalMaintenance()


def silent(_line: str) -> None:
    """Say nothing."""


def ours(folder: Path) -> Path:
    return folder / maintenance_file.FILE_NAME


async def test_ours_from_before_is_removed_before_ours_are_at_work(tmp_path: Path) -> None:
    units = Units()
    step = ForgetOldMaintenance(tmp_path, units)
    assert (await step.look()).done
    maintenance_file.write(ours(tmp_path), IN)
    assert not (await step.look()).done
    await step.do(silent)
    assert (await step.look()).done
    assert not ours(tmp_path).exists()


@pytest.mark.parametrize("at_work", [{"running"}, {"enabled"}])
async def test_ours_of_now_stays(at_work: set[str], tmp_path: Path) -> None:
    """As when an upgrade is run again after an operator has set it."""
    units = Units(running=set(), enabled=set())
    for kind in at_work:
        getattr(units, kind).add(OUR_UNITS[0])
    maintenance_file.write(ours(tmp_path), IN)
    assert (await ForgetOldMaintenance(tmp_path, units).look()).done


@pytest.mark.parametrize("now", [IN, OUT, LocalMaintenance(by_operator=True, until="2026-11-23")])
@pytest.mark.parametrize("then", ["", "local_maintenance=True\nvdsm=1\n"])
async def test_what_ours_says_is_handed_back(
    now: LocalMaintenance, then: str, tmp_path: Path
) -> None:
    theirs = tmp_path / HA_CONF
    theirs.parent.mkdir(parents=True)
    if then:
        put(tmp_path, HA_CONF, then)
    maintenance_file.write(ours(tmp_path), now)
    step = HandMaintenanceBack(tmp_path, tmp_path, STOPPED)
    said: list[str] = []
    assert not (await step.look()).done
    await step.do(said.append)
    assert (await step.look()).done
    found = maintenance_file.read(theirs)
    assert (found.by_engine, found.by_operator) == (now.by_engine, now.by_operator)
    assert found.others == ((("vdsm", "1"),) if then else ())
    assert bool(said) is bool(now.until)
    if then:
        assert theirs.stat().st_mode & 0o777 == 0o640


async def test_a_kill_in_between_is_gone_on_with(tmp_path: Path) -> None:
    put(tmp_path, HA_CONF, maintenance_file.form(IN))
    maintenance_file.write(ours(tmp_path), IN)
    step = HandMaintenanceBack(tmp_path, tmp_path, STOPPED)
    await step.do(silent)
    assert (await step.look()).done


async def test_where_theirs_were_never_stopped_theirs_counts(tmp_path: Path) -> None:
    put(tmp_path, HA_CONF, maintenance_file.form(IN))
    maintenance_file.write(ours(tmp_path), OUT)
    step = HandMaintenanceBack(tmp_path, tmp_path, Units())
    assert not (await step.look()).done
    await step.do(silent)
    assert maintenance_file.read(tmp_path / HA_CONF).by_operator
    assert (await step.look()).done


@pytest.mark.parametrize("bad", ["ours", "theirs"])
async def test_a_file_that_can_not_be_used_is_told_first(bad: str, tmp_path: Path) -> None:
    put(tmp_path, HA_CONF, "a\n" if bad == "theirs" else "")
    ours(tmp_path).write_text("a\n" if bad == "ours" else "")
    with pytest.raises(BadInput, match=r"ha\.conf:1"):
        await HandMaintenanceBack(tmp_path, tmp_path, STOPPED).look()


async def test_no_folder_for_it(tmp_path: Path) -> None:
    maintenance_file.write(ours(tmp_path), IN)
    with pytest.raises(SetupFailed, match="No such file"):
        await HandMaintenanceBack(tmp_path, tmp_path, STOPPED).do(silent)
    assert ours(tmp_path).exists()
