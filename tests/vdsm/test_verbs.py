# SPDX-License-Identifier: Apache-2.0
"""Each verb's name, parameters and answer, held against what a real VDSM showed (facts 2)."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Callable, Optional

import pytest

from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed
from ha_agent.vdsm.verbs import NO_POOL, DomainType, Vdsm
from ha_agent.vdsm.vm_status import VmStatus

VM = "22222222-2222-2222-2222-222222222222"


class RecordingCaller:
    """Stands in for the client: keeps the call, gives the prepared answer or error."""

    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.method = ""
        self.params: Mapping[str, Any] = {}
        self.deadline_seconds: Optional[float] = None

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        deadline_seconds: Optional[float] = None,
    ) -> Any:
        self.method, self.params, self.deadline_seconds = method, params, deadline_seconds
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def ask(answer: Any, use: Callable[[Vdsm], Awaitable[Any]]) -> Any:
    return await use(Vdsm(RecordingCaller(answer)))


def refused(code: int) -> VdsmCallFailed:
    return VdsmCallFailed("a verb", code, "no")


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
        (lambda v: v.shutdown_vm(VM), True, "VM.shutdown", {"vmID": VM}),
        (
            lambda v: v.shutdown_vm(VM, delay_seconds=0, timeout_seconds=60, message="bye"),
            True,
            "VM.shutdown",
            {"vmID": VM, "delay": 0, "timeout": 60, "message": "bye"},
        ),
        (lambda v: v.destroy_vm(VM), True, "VM.destroy", {"vmID": VM, "gracefulAttempts": 1}),
        (lambda v: v.continue_vm(VM), {"vmList": {}}, "VM.cont", {"vmID": VM}),
        (lambda v: v.host_stats(), {}, "Host.getStats", {}),
        (
            lambda v: v.connect_storage_server(
                DomainType.NFS, [{"id": "c", "connection": "s:/e"}]
            ),
            [{"id": "c", "status": 0}],
            "StoragePool.connectStorageServer",
            {
                "storagepoolID": NO_POOL,
                "domainType": 1,
                "connectionParams": [{"id": "c", "connection": "s:/e"}],
            },
        ),
        (
            lambda v: v.start_monitoring_domain("sd", 2),
            True,
            "Host.startMonitoringDomain",
            {"sdUUID": "sd", "hostID": 2},
        ),
        (
            lambda v: v.stop_monitoring_domain("sd"),
            True,
            "Host.stopMonitoringDomain",
            {"sdUUID": "sd"},
        ),
        (lambda v: v.storage_vitals(), {}, "Host.getStorageRepoStats", {}),
        (
            lambda v: v.storage_vitals(["sd"]),
            {},
            "Host.getStorageRepoStats",
            {"domains": ["sd"]},
        ),
        (
            lambda v: v.domain_info("sd"),
            {},
            "StorageDomain.getInfo",
            {"storagedomainID": "sd"},
        ),
        (
            lambda v: v.domain_images("sd"),
            [],
            "StorageDomain.getImages",
            {"storagedomainID": "sd"},
        ),
        (
            lambda v: v.image_volumes("sd", "img"),
            [],
            "StorageDomain.getVolumes",
            {"storagedomainID": "sd", "storagepoolID": NO_POOL, "imageID": "img"},
        ),
        (
            lambda v: v.volume_info("sd", "img", "vol"),
            {},
            "Volume.getInfo",
            {
                "storagedomainID": "sd",
                "storagepoolID": NO_POOL,
                "imageID": "img",
                "volumeID": "vol",
            },
        ),
        (
            lambda v: v.prepare_image("sd", "img", "vol", pool_id="sp"),
            {"path": "/p"},
            "Image.prepare",
            {
                "storagedomainID": "sd",
                "storagepoolID": "sp",
                "imageID": "img",
                "volumeID": "vol",
            },
        ),
        (
            lambda v: v.teardown_image("sd", "img"),
            True,
            "Image.teardown",
            {"storagedomainID": "sd", "storagepoolID": NO_POOL, "imageID": "img"},
        ),
        (
            lambda v: v.teardown_image("sd", "img", "vol"),
            True,
            "Image.teardown",
            {
                "storagedomainID": "sd",
                "storagepoolID": NO_POOL,
                "imageID": "img",
                "volumeID": "vol",
            },
        ),
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


async def test_other_codes_are_errors() -> None:
    uses: list[Callable[[Vdsm], Awaitable[Any]]] = [
        lambda v: v.vm_stats(VM),
        lambda v: v.destroy_vm(VM),
        lambda v: v.shutdown_vm(VM),
        lambda v: v.volume_info("sd", "img", "vol"),
        lambda v: v.stop_monitoring_domain("sd"),
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


async def test_storage_refusals_that_are_answers() -> None:
    assert await ask(refused(201), lambda v: v.volume_info("sd", "img", "vol")) is None
    assert await ask(refused(254), lambda v: v.volume_info("sd", "img", "vol")) is None
    assert await ask(refused(900), lambda v: v.stop_monitoring_domain("sd")) is False


async def test_a_connection_that_fails_inside_a_good_answer() -> None:
    answer = [{"id": "a", "status": 0}, {"id": "b", "status": 477}]
    with pytest.raises(VdsmCallFailed, match="connection b failed") as caught:
        await ask(answer, lambda v: v.connect_storage_server(DomainType.NFS, [{"id": "a"}]))
    assert caught.value.code == 477


@pytest.mark.parametrize(
    ("use", "answer", "what"),
    [
        (lambda v: v.vm_stats(VM), [], "VM.getStats can't be used: 0 VMs, not one"),
        (lambda v: v.vm_stats(VM), {"status": "Up"}, "dict where a list belongs"),
        (lambda v: v.vm_list(), [{"status": "Up"}], "without vmId"),
        (lambda v: v.create_vm(VM, ""), True, "no object"),
        (lambda v: v.host_stats(), [], "list where an object belongs"),
        (lambda v: v.storage_vitals(), {"sd": 1}, "int where an object belongs"),
        (lambda v: v.domain_images("sd"), {"a": 1}, "no list of ids"),
        (lambda v: v.image_volumes("sd", "i"), [1], "no list of ids"),
        (lambda v: v.prepare_image("sd", "i", "v"), {}, "no path"),
        (lambda v: v.connect_storage_server(DomainType.NFS, []), [{}], "without status"),
    ],
)
async def test_answers_of_another_shape(
    use: Callable[[Vdsm], Awaitable[Any]], answer: Any, what: str
) -> None:
    with pytest.raises(VdsmBadAnswer, match=what):
        await ask(answer, use)
