# SPDX-License-Identifier: Apache-2.0
"""What stands in an upgrade's way is said before any change."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.compat.conf_writer import set_keys
from ha_agent.setup.step import SetupRefused
from tests.broker.store_world import (
    DOMAIN,
    FIRST,
    SECOND,
    VM,
    ovf_of,
)
from tests.setup.upgrade_hosts import CONF_FILE, of_4x, refused
from tests.setup.upgrade_world import (
    Machine,
    make_4x,
    make_storage,
    put,
    shared_files,
    write_block,
)


async def test_what_stands_in_the_way_is_said_before_any_change(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    machine.vdsm_is_down = True
    await refused(machine, "VDSM at localhost:54321 does not answer")
    machine.vdsm_is_down = False
    machine.units.installed -= {"ha-broker.socket"}
    await refused(machine, "systemd has no ha-broker.socket")
    machine.units.installed.add("ha-broker.socket")
    write_block(machine.world, 1, "other.example.com")
    await refused(machine, "host id 1 is used by host other.example.com", "h1.example.com")


async def test_storage_of_another_cluster(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    text = (machine.root / CONF_FILE).read_text()
    other = text.replace("metadata_volume_UUID=", "metadata_volume_UUID=ffffffff").replace(
        "ffffffff00000000", "ffffffff"
    )
    put(machine.root, CONF_FILE, other)
    await refused(machine, "another cluster's")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("vmid", f"vmid={VM}", "is of engine VM ffffffff"),
        ("sdUUID", f"sdUUID={DOMAIN}", "on storage domain ffffffff"),
    ],
)
async def test_a_configuration_volume_of_another_cluster(
    name: str, change: str, says: str, tmp_path: Path
) -> None:
    files = shared_files()
    old = files["hosted-engine.conf"].decode()
    files["hosted-engine.conf"] = old.replace(
        change, f"{name}=ffffffff{change[len(name) + 9 :]}"
    ).encode()
    machine = Machine(tmp_path, make_storage(tmp_path / "domain", conf=files))
    for volume in (FIRST, SECOND):
        machine.world.write(volume, ovf_of(4096))
    make_4x(machine.root)
    await refused(machine, says)


@pytest.mark.parametrize(
    "change",
    [
        {"host_id": "2"},
        {"vmid": "ffffffff-0000-4000-8000-000000000001"},
        {"sdUUID": "ffffffff-0000-4000-8000-000000000001"},
    ],
)
async def test_a_backup_from_before_the_host_was_set_up_anew(
    change: dict[str, str], tmp_path: Path
) -> None:
    """It would be gone on with by the old host id."""
    machine = of_4x(tmp_path)
    await machine.upgrade()
    text = (machine.root / CONF_FILE).read_text()
    put(machine.root, CONF_FILE, set_keys(text, change, where="test"))
    before = machine.tree()
    machine.points.clear()
    with pytest.raises(SetupRefused, match="move that away when it is not needed any more"):
        await machine.upgrade()
    assert (machine.tree(), machine.points) == (before, [])
