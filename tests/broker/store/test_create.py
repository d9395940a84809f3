# SPDX-License-Identifier: Apache-2.0
"""OVF_STORE volumes are made, and not twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from tests.broker.store_world import FIRST, POOL, SECOND, Host, World, image_of, ovf_of, unfinished


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for volume in (FIRST, SECOND):
        made.write(volume, ovf_of(1024))
    return made


async def test_a_store_is_made_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    host = Host(world)
    result = await host.writer().create()
    assert (result.refusal, result.existing, len(result.created)) == (None, (), 2)
    for copy in result.created:
        volume = world.volumes[copy.volume_uuid]
        assert (volume.disk_type, volume.capacity_bytes) == ("OVFS", 128 << 20)
        assert volume.description == unfinished(None)
        assert image_of(copy.volume_uuid) == copy.image_uuid
    assert len({copy.image_uuid for copy in result.created}) == 2
    assert host.tasks == {}
    creates = [params for verb, params in host.calls if verb == "Volume.create"]
    assert {params["preallocate"] for params in creates} == {2}
    again = await host.writer().create()
    assert again.created == ()
    assert {copy.volume_uuid for copy in again.existing} == set(world.volumes)
    put = await host.writer().put(ovf_of(1024), None, "a test")
    assert [copy.whole for copy in put.copies] == [True, True]
    assert (await host.writer().verify()).is_good
    del world.volumes[result.created[0].volume_uuid]
    assert len((await host.writer().create()).created) == 1
    put = await host.writer().put(ovf_of(2048), None, "a test")
    assert sorted(copy.whole for copy in put.copies) == [False, True]
    assert (await host.writer().verify()).is_good


async def test_block_storage_takes_preallocated_volumes(tmp_path: Path) -> None:
    world = World(tmp_path, domain_type="ISCSI")
    host = Host(world)
    await host.writer().create()
    creates = [params for verb, params in host.calls if verb == "Volume.create"]
    assert {params["preallocate"] for params in creates} == {1}


async def test_a_store_is_made_by_the_spm_only(tmp_path: Path) -> None:
    world = World(tmp_path, pool=POOL, spm_id=3)
    result = await Host(world).writer().create()
    assert result.refusal is not None
    assert result.refusal.code == "not_spm"
    assert world.volumes == {}
    assert len((await Host(world, host_id=3).writer().create(3)).created) == 3


async def test_how_many_copies_there_are_must_be_known(world: World) -> None:
    world.unreadable.add(SECOND)
    with pytest.raises(EnvironmentFault, match="not known how many"):
        await Host(world).writer().create()
    for count in (0, 1, 17):
        with pytest.raises(BadInput):
            await Host(world).writer().create(count)


async def test_a_failed_task_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, task_error=205)
    host = Host(world)
    with pytest.raises(EnvironmentFault, match="code 205"):
        await host.writer().create()
    assert host.tasks == {}


async def test_a_task_that_does_not_end_has_a_deadline(tmp_path: Path) -> None:
    world = World(tmp_path, task_looks=10**9)
    with pytest.raises(EnvironmentFault, match="no answer within 120 s"):
        await Host(world).writer().create()


async def test_a_role_that_goes_between_question_and_volume_is_a_refusal(tmp_path: Path) -> None:
    world = World(tmp_path, pool=POOL, spm_id=1)
    host = Host(world)

    async def lose_role() -> None:
        if [verb for verb, _ in host.calls].count("StorageDomain.getImages"):
            world.spm_id = 5

    host.pause = lose_role
    result = await host.writer().create()
    assert result.refusal is not None
    assert "id 5" in result.refusal.sentence
    assert world.volumes == {}
