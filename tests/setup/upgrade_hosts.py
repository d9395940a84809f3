# SPDX-License-Identifier: Apache-2.0
"""Hosts of 3.5 and of 4.x for the tests of upgrade, and what is looked at afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.errors import HaAgentError
from ha_agent.ovfstore.conf_volume import decode_conf_volume
from ha_agent.setup.upgrade.backup import newest_backup
from ha_agent.setup.upgrade.predecessor_host import parse_conf
from tests.broker.store_world import (
    FIRST,
    SECOND,
    World,
    image_of,
    ovf_of,
)
from tests.setup.upgrade_world import (
    ETC,
    Machine,
    make_4x,
    make_35,
    make_storage,
    shared_files,
    write_block,
)

CONF_FILE = f"{ETC}/hosted-engine.conf"


def of_4x(folder: Path) -> Machine:
    """A 4.x host whose engine has written its OVF."""
    world = make_storage(folder / "domain", conf=shared_files())
    for volume in (FIRST, SECOND):
        world.write(volume, ovf_of(4096))
    machine = Machine(folder, world)
    make_4x(machine.root)
    write_block(world, 1, "h1")
    return machine


def of_35(folder: Path) -> Machine:
    """A 3.5 host: no configuration volume, no OVF_STORE."""
    machine = Machine(folder, make_storage(folder / "domain", conf=None))
    make_35(machine.root)
    machine.mount_options = "rw,vers=4.1"
    return machine


async def refused(machine: Machine, *texts: str) -> None:
    """The upgrade is refused with all of these texts, and nothing at all was changed."""
    before = machine.tree()
    with pytest.raises(HaAgentError) as error:
        await machine.upgrade()
    for text in texts:
        assert text in str(error.value)
    assert (machine.tree(), machine.points) == (before, [])
    assert newest_backup(machine.setup_dir) is None


def conf(machine: Machine) -> dict[str, str]:
    data = (machine.root / CONF_FILE).read_bytes()
    return dict(parse_conf(data, "local").values)


def shared(world: World) -> dict[str, bytes]:
    heci = [one for one in world.volumes.values() if one.disk_type == "HECI"]
    assert len(heci) == 1
    with heci[0].path.open("rb") as file:
        return decode_conf_volume(file.read(20480), where="test")


def named(machine: Machine) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The host's files and the shared ones, without the ids that a run chooses."""
    heci = next(one for one in machine.world.volumes.values() if one.disk_type == "HECI")
    ids = (heci.path.name.encode(), image_of(heci.path.name).encode())

    def plain(files: dict[str, bytes]) -> dict[str, bytes]:
        for an_id in ids:
            files = {name: data.replace(an_id, b"ID") for name, data in files.items()}
        return files

    return plain(machine.tree()), plain(shared(machine.world))
