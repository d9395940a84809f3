# SPDX-License-Identifier: Apache-2.0
"""Which kind of host it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ha_agent.errors import BadInput, HaAgentError
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS, UnitState
from ha_agent.setup.upgrade.backup import newest_backup
from ha_agent.setup.upgrade.predecessor_host import HostKind, detect, read_files
from tests.setup.upgrade_hosts import CONF_FILE, of_4x
from tests.setup.upgrade_world import (
    BLANK,
    conf_4x,
    make_4x,
    make_35,
    put,
)


async def test_a_failing_start_is_told_and_gone_on_with(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    machine.units.fault = "start ha-agent.service"
    with pytest.raises(HaAgentError, match=re.escape("start ha-agent.service: refused")):
        await machine.upgrade()
    units = await machine.units.states((*PREDECESSOR_UNITS, *OUR_UNITS))
    begun = newest_backup(machine.setup_dir)
    assert begun is not None
    found = detect(
        read_files(machine.root), units, root=machine.root, upgrade_begun=str(begun.folder)
    )
    # All our units are enabled: what is left to do a re-run, or systemd, does.
    assert found.kind is HostKind.OURS
    machine.units.fault = ""
    assert await machine.upgrade() == ("switch",)


def unit(name: str, *, real: str = "", running: bool = True, enabled: bool = True) -> UnitState:
    return UnitState(name, real or name, True, running, enabled)


THEIRS = {name: unit(name) for name in PREDECESSOR_UNITS}
NO_OURS = {name: unit(name, running=False, enabled=False) for name in OUR_UNITS}
OURS = {
    **{name: unit(name) for name in OUR_UNITS},
    **{name: unit(name, real=name[6:]) for name in PREDECESSOR_UNITS},
}


def kind_of(root: Path, units: dict[str, UnitState], begun: str = "") -> HostKind:
    found = detect(read_files(root), units, root=root, upgrade_begun=begun)
    assert found.evidence
    return found.kind


def test_each_kind_by_its_files_and_units(tmp_path: Path) -> None:
    assert kind_of(tmp_path, NO_OURS) is HostKind.NOT_A_HOST
    make_35(tmp_path)
    assert kind_of(tmp_path, {**THEIRS, **NO_OURS}) is HostKind.OLD
    assert kind_of(tmp_path, {**THEIRS, **NO_OURS}, "backup-x") is HostKind.HALF_WAY
    make_4x(tmp_path)
    assert kind_of(tmp_path, {**THEIRS, **NO_OURS}) is HostKind.PREDECESSOR
    put(tmp_path, CONF_FILE, conf_4x() + "ha_agent_lease_backend=lockfile\n")
    assert kind_of(tmp_path, OURS) is HostKind.OURS
    assert kind_of(tmp_path, {**THEIRS, **NO_OURS}, "backup-x") is HostKind.HALF_WAY
    put(tmp_path, CONF_FILE, "fqdn=engine.example.com\n")
    assert kind_of(tmp_path, NO_OURS) is HostKind.NOT_A_HOST


def test_a_pool_of_its_own_is_old_whatever_else_is_there(tmp_path: Path) -> None:
    make_4x(tmp_path)
    text = conf_4x().replace(f"spUUID={BLANK}", "spUUID=9e3a1d52-54a1-4b0e-8f5b-0d6c5f0c2f11")
    put(tmp_path, CONF_FILE, text)
    assert kind_of(tmp_path, {**THEIRS, **NO_OURS}) is HostKind.OLD


def test_a_host_that_deploy_made_is_ours_without_our_key(tmp_path: Path) -> None:
    make_4x(tmp_path)
    assert kind_of(tmp_path, OURS) is HostKind.OURS


def test_our_keys_alone_do_not_make_a_host_ours(tmp_path: Path) -> None:
    """As of one that the engine has added to a cluster of ours, with the predecessor's package,
    whoever has stopped its units; a host that deploy has made has only ours."""
    make_4x(tmp_path)
    put(tmp_path, CONF_FILE, conf_4x() + "ha_agent_lease_backend=lockfile\n")
    stopped = {name: unit(name, running=False, enabled=False) for name in PREDECESSOR_UNITS}
    assert kind_of(tmp_path, {**THEIRS, **NO_OURS}) is HostKind.PREDECESSOR
    assert kind_of(tmp_path, {**stopped, **NO_OURS}) is HostKind.PREDECESSOR
    absent = {name: UnitState(name, name, False, False, False) for name in PREDECESSOR_UNITS}
    assert kind_of(tmp_path, {**absent, **NO_OURS}) is HostKind.OURS
    half = {**NO_OURS, OUR_UNITS[0]: unit(OUR_UNITS[0], running=False)}
    assert kind_of(tmp_path, {**stopped, **half}) is HostKind.OURS


@pytest.mark.parametrize("host_id", ["0", "2001", "one", "", "1e3"])
def test_a_host_id_that_is_none(host_id: str, tmp_path: Path) -> None:
    make_4x(tmp_path)
    put(tmp_path, CONF_FILE, conf_4x().replace("host_id=1", f"host_id={host_id}"))
    with pytest.raises(BadInput, match="host_id"):
        kind_of(tmp_path, THEIRS)
