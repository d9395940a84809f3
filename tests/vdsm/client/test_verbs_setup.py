# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Callable

import pytest

from ha_agent.vdsm.client.storage_server import DomainType
from ha_agent.vdsm.client.verbs_setup import SetupVdsm
from ha_agent.vdsm.errors import VdsmBadAnswer
from tests.vdsm.recording_caller import RecordingCaller

SD, SP, MASTER = "sd", "sp", "master"


async def sent(use: Callable[[SetupVdsm], Awaitable[Any]], answer: Any = True) -> tuple[str, Any]:
    caller = RecordingCaller(answer)
    await use(SetupVdsm(caller))
    return caller.method, caller.params


async def test_a_domain_is_asked_for_by_numbers_as_vdsm_wants_them() -> None:
    method, params = await sent(lambda v: v.create_domain(SD, DomainType.NFS, "s:/x", "he"))
    assert method == "StorageDomain.create"
    assert params == {
        "storagedomainID": SD,
        "domainType": 1,
        "typeArgs": "s:/x",
        "name": "he",
        "domainClass": 1,
        "version": 5,
    }


@pytest.mark.parametrize("answer", ["vg-uuid", {"uuid": "vg-uuid"}])
async def test_a_volume_groups_uuid_comes_in_two_shapes(answer: Any) -> None:
    caller = RecordingCaller(answer)
    made = await SetupVdsm(caller).create_volume_group(SD, ["3600a"], force=False)
    assert made == "vg-uuid"
    assert caller.params == {"name": SD, "devlist": ["3600a"], "force": False}


async def test_an_answer_without_a_uuid_is_none() -> None:
    with pytest.raises(VdsmBadAnswer):
        await SetupVdsm(RecordingCaller(True)).create_volume_group(SD, ["3600a"], force=True)


async def test_the_pools_verbs() -> None:
    method, params = await sent(lambda v: v.create_pool(SP, "n", MASTER, SD))
    assert (method, params["domainList"]) == ("StoragePool.create", [MASTER, SD])
    method, params = await sent(lambda v: v.connect_pool(SP, 1, MASTER, SD))
    assert (method, params["domainDict"]) == (
        "StoragePool.connect",
        {MASTER: "active", SD: "active"},
    )
    method, params = await sent(lambda v: v.start_spm(SP), "task")
    assert (method, params["prevID"], params["prevLver"]) == ("StoragePool.spmStart", -1, -1)
    method, params = await sent(lambda v: v.activate_domain(SD, SP))
    assert method == "StorageDomain.activate"
    method, params = await sent(lambda v: v.detach_domain(SD, SP, MASTER))
    assert (method, params["masterSdUUID"]) == ("StorageDomain.detach", MASTER)
    method, params = await sent(lambda v: v.destroy_pool(SP, 1))
    assert (method, params["scsiKey"]) == ("StoragePool.destroy", SP)
    method, params = await sent(lambda v: v.format_domain(MASTER))
    assert (method, params["autoDetach"]) == ("StorageDomain.format", True)
    assert await SetupVdsm(RecordingCaller([SP])).connected_pools() == [SP]
