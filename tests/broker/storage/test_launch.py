# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ha_agent.broker.storage.lane import StorageFault, StorageLane, launch_worker
from ha_agent.broker.storage.launch import Nursery
from ha_agent.clock import SystemClock

DEADLINE_SECONDS = 20.0


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Nursery]:
    nursery = Nursery(str(tmp_path))
    await nursery.start()
    yield nursery
    nursery.close()


def lane_of(nursery: Nursery, name: str = "test") -> StorageLane:
    return StorageLane(name, "/run/test", clock=SystemClock(), launch=nursery.launch)


async def pid_of(lane: StorageLane) -> int:
    answer = await lane.call("ping", DEADLINE_SECONDS)
    return int(answer["pid"])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_workers_of_all_lanes_are_forked_from_one(nursery: Nursery) -> None:
    lanes = [lane_of(nursery, name) for name in ("one", "two")]
    try:
        pids = [await pid_of(lane) for lane in lanes]
        assert len({parent_of(pid) for pid in pids}) == 1
        assert parent_of(parent_of(pids[0])) == os.getpid()
        names = [Path(f"/proc/{pid}/comm").read_text() for pid in pids]
        assert names == ["ha-io-one\n", "ha-io-two\n"]
    finally:
        for lane in lanes:
            await lane.close()


async def test_a_worker_does_real_work(nursery: Nursery, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(8192))
    lane = lane_of(nursery)
    try:
        answer = await lane.call("read_slots", DEADLINE_SECONDS, path=str(volume), slots=[1])
        assert answer["slots"] == [{"slot": 1, "data": bytes(4096)}]
    finally:
        await lane.close()


async def test_a_worker_that_ends_is_noticed_and_replaced(nursery: Nursery) -> None:
    lane = lane_of(nursery)
    try:
        first = await pid_of(lane)
        os.kill(first, signal.SIGKILL)
        # It may be gone before the call, and then is replaced at once, or in it.
        with contextlib.suppress(StorageFault):
            await pid_of(lane)
        second = await pid_of(lane)
        assert second != first
        assert lane.stats()["replaced"] == 1
        assert lane.stats()["abandoned_alive"] == 0
    finally:
        await lane.close()


async def test_a_stopped_worker_is_ended_at_its_deadline_and_counted_until_it_is_gone(
    nursery: Nursery, tmp_path: Path
) -> None:
    worker, connection = nursery.launch(sys.executable, "stopped", str(tmp_path))
    with connection:
        os.kill(worker.pid, signal.SIGSTOP)
        assert worker.poll() is None
        worker.kill()
        while worker.poll() is None:
            pass
        worker.kill()  # of a worker that has ended: nothing
        assert worker.poll() is not None


async def test_without_the_nursery_workers_are_started_one_by_one(nursery: Nursery) -> None:
    first = lane_of(nursery)
    second = lane_of(nursery)
    try:
        os.kill(parent_of(await pid_of(first)), signal.SIGKILL)
        assert parent_of(await pid_of(second)) == os.getpid()
    finally:
        await first.close()
        await second.close()


async def test_a_nursery_that_can_not_be_started_is_done_without(tmp_path: Path) -> None:
    nursery = Nursery(str(tmp_path), python=str(tmp_path / "no-python"))
    await nursery.start()
    lane = lane_of(nursery)
    try:
        assert parent_of(await pid_of(lane)) == os.getpid()
    finally:
        await lane.close()
        nursery.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process for another")
async def test_set_ups_worker_is_the_daemons_user() -> None:
    launch = functools.partial(launch_worker, owner=(0, 36))
    lane = StorageLane("test", "/run/test", clock=SystemClock(), launch=launch)
    try:
        status = Path(f"/proc/{await pid_of(lane)}/status").read_text()
        [groups] = [line for line in status.splitlines() if line.startswith("Gid:")]
        assert groups.split()[1:] == ["36"] * 4
    finally:
        await lane.close()
