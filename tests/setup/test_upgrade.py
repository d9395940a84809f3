# SPDX-License-Identifier: Apache-2.0
"""Hosts of 3.5 and of 4.x become ours: from end to end, killed everywhere, and refused in time."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Callable

import pytest

from ha_agent.broker.lease.rules import decode, encode, initial_record
from ha_agent.errors import BadInput, HaAgentError
from ha_agent.ovfstore.conf_volume import decode_conf_volume
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.setup.backup import newest_backup
from ha_agent.setup.predecessor_host import HostKind, detect, parse_conf, read_files
from ha_agent.setup.services import OUR_UNITS, PREDECESSOR_UNITS
from ha_agent.setup.upgrade import domain_path_of
from tests.broker.store_world import (
    DOMAIN,
    FIRST,
    POOL,
    SECOND,
    VM,
    Host,
    Killed,
    World,
    image_of,
    ovf_of,
)
from tests.setup.upgrade_world import (
    BLANK,
    CONF,
    ETC,
    Machine,
    make_4x,
    make_35,
    make_storage,
    put,
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


def named(machine: Machine) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The host's files and the shared ones, without the ids that a run chooses."""
    heci = next(one for one in machine.world.volumes.values() if one.disk_type == "HECI")
    ids = (heci.path.name.encode(), image_of(heci.path.name).encode())

    def plain(files: dict[str, bytes]) -> dict[str, bytes]:
        for an_id in ids:
            files = {name: data.replace(an_id, b"ID") for name, data in files.items()}
        return files

    return plain(machine.tree()), plain(shared(machine.world))


@contextlib.contextmanager
def small_file_system(folder: Path) -> Iterator[None]:
    """Mount a file system of 64 KiB there that has some bytes left, if this user may."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=20).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (folder / "ballast").write_bytes(bytes(52 * 1024))
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=20)


def small(world: World) -> list[object]:
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


async def test_host_ids_stay_and_the_shared_file_is_changed_once(tmp_path: Path) -> None:
    first = of_4x(tmp_path)
    await first.upgrade()
    shared_once = shared(first.world)
    second = Machine(tmp_path, first.world, host_id=2)
    make_4x(second.root, 2)
    assert await second.upgrade() == ("backup", "local-configuration", "switch")
    assert shared(first.world) == shared_once
    assert conf(second)["host_id"] == "2"


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


async def test_a_configuration_volume_with_something_else_in_it(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.world.add(CONF, "HostedEngineConfigurationImage", b"somebody's data", disk_type="DATA")
    await refused(machine, f"configuration volume {CONF}", "nothing is written over it")


async def test_an_empty_configuration_volume_is_filled(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.world.add(CONF, "HostedEngineConfigurationImage", disk_type="DATA")
    await machine.upgrade()
    assert conf(machine)["conf_volume_UUID"] == CONF


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


async def test_only_the_pools_manager_makes_volumes(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.world.pool, machine.world.spm_id = POOL, 3
    await refused(machine, "SPM is the host with id 3")


async def test_without_sanlocks_daemon(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.has_sanlock = False
    await refused(machine, "no sanlock daemon answers")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("memSize=4096", "memSize=lots", "memSize"),
        ("memSize=4096\n", "", "memSize"),
        ("vmId=", "vmId=zz", "vmId"),
        (f"vmId={VM}", "vmId=ffffffff-0000-4000-8000-000000000000", "hosted-engine.conf has"),
        ("iface:virtio", "iface:teletype", "teletype"),
        ("device:disk", "device:floppy", "disk"),
        ("}\ndevices={device:scsi", "\ndevices={device:scsi", "line"),
        ("emulatedMachine=pc", "emulatedMachine=rhel6.5.0", "--accept unknown_machine_type"),
        ("memSize=4096", "memSize=9000000", "--accept memory_beyond_hosts"),
        ("volumeID:00000000", "volumeID:ffffffff", "is not on"),
    ],
)
async def test_nonsense_in_vm_conf(old: str, new: str, says: str, tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    text = (machine.root / ETC / "vm.conf").read_text()
    assert old in text
    put(machine.root, f"{ETC}/vm.conf", text.replace(old, new, 1))
    await refused(machine, says)


async def test_what_a_person_accepts_is_stored_with_the_approval(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    text = (machine.root / ETC / "vm.conf").read_text()
    put(machine.root, f"{ETC}/vm.conf", text.replace("=pc\n", "=rhel6.5.0\n"))
    machine.accepted = ("unknown_machine_type",)
    await machine.upgrade()
    copies = (await Host(machine.world).writer().verify()).copies
    assert all(b"unknown_machine_type" in (copy.approval or b"") for copy in copies)
    machine.accepted = ()
    assert await machine.upgrade() == ()


async def test_a_35_host_without_vm_conf(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    (machine.root / ETC / "vm.conf").unlink()
    await refused(machine, "there is no definition of the engine VM")


async def test_too_much_for_the_configuration_volume(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    put(machine.root, f"{ETC}/answers.conf", "#" * 20000)
    await refused(machine, "don't fit", "fhanswers.conf 20000")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vmid", "line 1"),
        ("\x00", "line 1"),
        ("host_id=1\nhost_id=2\n", "line 2"),
        ("", "metadata_volume_UUID"),
    ],
)
async def test_nonsense_in_hosted_engine_conf(text: str, says: str, tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    put(machine.root, CONF_FILE, text)
    with pytest.raises(BadInput, match=says):
        await machine.upgrade()
    assert machine.points == []


async def test_a_full_disk_stops_before_the_first_change(tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    machine.state.parent.mkdir(exist_ok=True)
    await machine.upgrade(dry_run=True)
    machine.setup_dir.mkdir(parents=True)
    with small_file_system(machine.setup_dir):
        with pytest.raises(HaAgentError, match="No space left on device"):
            await machine.upgrade()
        assert machine.points == []
        assert newest_backup(machine.setup_dir) is None
        assert [path.name for path in machine.setup_dir.glob(".backup*")] == []


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


def test_the_domains_folder_is_where_vdsm_has_its_link() -> None:
    found = domain_path_of(
        f"/run/vdsm/storage/{DOMAIN}/image/volume",
        DOMAIN,
        lambda path: f"/rhev/data-center/mnt/s:_he/{DOMAIN}/images/{path.name}",
    )
    assert found == Path(f"/rhev/data-center/mnt/s:_he/{DOMAIN}")
    assert domain_path_of(f"/mnt/{DOMAIN}/images/i/v", DOMAIN, str) == Path(f"/mnt/{DOMAIN}")
    with pytest.raises(BadInput, match="no volume of storage domain"):
        domain_path_of("/mnt/else/images/i/v", DOMAIN, str)
