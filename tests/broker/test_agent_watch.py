# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from typing import Any, Optional, Union

import pytest

from ha_agent.broker.agent_watch import AgentWatch
from ha_agent.broker.lease.cycle import LeaseResult
from ha_agent.broker.snapshot import HealthEntry, HostEntry, LeaseEntry, Report, Snapshot
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
        self.fault: Optional[Exception] = None
        self.snapshot = Snapshot(
            version=1,
            host_id=1,
            host_name="alpha",
            vm_uuid="vm",
            made_at=Instant(100.0),
            lease=LeaseEntry(state="held", ours=True, host_id=1),
            hosts=(HostEntry(1, alive=True, score=3400), HostEntry(2, alive=True, score=1)),
            global_maintenance=False,
            health=HealthEntry("bad"),
            agent=Report(made_at=Instant(100.0)),
        )
        self.watched = 0
        self.watch = AgentWatch(
            lambda: self.snapshot,
            self.vm_stats,
            self,
            clock=self,
            limit_seconds=60.0,
            grace_seconds=120.0,
            watch_engine=self.watch_engine,
            hypervisor_name="libvirt",
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
        self.notes.append(f"released: {note}")
        return self.answer()

    async def abandon(self, why: str) -> LeaseResult:
        self.notes.append(f"abandoned: {why}")
        return self.answer()

    def answer(self) -> LeaseResult:
        if self.fault is not None:
            raise self.fault
        return LeaseResult(True, "given up")

    def watch_engine(self) -> None:
        self.watched += 1

    def see(self, **fields: Any) -> None:
        self.snapshot = dataclasses.replace(self.snapshot, **fields)

    async def look_at(self, seconds: float) -> bool:
        self.time = Instant(seconds)
        return await self.watch.look()


@pytest.mark.parametrize("vm", [None, DOWN])
async def test_no_vm_and_a_silent_agent_gives_the_lease_up(
    vm: Optional[VmStats],
) -> None:
    world = World(vm)
    assert not await world.look_at(159.0)
    assert await world.look_at(160.0)
    assert len(world.notes) == 1
    assert world.notes[0].startswith("released: ")
    assert "silent for 60 s" in world.notes[0]
    assert "VDSM" not in world.notes[0], "the words are this host's own"


async def test_a_running_vm_keeps_the_lease_however_long_the_agent_is_away() -> None:
    world = World(UP)
    assert not await world.look_at(10_000.0)
    assert world.notes == []


async def test_behind_a_silent_vdsm_the_lease_of_a_bad_engine_is_abandoned() -> None:
    """The VM may run here: a release would call its fence off."""
    world = World(SILENT)
    assert not await world.look_at(160.0)
    assert not await world.look_at(279.0)
    assert await world.look_at(280.0)
    assert len(world.notes) == 1
    assert world.notes[0].startswith("abandoned: the agent has been silent for 180 s")


@pytest.mark.parametrize(
    "fields",
    [
        {"health": HealthEntry("good")},
        {"health": HealthEntry("unknown")},
        {"global_maintenance": True},
        {"global_maintenance": None},
        {"hosts": ()},
        {"hosts": (HostEntry(1, alive=True, score=3400),)},
        {"hosts": (HostEntry(2, alive=True, score=0),)},
        {"hosts": (HostEntry(2, alive=False, score=3400),)},
        {"hosts": (HostEntry(2, alive=True, score=3400, maintenance=True),)},
        {"hosts": (HostEntry(2, alive=True, score=3400, stopped=True),)},
        {"hosts": (HostEntry(2, alive=True, score=3400, problem="torn"),)},
    ],
    ids=str,
)
async def test_a_vm_that_may_run_behind_a_silent_vdsm_is_left_alone(
    fields: dict[str, Any],
) -> None:
    world = World(SILENT)
    world.see(**fields)
    for seconds in (160.0, 300.0, 10_000.0):
        assert not await world.look_at(seconds)
    assert not world.notes


async def test_only_an_unbroken_row_of_bad_pages_counts() -> None:
    world = World(SILENT)
    assert not await world.look_at(160.0)
    world.see(health=HealthEntry("good"))
    assert not await world.look_at(270.0)
    world.see(health=HealthEntry("bad"))
    assert not await world.look_at(290.0)
    assert not await world.look_at(400.0)
    assert await world.look_at(410.0)


async def test_a_page_that_nobody_watches_is_watched() -> None:
    world = World(SILENT)
    assert not await world.look_at(160.0)
    assert world.watched == 0
    world.see(health=HealthEntry())
    assert not await world.look_at(170.0)
    assert world.watched == 1


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


@pytest.mark.parametrize("vm", [None, SILENT])
async def test_giving_up_that_fails_ends_nothing(
    vm: Union[VmStats, EnvironmentFault, None],
) -> None:
    world = World(vm)
    world.fault = EnvironmentFault("fence can't be disarmed")
    await world.look_at(160.0)
    assert not await world.look_at(280.0)
    before = len(world.notes)
    assert not await world.look_at(290.0)
    assert len(world.notes) == before + 1


async def test_it_looks_again_and_again() -> None:
    world = World(None)
    world.fault = InterruptedError()
    with pytest.raises(InterruptedError):
        await world.watch.run()
    assert world.time >= Instant(160.0)
