# SPDX-License-Identifier: Apache-2.0
"""A host goes back to its predecessor, byte for byte, wherever it is killed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ha_agent import maintenance_file
from ha_agent.errors import BadInput, HaAgentError
from ha_agent.setup.journal import open_journal
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS
from ha_agent.setup.step import SetupRefused
from ha_agent.setup.upgrade.backup import newest_backup
from ha_agent.setup.upgrade.downgrade import Downgrade, run_downgrade
from ha_agent.setup.upgrade.predecessor_host import HA_CONF
from tests.broker.store_world import FIRST, SECOND, Killed, ovf_of
from tests.setup.upgrade_hosts import of_4x
from tests.setup.upgrade_world import ETC, Machine, make_4x, make_storage, put, shared_files

CONF_FILE = f"{ETC}/hosted-engine.conf"


async def upgraded(folder: Path) -> tuple[Machine, dict[str, bytes]]:
    """Return a 4.x host that has become ours, and its files before."""
    world = make_storage(folder / "domain", conf=shared_files())
    for volume in (FIRST, SECOND):
        world.write(volume, ovf_of(4096))
    machine = Machine(folder, world)
    make_4x(machine.root)
    before = machine.tree()
    await machine.upgrade()
    machine.points.clear()
    machine.units.log.clear()
    return machine, before


async def downgrade(
    machine: Machine,
    *,
    force: Sequence[str] = (),
    keep: Sequence[str] = (),
    dry_run: bool = False,
) -> tuple[str, ...]:
    backup = newest_backup(machine.setup_dir)
    assert backup is not None
    name = backup.folder.name
    with open_journal(machine.state, "downgrade", name, write=not dry_run) as journal:
        down = Downgrade(
            machine.root, backup, machine.units, machine.clock, journal, force=force, keep=keep
        )
        return await run_downgrade(down, say=machine.said.append, dry_run=dry_run)


async def test_it_goes_back_byte_for_byte(tmp_path: Path) -> None:
    machine, before = await upgraded(tmp_path)
    done = await downgrade(machine)
    assert done == ("switch-back", "files", "start-predecessor", "restored")
    assert machine.tree() == before
    assert (machine.root / CONF_FILE).stat().st_mode & 0o777 == 0o640
    assert machine.units.running == machine.units.enabled == set(PREDECESSOR_UNITS)
    assert machine.units.log == [
        "stop ha-agent.service",
        "stop ha-broker.socket",
        "stop ha-broker.service",
        "disable ha-agent.service",
        "disable ha-broker.socket",
        "disable ha-broker.service",
        "enable ovirt-ha-broker.service",
        "enable ovirt-ha-agent.service",
        "start ovirt-ha-broker.service",
        "start ovirt-ha-agent.service",
    ]
    assert newest_backup(machine.setup_dir) is None


async def test_and_forward_and_back_again(tmp_path: Path) -> None:
    machine, before = await upgraded(tmp_path)
    await downgrade(machine)
    # What is shared was left: only this host is put back.
    assert await machine.upgrade() == ("backup", "local-configuration", "switch")
    assert machine.units.running == set(OUR_UNITS)
    await downgrade(machine)
    assert machine.tree() == before


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    machine, _ = await upgraded(tmp_path)
    ours = machine.tree()
    plan = await downgrade(machine, dry_run=True)
    assert plan == ("switch-back", "files", "start-predecessor", "restored")
    assert (machine.tree(), machine.units.log) == (ours, [])
    assert any("global maintenance" in line for line in machine.said)


async def test_what_somebody_else_changed_is_asked_about(tmp_path: Path) -> None:
    machine, before = await upgraded(tmp_path)
    put(machine.root, CONF_FILE, "vmid=changed by hand\n")
    put(machine.root, "etc/ovirt-hosted-engine-ha/agent.conf", "[score]\n")
    (machine.root / ETC / "answers.conf").unlink()
    names = (CONF_FILE, "etc/ovirt-hosted-engine-ha/agent.conf", f"{ETC}/answers.conf")
    with pytest.raises(SetupRefused) as error:
        await downgrade(machine)
    for name in names:
        assert f"--force {machine.root / name} or --keep {machine.root / name}" in str(error.value)
    assert machine.units.log == []
    await downgrade(
        machine, force=[str(machine.root / CONF_FILE), names[1]], keep=[f"{ETC}/answers.conf"]
    )
    expected = {name: data for name, data in before.items() if name != names[2]}
    assert machine.tree() == expected


async def test_maintenance_since_the_upgrade_stays(tmp_path: Path) -> None:
    machine, _ = await upgraded(tmp_path)
    ha_conf = "var/lib/ovirt-hosted-engine-ha/ha.conf"
    put(machine.root, ha_conf, "local_maintenance=True\n")
    await downgrade(machine)
    assert (machine.root / ha_conf).read_text() == "local_maintenance=True\n"


async def test_maintenance_goes_there_and_back_and_there_again(tmp_path: Path) -> None:
    machine, _ = await upgraded(tmp_path)
    ours, theirs = machine.state / "ha.conf", machine.root / HA_CONF
    maintenance_file.write(ours, maintenance_file.LocalMaintenance(by_operator=True))
    assert await machine.upgrade() == (), "it is not old: ours are at work"
    await downgrade(machine)
    assert maintenance_file.read(theirs).by_operator
    maintenance_file.write(ours, maintenance_file.LocalMaintenance())  # it was left behind
    await machine.upgrade()
    assert maintenance_file.take_over(ours, theirs)
    assert maintenance_file.read(ours).by_operator


async def test_a_name_that_the_backup_does_not_have(tmp_path: Path) -> None:
    machine, _ = await upgraded(tmp_path)
    with pytest.raises(BadInput, match="is none of"):
        await downgrade(machine, force=["/etc/passwd"])


async def test_a_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    """As where a tool for configuration keeps all files in a folder of its own."""
    world = make_storage(tmp_path / "domain", conf=shared_files())
    for volume in (FIRST, SECOND):
        world.write(volume, ovf_of(4096))
    machine = Machine(tmp_path, world)
    make_4x(machine.root)
    path, target = machine.root / CONF_FILE, tmp_path / "managed"
    path.rename(target)
    path.symlink_to(target)
    before = target.read_bytes()
    await machine.upgrade()
    assert path.is_symlink()
    assert b"ha_agent_lease_backend" in target.read_bytes()
    await downgrade(machine)
    assert path.is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (before, 0o640)


async def test_units_that_a_person_had_stopped_before_are_told_of(tmp_path: Path) -> None:
    """Put back as they were, they leave the host without an agent."""
    machine = of_4x(tmp_path)
    machine.units.running.clear()
    await machine.upgrade()
    await downgrade(machine)
    assert machine.units.running == set()
    assert "note: ovirt-ha-agent.service did not run" in "\n".join(machine.said)


async def test_a_package_that_is_gone(tmp_path: Path) -> None:
    machine, _ = await upgraded(tmp_path)
    # Our aliases go on standing for its units, which must not be taken for them.
    machine.units.installed -= set(PREDECESSOR_UNITS)
    for name in PREDECESSOR_UNITS:
        (machine.root / "usr/lib/systemd/system" / name).unlink()
    with pytest.raises(SetupRefused, match="install the predecessor's package again"):
        await downgrade(machine)
    assert machine.units.log == []


async def test_a_damaged_backup_is_not_put_back(tmp_path: Path) -> None:
    machine, _ = await upgraded(tmp_path)
    backup = newest_backup(machine.setup_dir)
    assert backup is not None
    entry = next(one for one in backup.manifest.files if one.path == CONF_FILE)
    (backup.folder / entry.copy).write_bytes(b"rot")
    ours = (machine.root / CONF_FILE).read_bytes()
    with pytest.raises(HaAgentError, match="is not what its manifest says"):
        await downgrade(machine)
    assert (machine.root / CONF_FILE).read_bytes() == ours
    assert machine.units.log == []


async def test_killed_at_any_point_a_rerun_goes_back(tmp_path: Path) -> None:
    number = 0
    while True:
        machine, before = await upgraded(tmp_path / f"run{number}")
        machine.kill_at = number
        try:
            await downgrade(machine)
        except Killed:
            pass
        else:
            break
        number += 1
        machine.kill_at = -1
        await downgrade(machine)
        assert machine.tree() == before
        assert machine.units.running == machine.units.enabled == set(PREDECESSOR_UNITS)
    assert number == 10


async def test_an_upgrade_that_was_cut_off_goes_back_too(tmp_path: Path) -> None:
    world = make_storage(tmp_path / "domain", conf=shared_files())
    for volume in (FIRST, SECOND):
        world.write(volume, ovf_of(4096))
    number = 0
    while True:
        machine = Machine(tmp_path / f"run{number}", world)
        os.makedirs(machine.root)
        make_4x(machine.root)
        before = machine.tree()
        machine.kill_at = number
        try:
            await machine.upgrade()
        except Killed:
            machine.kill_at = -1
        else:
            break
        if newest_backup(machine.setup_dir) is not None:
            await downgrade(machine)
        assert machine.tree() == before
        assert machine.units.running == machine.units.enabled == set(PREDECESSOR_UNITS)
        number += 1
    assert number > 8
