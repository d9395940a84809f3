# SPDX-License-Identifier: Apache-2.0
"""What copies are worth, listed and read whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.broker.store.check import StoreChecker, StoreVerdict
from ha_agent.errors import EnvironmentFault
from ha_agent.ovfstore.approval import identity_of
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import FIRST, SECOND, VM, Host, World, ovf_of, unfinished

OVF, OTHER = ovf_of(1024), ovf_of(2048)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.write(FIRST, OVF, others=2)
    made.add(SECOND, made.volumes[FIRST].description, made.volumes[FIRST].path.read_bytes())
    return made


def checker(world: World) -> StoreChecker:
    host = Host(world)
    return StoreChecker(Vdsm(host), host.lane(), host.reader(), read_deadline_seconds=5)


async def verify(world: World) -> StoreVerdict:
    made = checker(world)
    return await made.check(await made.list())


async def problem_of(world: World, volume: str) -> str:
    verdict = await verify(world)
    assert not verdict.is_good
    (found,) = [copy for copy in verdict.copies if copy.ranked.copy.volume_uuid == volume]
    assert not found.is_good
    assert found.problem in found.sentences()
    return found.problem


async def test_a_listing_has_the_copy_to_read_first_in_front(world: World) -> None:
    world.write(SECOND, OVF, at=60)
    listing = await checker(world).list()
    assert [ranked.copy.volume_uuid for ranked in listing.copies] == [SECOND, FIRST]
    assert listing.problems == ()


async def test_two_good_copies(world: World) -> None:
    verdict = await verify(world)
    assert verdict.is_good
    assert verdict.agree
    for copy in verdict.copies:
        assert (copy.is_whole, copy.is_good, copy.is_empty) == (True, True, False)
        assert copy.document == OVF
        assert f"the engine VM's OVF is {identity_of(OVF)}" in copy.sentences()
        assert "the archive is whole: 5 members" in copy.sentences()


async def test_copies_that_differ_do_not_agree(world: World) -> None:
    world.write(SECOND, OTHER)
    verdict = await verify(world)
    assert all(copy.is_good for copy in verdict.copies)
    assert (verdict.agree, verdict.is_good) == (False, False)


async def test_one_copy_is_no_good_store(world: World) -> None:
    del world.volumes[SECOND]
    verdict = await verify(world)
    assert (verdict.agree, verdict.is_good) == (True, False)


async def test_a_volume_that_is_not_told_about_makes_no_good_store(world: World) -> None:
    world.write("00000000-0000-0000-0000-000000000030", OVF)
    world.unreadable.add("00000000-0000-0000-0000-000000000030")
    verdict = await verify(world)
    assert len(verdict.problems) == 1
    assert not verdict.is_good


async def test_a_torn_copy(world: World) -> None:
    path = world.volumes[SECOND].path
    path.write_bytes(path.read_bytes()[:3000])
    assert "truncated" in await problem_of(world, SECOND)


async def test_a_copy_that_is_being_written_is_not_read(world: World) -> None:
    world.volumes[SECOND].description = unfinished("Wed Jul 01 11:18:33 IDT 2020")
    world.failing.add(SECOND)
    assert "being written now" in await problem_of(world, SECOND)
    verdict = await verify(world)
    assert [copy.is_empty for copy in verdict.copies] == [False, False]
    assert verdict.copies[1].fault is None


async def test_a_copy_that_was_never_written_is_empty(world: World) -> None:
    world.volumes[SECOND].description = unfinished(None)
    assert "never written" in await problem_of(world, SECOND)
    assert (await verify(world)).copies[1].is_empty


async def test_a_whole_archive_without_our_vm_is_not_good(world: World) -> None:
    world.write(SECOND, OVF, vm=FIRST)
    assert f"no member '{VM}.ovf'" in await problem_of(world, SECOND)
    verdict = await verify(world)
    assert all(copy.is_whole for copy in verdict.copies)


async def test_an_ovf_that_is_not_our_vms_is_not_good(world: World) -> None:
    world.write(SECOND, OVF.replace(VM.encode(), FIRST.encode()))
    assert FIRST in await problem_of(world, SECOND)
    world.write(SECOND, b"<nothing")
    assert f"{VM}.ovf in {SECOND}" in await problem_of(world, SECOND)


async def test_a_copy_that_cannot_be_read_has_a_fault(world: World) -> None:
    world.failing.add(SECOND)
    assert "Input/output error" in await problem_of(world, SECOND)
    verdict = await verify(world)
    faults = [copy.fault for copy in verdict.copies if copy.fault is not None]
    assert len(faults) == 1
    assert isinstance(faults[0], EnvironmentFault)
