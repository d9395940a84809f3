# SPDX-License-Identifier: Apache-2.0
"""A real worker hangs in the kernel, on a FUSE mount; what started it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from ha_agent.broker.storage.lane import StorageFault, StorageLane
from ha_agent.broker.storage.launch import Nursery
from ha_agent.broker.storage.leftovers import find_leftovers
from ha_agent.clock import SystemClock
from tests.faulty_storage import FaultyStorage, faulty_storage
from tests.storage_faults import Fault

pytestmark = pytest.mark.root

SECONDS = 20.0
SLOT = {"slot": 1, "data": b"n" * 4096}
# What a broker does, with the write that hangs; it ends by SIGKILL.
BROKER = """
import asyncio, sys
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.storage.launch import Nursery
from ha_agent.clock import SystemClock

async def main(run_dir, operation, path):
    args = {"slots": [1]} if operation == "read_slots" else {"slot": 1, "data": b"o" * 4096}
    nursery = Nursery(run_dir)
    await nursery.start()
    lane = StorageLane("status", run_dir, clock=SystemClock(), launch=nursery.launch)
    await lane.call(operation, 60, path=path, **args)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FaultyStorage]:
    folder = tmp_path / "storage"
    folder.mkdir()
    (folder / "volume").write_bytes(bytes(3 * 4096))
    with faulty_storage(folder, tmp_path / "mount") as storage:
        yield storage


async def until(look: Callable[[], object]) -> None:
    for _ in range(1000):
        if look():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it does not come about")


async def leave_hanging(storage: FaultyStorage, run_dir: Path, operation: str) -> None:
    """Let a broker begin this, have it hang, and kill the broker."""
    kind = operation.partition("_")[0]
    storage.set(Fault((kind,), hang=True))
    path = str(storage.mount / "volume")
    command = [sys.executable, "-c", BROKER, str(run_dir), operation, path]
    broker = subprocess.Popen(command)
    try:
        await until(lambda: storage.hanging() or broker.poll() is not None)
        assert broker.poll() is None
    finally:
        broker.kill()
        broker.wait(SECONDS)


def lane_after(run_dir: Path, nursery: Nursery) -> StorageLane:
    return StorageLane(
        "status",
        str(run_dir),
        clock=SystemClock(),
        launch=nursery.launch,
        leftovers=find_leftovers("status", str(run_dir)),
    )


async def write(lane: StorageLane, storage: FaultyStorage) -> Any:
    path = str(storage.mount / "volume")
    return await lane.call("write_slot", SECONDS, path=path, **SLOT)


async def test_no_slot_is_written_while_an_earlier_brokers_write_may_still_land(
    storage: FaultyStorage, tmp_path: Path
) -> None:
    await leave_hanging(storage, tmp_path, "write_slot")
    assert not find_leftovers("status", str(tmp_path / "other"))
    assert not find_leftovers("lease", str(tmp_path))
    nursery = Nursery(str(tmp_path))
    lane = lane_after(tmp_path, nursery)
    try:
        storage.set()
        assert lane.stats()["abandoned_alive"] == 1
        with pytest.raises(StorageFault, match="may still land") as refused:
            await write(lane, storage)
        assert refused.value.errno_name == "stuck"
        path = str(storage.mount / "volume")
        await lane.call("read_slots", SECONDS, path=path, slots=[2])
        storage.release()
        await until(lambda: not lane.stats()["abandoned_alive"])
        await write(lane, storage)
        answer = await lane.call("read_slots", SECONDS, path=path, slots=[1])
        assert answer["slots"] == [SLOT]
    finally:
        storage.release()
        await lane.close()
        nursery.close()


async def test_a_write_that_hangs_holds_up_no_look_at_its_file(
    storage: FaultyStorage, tmp_path: Path
) -> None:
    await leave_hanging(storage, tmp_path, "write_slot")
    nursery = Nursery(str(tmp_path))
    lane = lane_after(tmp_path, nursery)
    path = str(storage.mount / "volume")
    try:
        # A scan asks for the file's size, too, for which lseek(2) waits until the write is done.
        for operation, args in (("read_slots", {"slots": [2]}), ("scan_slots", {"count": 3})):
            await lane.call(operation, SECONDS, path=path, **args)
        assert storage.hanging() == [("write", "/volume")]
    finally:
        storage.release()
        await lane.close()
        nursery.close()


async def test_an_earlier_brokers_read_forbids_nothing(
    storage: FaultyStorage, tmp_path: Path
) -> None:
    await leave_hanging(storage, tmp_path, "read_slots")
    nursery = Nursery(str(tmp_path))
    lane = lane_after(tmp_path, nursery)
    try:
        storage.set()
        assert lane.stats()["abandoned_alive"] == 1
        await write(lane, storage)
    finally:
        storage.release()
        await lane.close()
        nursery.close()


async def test_a_live_worker_of_the_same_lane_is_found_and_let_go(tmp_path: Path) -> None:
    nursery = Nursery(str(tmp_path))
    await nursery.start()
    lane = StorageLane("status", str(tmp_path), clock=SystemClock(), launch=nursery.launch)
    try:
        answer = await lane.call("ping", SECONDS)
        (found,) = find_leftovers("status", str(tmp_path))
        assert (found.pid, found.may_write()) == (answer["pid"], False)
        os.kill(found.pid, signal.SIGKILL)
        await until(lambda: found.poll() is not None)
    finally:
        await lane.close()
        nursery.close()
