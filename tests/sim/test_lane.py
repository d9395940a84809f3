# SPDX-License-Identifier: Apache-2.0
"""Each fault of a host's way to storage. What a lane without faults promises is in
tests/broker/lease/test_storage.py, with the real lane's."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, Optional

import pytest

from ha_agent.broker.blocks.store import BlockStore
from ha_agent.broker.lease.rules import (
    LeaseFormatError,
    LeaseIdentity,
    LeaseRecord,
    decode,
    initial_record,
)
from ha_agent.broker.lease.storage import FileLeaseStorage
from ha_agent.broker.storage.lane import StorageFault
from ha_agent.errors import DeadlineExceeded
from ha_agent.sim.clock import SimClock
from ha_agent.sim.dice import Dice
from ha_agent.sim.lane import Path, SimLane
from ha_agent.sim.loop import Process, SimLoop, new_loop
from ha_agent.sim.storage import LEASE, SharedStorage

A, B = b"a" * 4096, b"b" * 4096
ALPHA = LeaseIdentity(1, "alpha", "inst-a", "vm")


class Ground:
    """Two hosts over one storage."""

    def __init__(self, loop: SimLoop, seed: int = 1) -> None:
        self.loop = loop
        self.storage = SharedStorage(lambda: loop.now)
        self.paths = [Path(self.storage, i, Dice(seed, f"path {i}")) for i in (1, 2)]
        for path in self.paths:
            path.power_lost(Process(loop, f"kernel {path.host_id}"))
        self.lanes = [SimLane(loop, path, "lease") for path in self.paths]

    def fault(self, kind: str, number: float = 1.0) -> None:
        self.paths[0].set({kind: number})

    def well(self) -> None:
        self.paths[0].set({})

    def write(self, data: bytes, *, deadline: float = 5.0, **more: Any) -> Any:
        work = self.lanes[0].call("write_slot", deadline, path="s", slot=1, data=data, **more)
        return self.loop.run(work)

    def lease(self, host: int = 0) -> FileLeaseStorage:
        identity = LeaseIdentity(host + 1, f"h{host + 1}", f"inst-{host}", "vm")
        return FileLeaseStorage(self.lanes[host], "lease", identity)

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin a call that nobody waits for."""

        async def attempt() -> None:
            try:
                await work
            except (DeadlineExceeded, StorageFault):
                return

        self.loop.outside.spawn(attempt())


@pytest.fixture
def ground() -> Iterator[Ground]:
    loop = new_loop()
    with loop.entered():
        yield Ground(loop)
        loop.end()


def taken(ground: Ground) -> LeaseRecord:
    record = initial_record().taken(ALPHA, 0, "free")
    assert ground.loop.run(ground.lease().take(initial_record(), record, 5.0)).done
    return record


def test_a_call_takes_a_moment(ground: Ground) -> None:
    assert ground.write(A) == {"direct": True, "equal": None}
    assert ground.storage.read(1) == A
    assert 0.0 < ground.loop.now < 0.1


def test_slow_storage_answers_late_or_not_in_time(ground: Ground) -> None:
    ground.fault("storage-slow", 9.0)
    late = 0
    for _ in range(30):
        try:
            ground.write(A, deadline=2.0)
        except DeadlineExceeded:
            late += 1
    assert 0 < late < 30


def test_a_call_that_hangs_lands_when_the_storage_is_back(ground: Ground) -> None:
    ground.fault("storage-hang")
    with pytest.raises(DeadlineExceeded):
        ground.write(A, deadline=2.0)
    assert (ground.loop.now, ground.storage.read(1)) == (2.0, bytes(4096))
    ground.well()
    ground.loop.run_until(10.0)
    assert ground.storage.read(1) == A


def test_with_too_many_stuck_workers_calls_are_refused(ground: Ground) -> None:
    ground.fault("storage-hang")
    for _ in range(8):
        with pytest.raises(DeadlineExceeded):
            ground.write(A, deadline=1.0)
    before = ground.loop.now
    with pytest.raises(StorageFault, match="stuck"):
        ground.write(A)
    assert ground.loop.now == before


def test_what_hangs_dies_with_its_host(ground: Ground) -> None:
    ground.fault("storage-hang")
    with pytest.raises(DeadlineExceeded):
        ground.write(A, deadline=1.0)
    ground.paths[0].power_lost(Process(ground.loop, "next kernel"))
    ground.well()
    ground.loop.run_until(10.0)
    assert ground.storage.read(1) == bytes(4096)


def test_eio_fails_reads_and_writes(ground: Ground) -> None:
    ground.fault("storage-eio")
    with pytest.raises(StorageFault, match="EIO"):
        ground.write(A)
    with pytest.raises(StorageFault, match="EIO"):
        ground.loop.run(ground.lease().read(5.0))


def test_a_write_that_failed_may_have_landed_all_the_same(ground: Ground) -> None:
    ground.fault("storage-eio")
    landed = 0
    for _ in range(40):
        ground.storage.write(1, 1, B)
        with pytest.raises(StorageFault):
            ground.write(A)
        landed += ground.storage.read(1) == A
    assert 0 < landed < 40


def test_flaky_storage_fails_its_share(ground: Ground) -> None:
    ground.fault("storage-flaky", 0.5)
    failed = 0
    for _ in range(60):
        try:
            ground.write(A)
        except StorageFault:
            failed += 1
    assert 10 < failed < 50


def test_stale_reads_show_the_past_but_never_under_the_lock(ground: Ground) -> None:
    record = taken(ground)
    ground.fault("storage-stale")
    seen = {ground.loop.run(ground.lease(0).read(5.0)).state for _ in range(30)}
    assert seen == {"free", "held"}
    swap = ground.loop.run(ground.lease(0).renew(record, record.renewed(), 5.0))
    assert swap.done


def test_a_torn_status_write_shows_both_and_may_stay_so(ground: Ground) -> None:
    whole = torn = 0
    for _ in range(40):
        ground.storage.write(1, 1, A)
        ground.fault("storage-torn")
        try:
            ground.write(B)
        except StorageFault:
            torn += 1
            assert set(ground.storage.read(1)) <= set(A + B)
        else:
            whole += 1
            assert ground.storage.read(1) == B
    assert whole
    assert torn


def test_a_torn_lease_write_holds_its_lock_to_the_end(ground: Ground) -> None:
    record = taken(ground)
    ground.fault("storage-torn")
    ground.start(ground.lease(0).renew(record, record.renewed(), 5.0))
    ground.loop.run_until(ground.loop.now + 0.02)
    assert ground.storage.lock_holder is not None
    other = record.taken(LeaseIdentity(2, "beta", "inst-b", "vm"), 1, "expired")
    swap = ground.loop.run(ground.lease(1).take(record, other, 5.0))
    assert not swap.done
    assert swap.record == record.renewed()


def test_a_long_record_is_torn_for_good_when_its_host_dies(ground: Ground) -> None:
    """512 bytes land as one; a record with long texts has more, and its CRC tells."""
    long = initial_record().taken(ALPHA, 0, "n" * 255)
    long = LeaseRecord(**{**vars(long), "host_name": "h" * 255})
    unreadable = 0
    for seed in range(20):
        loop = new_loop()
        with loop.entered():
            world = Ground(loop, seed)
            world.fault("storage-torn")
            world.start(world.lease(0).take(initial_record(), long, 5.0))
            while world.storage.lock_holder is None:
                loop.run_until(loop.now + 0.001)
            world.paths[0].kernel.kill()
            world.paths[0].power_lost(Process(loop, "next kernel"))
            loop.run_until(5.0)
            assert world.storage.lock_holder is None
            try:
                decode(world.storage.read(LEASE))
            except LeaseFormatError:
                unreadable += 1
            loop.end()
    assert unreadable


def test_a_lost_write_is_confirmed_but_a_lease_is_kept(ground: Ground) -> None:
    ground.fault("storage-lost-write")
    assert ground.write(A) == {"direct": True, "equal": None}
    assert ground.write(A, read_back=True) == {"direct": True, "equal": False}
    assert ground.storage.read(1) == bytes(4096)
    assert taken(ground).state == "held"


def test_a_read_only_storage_is_read(ground: Ground) -> None:
    ground.storage.write(1, 1, A)
    ground.fault("storage-readonly")
    with pytest.raises(StorageFault, match="EROFS"):
        ground.write(B)
    answer = ground.loop.run(ground.lanes[0].call("read_slots", 5.0, path="s", slots=[1]))
    assert answer["slots"] == [{"slot": 1, "data": A}]


def test_a_host_id_is_free_when_its_holder_s_broker_is_dead(ground: Ground) -> None:
    assert ground.loop.run(ground.lease(0).hold_host_id(5.0)).held
    twin = FileLeaseStorage(
        SimLane(ground.loop, ground.paths[1], "x"), "lease", LeaseIdentity(1, "twin", "i", "vm")
    )
    assert not ground.loop.run(twin.hold_host_id(5.0)).held
    ground.lanes[0].kill()
    assert ground.loop.run(twin.hold_host_id(5.0)).held


def test_calls_of_a_lane_run_one_after_the_other(ground: Ground) -> None:
    answers: list[str] = []

    async def call(name: str) -> None:
        await ground.lanes[0].call("read_slots", 5.0, path="s", slots=[0])
        answers.append(name)

    for name in "abc":
        ground.loop.outside.spawn(call(name))
    ground.loop.run_until(1.0)
    assert answers == ["a", "b", "c"]


def test_the_block_store_runs_above_it(ground: Ground) -> None:
    store = BlockStore(
        ground.lanes[0],  # type: ignore[arg-type]
        "status",
        clock=SimClock(ground.loop),
    )

    async def story() -> Optional[bool]:
        await store.write_global(True)
        volume = await store.read_all()
        return getattr(volume.global_block, "maintenance", None)

    assert ground.loop.run(story()) is True


def test_a_dead_worker_s_locks_end_when_the_storage_lets_it_go(ground: Ground) -> None:
    """Its broker's next worker has them again, whatever the dead one had still sent."""
    for seed in range(8):
        world = Ground(ground.loop, seed)
        assert world.loop.run(world.lease(0).hold_host_id(5.0)).held
        world.fault("storage-hang")
        world.start(world.lease(0).hold_host_id(60.0))
        world.loop.run_until(world.loop.now + 2.0)
        world.lanes[0].kill()
        world.lanes[0] = SimLane(world.loop, world.paths[0], "lease")
        world.well()
        world.loop.run_until(world.loop.now + 5.0)
        assert world.loop.run(world.lease(0).hold_host_id(5.0)).held
