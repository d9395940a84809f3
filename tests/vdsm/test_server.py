# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM with real QEMU: what the agent relies on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm import registry, vm_lease
from ha_agent.vdsm.server import EmbeddedVdsm, ServerSettings
from tests.vdsm.embedded import (
    DOMAIN,
    VM,
    Client,
    Host,
    Refused,
    hosts,
    kill,
    make_domain,
    make_xml,
)

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lease as another host would."""
    descriptor = vm_lease.take(path)
    try:
        yield
    finally:
        os.close(descriptor)


async def test_a_vm_starts_and_blocks_a_second_create(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        answer = await client.create(make_xml())
        assert answer["vmId"] == VM
        assert answer["status"] == "WaitForLaunch"
        await client.event("Powering up")
        stats = await client.status()
        assert stats["status"] == "Powering up"
        assert stats["pauseCode"] == "NOERR"
        [listed] = await client.call("Host.getVMList")
        assert listed["status"] == "Up"
        assert set(listed) == {"vmId", "status", "statusTime"}
        with pytest.raises(Refused) as refused:
            await client.create(make_xml())
        assert refused.value.code == 4


async def test_a_killed_qemu_is_told_at_once_and_its_record_blocks(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        clock = SystemClock()
        began_at = clock.now()
        os.kill(host.pid(), signal.SIGKILL)
        fields = await client.event("Down")
        assert clock.now() - began_at < 1.0
        assert (fields["exitCode"], fields["exitReason"]) == (1, 2)
        assert fields["exitMessage"] == "Lost connection with qemu process"
        with pytest.raises(Refused) as refused:
            await client.create(make_xml())
        assert refused.value.code == 4
        assert await client.call("VM.destroy", vmID=VM) is True
        with pytest.raises(Refused) as refused:
            await client.status()
        assert refused.value.code == 1
        await client.create(make_xml())
        await client.event("Powering up")


async def test_the_lease_refuses_a_second_host_until_the_first_qemu_is_dead(
    tmp_path: Path,
) -> None:
    domain = make_domain(tmp_path)
    first, second = Host(domain), Host(domain)
    async with hosts(first, second) as [one, two]:
        await one.create(make_xml())
        await one.event("Powering up")
        await two.create(make_xml())
        fields = await two.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (1, 1)
        assert fields["exitMessage"] == (
            "resource busy: Failed to acquire lock: Lease is held by another host"
        )
        await two.call("VM.destroy", vmID=VM)
        # The embedded VDSM may stop as it likes: the lease is QEMU's.
        pid = first.pid()
        await first.stop()
        await two.create(make_xml())
        await two.event("Down")
        await two.call("VM.destroy", vmID=VM)
        kill(pid)
        await two.create(make_xml())
        await two.event("Powering up")


async def test_the_image_lock_guards_a_vm_without_lease(tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    async with hosts(Host(domain), Host(domain)) as [one, two]:
        await one.create(make_xml(lease=False))
        await one.event("Powering up")
        await two.create(make_xml(lease=False))
        fields = await two.event("Down")
        assert "Is another process using the image" in fields["exitMessage"]


async def test_a_restart_finds_the_vm_again_and_sees_its_end(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Powering up"
            assert host.pid() == pid
            await again.call("VM.pause", vmID=VM)
            assert (await again.status())["status"] == "Paused"
            kill(pid)
            fields = await again.event("Down")
            assert (fields["exitCode"], fields["exitReason"]) == (1, 2)
        finally:
            again.close()


async def test_a_vm_that_died_meanwhile_is_a_down_record(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        kill(pid)
        again = await host.start()
        try:
            stats = await again.status()
            assert (stats["status"], stats["exitCode"], stats["exitReason"]) == ("Down", 1, 1)
        finally:
            again.close()


async def test_a_vm_is_found_when_its_pid_was_not_written_down(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        [record], _ = registry.load_all(host.run_dir)
        values = {**record.__dict__, "pid": None, "start_ticks": None, "status": "WaitForLaunch"}
        registry.save(host.run_dir, registry.VmRecord(**values))
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Powering up"
            assert host.pid() == pid
        finally:
            again.close()


async def test_a_recycled_pid_is_not_taken_for_the_vm(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        kill(pid)
        [record], _ = registry.load_all(host.run_dir)
        registry.save(host.run_dir, registry.VmRecord(**{**record.__dict__, "pid": os.getpid()}))
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Down"
        finally:
            again.close()


async def test_pause_and_cont(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        assert await client.call("VM.pause", vmID=VM) == {"vmList": {}}
        assert (await client.event("Paused"))["pauseCode"] == "NOERR"
        [listed] = await client.call("Host.getVMList")
        assert listed["status"] == "Up"
        assert await client.call("VM.cont", vmID=VM) == {"vmList": {}}
        await client.event("Powering up")
        assert "pauseCode" not in await client.status()


async def test_a_vm_launched_paused_takes_its_lease_with_cont(tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    first, second = Host(domain), Host(domain)
    paused = make_xml(metadata="<ovirt-vm:launchPaused>true</ovirt-vm:launchPaused>")
    async with hosts(first, second) as [one, two]:
        await one.create(paused)
        await one.event("Paused")
        lease = next(domain.glob("images/*/*.lease"))
        with _locked(lease):
            with pytest.raises(Refused) as refused:
                await one.call("VM.cont", vmID=VM)
            assert refused.value.code == 100
            assert "Lease is held by another host" in refused.value.message
            assert (await one.status())["status"] == "Paused"
        await one.call("VM.cont", vmID=VM)
        # QEMU holds it from now on, through our restart and without us.
        await first.stop()
        await two.create(make_xml())
        assert "Lease is held" in (await two.event("Down"))["exitMessage"]


async def test_shutdown_by_force_leaves_a_record_of_an_orderly_end(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        assert await client.call("VM.shutdown", vmID=VM, delay=0, timeout=0, force=True) is True
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (0, 6)
        with pytest.raises(Refused) as refused:
            await client.call("VM.shutdown", vmID=VM)
        assert refused.value.code == 1
        await client.call("VM.destroy", vmID=VM)
        assert await client.call("Host.getVMList") == []


async def test_shutdown_without_force_waits_for_the_guest(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        await client.call("VM.shutdown", vmID=VM)
        assert (await client.status())["status"] == "Powering down"


async def test_destroy_ends_qemu_at_once(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        assert await client.call("VM.destroy", vmID=VM) is True
        assert registry.start_ticks(pid) is None
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (0, 6)


async def test_a_destroy_in_the_middle_of_a_start(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        await client.create(make_xml())
        await client.call("VM.destroy", vmID=VM)
        await client.create(make_xml())
        await client.event("Powering up")


async def test_a_host_signal_is_no_guest_shutdown(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        os.kill(host.pid(), signal.SIGTERM)
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (1, 11)


async def test_a_missing_disk_is_an_ended_start(tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    shutil.rmtree(domain / "images")
    (domain / "images").mkdir()
    async with hosts(Host(domain)) as [client]:
        await client.create(make_xml())
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (1, 1)
        assert "no image" in fields["exitMessage"]


async def test_an_unknown_device_is_refused_by_name(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        await client.create(make_xml(devices="<hostdev mode='subsystem' type='pci'/>"))
        assert "<hostdev>" in (await client.event("Down"))["exitMessage"]


@pytest.fixture
async def idle(tmp_path: Path) -> AsyncIterator[Client]:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        yield client


async def test_create_wants_xml(idle: Client) -> None:
    for params in ({}, {"xmlBase64": "PGRvbWFpbi8+"}):
        with pytest.raises(Refused) as refused:
            await idle.call("VM.create", vmID=VM, vmParams=params)
        assert refused.value.code == 100
        assert refused.value.message == """General Exception: ("'xml'",)"""
    with pytest.raises(Refused) as refused:
        await idle.create("<!DOCTYPE a [<!ENTITY b 'c'>]><domain>&b;</domain>")
    assert refused.value.code == 100
    vnc = "<graphics type='vnc' passwdValidTo=''/>"
    with pytest.raises(Refused) as refused:
        await idle.create(make_xml(devices=vnc))
    assert refused.value.code == 9


async def test_a_monitor_reads_the_domain(idle: Client) -> None:
    assert await idle.call("Host.getStorageRepoStats") == {}
    assert await idle.call("Host.startMonitoringDomain", sdUUID=DOMAIN, hostID=1) is True
    while True:
        vitals = (await idle.call("Host.getStorageRepoStats"))[DOMAIN]
        if vitals["actual"]:
            break
    assert (vitals["code"], vitals["valid"], vitals["version"]) == (0, True, 5)
    assert vitals["acquired"] is True
    assert float(vitals["delay"]) < 5
    assert await idle.call("Host.stopMonitoringDomain", sdUUID=DOMAIN) is True
    assert await idle.call("Host.getStorageRepoStats") == {}


async def test_a_run_directory_without_room_for_sockets_is_refused(tmp_path: Path) -> None:
    vdsm = EmbeddedVdsm(ServerSettings(run_dir=tmp_path / ("x" * 100), domain_paths=()))
    with pytest.raises(BadInput, match="no room for socket names"):
        await vdsm.start()


async def test_a_port_in_use_is_a_clear_error(idle: Client, tmp_path: Path) -> None:
    port = idle.writer.get_extra_info("peername")[1]
    host = Host(tmp_path)
    try:
        vdsm = EmbeddedVdsm(ServerSettings(host.run_dir, (), listen_port=port))
        with pytest.raises(EnvironmentFault, match="can't listen"):
            await vdsm.start()
    finally:
        await host.clean_up()
