# SPDX-License-Identifier: Apache-2.0
"""Hosts of 3.5 and of 4.x become ours, from end to end, and killed everywhere."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from typing import Callable

import pytest

from ha_agent.broker.lease.rules import decode
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.setup.services import OUR_UNITS
from ha_agent.setup.upgrade.backup import newest_backup
from ha_agent.setup.upgrade.predecessor_host import parse_conf
from tests.broker.store_world import (
    VM,
    Host,
    Killed,
    Volume,
    World,
)
from tests.setup.upgrade_hosts import CONF_FILE, conf, named, of_4x, of_35, shared
from tests.setup.upgrade_world import (
    BLANK,
    ETC,
    Machine,
    make_35,
    shared_files,
)


async def test_a_4x_host_becomes_ours(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    before = machine.tree()
    done = await machine.upgrade()
    assert done == ("backup", "lease", "shared-configuration", "local-configuration", "switch")
    after = machine.tree()
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {CONF_FILE}
    lines = before[CONF_FILE] + b"ha_agent_lease_backend=lockfile\n"
    assert after[CONF_FILE] == lines
    assert (machine.root / CONF_FILE).stat().st_mode & 0o777 == 0o640
    assert shared(machine.world)["hosted-engine.conf"].endswith(
        b"ha_agent_lease_backend=lockfile\n"
    )
    kept = {name: data for name, data in shared(machine.world).items() if "engine" not in name}
    assert kept == {name: data for name, data in shared_files().items() if "engine" not in name}
    lease = machine.world.folder / "ha_agent" / f"{VM}.lease"
    assert decode(lease.read_bytes()[:4096], "lease").state == "free"
    assert machine.units.running == machine.units.enabled == set(OUR_UNITS)
    assert await machine.upgrade() == ()


async def test_the_switch_stops_theirs_before_ours_start(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    await machine.upgrade()
    assert machine.units.log == [
        "stop ovirt-ha-agent.service",
        "stop ovirt-ha-broker.service",
        "disable ovirt-ha-agent.service",
        "disable ovirt-ha-broker.service",
        *(f"enable {name}" for name in OUR_UNITS),
        "start ha-broker.socket",
        "start ha-broker.service",
        "start ha-agent.service",
    ]
    switch = machine.points.index("stop ovirt-ha-agent.service")
    assert machine.points.index("after write_conf_volume") < switch
    # Only systemd is asked from then on: nothing that could hang keeps the VM without an agent.
    assert machine.points[switch:] == machine.units.log


async def test_a_35_host_becomes_ours(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    vm_conf = (machine.root / ETC / "vm.conf").read_bytes()
    await machine.upgrade()
    values = conf(machine)
    assert values["spUUID"] == BLANK
    assert values["conf"] == "/var/run/ovirt-hosted-engine-ha/vm.conf"
    assert values["service_start_time"] == "0"
    heci = next(one for one in machine.world.volumes.values() if one.disk_type == "HECI")
    assert (values["conf_volume_UUID"], heci.capacity_bytes) == (heci.path.name, 1 << 30)
    files = shared(machine.world)
    assert files["vm.conf"] == vm_conf
    assert files["fhanswers.conf"] == (machine.root / ETC / "answers.conf").read_bytes()
    assert parse_conf(files["hosted-engine.conf"], "shared").values == values
    verdict = await Host(machine.world).writer().verify()
    assert verdict.is_good
    document = verdict.copies[0].document
    assert document is not None
    vm = parse_ovf(document, where="test", expect_uuid=VM)
    assert (vm.disks[0].size_gib, vm.memory_mib, vm.vcpus) == (3, 4096, 2)
    assert vm.engine_xml
    # NFSv3 keeps no locks for a dead client, so 3.5's nfs3 gets sanlock.
    assert values["ha_agent_lease_backend"] == "sanlock"
    assert await machine.upgrade() == ()


async def test_a_dry_run_changes_nothing_and_shows_the_plan(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    before, volumes = machine.tree(), {v.path: v.path.read_bytes() for v in small(machine.world)}
    plan = await machine.upgrade(dry_run=True)
    assert plan[:2] == ("backup", "lease")
    assert (machine.tree(), machine.points) == (before, [])
    assert not machine.state.exists()
    assert {path: path.read_bytes() for path in volumes} == volumes
    text = "\n".join(machine.said)
    assert "reads: " in text
    assert "global maintenance" in text


def small(world: World) -> list[Volume]:
    return [one for one in world.volumes.values() if one.capacity_bytes <= 1 << 20]


@pytest.mark.parametrize("make", [of_4x, of_35])
async def test_killed_at_any_point_a_rerun_ends_as_if_nothing_had_been(
    make: Callable[[Path], Machine], tmp_path: Path
) -> None:
    model = make(tmp_path / "model")
    await model.upgrade()
    number = 0
    while True:
        machine = make(tmp_path / f"run{number}")
        before = machine.tree()
        machine.kill_at = number
        try:
            await machine.upgrade()
        except Killed:
            pass
        else:
            break
        number += 1
        machine.kill_at = -1
        backup = newest_backup(machine.setup_dir)
        assert backup is not None
        assert backup.file(CONF_FILE) == before[CONF_FILE]
        await machine.upgrade()
        assert named(machine) == named(model)
        assert machine.units.running == machine.units.enabled == set(OUR_UNITS)
        assert (await Host(machine.world).writer().verify()).is_good
        assert len(machine.world.volumes) == len(model.world.volumes)
        rmtree(tmp_path / f"run{number - 1}")  # 3.5's volumes are large
    assert number == len(model.points)


async def test_the_second_host_takes_what_the_first_one_made(tmp_path: Path) -> None:
    first = of_35(tmp_path)
    await first.upgrade()
    second = Machine(tmp_path, first.world, host_id=2)
    make_35(second.root, 2)
    second.mount_options = "rw,vers=4.2"  # by itself it would decide for a lock file
    count = len(first.world.volumes)
    done = await second.upgrade()
    assert done == ("backup", "local-configuration", "switch")
    assert len(first.world.volumes) == count
    values = conf(second)
    assert values.pop("host_id") == "2"
    ours = {**conf(first)}
    assert ours.pop("host_id") == "1"
    assert values == ours
