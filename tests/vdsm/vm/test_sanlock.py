# SPDX-License-Identifier: Apache-2.0
"""VM leases by real sanlock daemons, two hosts on one machine, held by real QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.vm import registry
from ha_agent.vdsm.vm.sanlock import HostIds, ids_path
from ha_agent.vdsm.vm_status import LockFailure, lock_failure
from tests.faulty_storage import FaultyStorage, faulty_storage
from tests.sanlock_daemon import SanlockDaemon, found_here, needs_sanlock
from tests.storage_faults import Fault
from tests.vdsm.embedded import (
    BLANK,
    DOMAIN,
    IMAGE,
    VM,
    VOLUME,
    Client,
    Host,
    Refused,
    hosts,
    make_domain,
    make_xml,
)

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.sanlock,
    needs_sanlock,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]

IO_TIMEOUT_SECONDS = 1
PAUSED = "<ovirt-vm:launchPaused>true</ovirt-vm:launchPaused>"
SETTINGS: dict[str, Any] = {
    "vm_lease": "sanlock",
    "sanlock_io_timeout_seconds": IO_TIMEOUT_SECONDS,
    "monitor_interval_seconds": 0.2,
}


@dataclass
class World:
    """A domain with an initialised lockspace and two hosts, of which the second has joined it.

    The first is ours, and sees the lockspace through `storage`; the second is a stranger. The
    binding remembers the first daemon that it talks to: so there is one of ours only.
    """

    domain: Path
    storage: FaultyStorage
    lease: str
    ours: SanlockDaemon
    stranger: SanlockDaemon

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the VM lease on the stranger's host, through a process that never ends."""
        process = subprocess.Popen(
            ["sanlock", "client", "command", "-r", self.lease, "-c", "/bin/sleep", "1000"],
            env=self.stranger.environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            command_line = Path(f"/proc/{process.pid}/cmdline")
            while not command_line.read_bytes().startswith(b"/bin/sleep"):
                assert process.poll() is None
            yield
        finally:
            process.kill()
            process.wait()
            # The daemon releases it on storage a moment later.
            while f"r {DOMAIN}:{VOLUME}" in self.stranger.client("status").stdout:
                pass


def initialise(domain: Path) -> None:
    """Make the domain's lockspace and its volume's lease, by our own code."""
    host_ids = HostIds(IO_TIMEOUT_SECONDS)
    host_ids.initialise_domain(domain)
    host_ids.initialise_volume(domain / "images" / IMAGE / VOLUME)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sanlock")
    shared, mount = folder / "shared", folder / "mount"
    shared.mkdir()
    domain = make_domain(folder)
    # Only the lockspace can fail: FUSE frees QEMU's locks on an image some time after its end.
    ids_path(domain).rename(shared / "ids")
    ids_path(domain).symlink_to(mount / "ids")
    lease = f"{DOMAIN}:{VOLUME}:{domain}/images/{IMAGE}/{VOLUME}.lease:0"
    ours, stranger = SanlockDaemon(folder / "1", "alpha"), SanlockDaemon(folder / "2", "beta")
    with faulty_storage(shared, mount) as storage, ours, stranger, found_here(ours):
        initialise(domain)
        lockspace = f"{DOMAIN}:2:{shared}/ids:0"
        stranger.client("add_lockspace", "-s", lockspace, "-o", str(IO_TIMEOUT_SECONDS))
        yield World(domain, storage, lease, ours, stranger)


async def acquired(client: Client, wanted: bool = True) -> None:
    """Monitor the domain, as the agent asks for it, until its host id is held, or is not."""
    await client.call("Host.startMonitoringDomain", sdUUID=DOMAIN, hostID=1)
    while True:
        stats = await client.call("Host.getStorageRepoStats")
        if stats[DOMAIN]["acquired"] == wanted:
            return
        await asyncio.sleep(0.02)


async def test_the_lease_is_qemus_own_and_survives_our_restart(world: World) -> None:
    host = Host(world.domain, **SETTINGS)
    async with hosts(host) as [client]:
        await acquired(client)
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        assert f"r {DOMAIN}:{VOLUME}" in world.ours.client("status").stdout
        await host.stop()
        again = await host.start()
        assert (await again.status())["status"] == "Powering up"
        assert host.pid() == pid
        # Its membership is found again at once, and cannot be given up under the VM.
        await acquired(again)
        refused = world.stranger.client(
            "command", "-r", world.lease, "-c", "/bin/true", check=False
        )
        assert refused.returncode != 0
        await again.call("VM.destroy", vmID=VM)
        assert registry.start_ticks(pid) is None
        with world.held():
            pass
        again.close()


async def test_who_loses_the_lease_does_not_start_and_who_comes_after_does(world: World) -> None:
    async with hosts(Host(world.domain, **SETTINGS)) as [client]:
        await acquired(client)
        with world.held():
            await client.create(make_xml())
            fields = await client.event("Down")
            assert (fields["exitCode"], fields["exitReason"]) == (1, 1)
            message = fields["exitMessage"]
            assert message == (
                "resource busy: Failed to acquire lock: Lease is held by another host"
            )
            assert lock_failure(message) == LockFailure.HELD_BY_OTHER_HOST
            await client.call("VM.destroy", vmID=VM)
        await client.create(make_xml())
        await client.event("Powering up")


async def test_a_paused_start_takes_no_lease_and_cont_does(world: World) -> None:
    async with hosts(Host(world.domain, **SETTINGS)) as [client]:
        await acquired(client)
        with world.held():
            await client.create(make_xml(metadata=PAUSED))
            await client.event("Paused")
            with pytest.raises(Refused) as refused:
                await client.call("VM.cont", vmID=VM)
            assert refused.value.code == 100
            assert "Lease is held by another host" in refused.value.message
            assert (await client.status())["status"] == "Paused"
        await client.call("VM.cont", vmID=VM)
        assert f"r {DOMAIN}:{VOLUME}" in world.ours.client("status").stdout


async def test_a_paused_vm_without_its_record_goes_on_with_the_lease_that_it_has(
    world: World,
) -> None:
    host = Host(world.domain, **SETTINGS)
    async with hosts(host) as [client]:
        await acquired(client)
        await client.create(make_xml())
        await client.event("Powering up")
        await client.call("VM.pause", vmID=VM)
        await host.stop()
        (host.run_dir / VM / "vm.json").write_bytes(b"{")
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Paused"
            await again.call("VM.cont", vmID=VM)
            assert (await again.status())["status"] == "Powering up"
            assert f"r {DOMAIN}:{VOLUME}" in world.ours.client("status").stdout
            await again.call("VM.destroy", vmID=VM)
        finally:
            again.close()


async def test_a_start_that_waits_for_the_lease_can_be_destroyed(world: World) -> None:
    """The daemon does not answer: the launcher waits, and ends with VM.destroy."""
    host = Host(world.domain, **SETTINGS)
    async with hosts(host) as [client]:
        await acquired(client)
        world.ours.signal(signal.SIGSTOP)
        try:
            await client.create(make_xml())
            while True:
                records, _ = registry.load_all(host.run_dir)
                if records[0].pid is not None:
                    break
                await asyncio.sleep(0.01)
            pid = records[0].pid
            assert (await client.status())["status"] == "WaitForLaunch"
            assert await client.call("VM.destroy", vmID=VM) is True
            assert registry.start_ticks(pid) is None
        finally:
            world.ours.signal(signal.SIGCONT)


async def test_sanlock_ends_qemu_when_the_lockspace_can_not_be_renewed(world: World) -> None:
    host = Host(world.domain, **SETTINGS)
    async with hosts(host) as [client]:
        await acquired(client)
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        world.storage.set(Fault(("read", "write"), path="*ids", errno=5))
        try:
            fields = await client.event("Down")
        finally:
            world.storage.release()
        assert fields["exitCode"] == 1
        assert registry.start_ticks(pid) is None
        await client.call("VM.destroy", vmID=VM)
        await acquired(client, False)
        # The monitor joins again by itself once the storage is back, and VMs start again.
        await acquired(client)
        await client.create(make_xml())
        await client.event("Powering up")
        await client.call("VM.destroy", vmID=VM)
        await client.event("Down")
        # An end of the monitor gives the host id back, and then no VM gets its lease.
        # The daemon may not have noticed QEMU's end yet, and refuses: that is said each time.
        while True:
            try:
                await client.call("Host.stopMonitoringDomain", sdUUID=DOMAIN)
                break
            except Refused as refused:
                if "busy" not in refused.message:
                    raise
        assert lets_go(world.ours)
        await client.create(make_xml())
        fields = await client.event("Down")
        assert lock_failure(fields["exitMessage"]) == LockFailure.LOCKSPACE_NOT_JOINED


def lets_go(daemon: SanlockDaemon) -> bool:
    """Wait until the daemon has left the lockspace; within the test's own time."""
    while f"s {DOMAIN}:1:" in daemon.client("status").stdout:
        pass
    return True


async def test_a_daemon_that_is_down_is_this_hosts_failure(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANLOCK_RUN_DIR", str(tmp_path))
    async with hosts(Host(world.domain, **SETTINGS)) as [client]:
        await client.create(make_xml())
        message = (await client.event("Down"))["exitMessage"]
        assert message.startswith("Failed to open socket to sanlock daemon: ")
        assert lock_failure(message) == LockFailure.OUT_OF_REACH


async def created(path: Path) -> None:
    for _ in range(2000):
        if path.exists():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{path} does not come")


async def test_a_new_volume_has_its_free_lease(world: World, tmp_path: Path) -> None:
    volume, image = str(uuid.uuid4()), str(uuid.uuid4())
    domain = make_domain(tmp_path)
    async with hosts(Host(domain, **SETTINGS)) as [client]:
        await client.call(
            "Volume.create", volumeID=volume, storagepoolID=BLANK, storagedomainID=DOMAIN,
            imageID=image, size="4096", volFormat=5, preallocate=2, diskType="DATA", desc="",
        )  # fmt: skip
        metadata = domain / "images" / image / f"{volume}.meta"
        await created(metadata)
    read = world.ours.client("read", "-r", f"{DOMAIN}:{volume}:{metadata.with_suffix('.lease')}:0")
    assert volume in read.stdout


def test_sectors_of_4096_bytes_have_room_for_250_hosts(world: World, tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    metadata = domain / "dom_md" / "metadata"
    metadata.write_text(metadata.read_text().replace("BLOCK_SIZE=512", "BLOCK_SIZE=4096"))
    initialise(domain)
    assert os.path.getsize(ids_path(domain)) == 1024 * 1024
    sector = ids_path(domain).read_bytes()[249 * 4096 :][:4096]
    assert struct.unpack_from("<I", sector, 12) == (4096,)


def test_a_lockspace_elsewhere_of_the_same_name_is_refused(world: World, tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    host_ids = HostIds(IO_TIMEOUT_SECONDS)
    while not host_ids.keep(world.domain, 1):
        pass
    with pytest.raises(EnvironmentFault, match=r"sanlock: .*Invalid argument"):
        host_ids.keep(domain, 1)
    host_ids.leave(world.domain, 1)
    host_ids.leave(world.domain, 1)  # gone, or going: nothing to do
