# SPDX-License-Identifier: Apache-2.0
"""Where the lease of an upgraded cluster is, and that nobody's is written over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ha_agent.broker.lease.rules import encode, initial_record
from ha_agent.compat.conf_writer import set_keys
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import encode_conf_volume
from ha_agent.setup.upgrade.lease import LEASE_VOLUME, mount_options_of
from tests.broker.store_world import (
    VM,
    Killed,
)
from tests.setup.upgrade_hosts import CONF_FILE, conf, of_4x, of_35, refused
from tests.setup.upgrade_world import (
    CONF,
    Machine,
    conf_4x,
    make_4x,
    put,
    sanlock_place,
    shared_files,
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


def deployed_by_us(folder: Path, **keys: str) -> Machine:
    """A 4.x host that the engine has added to a cluster of ours."""
    machine = of_4x(folder)
    said = {f"ha_agent_{name}": value for name, value in keys.items()}
    files = shared_files()
    text = set_keys(files["hosted-engine.conf"].decode(), said, where="test")
    files["hosted-engine.conf"] = text.encode()
    with machine.world.volumes[CONF].path.open("r+b") as file:
        file.write(encode_conf_volume(files, WallTime(1e9)))
    return machine


async def test_a_cluster_that_was_set_up_by_us_has_its_lease_where_it_says(tmp_path: Path) -> None:
    device = tmp_path / "lv"
    device.write_bytes(sanlock_place(VM))
    machine = deployed_by_us(
        tmp_path, lease_backend="sanlock", sanlock_path=str(device), sanlock_profile="fast"
    )
    machine.world.domain_type = "ISCSI"
    change = {"domainType": "iscsi", "storage": "192.0.2.1", "iqn": "iqn.2026-01.x:he"}
    put(machine.root, CONF_FILE, set_keys(conf_4x(), change, where="test"))
    count = len(machine.world.volumes)
    await machine.upgrade()
    assert len(machine.world.volumes) == count, "a second lease would agree with nobody"
    assert conf(machine)["ha_agent_sanlock_path"] == str(device)
    assert conf(machine)["ha_agent_sanlock_profile"] == "fast"
    assert await machine.upgrade() == ()


async def test_a_lock_file_elsewhere(tmp_path: Path) -> None:
    place = tmp_path / "domain" / "elsewhere.lease"
    machine = deployed_by_us(tmp_path, lease_backend="lockfile", lease_path=str(place))
    await machine.upgrade()
    assert conf(machine)["ha_agent_lease_path"] == str(place)
    assert place.exists()


async def test_the_clusters_device_is_not_on_this_host(tmp_path: Path) -> None:
    device = tmp_path / "lv"
    machine = deployed_by_us(tmp_path, lease_backend="sanlock", sanlock_path=str(device))
    change = {"domainType": "fc", "storage": "none"}
    put(machine.root, CONF_FILE, set_keys(conf_4x(), change, where="test"))
    await refused(machine, f"the cluster's lease is in {device}, which is not on this host")
    assert not device.exists(), "a file in /dev"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (sanlock_place("another"), "is the lease of another VM, 'another'"),
        (sanlock_place(VM, lockspace=b""), "no lockspace: whoever made it was cut off"),
        (b"old data".ljust(2 << 20, b"x"), "not a resource of sanlock"),
    ],
)
async def test_what_is_not_this_vms_lease_is_left_alone(
    content: bytes, says: str, tmp_path: Path
) -> None:
    machine = of_4x(tmp_path)
    machine.mount_options = "rw,vers=3"
    place = machine.world.folder / "ha_agent" / f"{VM}.sanlock"
    place.parent.mkdir()
    place.write_bytes(content)
    await refused(machine, says)
    assert place.read_bytes() == content


async def test_a_block_domain_gets_a_volume_for_sanlock(tmp_path: Path) -> None:
    machine = of_block(tmp_path)
    await machine.upgrade()
    made = [v for v in machine.world.volumes.values() if v.description == LEASE_VOLUME]
    values = conf(machine)
    assert values["ha_agent_lease_backend"] == "sanlock"
    assert [values["ha_agent_sanlock_path"]] == [str(one.path) for one in made]
    assert await machine.upgrade() == ()


def of_block(folder: Path) -> Machine:
    """A 4.x host on a block domain."""
    machine = of_4x(folder)
    machine.world.domain_type = "ISCSI"
    change = {"domainType": "iscsi", "storage": "192.0.2.1", "iqn": "iqn.2026-01.x:he"}
    put(machine.root, CONF_FILE, set_keys(conf_4x(), change, where="test"))
    return machine


async def test_killed_while_the_volume_is_made(tmp_path: Path) -> None:
    model = of_block(tmp_path / "model")
    await model.upgrade()
    names = ("create", "describe", "sanlock_initialise")
    points = [n for n, name in enumerate(model.points) if any(one in name for one in names)]
    assert len(points) >= 6
    for point in points:
        machine = of_block(tmp_path / f"run{point}")
        machine.kill_at = point
        with pytest.raises(Killed):
            await machine.upgrade()
        machine.kill_at = -1
        made = [v for v in machine.world.volumes.values() if "ha-agent" in v.description]
        for one in made:
            # Another host takes it for the lease only when all of it is there.
            is_whole = one.path.read_bytes()[: 2 << 20] == sanlock_place(VM)
            assert one.description != LEASE_VOLUME or is_whole
        await machine.upgrade()
        made = [v for v in machine.world.volumes.values() if "ha-agent" in v.description]
        assert [v.description for v in made] == [LEASE_VOLUME]
        assert conf(machine)["ha_agent_sanlock_path"] == str(made[0].path)


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
