# SPDX-License-Identifier: Apache-2.0
"""The contract on storage: servers, monitors, images, volumes, tasks, and their codes."""

from __future__ import annotations

import asyncio

import pytest

from ha_agent.vdsm.client.storage_server import Connection, DomainType, Portal, StorageServer
from ha_agent.vdsm.client.verbs import Allocation
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from ha_agent.waiting import within
from tests.vdsm.contract.talk import PATIENCE_SECONDS, Talk, unique
from tests.vdsm.contract.target import Target

_LOOK_SECONDS = 0.05


async def refused(vdsm: Talk, verb: str, **params: object) -> int:
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.call(verb, **params)
    return failed.value.code


async def image_and_volume(vdsm: Talk, target: Target) -> tuple[str, str]:
    """Return what may be read: on a real domain the first image that has a volume."""
    if target.image_id:
        return target.image_id, target.volume_id
    for image_id in await vdsm.domain_images(target.domain_id):
        for volume_id in await vdsm.image_volumes(target.domain_id, image_id):
            return image_id, volume_id
    pytest.skip("the domain has no volume")


async def test_a_domain_tells_what_it_is(vdsm: Talk, domain: str) -> None:
    info = await vdsm.domain_info(domain)
    assert info.domain_id == domain
    assert info.version is not None
    assert info.block_size_bytes in (512, 4096)
    raw = await vdsm.call("StorageDomain.getInfo", storagedomainID=domain)
    assert isinstance(raw["version"], str)
    assert isinstance(raw["pool"], list)
    space = await vdsm.domain_space(domain)
    assert space.total_bytes
    assert space.free_bytes is not None
    stats = await vdsm.call("StorageDomain.getStats", storagedomainID=domain)
    assert isinstance(stats["diskfree"], str)
    assert domain in await vdsm.storage_domains()


async def test_a_domain_that_is_not_there_is_code_358(vdsm: Talk) -> None:
    assert await refused(vdsm, "StorageDomain.getInfo", storagedomainID=unique()) == 358
    assert await refused(vdsm, "StorageDomain.getStats", storagedomainID=unique()) == 358


async def test_images_and_volumes(vdsm: Talk, domain: str, target: Target) -> None:
    image, volume = await image_and_volume(vdsm, target)
    assert image in await vdsm.domain_images(domain)
    assert volume in await vdsm.image_volumes(domain, image)
    info = await vdsm.volume_info(domain, image, volume)
    assert info is not None
    assert (info.volume_id, info.image_id) == (volume, image)
    assert info.format in ("RAW", "COW")
    assert info.capacity_bytes
    assert info.ctime_unix_seconds
    raw = await vdsm.call(
        "Volume.getInfo",
        volumeID=volume,
        storagepoolID="00000000-0000-0000-0000-000000000000",
        storagedomainID=domain,
        imageID=image,
    )
    assert all(isinstance(raw[name], str) for name in ("capacity", "truesize", "ctime"))


async def test_what_is_not_there_is_none_or_its_code(
    vdsm: Talk, domain: str, target: Target
) -> None:
    image, volume = await image_and_volume(vdsm, target)
    assert await vdsm.volume_info(domain, unique(), volume) is None
    assert await vdsm.volume_info(domain, image, unique()) is None
    for image_id, volume_id in ((image, unique()), (unique(), volume)):
        with pytest.raises(VdsmCallFailed) as failed:
            await vdsm.prepare_image(domain, image_id, volume_id)
        assert failed.value.code in (
            VdsmCode.VOLUME_DOES_NOT_EXIST,
            VdsmCode.IMAGE_PATH_ERROR,
        )


async def test_preparing_an_image_again_and_again(
    vdsm: Talk, domain: str, changeable: Target
) -> None:
    image, volume = await image_and_volume(vdsm, changeable)
    path = await vdsm.prepare_image(domain, image, volume)
    assert path.endswith(f"/{image}/{volume}")
    assert await vdsm.prepare_image(domain, image, volume) == path
    await vdsm.teardown_image(domain, image, volume)
    await vdsm.teardown_image(domain, image)
    assert await vdsm.prepare_image(domain, image, volume) == path


async def test_a_monitor(vdsm: Talk, domain: str, changeable: Target) -> None:
    if not changeable.is_ours:
        pytest.skip("a real host's agent monitors the domain")
    await vdsm.stop_monitoring_domain(domain)
    assert await vdsm.storage_vitals([domain]) == {}
    await vdsm.start_monitoring_domain(domain, 1)
    # Another host id changes nothing, and is no error.
    await vdsm.start_monitoring_domain(domain, 2)

    async def checked() -> None:
        while True:
            if (await vdsm.storage_vitals())[domain].acquired:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    await within(PATIENCE_SECONDS, checked())
    vitals = (await vdsm.storage_vitals([domain, unique()]))[domain]
    assert (vitals.code, vitals.valid, vitals.actual) == (0, True, True)
    assert vitals.delay_seconds is not None
    assert await vdsm.stop_monitoring_domain(domain) is True
    assert domain not in await vdsm.storage_vitals()


async def test_vitals_travel_as_vdsm_sends_them(vdsm: Talk) -> None:
    for vitals in (await vdsm.call("Host.getStorageRepoStats")).values():
        assert isinstance(vitals["code"], int)
        assert isinstance(vitals["lastCheck"], str)
        assert isinstance(vitals["delay"], str)
        assert isinstance(vitals["valid"], bool)
        assert isinstance(vitals["version"], int)


async def test_servers_have_a_status_each(vdsm: Talk, changeable: Target) -> None:
    if not changeable.storage_folder:
        pytest.skip("mounts nothing on a real host")

    def local(name: str, path: str) -> Connection:
        return Connection(name, {"id": name, "connection": path})

    here, away = local("here", changeable.storage_folder), local("away", "/no/such/folder")
    server = StorageServer(DomainType.LOCALFS, (here, away))
    statuses = await vdsm.connect_storage_server(server)
    assert {one.connection_id: one.code == 0 for one in statuses} == {"here": True, "away": False}
    again = await vdsm.connect_storage_server(StorageServer(DomainType.LOCALFS, (here,)))
    assert [one.code for one in again] == [0]
    gone = await vdsm.disconnect_storage_server(StorageServer(DomainType.LOCALFS, (here,)))
    assert [(one.connection_id, one.code) for one in gone] == [("here", 0)]


async def test_no_connections_are_code_1000(vdsm: Talk) -> None:
    params = {"storagepoolID": unique(), "domainType": 4, "connectionParams": []}
    assert await refused(vdsm, "StoragePool.connectStorageServer", **params) == 1000


async def test_no_pool_and_no_task(vdsm: Talk, domain: str, target: Target) -> None:
    image, volume = await image_and_volume(vdsm, target)
    nobody = unique()
    assert await vdsm.spm_status(nobody) is None
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.set_volume_description(domain, image, volume, "{}", pool_id=nobody)
    assert failed.value.code == VdsmCode.POOL_NOT_CONNECTED
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.task_status(nobody)
    assert failed.value.code == VdsmCode.TASK_UNKNOWN
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.clear_task(nobody)
    assert failed.value.code == VdsmCode.TASK_UNKNOWN


async def test_a_volume_is_made_by_a_task(vdsm: Talk, domain: str, ours: Target) -> None:
    image, volume = unique(), unique()
    task = await vdsm.create_volume(
        domain,
        image,
        volume,
        size_bytes=1 << 20,
        disk_type="OVFS",
        description="first",
        allocation=Allocation.SPARSE,
    )

    async def ended() -> None:
        while True:
            if (await vdsm.task_status(task)).has_ended:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    await within(PATIENCE_SECONDS, ended())
    assert (await vdsm.task_status(task)).has_succeeded
    await vdsm.clear_task(task)
    with pytest.raises(VdsmCallFailed) as failed:
        await vdsm.task_status(task)
    assert failed.value.code == VdsmCode.TASK_UNKNOWN
    await vdsm.set_volume_description(domain, image, volume, "x" * 300)
    info = await vdsm.volume_info(domain, image, volume)
    assert info is not None
    # VDSM cuts what is longer.
    assert (info.description, info.capacity_bytes) == ("x" * 210, 1 << 20)


async def test_block_devices_and_targets(vdsm: Talk, ours: Target) -> None:
    # A host without multipath and iSCSI: no devices, and a portal where nobody listens.
    assert await vdsm.block_devices(DomainType.FCP) == []
    with pytest.raises(VdsmCallFailed):
        await vdsm.discover_targets(Portal("127.0.0.1", 1))
