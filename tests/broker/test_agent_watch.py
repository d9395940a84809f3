# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Optional, Union

import pytest

from ha_agent.broker.agent_watch import AgentWatch
from ha_agent.broker.lease_cycle import LeaseResult
from ha_agent.broker.snapshot import HealthEntry, LeaseEntry, Report, Snapshot
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.vdsm.vm_status import VmStats, VmStatus

UP = VmStats("vm", status=VmStatus.UP)
DOWN = VmStats("vm", status=VmStatus.DOWN)
SILENT = EnvironmentFault("VDSM is away")


class World:
    """Clock, picture, VDSM and lease of one host whose agent reported at 100 s."""

    def __init__(self, vm: Union[VmStats, EnvironmentFault, None]) -> None:
        self.vm = vm
        self.time = Instant(100.0)
        self.notes: list[str] = []
        self.snapshot = Snapshot(
            version=1,
            host_id=1,
            host_name="alpha",
            vm_uuid="vm",
            made_at=Instant(100.0),
            lease=LeaseEntry(state="held", ours=True, host_id=1),
            agent=Report(made_at=Instant(100.0)),
        )
        self.watch = AgentWatch(
            lambda: self.snapshot, self.vm_stats, self.release, clock=self, limit_seconds=60.0
        )

    def now(self) -> Instant:
        return self.time

    async def sleep(self, duration_seconds: float) -> None:
        self.time = self.time + duration_seconds

    async def vm_stats(self) -> Optional[VmStats]:
        if isinstance(self.vm, EnvironmentFault):
            raise self.vm
        return self.vm

    async def release(self, note: str) -> LeaseResult:
        self.notes.append(note)
        return LeaseResult(True, "released")

    async def look_at(self, seconds: float) -> bool:
        self.time = Instant(seconds)
        return await self.watch.look()


@pytest.mark.parametrize("vm", [None, DOWN, SILENT])
async def test_no_vm_and_a_silent_agent_gives_the_lease_up(
    vm: Union[VmStats, EnvironmentFault, None],
) -> None:
    world = World(vm)
    assert not await world.look_at(159.0)
    assert await world.look_at(160.0)
    assert len(world.notes) == 1
    assert "silent for 60 s" in world.notes[0]


async def test_a_running_vm_keeps_the_lease_however_long_the_agent_is_away() -> None:
    world = World(UP)
    assert not await world.look_at(10_000.0)
    assert world.notes == []


async def test_a_silent_vdsm_keeps_it_while_the_engine_is_healthy() -> None:
    world = World(SILENT)
    world.snapshot = dataclasses.replace(world.snapshot, health=HealthEntry("good"))
    assert not await world.look_at(10_000.0)


async def test_an_agent_that_reports_keeps_it() -> None:
    world = World(None)
    world.snapshot = dataclasses.replace(world.snapshot, agent=Report(made_at=Instant(150.0)))
    assert not await world.look_at(200.0)


async def test_a_lease_that_is_not_ours_is_left_alone() -> None:
    world = World(None)
    world.snapshot = dataclasses.replace(world.snapshot, lease=LeaseEntry(state="held", host_id=2))
    assert not await world.look_at(10_000.0)


async def test_a_new_broker_gives_its_agent_the_whole_time() -> None:
    world = World(None)
    world.snapshot = dataclasses.replace(world.snapshot, agent=Report())
    assert not await world.look_at(159.0)
    assert await world.look_at(160.0)


async def test_a_release_that_fails_ends_nothing() -> None:
    world = World(None)

    async def fail(note: str) -> LeaseResult:
        world.notes.append(note)
        raise EnvironmentFault("fence can't be disarmed")

    watch = AgentWatch(
        lambda: world.snapshot, world.vm_stats, fail, clock=world, limit_seconds=60.0
    )
    world.time = Instant(160.0)
    assert not await watch.look()
    assert not await watch.look()
    assert len(world.notes) == 2


async def test_it_looks_again_and_again() -> None:
    world = World(None)

    async def give_up(note: str) -> LeaseResult:
        world.notes.append(note)
        raise InterruptedError

    watch = AgentWatch(
        lambda: world.snapshot, world.vm_stats, give_up, clock=world, limit_seconds=60.0
    )
    with pytest.raises(InterruptedError):
        await watch.run()
    assert world.time >= Instant(160.0)
