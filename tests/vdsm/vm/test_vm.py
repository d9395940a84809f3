# SPDX-License-Identifier: Apache-2.0
"""One VM with real QEMU: starts, leases, orders and ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.clock import SystemClock
from ha_agent.vdsm.vm import lease as vm_lease
from ha_agent.vdsm.vm import registry
from tests.vdsm.embedded import (
    VM,
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


# A QEMU that dies with its answer to query-status, the last thing that a start asks.
_DIES_ONCE_STARTED = """#!{python}
import json, os, socket, sys
if "-pidfile" not in sys.argv:
    os.execv({qemu!r}, sys.argv)
qmp, _ = socket.socket(fileno=3).accept()
qmp.sendall(b'{{"QMP": {{"version": {{"qemu": {{"major": 8, "minor": 0, "micro": 0}},'
            b' "package": ""}}, "capabilities": []}}}}\\r\\n')
data = b""
while True:
    data += qmp.recv(65536)
    try:
        request = json.loads(data)
    except ValueError:
        continue
    data = b""
    answer = {{"return": {{"running": True, "status": "running"}}}}
    answer.update((key, value) for key, value in request.items() if key == "id")
    qmp.sendall(json.dumps(answer).encode() + b"\\r\\n")
    if request["execute"] == "query-status":
        os.kill(os.getpid(), 9)
"""


async def test_a_qemu_that_ends_with_its_last_answer_is_down(tmp_path: Path) -> None:
    script = tmp_path / "qemu"
    real = shutil.which("qemu-system-x86_64")
    script.write_text(_DIES_ONCE_STARTED.format(python=sys.executable, qemu=real))
    script.chmod(0o755)
    async with hosts(Host(make_domain(tmp_path), qemu_binary=str(script))) as [client]:
        for _ in range(8):  # which of the two comes first is chance
            await client.create(make_xml())
            assert (await client.event("Down"))["exitCode"] == 1
            await client.call("VM.destroy", vmID=VM)


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


def _sector(code: str) -> bytes:
    return bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa"


# out 0x604, 0x2000: ACPI's power off; out 0xcf9, 6: reset.
POWER_OFF = _sector("ba0406b80020eff4ebfd")
RESET = _sector("baf90cb006eef4ebfd")


async def test_a_guest_that_powers_off_is_a_user_shutdown(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path, POWER_OFF))) as [client]:
        await client.create(make_xml())
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (0, 7)


async def test_a_reset_is_a_reboot_or_the_end(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path, RESET))) as [client]:
        await client.create(make_xml())
        await client.event("RebootInProgress")
        assert (await client.status())["status"] == "RebootInProgress"
        await client.call("VM.destroy", vmID=VM)
        flag = "<ovirt-vm:destroy_on_reboot>True</ovirt-vm:destroy_on_reboot>"
        await client.create(make_xml(metadata=flag))
        fields = await client.event("Down")
        while fields["exitReason"] == 6:  # that of the first VM
            fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (0, 13)
