# SPDX-License-Identifier: Apache-2.0
"""The contract on a VM's life, with real QEMU: start, events, ends, leases, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.errors import DeadlineExceeded
from ha_agent.vdsm.client.client import ClientState
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode, VdsmError
from ha_agent.vdsm.vm import lease as vm_lease
from ha_agent.vdsm.vm_status import ExitReason, LockFailure, VmStatus, lock_failure
from ha_agent.waiting import within
from tests.vdsm.contract.talk import PATIENCE_SECONDS, Talk
from tests.vdsm.contract.target import Target

pytestmark = pytest.mark.qemu

RUNS = (VmStatus.POWERING_UP, VmStatus.UP)
_LOOK_SECONDS = 0.05


@pytest.fixture
async def vm(vdsm: Talk, guest: Target) -> AsyncIterator[str]:
    """A VM's id, of which VDSM has no record, neither before nor after."""
    await vdsm.destroy_vm(guest.vm_id)
    yield guest.vm_id
    if vdsm.client.state is ClientState.READY:
        await vdsm.destroy_vm(guest.vm_id)


def paused(xml: str) -> str:
    """Return the definition with launchPaused, as the engine writes it."""
    wish = "<ovirt-vm:launchPaused type='bool'>true</ovirt-vm:launchPaused>"
    return xml.replace("<ovirt-vm:vm>", f"<ovirt-vm:vm>{wish}", 1)


@contextlib.contextmanager
def lease_held(target: Target) -> Iterator[None]:
    """Hold the VM's lease as another host would."""
    path = Path(target.storage_folder) / target.domain_id / "images" / target.image_id
    descriptor = vm_lease.take(path / f"{target.volume_id}.lease")
    try:
        yield
    finally:
        os.close(descriptor)


async def started(vdsm: Talk, target: Target, xml: Optional[str] = None) -> None:
    await vdsm.create_vm(target.vm_id, xml or target.vm_xml)
    await vdsm.told(target.vm_id, VmStatus.POWERING_UP)


async def code_of(vdsm: Talk, verb: str, **params: object) -> int:
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.call(verb, **params)
    return failed.value.code


async def test_a_life(vdsm: Talk, guest: Target, vm: str) -> None:
    record = await vdsm.create_vm(vm, guest.vm_xml)
    assert (record.vm_id, record.status) == (vm, VmStatus.WAIT_FOR_LAUNCH)
    told = await vdsm.told(vm, VmStatus.POWERING_UP)
    stats = await vdsm.vm_stats(vm)
    assert stats is not None
    assert stats.status in RUNS
    assert stats.vdsm_clock_ms is not None
    assert told.vdsm_clock_ms is not None
    assert stats.vdsm_clock_ms <= told.vdsm_clock_ms
    # The list tells libvirt's word for it.
    assert [one.status for one in await vdsm.vm_list() if one.vm_id == vm] == [VmStatus.UP]
    assert await vdsm.migration_status(vm) is None
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.create_vm(vm, guest.vm_xml)
    assert failed.value.code == VdsmCode.VM_EXISTS
    assert await vdsm.destroy_vm(vm) is True
    down = await vdsm.told(vm, VmStatus.DOWN)
    assert (down.exit_code, down.exit_reason) == (0, ExitReason.ADMIN_SHUTDOWN)
    assert await vdsm.vm_stats(vm) is None
    assert await vdsm.destroy_vm(vm) is False


async def test_an_event_is_partial_and_dated(vdsm: Talk, guest: Target, vm: str) -> None:
    await vdsm.create_vm(vm, guest.vm_xml)
    while True:
        event = await within(PATIENCE_SECONDS, vdsm.client.next_event())
        if event.method == f"|virt|VM_status|{vm}":
            break
    assert isinstance(event.params, dict)
    assert set(event.params) == {vm, "notify_time"}
    assert isinstance(event.params["notify_time"], int)
    stats = (await vdsm.call("VM.getStats", vmID=vm))[0]
    assert isinstance(stats["statusTime"], str)
    assert stats["statusTime"].isdecimal()


async def test_pause_and_continue(vdsm: Talk, guest: Target, vm: str) -> None:
    await started(vdsm, guest)
    await vdsm.call("VM.pause", vmID=vm)
    await vdsm.told(vm, VmStatus.PAUSED)
    stats = await vdsm.vm_stats(vm)
    assert stats is not None
    assert stats.status is VmStatus.PAUSED
    await vdsm.continue_vm(vm)
    await vdsm.told(vm, VmStatus.POWERING_UP)
    stats = await vdsm.vm_stats(vm)
    assert stats is not None
    assert stats.status in RUNS


async def test_a_shutdown_is_under_way_until_the_guest_ends(
    vdsm: Talk, guest: Target, vm: str
) -> None:
    await started(vdsm, guest)
    assert await vdsm.shutdown_vm(vm, delay_seconds=0, timeout_seconds=60, message="test") is True
    await vdsm.told(vm, VmStatus.POWERING_DOWN)
    stats = await vdsm.vm_stats(vm)
    assert stats is not None
    # A guest that knows ACPI may be down already.
    assert stats.status in (VmStatus.POWERING_DOWN, VmStatus.DOWN)


async def test_a_forced_shutdown_leaves_a_record_until_it_is_destroyed(
    vdsm: Talk, guest: Target, vm: str
) -> None:
    await started(vdsm, guest)
    await vdsm.call("VM.shutdown", vmID=vm, delay=0, timeout=0, force=True)
    down = await vdsm.told(vm, VmStatus.DOWN)
    assert down.exit_reason is ExitReason.ADMIN_SHUTDOWN
    # A Down record blocks a create, and answers a shutdown as if it were not there.
    assert await code_of(vdsm, "VM.create", vmID=vm, vmParams={"xml": guest.vm_xml}) == 4
    assert await code_of(vdsm, "VM.shutdown", vmID=vm) == 1
    assert await vdsm.shutdown_vm(vm) is False
    stats = await vdsm.vm_stats(vm)
    assert stats is not None
    assert (stats.status, stats.exit_reason) == (VmStatus.DOWN, ExitReason.ADMIN_SHUTDOWN)
    assert await vdsm.destroy_vm(vm) is True
    assert await vdsm.vm_stats(vm) is None
    await started(vdsm, guest)


async def test_started_paused_it_waits(vdsm: Talk, guest: Target, vm: str) -> None:
    await vdsm.create_vm(vm, paused(guest.vm_xml))

    async def is_paused() -> None:
        while True:
            stats = await vdsm.vm_stats(vm)
            if stats is not None and stats.status is VmStatus.PAUSED:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    await within(PATIENCE_SECONDS, is_paused())
    assert (await vdsm.call("VM.getStats", vmID=vm))[0]["pauseCode"] == "NOERR"
    await vdsm.continue_vm(vm)
    told = await vdsm.told(vm, VmStatus.POWERING_UP)
    assert told.vm_id == vm


async def test_started_paused_it_holds_no_lease(
    vdsm: Talk, ours: Target, guest: Target, vm: str
) -> None:
    with lease_held(guest):
        await vdsm.create_vm(vm, paused(guest.vm_xml))
        await vdsm.told(vm, VmStatus.PAUSED)
        with pytest.raises(VdsmCallFailed) as failed:
            await vdsm.continue_vm(vm)
        assert failed.value.code == VdsmCode.GENERAL_EXCEPTION
        assert lock_failure(failed.value.message) is LockFailure.HELD_BY_OTHER_HOST
        stats = await vdsm.vm_stats(vm)
        assert stats is not None
        assert stats.status is VmStatus.PAUSED
    await vdsm.continue_vm(vm)
    await vdsm.told(vm, VmStatus.POWERING_UP)


async def test_a_lost_lease_is_a_down_record_with_a_reason(
    vdsm: Talk, ours: Target, guest: Target, vm: str
) -> None:
    with lease_held(guest):
        await vdsm.create_vm(vm, guest.vm_xml)
        down = await vdsm.told(vm, VmStatus.DOWN)
    assert (down.exit_code, down.exit_reason) == (1, ExitReason.GENERIC_ERROR)
    assert lock_failure(down.exit_message) is LockFailure.HELD_BY_OTHER_HOST
    assert await code_of(vdsm, "VM.create", vmID=vm, vmParams={"xml": guest.vm_xml}) == 4


async def test_a_crash_is_told(vdsm: Talk, ours: Target, guest: Target, vm: str) -> None:
    await started(vdsm, guest)
    pid = int((await vdsm.call("VM.getStats", vmID=vm))[0]["pid"])
    os.kill(pid, signal.SIGKILL)
    down = await vdsm.told(vm, VmStatus.DOWN)
    assert (down.exit_code, down.exit_reason) == (1, ExitReason.LOST_QEMU_CONNECTION)


async def test_a_restart_forgets_monitors_and_keeps_vms(
    vdsm: Talk, ours: Target, guest: Target, vm: str
) -> None:
    await started(vdsm, guest)
    await vdsm.start_monitoring_domain(guest.domain_id, 1)
    assert guest.restart is not None
    await asyncio.get_running_loop().run_in_executor(None, guest.restart)

    async def ready() -> None:
        # The old connection may not be missed yet, so what counts is an answer.
        while True:
            with contextlib.suppress(VdsmError, DeadlineExceeded):
                await vdsm.ping2()
                return
            await asyncio.sleep(_LOOK_SECONDS)

    await within(PATIENCE_SECONDS, ready())
    stats = await vdsm.vm_stats(vm)
    assert stats is not None
    assert stats.status in RUNS
    assert await vdsm.storage_vitals() == {}
    assert await vdsm.destroy_vm(vm) is True
    await vdsm.told(vm, VmStatus.DOWN)


async def test_a_console_without_a_display_is_refused(
    vdsm: Talk, ours: Target, guest: Target, vm: str
) -> None:
    await started(vdsm, guest)
    with pytest.raises(VdsmCallFailed):
        await vdsm.set_console_password(vm, "secret", ttl_seconds=5)
