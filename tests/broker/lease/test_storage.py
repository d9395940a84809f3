# SPDX-License-Identifier: Apache-2.0
"""The contract of LeaseStorage, held by the lock file, by the fake of the other tests, and by
the simulator's storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ha_agent.broker.lease import file as lease_file
from ha_agent.broker.lease.rules import (
    LeaseFormatError,
    LeaseIdentity,
    LeaseNotInitialised,
    decode,
    encode,
    initial_record,
)
from ha_agent.broker.lease.storage import FileLeaseStorage, LeaseStorage
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.sim.dice import Dice
from ha_agent.sim.lane import Path as SimPath
from ha_agent.sim.lane import SimLane
from ha_agent.sim.loop import SimLoop, new_loop
from ha_agent.sim.storage import LEASE, SharedStorage
from tests.broker.lease_world import Disk, FakeLeaseStorage

ALPHA = LeaseIdentity(1, "alpha", "inst-a", "vm")
BETA = LeaseIdentity(2, "beta", "inst-b", "vm")
ALPHA_TWIN = LeaseIdentity(1, "gamma", "inst-c", "vm")

SOON = 10.0  # a deadline that a busy machine keeps too: worker processes start within it

Make = Callable[[LeaseIdentity], LeaseStorage]


class Ground:
    """Where a storage under test lives, and raw access to its block."""

    def __init__(self, make: Make, get: Callable[[], bytes], put: Callable[[bytes], None]) -> None:
        self.make = make
        self.get = get
        self.put = put


class InVirtualTime:
    """A simulated lane, each call of which is run to its end in its own time."""

    def __init__(self, loop: SimLoop, lane: SimLane) -> None:
        self._loop = loop
        self._lane = lane

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        return self._loop.run(self._lane.call(operation, deadline_seconds, **args))


@pytest.fixture(params=["file", "fake", "sim"])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    if request.param == "fake":
        disk = Disk()
        yield Ground(
            lambda identity: FakeLeaseStorage(disk, identity),
            lambda: disk.block,
            disk.history.append,
        )
        return
    if request.param == "sim":
        loop = new_loop()
        storage = SharedStorage(lambda: loop.now)

        def simulated(identity: LeaseIdentity) -> LeaseStorage:
            way = SimPath(storage, identity.host_id, Dice(1, identity.instance))
            lane = InVirtualTime(loop, SimLane(loop, way, "lease"))
            return FileLeaseStorage(lane, "lease", identity)

        yield Ground(simulated, lambda: storage.read(LEASE), storage.start_with_lease)
        return
    path = tmp_path / "lease"
    lease_file.lease_initialise(str(path))
    lanes: list[StorageLane] = []

    def make(identity: LeaseIdentity) -> LeaseStorage:
        lanes.append(StorageLane("lease", str(tmp_path), clock=SystemClock()))
        return FileLeaseStorage(lanes[-1], str(path), identity)

    def put(block: bytes) -> None:
        path.write_bytes(block)

    yield Ground(make, lambda: path.read_bytes()[:4096], put)
    await asyncio.gather(*(lane.close() for lane in lanes))


async def test_a_new_one_is_free(ground: Ground) -> None:
    assert await ground.make(ALPHA).read(SOON) == initial_record()


async def test_take_renew_release(ground: Ground) -> None:
    alpha, beta = ground.make(ALPHA), ground.make(BETA)
    taken = initial_record().taken(ALPHA, 0, "free")
    assert (await alpha.take(initial_record(), taken, SOON)).done
    assert await beta.read(SOON) == taken
    renewed = taken.renewed()
    assert (await alpha.renew(taken, renewed, SOON)).done
    released = renewed.released("moved")
    assert (await alpha.release(renewed, released, SOON)).done
    assert await beta.read(SOON) == released
    assert ground.get() == encode(released)


async def test_what_changed_since_it_was_judged_is_refused_and_shown(ground: Ground) -> None:
    alpha, beta = ground.make(ALPHA), ground.make(BETA)
    taken = initial_record().taken(ALPHA, 0, "free")
    assert (await alpha.take(initial_record(), taken, SOON)).done
    for call in (beta.take, beta.renew, beta.release):
        swap = await call(initial_record(), initial_record().taken(BETA, 0, "free"), SOON)
        assert not swap.done
        assert swap.record == taken
    assert decode(ground.get()) == taken


async def test_of_many_takers_one_wins(ground: Ground) -> None:
    swaps = await asyncio.gather(
        *(
            ground.make(identity).take(
                initial_record(), initial_record().taken(identity, 0, "free"), SOON
            )
            for identity in (ALPHA, BETA)
        )
    )
    assert [swap.done for swap in swaps].count(True) == 1


@pytest.mark.parametrize("block", [bytes(4096), b"garbage".ljust(4096, b"\0")])
async def test_what_is_no_record_is_an_error_and_stays(ground: Ground, block: bytes) -> None:
    ground.put(block)
    alpha = ground.make(ALPHA)
    kind = LeaseFormatError if any(block) else LeaseNotInitialised
    with pytest.raises(kind):
        await alpha.read(SOON)
    with pytest.raises(kind):
        await alpha.take(initial_record(), initial_record().taken(ALPHA, 0, "free"), SOON)
    assert ground.get() == block


async def test_a_host_id_has_one_holder(ground: Ground) -> None:
    alpha, twin, beta = ground.make(ALPHA), ground.make(ALPHA_TWIN), ground.make(BETA)
    assert (await alpha.hold_host_id(SOON)).held
    assert (await alpha.hold_host_id(SOON)).held
    assert (await beta.hold_host_id(SOON)).held
    refused = await twin.hold_host_id(SOON)
    assert not refused.held
    assert "host id 1 is in use by host 'alpha'" in refused.reason


async def test_a_stuck_worker_of_our_own_is_not_another_host(ground: Ground) -> None:
    stuck, fresh = ground.make(ALPHA), ground.make(ALPHA)
    assert (await stuck.hold_host_id(SOON)).held
    assert (await fresh.hold_host_id(SOON)).held


async def test_a_missing_lock_file_is_a_fault(tmp_path: Path) -> None:
    lane = StorageLane("lease", str(tmp_path), clock=SystemClock())
    try:
        with pytest.raises(EnvironmentFault, match="none"):
            await FileLeaseStorage(lane, str(tmp_path / "none"), ALPHA).read(SOON)
    finally:
        await lane.close()


async def test_initialise_makes_the_file_once(tmp_path: Path) -> None:
    lane = StorageLane("lease", str(tmp_path), clock=SystemClock())
    storage = FileLeaseStorage(lane, str(tmp_path / "ha_agent" / "lease"), ALPHA)
    try:
        assert await storage.initialise(SOON) == (True, "free, epoch 0")
        record = await storage.read(SOON)
        assert (await storage.take(record, record.taken(ALPHA, 0, "test"), SOON)).done
        assert await storage.initialise(SOON) == (False, "held, epoch 1, last held by alpha")
        (tmp_path / "ha_agent" / "lease").write_bytes(b"somebody's data")
        done, found = await storage.initialise(SOON)
        assert not done
        assert "lease" in found
    finally:
        await lane.close()
