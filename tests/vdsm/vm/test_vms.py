# SPDX-License-Identifier: Apache-2.0
"""Records, restarts and what VM.create refuses, with real QEMU."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ha_agent.vdsm.vm import lease as vm_lease
from ha_agent.vdsm.vm import registry
from tests.vdsm.embedded import (
    IMAGE,
    VM,
    VOLUME,
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


async def test_a_vm_whose_record_is_damaged_stays_known(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        record = host.run_dir / VM / "vm.json"
        whole = record.read_bytes()
        for content in (whole[: len(whole) // 2], b"", b"\0" * 4096):
            record.write_bytes(content)
            again = await host.start()
            try:
                stats = await again.status()
                assert (stats["vmName"], stats["pid"]) == ("engine", str(pid))
                assert int(stats["elapsedTime"]) < 600
                assert (await again.call("Host.dumpxmls"))[VM] == make_xml()
                with pytest.raises(Refused) as refused:
                    await again.create(make_xml())
                assert refused.value.code == 4
                # Its vCPUs run, so it has its lease, and may go on after a pause.
                await again.call("VM.pause", vmID=VM)
                await again.call("VM.cont", vmID=VM)
            finally:
                again.close()
                await host.stop()
        assert json.loads(record.read_bytes())["pid"] == pid


async def test_a_vm_is_known_by_its_qemu_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml(name="engine, the &amp; first"))
        await client.event("Powering up")
        await host.stop()
        for name in ("vm.json", "domain.xml"):
            (host.run_dir / VM / name).unlink()
        again = await host.start()
        try:
            assert (await again.status())["vmName"] == "engine, the & first"
            assert "known again without its record: by its QEMU" in caplog.text
            await again.call("VM.destroy", vmID=VM)
            await again.create(make_xml())
            await again.event("Powering up")
        finally:
            again.close()


async def test_a_paused_vm_without_its_record_takes_its_lease_before_it_runs(
    tmp_path: Path,
) -> None:
    """Whether it holds the lease is not known; if another host has it by now, VM.cont must not
    let the VM run."""
    domain = make_domain(tmp_path)
    paused = "<ovirt-vm:launchPaused type='bool'>true</ovirt-vm:launchPaused>"
    host = Host(domain)
    async with hosts(host) as [client]:
        await client.create(make_xml(metadata=paused))
        await client.event("Paused")
        await host.stop()
        (host.run_dir / VM / "vm.json").write_bytes(b"{")
        elsewhere = vm_lease.take(domain / "images" / IMAGE / f"{VOLUME}.lease")
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Paused"
            with pytest.raises(Refused, match="Failed to acquire lock"):
                await again.call("VM.cont", vmID=VM)
            assert (await again.status())["status"] == "Paused"
            os.close(elsewhere)
            await again.call("VM.cont", vmID=VM)
            assert (await again.status())["status"] == "Powering up"
        finally:
            again.close()


async def test_a_record_with_another_processs_pid_hides_no_qemu(tmp_path: Path) -> None:
    """Taken for Down it could be destroyed and created anew, and two QEMUs would run."""
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml(lease=False))
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        [record], _ = registry.load_all(host.run_dir)
        registry.save(host.run_dir, registry.VmRecord(**{**record.__dict__, "pid": os.getpid()}))
        again = await host.start()
        try:
            assert (await again.status())["status"] == "Powering up"
            assert host.pid() == pid
        finally:
            again.close()


async def test_a_paused_vm_whose_lease_nobody_knows_does_not_run(tmp_path: Path) -> None:
    """Neither record nor definition: that it has no lease can't be concluded from that."""
    paused = "<ovirt-vm:launchPaused type='bool'>true</ovirt-vm:launchPaused>"
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml(metadata=paused))
        await client.event("Paused")
        await host.stop()
        for name in ("vm.json", "domain.xml"):
            (host.run_dir / VM / name).unlink()
        for _ in range(2):  # the second time from the record that was made of it
            again = await host.start()
            try:
                assert (await again.status())["status"] == "Paused"
                with pytest.raises(Refused, match="lease"):
                    await again.call("VM.cont", vmID=VM)
                assert (await again.status())["status"] == "Paused"
            finally:
                again.close()
                await host.stop()
        again = await host.start()
        try:
            await again.call("VM.destroy", vmID=VM)
        finally:
            again.close()


async def test_a_paused_vm_without_its_record_goes_on_with_the_lease_that_it_has(
    tmp_path: Path,
) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
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
        finally:
            again.close()


async def test_a_damaged_record_of_a_vm_that_does_not_run_is_a_down_record(
    tmp_path: Path,
) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        kill(pid)
        (host.run_dir / VM / "vm.json").write_bytes(b"[")
        (host.run_dir / "no-uuid").mkdir()
        (host.run_dir / "no-uuid" / "vm.json").write_bytes(b"[")
        again = await host.start()
        try:
            stats = await again.status()
            assert (stats["status"], stats["exitCode"], stats["exitReason"]) == ("Down", 1, 1)
            assert [vm["vmId"] for vm in await again.call("Host.getVMList")] == [VM]
            await again.call("VM.destroy", vmID=VM)
            assert await again.call("Host.getVMList") == []
        finally:
            again.close()


OTHERS = ["55555555-5555-4555-8555-555555555555", "66666666-6666-4666-8666-666666666666"]


def without_disk(vm: str) -> str:
    """A definition of the one name that all have, and neither disk nor lease."""
    return (
        f"<domain type='kvm'><name>engine</name><uuid>{vm}</uuid><memory>32768</memory>"
        "<vcpu>1</vcpu><os><type machine='pc'>hvm</type></os><devices/></domain>"
    )


async def test_several_vms_live_beside_each_other_and_through_restarts(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        for vm in OTHERS:
            await client.create(without_disk(vm), vm)
        for vm in (VM, *OTHERS):
            await until_up(client, vm)
        pids = {vm: host.pid(vm) for vm in (VM, *OTHERS)}
        assert len(set(pids.values())) == 3
        await client.call("VM.pause", vmID=OTHERS[0])
        await host.stop()
        kill(pids[OTHERS[1]])
        again = await host.start()
        try:
            statuses = {vm: (await again.status(vm))["status"] for vm in (VM, *OTHERS)}
            assert statuses == {VM: "Powering up", OTHERS[0]: "Paused", OTHERS[1]: "Down"}
            assert {vm: host.pid(vm) for vm in (VM, OTHERS[0])} == {
                vm: pids[vm] for vm in (VM, OTHERS[0])
            }
            stats = await again.call("Host.getStats")
            assert (stats["vmCount"], stats["vmActive"]) == (3, 2)
            listed = await again.call("Host.getVMList", vmList=[OTHERS[0]])
            assert [vm["vmId"] for vm in listed] == [OTHERS[0]]
            await again.call("VM.destroy", vmID=OTHERS[0])
            kill(pids[VM])
            assert (await again.event("Down"))["exitReason"] == 2
            assert [vm["vmId"] for vm in await again.call("Host.getVMList")] == [VM, OTHERS[1]]
        finally:
            again.close()


async def until_up(client: Client, vm: str) -> None:
    while (await client.status(vm))["status"] == "WaitForLaunch":
        pass
