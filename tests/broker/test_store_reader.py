# SPDX-License-Identifier: Apache-2.0
"""Which volumes are the store's, and one copy read whole or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.broker.store_reader import StoreReader, member_names
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ovfstore.locate import order_copies
from tests.broker.store_world import (
    DOMAIN,
    FIRST,
    SECOND,
    THIRD,
    VM,
    Host,
    World,
    good,
    image_of,
    unfinished,
)

OVF = b"<Envelope>one</Envelope>"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.write(FIRST, OVF)
    made.write(SECOND, OVF)
    return made


@pytest.fixture
def reader(world: World) -> StoreReader:
    return Host(world).reader()


async def found(reader: StoreReader) -> list[str]:
    return [copy.volume_uuid for copy in await reader.copies()]


async def test_copies_are_the_volumes_of_disk_type_ovfs(world: World, reader: StoreReader) -> None:
    # A user's disk that is called so, and a store volume whose description got lost.
    world.add(THIRD, '{"DiskAlias":"x","DiskDescription":"OVF_STORE"}', disk_type="DATA")
    world.volumes[FIRST].description = ""
    assert await found(reader) == [FIRST, SECOND]
    assert reader.problems == ()
    copy = (await reader.copies())[1]
    assert copy.image_uuid == image_of(SECOND)
    assert copy.description == world.volumes[SECOND].description


async def test_an_old_domains_copies_are_known_by_their_description(
    world: World, reader: StoreReader
) -> None:
    for volume in world.volumes.values():
        volume.disk_type = "2"
    world.volumes[SECOND].description = "OVF_STORE"
    world.add(THIRD, '["OVF_STORE"]', disk_type="2")
    assert await found(reader) == [FIRST]


async def test_one_volume_that_vdsm_cannot_read_hides_no_other(
    world: World, reader: StoreReader
) -> None:
    world.unreadable.add(FIRST)
    assert await found(reader) == [SECOND]
    (problem,) = reader.problems
    assert FIRST in problem
    assert "metadata is damaged" in problem
    world.unreadable.clear()
    assert await found(reader) == [FIRST, SECOND]
    assert reader.problems == ()


async def test_problems_that_may_hide_every_copy_are_an_error(
    world: World, reader: StoreReader
) -> None:
    world.unreadable.update((FIRST, SECOND))
    with pytest.raises(EnvironmentFault, match="metadata is damaged"):
        await reader.copies()


async def test_a_domain_without_a_store_has_no_copies(tmp_path: Path) -> None:
    assert await Host(World(tmp_path)).reader().copies() == ()


async def test_a_copy_is_read(world: World, reader: StoreReader) -> None:
    best = order_copies(await reader.copies(), storage_domain_uuid=DOMAIN)[0]
    stored = await reader.read(best)
    assert (stored.document, stored.approval) == (OVF, None)
    assert best.description is not None
    assert stored.last_updated == best.description.last_updated_text


async def test_a_copy_without_this_vm_is_refused(world: World, reader: StoreReader) -> None:
    for volume in (FIRST, SECOND):
        world.write(volume, OVF, vm=FIRST)
    best = order_copies(await reader.copies())[0]
    with pytest.raises(BadInput, match=r"no member '.*\.ovf' in the archive"):
        await reader.read(best)


async def test_a_copy_that_is_written_while_we_read_is_refused(
    world: World, reader: StoreReader
) -> None:
    best = order_copies(await reader.copies())[0]
    assert best.description is not None
    world.volumes[best.copy.volume_uuid].description = unfinished("x")
    with pytest.raises(BadInput, match="written while we read it"):
        await reader.read(best)


async def test_a_size_that_lies_is_damage(world: World, reader: StoreReader) -> None:
    for volume in (FIRST, SECOND):
        world.volumes[volume].description = good("Sun Nov 22 05:16:23 UTC 2026", 1024)
    best = order_copies(await reader.copies())[0]
    with pytest.raises(BadInput):
        await reader.read(best)


def test_member_names() -> None:
    assert member_names(VM) == (f"{VM}.ovf", f"{VM}.ovf.approval")
