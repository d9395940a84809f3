# SPDX-License-Identifier: Apache-2.0
"""libvirt's own sanlock plugin, with a real daemon: the engine VM's <lease> as under VDSM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ha_agent.vdsm.vm.sanlock import HostIds
from ha_agent.vdsm.vm_status import VmStats, VmStatus, lost_lease_race
from ha_agent.virt.place import LeaseKind
from tests.sanlock_daemon import SanlockDaemon, found_here, needs_sanlock
from tests.vdsm.embedded import DOMAIN, IMAGE, VM, VOLUME, make_domain, make_xml
from tests.virt.connected import CLOCK, connected
from tests.virt.private_libvirtd import (
    PrivateLibvirtd,
    give,
    libvirt_folder,
    needs_libvirtd,
)

PLUGIN = Path("/usr/lib/x86_64-linux-gnu/libvirt/lock-driver/sanlock.so")
pytestmark = [
    pytest.mark.qemu,
    pytest.mark.libvirt,
    pytest.mark.sanlock,
    pytest.mark.root,
    needs_libvirtd,
    needs_sanlock,
    pytest.mark.skipif(not PLUGIN.exists(), reason="needs libvirt-sanlock"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root: sanlock's socket is given to nobody"),
]
LIMIT_SECONDS = 60.0
IO_TIMEOUT_SECONDS = 2


@dataclass
class World:
    folder: Path
    cache: Path
    domain: Path
    sanlock: SanlockDaemon

    @property
    def lease(self) -> str:
        return f"{DOMAIN}:{VOLUME}:{self.domain}/images/{IMAGE}/{VOLUME}.lease:0"

    @contextlib.contextmanager
    def libvirtd(self, name: str, lock_manager: str) -> Iterator[PrivateLibvirtd]:
        made = PrivateLibvirtd(self.folder / name, self.cache, lock_manager)
        settings = "auto_disk_leases = 0\nrequire_lease_for_disks = 0\nhost_id = 1\n"
        (made.folder / "c/libvirt/qemu-sanlock.conf").write_text(settings)
        give(made.folder)
        try:
            made.start()
            yield made
        finally:
            made.power_cut()

    async def start(self, uri: str) -> VmStats:
        """Start the VM, and return what became of it; it is destroyed then."""
        async with connected(self.domain, uri, LeaseKind.SANLOCK) as virt:
            await virt.create_vm(VM, make_xml())
            ends_at = CLOCK.now() + LIMIT_SECONDS
            while True:
                stats = await virt.vm_stats(VM)
                assert stats is not None
                if stats.status is not VmStatus.WAIT_FOR_LAUNCH:
                    break
                assert CLOCK.now() < ends_at
                await asyncio.sleep(0.05)
            if stats.status is VmStatus.UP:
                assert self.lease in self.sanlock.client("status").stdout, "held by QEMU"
            await virt.destroy_vm(VM)
            return stats


@pytest.fixture(scope="module")
def world(cache: Path) -> Iterator[World]:
    with libvirt_folder() as folder:
        (folder / "s").mkdir()
        domain = make_domain(folder / "s")
        give(folder / "s")
        with SanlockDaemon(folder / "d", "alpha") as sanlock, found_here(sanlock):
            # libvirtd's user here is not in sanlock's group.
            sanlock.run_dir.chmod(0o755)
            for path in sanlock.run_dir.iterdir():
                path.chmod(0o666)
            host_ids = HostIds(IO_TIMEOUT_SECONDS)
            host_ids.initialise_domain(domain)
            host_ids.initialise_volume(domain / "images" / IMAGE / VOLUME)
            ends_at = CLOCK.now() + LIMIT_SECONDS
            while not host_ids.keep(domain, 1):
                assert CLOCK.now() < ends_at
                CLOCK.block(0.1)
            yield World(folder, cache, domain, sanlock)


async def test_qemu_holds_the_lease_and_who_comes_too_late_has_lost_the_race(world: World) -> None:
    with world.libvirtd("a", "sanlock") as daemon:
        assert (await world.start(daemon.uri)).status is VmStatus.UP
        holder = subprocess.Popen(
            ["sanlock", "client", "command", "-r", world.lease, "-c", "/bin/sleep", "1000"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while f"p {holder.pid}" not in world.sanlock.client("status").stdout.split("\nr ")[-1]:
                assert holder.poll() is None
                await asyncio.sleep(0.05)
            stats = await world.start(daemon.uri)
        finally:
            holder.kill()
            holder.wait(10)
    assert stats.status is VmStatus.DOWN
    assert lost_lease_race(stats.exit_message), stats.exit_message


async def test_a_lease_that_libvirt_does_not_take_ends_the_vm(world: World) -> None:
    """qemu.conf has no lock_manager: libvirt passes over <lease>, and the VM would run without."""
    with world.libvirtd("b", "") as daemon:
        stats = await world.start(daemon.uri)
        assert not daemon.qemus()
    assert stats.status is VmStatus.DOWN
    assert 'lock_manager = "sanlock"' in stats.exit_message
    assert not lost_lease_race(stats.exit_message)
