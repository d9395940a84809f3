# SPDX-License-Identifier: Apache-2.0
"""Where the lease of an upgraded cluster is, and that nobody's is written over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ha_agent.broker.lease.rules import encode, initial_record
from ha_agent.compat.conf_writer import set_keys
from ha_agent.errors import BadInput
from ha_agent.setup.upgrade_lease import LEASE_VOLUME, mount_options_of
from tests.broker.store_world import (
    VM,
)
from tests.setup.upgrade_hosts import CONF_FILE, conf, of_4x, of_35, refused
from tests.setup.upgrade_world import (
    Machine,
    conf_4x,
    make_4x,
    put,
)


async def test_a_lease_place_with_something_else_in_it(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    place = machine.world.folder / "ha_agent" / f"{VM}.lease"
    place.parent.mkdir()
    place.write_bytes(b"a letter to my aunt".ljust(4096))
    await refused(machine, str(place), "nothing is written over it")
    assert place.read_bytes().startswith(b"a letter")


async def test_a_lease_in_use_is_left_alone(tmp_path: Path) -> None:
    first = of_4x(tmp_path)
    await first.upgrade()
    place = first.world.folder / "ha_agent" / f"{VM}.lease"
    record = encode(replace(initial_record(), epoch=7))
    place.write_bytes(record)
    second = Machine(tmp_path, first.world, host_id=2)
    make_4x(second.root, 2)
    await second.upgrade()
    assert place.read_bytes() == record


async def test_without_sanlocks_daemon(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.has_sanlock = False
    await refused(machine, "no sanlock daemon answers")


@pytest.mark.parametrize(
    ("change", "options", "backend"),
    [
        ({}, "rw,vers=4.2,local_lock=none", "lockfile"),
        ({}, "rw,vers=3,local_lock=none", "sanlock"),
        ({}, "rw,vers=4.2,nolock", "sanlock"),
        ({"domainType": "nfs3"}, "", "sanlock"),
        ({"domainType": "glusterfs", "storage": "g:/v"}, "rw", "lockfile"),
        ({"mnt_options": "nolock"}, "", "sanlock"),
        ({"nfs_version": "v3"}, "", "sanlock"),
    ],
)
async def test_the_back_end_fits_the_storage(
    change: dict[str, str], options: str, backend: str, tmp_path: Path
) -> None:
    machine = of_4x(tmp_path)
    text = set_keys(conf_4x(), change, where="test")
    put(machine.root, CONF_FILE, text)
    machine.mount_options = options
    await machine.upgrade()
    assert conf(machine)["ha_agent_lease_backend"] == backend


async def test_a_block_domain_gets_a_volume_for_sanlock(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    machine.world.domain_type = "ISCSI"
    change = {"domainType": "iscsi", "storage": "192.0.2.1", "iqn": "iqn.2026-01.x:he"}
    put(machine.root, CONF_FILE, set_keys(conf_4x(), change, where="test"))
    await machine.upgrade()
    made = [v for v in machine.world.volumes.values() if v.description == LEASE_VOLUME]
    values = conf(machine)
    assert values["ha_agent_lease_backend"] == "sanlock"
    assert [values["ha_agent_sanlock_path"]] == [str(one.path) for one in made]
    assert await machine.upgrade() == ()


def test_the_mount_that_a_path_is_on() -> None:
    mounts = (
        "/dev/a / ext4 rw 0 0\n"
        "s:/he /rhev/data-center/mnt/s:_he nfs4 rw,vers=4.2 0 0\n"
        "s:/he2 /rhev/data-center/mnt/s:_he2 nfs rw,vers=3 0 0\n"
        "s:/x /mnt/with\\040blank nfs rw,vers=4.0 0 0\n"
    )
    for path, options in (
        ("/rhev/data-center/mnt/s:_he/x", "rw,vers=4.2"),
        ("/rhev/data-center/mnt/s:_he2/x", "rw,vers=3"),
        ("/rhev/data-center", "rw"),
        ("/mnt/with blank/x", "rw,vers=4.0"),
    ):
        assert mount_options_of(Path(path), mounts) == options
    with pytest.raises(BadInput):
        mount_options_of(Path("/x"), "nonsense\n")
