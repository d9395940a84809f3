# SPDX-License-Identifier: Apache-2.0
"""What the contract (tests/hypervisor_contract.py) does not say, over libvirt's real QEMU driver:
a daemon that hangs or is restarted, a VM without its lease, somebody else's domain."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import pytest

from ha_agent.broker.lease.fence import VmProcesses
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm.vm_status import ExitReason, VmStats, VmStatus, lost_lease_race
from ha_agent.virt.errors import LibvirtCallFailed, LibvirtUnreachable
from ha_agent.virt.place import LeaseKind
from ha_agent.virt.verbs import Virt
from tests.vdsm.embedded import VM, make_domain, make_xml
from tests.virt.connected import CLOCK, connected
from tests.virt.private_libvirtd import (
    PrivateLibvirtd,
    give,
    libvirt_folder,
    needs_libvirtd,
    private_libvirtd,
)

pytestmark = [pytest.mark.qemu, pytest.mark.libvirt, needs_libvirtd]

LIMIT_SECONDS = 60.0
XML = make_xml()


@dataclass
class World:
    daemon: PrivateLibvirtd
    domain: Path

    @property
    def disk(self) -> Path:
        return next(path for path in self.domain.glob("images/*/*") if not path.suffix)


@pytest.fixture
def world(cache: Path) -> Iterator[World]:
    with libvirt_folder() as folder:
        (folder / "s").mkdir()
        domain = make_domain(folder / "s")
        give(folder / "s")
        with private_libvirtd(folder / "h", cache) as daemon:
            yield World(daemon, domain)


async def until(virt: Virt, wanted: Callable[[Optional[VmStats]], bool]) -> Optional[VmStats]:
    ends_at = CLOCK.now() + LIMIT_SECONDS
    while True:
        try:
            stats = await virt.vm_stats(VM)
        except EnvironmentFault:
            stats = VmStats(VM, status_text="no answer")
        if wanted(stats):
            return stats
        assert CLOCK.now() < ends_at, stats
        await asyncio.sleep(0.02)


def is_up(stats: Optional[VmStats]) -> bool:
    return stats is not None and stats.status is VmStatus.UP


def is_down(stats: Optional[VmStats]) -> bool:
    return stats is not None and stats.status is VmStatus.DOWN


async def test_a_vm_without_the_lease_that_was_asked_for_is_ended_at_once(world: World) -> None:
    """lock_manager is not set in qemu.conf, and the configuration says that it is."""
    async with connected(world.domain, world.daemon.uri, LeaseKind.LOCKD) as virt:
        await virt.create_vm(VM, XML)
        stats = await until(virt, is_down)
        assert stats is not None
        assert "lock_manager" in stats.exit_message
        assert not lost_lease_race(stats.exit_message), "this host's fault, no lost race"
        assert not world.daemon.qemus()


async def test_a_disk_that_another_writes_without_libvirt_is_a_lost_race(world: World) -> None:
    """The image's lock is QEMU's own: it keeps out VMs of another hypervisor's, too."""
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        with world.disk.open("r+b") as file:
            import fcntl
            import struct

            # A shared lock on byte 201, as QEMU has it: who holds it lets nobody else write.
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 201, 1, 0)
            fcntl.fcntl(file, 37, lock)
            await virt.create_vm(VM, XML)
            stats = await until(virt, is_down)
        assert stats is not None
        assert lost_lease_race(stats.exit_message), stats.exit_message


async def test_a_restart_of_libvirtd_keeps_the_vm(world: World) -> None:
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        await virt.create_vm(VM, XML)
        await until(virt, is_up)
        pids = world.daemon.qemus()
        world.daemon.kill()
        await until(virt, lambda stats: stats is not None and stats.status is None)
        world.daemon.start()
        await until(virt, is_up)
        assert world.daemon.qemus() == pids
        await virt.destroy_vm(VM)
        assert await virt.vm_stats(VM) is None


async def test_a_vm_that_ended_while_libvirtd_was_away_is_down_and_not_absent(
    world: World,
) -> None:
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        await virt.create_vm(VM, XML)
        await until(virt, is_up)
        world.daemon.kill()
        world.daemon.kill_qemu()
        world.daemon.start()
        stats = await until(virt, is_down)
        assert stats is not None
        assert stats.exit_reason in (ExitReason.GENERIC_ERROR, ExitReason.LOST_QEMU_CONNECTION)


async def test_a_libvirtd_that_hangs_blocks_neither_calls_nor_the_end(world: World) -> None:
    """SIGSTOP: it accepts and never answers. The keepalive ends the connection, and what hangs
    on it; when it goes on we are connected again."""
    async with connected(
        world.domain,
        world.daemon.uri,
        LeaseKind.IMAGE,
        call_deadline_seconds=0.3,
        keepalive_interval_seconds=1,
    ) as virt:
        world.daemon.send(signal.SIGSTOP)
        with pytest.raises(EnvironmentFault):
            await virt.vm_stats(VM)
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while virt.link.is_connected:
            assert CLOCK.now() < ends_at
            await asyncio.sleep(0.05)
        with pytest.raises(LibvirtUnreachable):
            await virt.vm_stats(VM)
        world.daemon.send(signal.SIGCONT)
        await until(virt, lambda stats: stats is None)
        world.daemon.send(signal.SIGSTOP)


async def test_connections_that_ended_leave_no_descriptor(world: World) -> None:
    """Callbacks hold a connection open beyond its close(), its socket and its pipe with it."""
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        counts = []
        for _time in range(4):
            world.daemon.kill()
            await until(virt, lambda stats: stats is not None and stats.status is None)
            world.daemon.start()
            await until(virt, lambda stats: stats is None)
            counts.append(len(os.listdir("/proc/self/fd")))
        assert len(set(counts[1:])) == 1, counts
    for _look in range(100):  # libvirt's own thread closes, when it comes to it
        if len(os.listdir("/proc/self/fd")) < counts[0]:
            return
        await asyncio.sleep(0.1)
    pytest.fail("close() does not close")


async def test_a_paused_vm_of_another_agent_is_not_resumed_without_proof(world: World) -> None:
    """That agent may have been killed between the start and its look for the lock."""
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        await virt.create_vm(VM, XML, paused=True)
        await until(virt, lambda stats: stats is not None and stats.status is VmStatus.PAUSED)
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as other:
        with pytest.raises(LibvirtCallFailed, match="can't prove its lease"):
            await other.resume_vm(VM)
        await other.destroy_vm(VM)


async def test_the_guard_finds_and_ends_libvirts_qemu(world: World) -> None:
    """Also with libvirtd away, and of another user than the guard's, as on any real host."""
    guard = VmProcesses(VM, "")
    elsewhere = VmProcesses(VM, f"{world.daemon.folder}-other/")
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        await virt.create_vm(VM, XML)
        await until(virt, is_up)
        world.daemon.kill()
        pids = world.daemon.qemus()
        try:
            guard.scan()
            assert guard.known() == pids
            elsewhere.scan()
            assert not elsewhere.known(), "the marker is another host's on this machine"
            assert guard.kill() == ""
            ends_at = CLOCK.now() + LIMIT_SECONDS
            while guard.alive():
                assert CLOCK.now() < ends_at
                await asyncio.sleep(0.02)
        finally:
            guard.close()
            elsewhere.close()


async def test_a_start_whose_connection_is_lost_is_unknown_at_first(world: World) -> None:
    """Nobody knows whether libvirt has carried it out: "absent" would have it started twice."""
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        await virt.create_vm(VM, XML)
        world.daemon.kill()
        seen = []

        def known(stats: Optional[VmStats]) -> bool:
            seen.append(stats)
            return stats is not None and stats.status not in (None, VmStatus.WAIT_FOR_LAUNCH)

        await until(virt, lambda stats: stats is not None and stats.status is None)
        world.daemon.start()
        await until(virt, known)
        assert None not in seen


async def test_a_persistent_domain_of_somebody_is_left_alone(world: World) -> None:
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        theirs = (
            f"<domain type='qemu'><name>theirs</name><uuid>{VM}</uuid><memory>1024</memory>"
            "<os><type>hvm</type></os></domain>"
        )
        await virt.link.call("define", lambda c: c.defineXML(theirs))  # type: ignore[attr-defined]
        assert await virt.vm_stats(VM) is None
        with pytest.raises(LibvirtCallFailed, match="virsh undefine"):
            await virt.create_vm(VM, XML)
        await virt.destroy_vm(VM)
        found = await virt.link.call("look", lambda c: c.lookupByUUIDString(VM).isPersistent())
        assert found == 1


async def test_the_domain_is_transient_and_listed(world: World) -> None:
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        await virt.create_vm(VM, XML)
        await until(virt, is_up)
        found = await virt.link.call("look", lambda c: c.lookupByUUIDString(VM).isPersistent())
        assert found == 0
        assert [stats.vm_id for stats in await virt.vm_list()] == [VM]


async def test_what_can_not_be_placed_is_refused_and_nothing_is_begun(world: World) -> None:
    async with connected(world.domain, world.daemon.uri, LeaseKind.IMAGE) as virt:
        with pytest.raises(BadInput, match="not of"):
            await virt.create_vm(VM, make_xml(vm="55555555-5555-4555-8555-555555555555"))
        world.disk.rename(world.disk.with_suffix(".away"))
        with pytest.raises(EnvironmentFault):
            await virt.create_vm(VM, XML)
        assert await virt.vm_stats(VM) is None
