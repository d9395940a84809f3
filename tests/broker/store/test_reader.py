# SPDX-License-Identifier: Apache-2.0
"""Which volumes are the store's, and one copy read whole or refused."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from ha_agent.broker.store.reader import StoreReader, member_names
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


def asked(host: Host) -> list[str]:
    """Return the volumes that VDSM was asked about since the last call of this, or the verb."""
    calls = [params.get("volumeID", verb) for verb, params in host.calls]
    host.calls.clear()
    return calls


async def test_a_usual_look_asks_about_the_known_copies_only(world: World) -> None:
    for number in range(100, 120):
        world.add(str(uuid.UUID(int=number)), "a disk", disk_type="DATA")
    world.add(THIRD, "status", disk_type="HEMD")
    host = Host(world)
    reader = host.reader()
    copies = await reader.known_copies()  # none is known yet: all are looked at
    assert len(asked(host)) > 20
    world.volumes[SECOND].description = unfinished("x")
    first, second = await reader.known_copies()
    assert (first, second.description) == (copies[0], unfinished("x"))
    assert asked(host) == [FIRST, SECOND]
    assert reader.listed == (first, second)
    assert set(reader.own_volumes) == {THIRD, image_of(THIRD)}


@pytest.mark.parametrize("gone", [True, False])
async def test_all_are_looked_at_when_a_known_copy_is_none_any_more(
    world: World, gone: bool
) -> None:
    host = Host(world)
    reader = host.reader()
    await reader.copies()
    world.write(THIRD, OVF)
    if gone:
        del world.volumes[FIRST]
    else:
        world.volumes[FIRST] = replace(
            world.volumes[FIRST], disk_type="DATA", description="a disk"
        )
    assert [copy.volume_uuid for copy in await reader.known_copies()] == [SECOND, THIRD]
    assert [copy.volume_uuid for copy in reader.listed or ()] == [SECOND, THIRD]
    asked(host)
    await reader.known_copies()
    assert asked(host) == [SECOND, THIRD]


async def test_what_vdsm_could_not_tell_about_is_asked_for_again(world: World) -> None:
    world.unreadable.add(SECOND)
    host = Host(world)
    reader = host.reader()
    assert len(await reader.copies()) == 1
    asked(host)
    for _ in range(2):
        assert len(await reader.known_copies()) == 1
        assert SECOND in reader.problems[0]
        assert asked(host) == [FIRST, SECOND]
    world.unreadable.clear()
    assert len(await reader.known_copies()) == 2
    assert len(reader.listed or ()) == 2
    assert reader.problems == ()
    asked(host)
    await reader.known_copies()
    assert asked(host) == [FIRST, SECOND]


async def test_what_vdsm_cannot_tell_about_now_stays_listed(world: World) -> None:
    world.add(THIRD, "status", disk_type="HEMD")
    reader = Host(world).reader()
    await reader.copies()
    # Else the engine would be allowed to remove it just then.
    world.unreadable.update((SECOND, THIRD))
    for look in (reader.copies, reader.known_copies):
        assert [copy.volume_uuid for copy in await look()] == [FIRST]
        assert [copy.volume_uuid for copy in reader.listed or ()] == [FIRST, SECOND]
        assert set(reader.own_volumes) == {THIRD, image_of(THIRD)}
    world.unreadable.add(FIRST)
    with pytest.raises(EnvironmentFault, match="metadata is damaged"):
        await reader.known_copies()
    assert len(reader.listed or ()) == 2


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
