# SPDX-License-Identifier: Apache-2.0
"""Each verb's name, parameters and answer, held against what a real VDSM showed (facts 2)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Callable

import pytest

from ha_agent.vdsm.client.verbs import Graphics, OnConnected, Vdsm
from ha_agent.vdsm.domain.launch_paused import launch_paused
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed
from ha_agent.vdsm.vm_status import VmStatus
from tests.vdsm.recording_caller import RecordingCaller, ask, refused

VM = "22222222-2222-2222-2222-222222222222"
CONSOLE = {
    "deviceType": "graphics",
    "graphicsType": "vnc",
    "password": "p",
    "ttl": 120,
    "existingConnAction": "keep",
    "params": {},
}


@pytest.mark.parametrize(
    ("use", "answer", "method", "params"),
    [
        (lambda v: v.ping2(), True, "Host.ping2", {}),
        (lambda v: v.vm_stats(VM), [{"vmId": VM}], "VM.getStats", {"vmID": VM}),
        (lambda v: v.vm_list(), [], "Host.getVMList", {}),
        (
            lambda v: v.create_vm(VM, "<domain/>"),
            {"vmId": VM, "status": "WaitForLaunch", "statusTime": "1", "xml": "<domain/>"},
            "VM.create",
            {"vmID": VM, "vmParams": {"xml": "<domain/>"}},
        ),
        (
            lambda v: v.create_vm(VM, "<domain/>", paused=True),
            {"vmId": VM, "status": "WaitForLaunch", "statusTime": "1"},
            "VM.create",
            {"vmID": VM, "vmParams": {"xml": launch_paused("<domain/>")}},
        ),
        (lambda v: v.shutdown_vm(VM), True, "VM.shutdown", {"vmID": VM}),
        (
            lambda v: v.shutdown_vm(VM, delay_seconds=0, timeout_seconds=60, message="bye"),
            True,
            "VM.shutdown",
            {"vmID": VM, "delay": 0, "timeout": 60, "message": "bye"},
        ),
        (lambda v: v.destroy_vm(VM), True, "VM.destroy", {"vmID": VM, "gracefulAttempts": 1}),
        (lambda v: v.continue_vm(VM), {"vmList": {}}, "VM.cont", {"vmID": VM}),
        (
            lambda v: v.migration_status(VM),
            {"progress": 3},
            "VM.getMigrationStatus",
            {"vmID": VM},
        ),
        (
            lambda v: v.set_console_password(VM, "p", ttl_seconds=120),
            {"vmList": {}},
            "VM.updateDevice",
            {"vmID": VM, "params": CONSOLE},
        ),
        (
            lambda v: v.set_console_password(
                VM,
                "p",
                ttl_seconds=5,
                graphics=Graphics.SPICE,
                on_connected=OnConnected.DISCONNECT,
            ),
            True,
            "VM.updateDevice",
            {
                "vmID": VM,
                "params": {
                    **CONSOLE,
                    "graphicsType": "spice",
                    "ttl": 5,
                    "existingConnAction": "disconnect",
                },
            },
        ),
        (lambda v: v.host_stats(), {}, "Host.getStats", {}),
        (lambda v: v.host_capabilities(), {}, "Host.getCapabilities", {}),
    ],
)
async def test_what_travels(
    use: Callable[[Vdsm], Awaitable[Any]], answer: Any, method: str, params: dict[str, Any]
) -> None:
    caller = RecordingCaller(answer)
    await use(Vdsm(caller))
    assert (caller.method, caller.params) == (method, params)
    assert caller.deadline_seconds is not None


async def test_no_record_of_a_vm_is_an_answer() -> None:
    assert await ask(refused(1), lambda v: v.vm_stats(VM)) is None
    assert await ask(refused(1), lambda v: v.destroy_vm(VM)) is False
    assert await ask(refused(1), lambda v: v.shutdown_vm(VM)) is False
    assert await ask(True, lambda v: v.destroy_vm(VM)) is True
    assert await ask(refused(1), lambda v: v.migration_status(VM)) is None
    assert await ask(refused(81), lambda v: v.migration_status(VM)) is None
    console = await ask(refused(1), lambda v: v.set_console_password(VM, "p", ttl_seconds=1))
    assert console is False


async def test_other_codes_are_errors() -> None:
    uses: list[Callable[[Vdsm], Awaitable[Any]]] = [
        lambda v: v.vm_stats(VM),
        lambda v: v.destroy_vm(VM),
        lambda v: v.shutdown_vm(VM),
        lambda v: v.host_capabilities(),
        lambda v: v.migration_status(VM),
        lambda v: v.set_console_password(VM, "p", ttl_seconds=1),
    ]
    for use in uses:
        with pytest.raises(VdsmCallFailed) as caught:
            await ask(refused(4), use)
        assert caught.value.code == 4
    with pytest.raises(VdsmCallFailed):
        await ask(refused(1), lambda v: v.continue_vm(VM))


async def test_vm_answers() -> None:
    stats = await ask([{"status": "Up"}], lambda v: v.vm_stats(VM))
    assert (stats.vm_id, stats.status) == (VM, VmStatus.UP)
    record = {"vmId": VM, "status": "WaitForLaunch", "statusTime": "7"}
    created = await ask(record, lambda v: v.create_vm(VM, "<domain/>"))
    assert (created.status, created.vdsm_clock_ms) == (VmStatus.WAIT_FOR_LAUNCH, 7)
    listed = await ask([record, {"vmId": "3", "status": "Down"}], lambda v: v.vm_list())
    assert [vm.vm_id for vm in listed] == [VM, "3"]


@pytest.mark.parametrize(
    ("use", "answer", "what"),
    [
        (lambda v: v.vm_stats(VM), [], "VM.getStats can't be used: 0 VMs, not one"),
        (lambda v: v.vm_stats(VM), {"status": "Up"}, "dict where a list belongs"),
        (lambda v: v.vm_list(), [{"status": "Up"}], "without vmId"),
        (lambda v: v.create_vm(VM, ""), True, "no object"),
        (lambda v: v.host_stats(), [], "list where an object belongs"),
    ],
)
async def test_answers_of_another_shape(
    use: Callable[[Vdsm], Awaitable[Any]], answer: Any, what: str
) -> None:
    with pytest.raises(VdsmBadAnswer, match=what):
        await ask(answer, use)
