# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ha_agent.broker.blocks.codec import BlockError, GlobalBlock, StatusBlock, encode
from ha_agent.broker.blocks.store import BlockProblem, BlockStore
from ha_agent.broker.storage import worker as storage_worker
from ha_agent.broker.storage.lane import StorageFault, StorageLane
from ha_agent.clock import SystemClock
from ha_agent.errors import DeadlineExceeded
from ha_agent.instant import Instant
from tests.loop_device import loop_device

SLOTS = 30
GUARD = b"\xa5" * 4096


class HandClock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = Instant(1000.0)

    def now(self) -> Instant:
        return self.time


def host_block(host_id: int, score: int = 3400) -> StatusBlock:
    status = {"vm": "down", "health": "bad", "detail": "unknown"}
    return StatusBlock(host_id, f"h{host_id}.example", 77, score, status)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "status"
    path.write_bytes(bytes(SLOTS * 4096))
    return path


@pytest.fixture
async def lane() -> AsyncIterator[StorageLane]:
    lane = StorageLane("status", "/run/of/test", clock=SystemClock())
    await lane.start()
    yield lane
    await lane.close()


@pytest.fixture
def store(lane: StorageLane, volume: pathlib.Path, clock: HandClock) -> BlockStore:
    return BlockStore(lane, str(volume), clock=clock)


def put(volume: pathlib.Path, slot: int, data: bytes) -> None:
    with volume.open("r+b") as file:
        file.seek(slot * 4096)
        file.write(data)


class TestHosts:
    async def test_what_is_written_is_read(self, store: BlockStore) -> None:
        await store.write(host_block(3), ["state=EngineDown"])
        content = await store.read([3, 4])
        assert content == {3: host_block(3), 4: None}
        block = content[3]
        assert isinstance(block, StatusBlock)
        assert block.extra == "state=EngineDown\n"

    async def test_neighbours_are_not_touched(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        volume.write_bytes(GUARD * SLOTS)
        await store.write(host_block(5))
        data = volume.read_bytes()
        assert data[5 * 4096 : 6 * 4096] == encode(host_block(5))
        assert data[: 5 * 4096] == GUARD * 5
        assert data[6 * 4096 :] == GUARD * (SLOTS - 6)

    async def test_nothing_is_written_of_a_block_that_has_no_form(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        with pytest.raises(BlockError, match="host name"):
            await store.write(dataclasses.replace(host_block(5), host_name="a|b"))
        assert volume.read_bytes() == bytes(SLOTS * 4096)

    async def test_one_bad_slot_is_that_hosts_problem(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        for host_id in (1, 2, 3, 4):
            put(volume, host_id, encode(host_block(host_id)))
        put(volume, 2, b"\xff\xfe")
        put(volume, 4, b"2|1|")
        for _ in ("scan", "used slots"):
            hosts = (await store.read_all()).hosts
            assert hosts[1] == host_block(1)
            assert hosts[3] == host_block(3)
            assert hosts[2] == BlockProblem(2, "slot 2, byte 0: not UTF-8")
            newer = hosts[4]
            assert isinstance(newer, BlockProblem)
            assert newer.too_new
            assert newer.reason == "slot 4: too new: format version 2, this software reads up to 1"

    async def test_a_slot_cut_off_is_that_hosts_problem(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        for host_id in (1, 2):
            put(volume, host_id, encode(host_block(host_id)))
        await store.read_all()
        os.truncate(volume, 2 * 4096 + 100)
        hosts = (await store.read_all()).hosts
        assert hosts[1] == host_block(1)
        assert hosts[2] == BlockProblem(2, "slot 2: file ends at 8292, wanted 12288 (ENODATA)")


@pytest.mark.root
@pytest.mark.parametrize("sector_bytes", [512, 4096])
async def test_a_block_device_with_garbage_behind_the_slots(
    lane: StorageLane, tmp_path: pathlib.Path, clock: HandClock, sector_bytes: int
) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(SLOTS * 4096) + GUARD * 4)
    with loop_device(image, sector_bytes) as device:
        store = BlockStore(lane, device, clock=clock, max_hosts=SLOTS - 1)
        await store.write(host_block(SLOTS - 1), read_back=True)
        await store.write_global(True)
        for scanned in (True, False):
            seen = await store.read_all()
            assert (seen.direct, seen.scanned) == (True, scanned)
            assert set(seen.hosts) == {SLOTS - 1}
            assert seen.global_block == GlobalBlock(True)
        whole = BlockStore(lane, device, clock=clock)
        assert set((await whole.read_all()).hosts) == {SLOTS - 1, *range(SLOTS, SLOTS + 4)}
    after = image.read_bytes()
    assert after[SLOTS * 4096 :] == GUARD * 4
    assert not any(after[4096 : (SLOTS - 1) * 4096])


class Recorder(StorageLane):
    """A lane that remembers which slots the worker was asked to read."""

    def __init__(self) -> None:
        super().__init__("status", "/run/of/test", clock=SystemClock())
        self.asked: list[tuple[str, Any]] = []

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        self.asked.append((operation, args.get("slots", args.get("count"))))
        return await super().call(operation, deadline_seconds, **args)


@pytest.mark.parametrize("count", [1, 3, 250])
async def test_between_scans_only_the_slots_in_use_are_read(
    tmp_path: pathlib.Path, clock: HandClock, count: int
) -> None:
    path = tmp_path / "status"
    path.write_bytes(bytes(2001 * 4096))
    ids = range(7, 7 + 3 * count, 3)
    for host_id in ids:
        put(path, host_id, encode(host_block(host_id)))
    lane = Recorder()
    store = BlockStore(lane, str(path), clock=clock, deadline_seconds=20.0)
    try:
        assert (await store.read_all()).scanned
        before = dataclasses.replace(lane.tally)
        for _ in range(2):
            clock.time = clock.time + 0.5
            assert set((await store.read_all()).hosts) == set(ids)
        assert lane.asked == [("scan_slots", 2001), *[("read_slots", [0, *ids])] * 2]
    finally:
        await lane.close()
    # By the kernel's count in the worker: slot 0 and one slot for each host.
    assert lane.tally.reads - before.reads == 2 * (1 + count)
    assert lane.tally.read_bytes - before.read_bytes == 2 * (1 + count) * 4096
    assert lane.tally.written_bytes == 0


class TestWhichSlotsAreRead:
    async def test_new_hosts_are_found_by_the_next_scan(
        self, store: BlockStore, volume: pathlib.Path, clock: HandClock
    ) -> None:
        put(volume, 1, encode(host_block(1)))
        first = await store.read_all()
        assert first.scanned
        assert first.read_at == Instant(1000.0)
        assert set(first.hosts) == {1}

        put(volume, 29, encode(host_block(29)))
        clock.time = clock.time + 1.9
        second = await store.read_all()
        assert not second.scanned
        assert second.read_at == Instant(1001.9)
        assert set(second.hosts) == {1}

        clock.time = clock.time + 0.1
        third = await store.read_all()
        assert third.scanned
        assert set(third.hosts) == {1, 29}

    async def test_scans_come_together_after_a_discovery_and_then_drift_apart(
        self, store: BlockStore, volume: pathlib.Path, clock: HandClock
    ) -> None:
        """The demo showed it: three hosts switched on together, one put into maintenance, and
        for a minute no other host was known that could take the VM."""

        async def scans(until_seconds: int) -> list[int]:
            began, times = clock.time, []
            for second in range(until_seconds):
                clock.time = began + float(second)
                if (await store.read_all()).scanned:
                    times.append(second)
            return times

        put(volume, 1, encode(host_block(1)))
        assert await scans(200) == [0, 2, 6, 14, 30, 62, 122, 182]
        put(volume, 29, encode(host_block(29)))
        clock.time = clock.time + 60.0
        assert await scans(10) == [0, 2, 6]

    async def test_between_scans_changes_of_known_hosts_and_of_slot_0_are_seen(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        put(volume, 1, encode(host_block(1)))
        await store.read_all()
        put(volume, 1, encode(host_block(1, score=10)))
        put(volume, 0, b"maintenance=1")
        look = await store.read_all()
        assert not look.scanned
        assert look.hosts == {1: host_block(1, score=10)}
        assert look.global_block == GlobalBlock(maintenance=True)

    async def test_our_own_slot_is_read_from_the_first_write_on(self, store: BlockStore) -> None:
        await store.read_all()
        await store.write(host_block(7))
        look = await store.read_all()
        assert not look.scanned
        assert look.hosts == {7: host_block(7)}

    async def test_a_removed_host_is_no_longer_shown(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        put(volume, 1, encode(host_block(1)))
        await store.read_all()
        put(volume, 1, bytes(4096))
        assert (await store.read_all()).hosts == {}

    async def test_a_later_scan_that_fails_leaves_the_known_hosts(
        self, store: BlockStore, volume: pathlib.Path, clock: HandClock
    ) -> None:
        put(volume, 1, encode(host_block(1)))
        await store.read_all()
        clock.time = clock.time + 60.0
        path, store.path = store.path, "/none/such"
        with pytest.raises(StorageFault, match="ENOENT"):
            await store.read_all()
        store.path = path
        look = await store.read_all()
        assert not look.scanned
        assert set(look.hosts) == {1}
        clock.time = clock.time + 60.0
        assert (await store.read_all()).scanned

    async def test_a_failed_first_scan_is_tried_again(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        put(volume, 1, encode(host_block(1)))
        path, store.path = store.path, "/none/such"
        with pytest.raises(StorageFault, match="ENOENT"):
            await store.read_all()
        store.path = path
        assert set((await store.read_all()).hosts) == {1}

    async def test_hung_storage_ends_at_the_deadline(
        self, lane: StorageLane, volume: pathlib.Path, clock: HandClock
    ) -> None:
        store = BlockStore(lane, str(volume), clock=clock, deadline_seconds=0.2)
        pid = (await lane.call("ping", 10.0))["pid"]
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            await store.read_all()
        patient = BlockStore(lane, str(volume), clock=clock, deadline_seconds=10.0)
        assert (await patient.read_all()).hosts == {}


class OverwritingLane(StorageLane):
    """A lane on which another host writes the same slot just after every write of ours."""

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        if operation != "write_slot":
            return await super().call(operation, deadline_seconds, **args)
        return await asyncio.to_thread(self._write, **args)

    def _write(self, path: str, slot: int, data: bytes, read_back: bool) -> dict[str, Any]:
        storage_worker.write_slot(path, slot, data)
        put(pathlib.Path(path), slot, b"maintenance=0")
        back = storage_worker.read_slots(path, [slot])["slots"][0]["data"]
        return {"direct": True, "equal": back == data if read_back else None}


class TestGlobal:
    async def test_never_written(self, store: BlockStore) -> None:
        assert await store.read_global() is None
        assert (await store.read_all()).global_block is None

    @pytest.mark.parametrize("maintenance", [True, False])
    async def test_set_and_read(
        self, store: BlockStore, volume: pathlib.Path, maintenance: bool
    ) -> None:
        await store.write_global(maintenance)
        assert await store.read_global() == GlobalBlock(maintenance)
        expected = f"maintenance={int(maintenance)}".encode().ljust(4096, b"\0")
        assert volume.read_bytes()[:4096] == expected

    async def test_garbage_is_slot_0s_problem(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        put(volume, 0, b"\xff")
        put(volume, 1, encode(host_block(1)))
        look = await store.read_all()
        assert look.global_block == BlockProblem(0, "slot 0, byte 0: not UTF-8")
        assert look.hosts == {1: host_block(1)}
        assert await store.read_global() == look.global_block

    async def test_a_flag_that_another_host_overwrote_is_not_confirmed(
        self, volume: pathlib.Path, clock: HandClock
    ) -> None:
        lane = OverwritingLane("status", "/run", clock=SystemClock())
        store = BlockStore(lane, str(volume), clock=clock)
        with pytest.raises(StorageFault, match="something else than maintenance=True") as caught:
            await store.write_global(True)
        assert caught.value.errno_name == "differs"
        await lane.close()

    async def test_a_block_that_was_overwritten_is_not_confirmed(
        self, volume: pathlib.Path, clock: HandClock
    ) -> None:
        lane = OverwritingLane("status", "/run", clock=SystemClock())
        store = BlockStore(lane, str(volume), clock=clock)
        await store.write(host_block(1))
        with pytest.raises(StorageFault, match="slot 1 reads back something else"):
            await store.write(host_block(1), read_back=True)
        await lane.close()


class TestWhatHasNotChanged:
    async def test_the_same_bytes_are_the_same_object(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        put(volume, 1, encode(host_block(1)))
        put(volume, 2, b"\xff")
        before = (await store.read_all()).hosts
        put(volume, 3, encode(host_block(3)))
        again = (await store.read_all()).hosts
        assert [again[slot] is before[slot] for slot in (1, 2)] == [True, True]

    async def test_new_lines_for_people_are_another_object(
        self, store: BlockStore, volume: pathlib.Path
    ) -> None:
        await store.write(host_block(1), ["state=EngineDown"])
        before = (await store.read_all()).hosts[1]
        await store.write(host_block(1), ["state=EngineUp"])
        after = (await store.read_all()).hosts[1]
        assert after is not before
        assert after == before, "no sign of life"
        assert isinstance(after, StatusBlock)
        assert after.extra == "state=EngineUp\n"
