# SPDX-License-Identifier: Apache-2.0
"""Who may write, and whose a copy is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.broker.store.claim import Access, StoreChanged, StoreClaims, StoreRefusal
from ha_agent.errors import EnvironmentFault
from ha_agent.ovfstore.locate import StoreCopy, order_copies, parse_description
from ha_agent.vdsm.client.verbs import NO_POOL, Vdsm
from tests.broker.store_world import (
    DOMAIN,
    FIRST,
    POOL,
    Host,
    JumpingClock,
    World,
    image_of,
    unfinished,
)

OLD_DATE = "Wed Jul 01 11:18:33 CEST 2020"
ALONE, WITH_OTHERS = Access(POOL), Access(NO_POOL)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.write(FIRST, b"<o/>")
    return made


def claims(host: Host, clock: Optional[JumpingClock] = None) -> StoreClaims:
    return StoreClaims(
        Vdsm(host),
        domain_uuid=DOMAIN,
        host_id=host.host_id,
        clock=clock or JumpingClock(),
        settle_seconds=1.0,
        grace_seconds=90.0,
        engine_grace_seconds=330.0,
    )


def listed(world: World) -> StoreCopy:
    return StoreCopy(image_of(FIRST), FIRST, world.volumes[FIRST].description)


async def test_access(world: World) -> None:
    host = Host(world, host_id=3)
    assert await claims(host).access() == Access(NO_POOL)
    assert not Access(NO_POOL).is_exclusive
    world.pool, world.spm_id = POOL, 3
    assert await claims(host).access() == Access(POOL)
    assert Access(POOL).is_exclusive
    world.spm_id = 4
    refusal = await claims(host).access()
    assert isinstance(refusal, StoreRefusal)
    assert refusal.code == "not_spm"
    assert "SPM is the host with id 4: run this there" in refusal.sentence
    world.is_connected = False
    refusal = await claims(host).access()
    assert isinstance(refusal, StoreRefusal)
    assert refusal.code == "pool_not_connected"


async def test_a_mark_is_the_engines_description_with_a_writer(world: World) -> None:
    host, clock = Host(world, host_id=2000), JumpingClock()
    mark = await claims(host, clock).claim(WITH_OTHERS, listed(world), OLD_DATE)
    assert mark == world.volumes[FIRST].description
    value = json.loads(mark)
    assert value.pop("Writer").startswith("2000-")
    assert json.dumps(value, separators=(",", ":")) == unfinished(OLD_DATE)
    # VDSM cuts what is longer than 210 characters.
    assert len(mark) <= 200
    assert not parse_description(mark, where="").updated
    assert clock.slept == [1.0]


async def test_who_writes_alone_need_not_settle(world: World) -> None:
    world.pool, world.spm_id = POOL, 1
    clock = JumpingClock()
    await claims(Host(world), clock).claim(ALONE, listed(world), None)
    assert clock.slept == []


async def test_a_copy_that_has_changed_since_is_somebody_elses(world: World) -> None:
    copy = listed(world)
    world.volumes[FIRST].description = unfinished(OLD_DATE)
    host = Host(world)
    with pytest.raises(StoreChanged):
        await claims(host).claim(WITH_OTHERS, copy, None)
    assert host.steps == []
    del world.volumes[FIRST]
    with pytest.raises(StoreChanged, match="is gone"):
        await claims(host).expect(copy, copy.description)


async def test_the_last_mark_within_the_settle_time_wins(world: World) -> None:
    copy = listed(world)
    other = claims(Host(world, host_id=2))

    class Meanwhile(JumpingClock):
        async def sleep(self, duration_seconds: float) -> None:
            await other.describe(WITH_OTHERS, copy, "the other's mark")

    with pytest.raises(StoreChanged, match="the other's mark"):
        await claims(Host(world), Meanwhile()).claim(WITH_OTHERS, copy, None)


async def test_a_mark_that_takes_longer_than_the_settle_time_is_given_up(world: World) -> None:
    host, clock = Host(world), JumpingClock()
    host.on_step = lambda step: clock.slept.append(1.5)
    made = claims(host, clock)
    with pytest.raises(EnvironmentFault, match=r"took 1\.5 s to mark it"):
        await made.claim(WITH_OTHERS, listed(world), None)
    # It may have come over another's mark: not ours to go on with at once.
    ranked = order_copies([listed(world)])[0]
    assert made.is_busy(ranked.copy, ranked.description)
    assert not claims(host).is_busy(ranked.copy, ranked.description)


async def test_what_may_be_in_work_elsewhere(world: World) -> None:
    here, there = claims(Host(world, host_id=1)), claims(Host(world, host_id=11))

    def busy(who: StoreClaims, description: str) -> bool:
        ranked = order_copies([StoreCopy("i", "v", description)])[0]
        return who.is_busy(ranked.copy, ranked.description)

    assert not busy(here, listed(world).description)
    assert not busy(here, unfinished(None))  # new, and nobody's
    assert busy(here, unfinished(OLD_DATE))  # the engine's, or cut off
    assert not busy(here, "nonsense")
    assert not busy(here, '["Writer"]')
    for date in (OLD_DATE, None):
        copy = listed(world)
        world.volumes[FIRST].description = copy.description
        mark = await there.claim(WITH_OTHERS, copy, date)
        assert busy(here, mark)
        assert not busy(there, mark)
