# SPDX-License-Identifier: Apache-2.0
"""What QEMU does by itself, as VDSM tells it: pauses by I/O errors, panics, hangs.

QEMU's disk fails by its own blkdebug driver, put under the image by a script in QEMU's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.vdsm.vm.pause import PauseTimes
from tests.vdsm.embedded import VM, Client, Host, Refused, hosts, make_domain, make_xml

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]

_FAILING_DISK = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
for number, text in enumerate(arguments):
    if text.startswith("{{") and '"node-name": "node0"' in text:
        node = json.loads(text)
        fault = {{"event": "write_aio", "errno": {errno}, "once": {once}}}
        node["file"] = {{"driver": "blkdebug", "image": node["file"], "inject-error": [fault]}}
        arguments[number] = json.dumps(node)
os.execv({qemu!r}, [{qemu!r}, *arguments])
"""


def _sector(code: str) -> bytes:
    return bytes.fromhex(code).ljust(510, b"\0") + b"\x55\xaa"


# int 13h: write one sector; then out 0x604, 0x2000: ACPI's power off.
WRITE_THEN_OFF = _sector("31c08ec0b80103bb007cb90200ba8000cd13" + "ba0406b80020ef" + "f4ebfd")
# The same, and then halt.
WRITE = _sector("31c08ec0b80103bb007cb90200ba8000cd13" + "f4ebfd")
PANIC = _sector("ba0505b001eef4ebfd")  # out 0x505, 1
RESET = _sector("baf90cb006eef4ebfd")  # out 0xcf9, 6


@contextlib.asynccontextmanager
async def _failing(
    folder: Path, errno: int, *, once: bool, sector: bytes = WRITE, **settings: Any
) -> AsyncIterator[tuple[Host, Client]]:
    script = folder / "qemu"
    qemu = shutil.which("qemu-system-x86_64")
    script.write_text(
        _FAILING_DISK.format(python=sys.executable, qemu=qemu, errno=errno, once=once)
    )
    script.chmod(0o755)
    host = Host(make_domain(folder, sector), qemu_binary=str(script), **settings)
    async with hosts(host) as [client]:
        yield host, client


def _resume(behavior: str) -> str:
    return make_xml(metadata=f"<ovirt-vm:resumeBehavior>{behavior}</ovirt-vm:resumeBehavior>")


@pytest.mark.parametrize(("errno", "code"), [(5, "EIO"), (28, "ENOSPC")])
async def test_an_io_error_pauses_until_cont(tmp_path: Path, errno: int, code: str) -> None:
    async with _failing(tmp_path, errno, once=True, sector=WRITE_THEN_OFF) as (_, client):
        await client.create(_resume("leave_paused"))
        assert (await client.event("Paused"))["pauseCode"] == code
        stats = await client.status()
        assert (stats["status"], stats["pauseCode"]) == ("Paused", code)
        [listed] = await client.call("Host.getVMList")
        assert listed["status"] == "Up"
        await client.call("VM.cont", vmID=VM)
        # The write was made again, and the guest went on to its end.
        assert (await client.event("Down"))["exitReason"] == 7


async def test_it_goes_on_by_itself_when_the_disk_can_be_used(tmp_path: Path) -> None:
    times = PauseTimes(look_seconds=0.05)
    async with _failing(tmp_path, 28, once=True, sector=WRITE_THEN_OFF, pause_times=times) as (
        _,
        client,
    ):
        await client.create(_resume("auto_resume"))
        assert (await client.event("Paused"))["pauseCode"] == "ENOSPC"
        await client.event("Powering up")
        assert (await client.event("Down"))["exitReason"] == 7


async def test_a_disk_that_stays_bad_is_paused_again_with_its_code(tmp_path: Path) -> None:
    async with _failing(tmp_path, 5, once=False) as (_, client):
        await client.create(_resume("leave_paused"))
        await client.event("Paused")
        await client.call("VM.cont", vmID=VM)
        assert (await client.event("Paused"))["pauseCode"] == "EIO"
        assert (await client.status())["status"] == "Paused"


async def test_kill_ends_a_pause_that_lasts(tmp_path: Path) -> None:
    times = PauseTimes(look_seconds=60.0, kill_seconds=0.1)
    async with _failing(tmp_path, 5, once=False, pause_times=times) as (_, client):
        await client.create(_resume("kill"))
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (1, 14)
        assert fields["exitMessage"] == "VM destroyed on pause timeout"


async def test_a_vm_paused_by_an_error_is_found_again_so(tmp_path: Path) -> None:
    async with _failing(tmp_path, 28, once=True) as (host, client):
        await client.create(_resume("leave_paused"))
        await client.event("Paused")
        with contextlib.closing(await _restarted(host)) as again:
            stats = await again.status()
            assert (stats["status"], stats["pauseCode"]) == ("Paused", "ENOSPC")
            await again.call("VM.cont", vmID=VM)
            assert (await again.status())["status"] == "Powering up"


async def test_a_panic_is_a_crash(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path, PANIC))) as [client]:
        await client.create(make_xml(devices="<panic model='isa'/>"))
        fields = await client.event("Down")
        assert fields["exitCode"] == 1


async def test_a_reboot_that_ends_the_vm_needs_nobody_to_watch(tmp_path: Path) -> None:
    flag = "<ovirt-vm:destroy_on_reboot>true</ovirt-vm:destroy_on_reboot>"
    async with hosts(Host(make_domain(tmp_path, RESET))) as [client]:
        await client.create(make_xml(metadata=flag))
        fields = await client.event("Down")
        assert (fields["exitCode"], fields["exitReason"]) == (0, 13)


async def _restarted(host: Host) -> Client:
    await host.stop()
    client = await host.start()
    while not await client.is_ready():  # noqa: ASYNC110 - it watches plain values
        await asyncio.sleep(0.02)
    return client


async def test_a_qemu_that_hangs_is_up_and_can_be_destroyed(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        os.kill(pid, signal.SIGSTOP)
        with contextlib.closing(await _restarted(host)) as again:
            stats = await again.status()
            assert (stats["status"], stats["monitorResponse"]) == ("Powering up", "-1")
            # It waits for nothing that QEMU would have to say.
            assert await again.call("VM.shutdown", vmID=VM, force=True, timeout=60) is True
            assert (await again.status())["status"] == "Powering down"
            assert await again.call("VM.destroy", vmID=VM) is True
            with pytest.raises(Refused) as refused:
                await again.status()
            assert refused.value.code == 1


async def test_a_qemu_that_goes_on_is_spoken_to_again(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        os.kill(pid, signal.SIGSTOP)
        with contextlib.closing(await _restarted(host)) as again:
            os.kill(pid, signal.SIGCONT)
            while (await again.status())["monitorResponse"] != "0":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await again.call("VM.pause", vmID=VM)
            await again.event("Paused")


async def test_a_vm_that_is_told_to_power_off_is_found_again_so(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        await client.call("VM.shutdown", vmID=VM)
        with contextlib.closing(await _restarted(host)) as again:
            assert (await again.status())["status"] == "Powering down"


async def test_a_vm_that_ended_while_nobody_watched_is_down(tmp_path: Path) -> None:
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(make_xml())
        await client.event("Powering up")
        pid = host.pid()
        await host.stop()
        os.kill(pid, signal.SIGKILL)
        with contextlib.closing(await _restarted(host)) as again:
            stats = await again.status()
            assert (stats["status"], stats["exitCode"], stats["exitReason"]) == ("Down", 1, 1)


async def test_a_cont_that_hangs_with_qemu_keeps_nobody_from_destroying(tmp_path: Path) -> None:
    paused = make_xml(metadata="<ovirt-vm:launchPaused>true</ovirt-vm:launchPaused>")
    host = Host(make_domain(tmp_path))
    async with hosts(host) as [client]:
        await client.create(paused)
        await client.event("Paused")
        os.kill(host.pid(), signal.SIGSTOP)
        client.request("VM.cont", {"vmID": VM}, "hangs")
        assert host.vdsm is not None
        with contextlib.closing(await Client.connect(host.vdsm.port)) as other:
            assert await other.call("VM.destroy", vmID=VM) is True
            assert await other.call("Host.getVMList") == []
            # The lease went with QEMU, whatever became of the order.
            await other.create(make_xml())
            await other.event("Powering up")


async def test_the_lease_goes_with_a_vm_that_is_killed_for_its_pause(tmp_path: Path) -> None:
    times = PauseTimes(look_seconds=60.0, kill_seconds=0.1)
    async with _failing(tmp_path, 5, once=True, pause_times=times) as (_, client):
        await client.create(_resume("kill"))
        await client.event("Down")
        await client.call("VM.destroy", vmID=VM)
        await client.create(_resume("leave_paused"))
        await client.event("Powering up")


async def test_data_for_tpm_and_firmware_is_refused_by_name(tmp_path: Path) -> None:
    async with hosts(Host(make_domain(tmp_path))) as [client]:
        for name in ("_X_tpmdata", "_X_nvramdata"):
            params = {"xml": make_xml(), name: "eA=="}
            with pytest.raises(Refused, match=name):
                await client.call("VM.create", vmID=VM, vmParams=params)
        assert await client.call("Host.getVMList") == []
