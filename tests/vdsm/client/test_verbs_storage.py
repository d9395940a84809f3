# SPDX-License-Identifier: Apache-2.0
"""Each storage verb's name, parameters and answer (facts 2, and vdsm's vdsm-api.yml)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Callable

import pytest

from ha_agent.vdsm.client.answers import SpmStatus
from ha_agent.vdsm.client.verbs import NO_POOL, Allocation, Vdsm
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed
from tests.vdsm.recording_caller import RecordingCaller, ask, refused


@pytest.mark.parametrize(
    ("use", "answer", "method", "params"),
    [
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
        (
            lambda v: v.spm_status("sp"),
            {"spmStatus": "SPM", "spmLver": 40, "spmId": 2},
            "StoragePool.getSpmStatus",
            {"storagepoolID": "sp"},
        ),
        (
            lambda v: v.set_volume_description("sd", "img", "vol", "text", pool_id="sp"),
            True,
            "Volume.setDescription",
            {
                "storagedomainID": "sd",
                "storagepoolID": "sp",
                "imageID": "img",
                "volumeID": "vol",
                "description": "text",
            },
        ),
        (
            lambda v: v.create_volume(
                "sd",
                "img",
                "vol",
                size_bytes=1 << 27,
                disk_type="OVFS",
                description="text",
                allocation=Allocation.SPARSE,
            ),
            "a-task",
            "Volume.create",
            {
                "storagedomainID": "sd",
                "storagepoolID": NO_POOL,
                "imageID": "img",
                "volumeID": "vol",
                "size": "134217728",
                "volFormat": 5,
                "preallocate": 2,
                "diskType": "OVFS",
                "desc": "text",
                "srcImgUUID": NO_POOL,
                "srcVolUUID": NO_POOL,
            },
        ),
        (
            lambda v: v.task_status("t"),
            {"taskState": "running"},
            "Task.getStatus",
            {"taskID": "t"},
        ),
        (lambda v: v.clear_task("t"), True, "Task.clear", {"taskID": "t"}),
    ],
)
async def test_what_travels(
    use: Callable[[Vdsm], Awaitable[Any]], answer: Any, method: str, params: dict[str, Any]
) -> None:
    caller = RecordingCaller(answer)
    await use(Vdsm(caller))
    assert (caller.method, caller.params) == (method, params)
    assert caller.deadline_seconds is not None


async def test_storage_refusals_that_are_answers() -> None:
    assert await ask(refused(201), lambda v: v.volume_info("sd", "img", "vol")) is None
    assert await ask(refused(254), lambda v: v.volume_info("sd", "img", "vol")) is None
    assert await ask(refused(900), lambda v: v.stop_monitoring_domain("sd")) is False


async def test_other_codes_are_errors() -> None:
    uses: list[Callable[[Vdsm], Awaitable[Any]]] = [
        lambda v: v.volume_info("sd", "img", "vol"),
        lambda v: v.stop_monitoring_domain("sd"),
        lambda v: v.spm_status("sp"),
    ]
    for use in uses:
        with pytest.raises(VdsmCallFailed) as caught:
            await ask(refused(4), use)
        assert caught.value.code == 4


async def test_a_pool_that_is_not_connected_has_no_status_here() -> None:
    assert await ask(refused(309), lambda v: v.spm_status("sp")) is None
    answer = {"spmStatus": "Free", "spmLver": -1, "spmId": -1}
    assert await ask(answer, lambda v: v.spm_status("sp")) == SpmStatus("Free", None)


async def test_where_this_host_may_not_write_is_an_error_with_its_code() -> None:
    for code in (309, 654):
        with pytest.raises(VdsmCallFailed) as caught:
            await ask(refused(code), lambda v: v.set_volume_description("sd", "i", "v", "x"))
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("use", "answer", "what"),
    [
        (lambda v: v.storage_vitals(), {"sd": 1}, "int where an object belongs"),
        (lambda v: v.domain_images("sd"), {"a": 1}, "no list of ids"),
        (lambda v: v.image_volumes("sd", "i"), [1], "no list of ids"),
        (lambda v: v.prepare_image("sd", "i", "v"), {}, "no path"),
        (lambda v: v.spm_status("sp"), {}, "no spmStatus"),
        (lambda v: v.task_status("t"), {}, "no taskState"),
        (
            lambda v: v.create_volume(
                "sd",
                "i",
                "v",
                size_bytes=1,
                disk_type="OVFS",
                description="",
                allocation=Allocation.PREALLOCATED,
            ),
            True,
            "no task id",
        ),
    ],
)
async def test_answers_of_another_shape(
    use: Callable[[Vdsm], Awaitable[Any]], answer: Any, what: str
) -> None:
    with pytest.raises(VdsmBadAnswer, match=what):
        await ask(answer, use)
