# SPDX-License-Identifier: Apache-2.0
"""The operations against one real daemon, on files and on loop devices of both sector sizes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ha_agent.broker.sanlock.place import (
    LEADER_BYTES,
    PLACE_BYTES,
    RESOURCE_OFFSET,
    Leader,
    decode_leader,
)
from ha_agent.broker.storage.lane import StorageLane, WorkerProcess, launch_worker
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault
from tests.broker.sanlock.written_by import written_by_another
from tests.loop_device import loop_device
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock

pytestmark = [pytest.mark.sanlock, needs_sanlock]


class Worker:
    """A storage worker process in the environment of one daemon."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._lane = StorageLane("t", str(folder), clock=SystemClock(), launch=self._launch)

    def _launch(self, python: str, name: str, run_dir: str) -> tuple[WorkerProcess, socket.socket]:
        with mock.patch.dict(os.environ, self._variables):
            return launch_worker(python, name, run_dir)

    async def initialise(self, path: str) -> Any:
        return await self("initialise", path=path, resource="vm", io_timeout_seconds=2)

    async def __call__(self, operation: str, **args: Any) -> Any:
        return await self._lane.call(f"sanlock_{operation}", 30, lockspace="ha-agent", **args)

    async def lane(self, operation: str, **args: Any) -> Any:
        return await self._lane.call(operation, 30, **args)

    async def close(self) -> None:
        await self._lane.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[SanlockDaemon]:
    with SanlockDaemon(tmp_path / "daemon", "alpha") as daemon:
        yield daemon


@pytest.fixture
async def worker(tmp_path: Path, daemon: SanlockDaemon) -> AsyncIterator[Worker]:
    worker = Worker(tmp_path, daemon.variables)
    yield worker
    await worker.close()


@contextlib.contextmanager
def empty_device(image: Path, sector_bytes: int, size_bytes: int = PLACE_BYTES) -> Iterator[str]:
    with image.open("wb") as file:
        file.truncate(size_bytes)
    with loop_device(image, sector_bytes) as device:
        yield device


async def test_a_file_is_made_once_and_nothing_else_is_written_over(
    tmp_path: Path, worker: Worker
) -> None:
    path = tmp_path / "ha_agent" / "lease"
    assert (await worker.initialise(str(path)))["done"]
    before = path.read_bytes()
    again = await worker.initialise(str(path))
    assert not again["done"]
    leader = decode_leader(again["leader"], "")
    assert (leader.held, leader.epoch, leader.resource) == (False, 0, "vm")
    assert path.read_bytes() == before
    other = tmp_path / "other"
    other.write_bytes(bytes(4096) + b"precious")
    assert not (await worker.initialise(str(other)))["done"]
    assert other.read_bytes() == bytes(4096) + b"precious"
    with pytest.raises(EnvironmentFault, match="ENOENT"):
        await worker.initialise(str(tmp_path / "not" / "mounted" / "lease"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
@pytest.mark.parametrize(("sector_bytes", "limit"), [(512, 2000), (4096, 250)])
async def test_a_block_device(
    tmp_path: Path, daemon: SanlockDaemon, worker: Worker, sector_bytes: int, limit: int
) -> None:
    with empty_device(tmp_path / "image", sector_bytes) as device:
        done = await worker.initialise(device)
        assert (done["done"], done["sector_bytes"]) == (True, sector_bytes)
        assert decode_leader(done["leader"], "").sector_bytes == sector_bytes
        assert not (await worker.initialise(device))["done"]
        join: dict[str, Any] = {"path": device, "io_timeout_seconds": 2}
        with pytest.raises(BadInput, match=f"host id {limit + 1} is above {limit}"):
            await worker("join", host_id=limit + 1, **join)
        await worker("join", host_id=limit, **join)
        await worker("join", host_id=limit, **join)  # asking again is cheap
        look: dict[str, Any] = {"path": device, "resource": "vm", "holder_pid": 0, "read": True}
        while not (await worker("look", host_id=limit, **look))["joined"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        daemon.kill()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
async def test_a_device_that_is_too_small_is_named(tmp_path: Path, worker: Worker) -> None:
    small = empty_device(tmp_path / "image", 512, PLACE_BYTES // 2)
    with small as device, pytest.raises(BadInput, match="the lease needs 2097152"):
        await worker.initialise(device)


async def test_what_the_daemon_tells(
    tmp_path: Path, daemon: SanlockDaemon, worker: Worker
) -> None:
    path = str(tmp_path / "lease")
    await worker.initialise(path)
    vm: dict[str, Any] = {"resource": "vm", "path": path}

    async def look(pid: int) -> Any:
        return await worker("look", host_id=1, holder_pid=pid, read=True, **vm)

    assert (await look(0))["joined"] is False
    await worker("join", host_id=1, path=path, io_timeout_seconds=2)
    while not (told := await look(0))["hosts"]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    assert told["joined"] is True
    with pytest.raises(EnvironmentFault, match="already, with host id 1 in"):
        await worker("look", host_id=2, holder_pid=0, read=False, **vm)
    assert [(host["host_id"], host["flags"]) for host in told["hosts"]] == [(1, "LIVE")]
    with pytest.raises(EnvironmentFault, match="No such process"):
        await worker("acquire", holder_pid=os.getpid(), epoch=0, **vm)
    with registered(daemon) as pid:
        assert (await look(pid))["held"] is None
        for _ in range(2):
            assert await worker("acquire", holder_pid=pid, epoch=0, **vm) == {"refused": ""}
        told = await look(pid)
        assert told["held"] == 1
        assert decode_leader(told["leader"], "").held
        for _ in range(2):
            await worker("release", holder_pid=pid, **vm)
        assert (await look(pid))["held"] is None
        refused = (await worker("acquire", holder_pid=pid, epoch=5, **vm))["refused"]
        assert "no longer 5" in refused
        assert await worker("acquire", holder_pid=pid, epoch=1, **vm) == {"refused": ""}
        assert (await look(pid))["held"] == 2
    assert await worker.lane("sanlock_watchdog") in (None, 60)


async def test_what_is_released_under_another_hosts_record_is_free(
    tmp_path: Path, daemon: SanlockDaemon, worker: Worker
) -> None:
    path = str(tmp_path / "lease")
    await worker.initialise(path)
    vm: dict[str, Any] = {"resource": "vm", "path": path}

    async def look(pid: int) -> tuple[Any, Leader]:
        told = await worker("look", host_id=1, holder_pid=pid, read=True, **vm)
        return told, decode_leader(told["leader"], path)

    await worker("join", host_id=1, path=path, io_timeout_seconds=2)
    while not (await look(0))[0]["hosts"]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    with registered(daemon) as pid:
        await worker("acquire", holder_pid=pid, epoch=0, **vm)
        written_by_another(Path(path), RESOURCE_OFFSET, writer_id=2)
        assert (await look(pid))[1].held
        await worker("release", holder_pid=pid, **vm)
        told, leader = await look(pid)
        assert (told["held"], leader.host_id, leader.epoch, leader.held) == (None, 1, 1, False)
        assert "paxos_release skip write" in daemon.log()
        # The record itself says "held": only the owner's block says that it is over.
        assert decode_leader(told["leader"][:LEADER_BYTES], path).held
        data = await worker.lane("lockspace_leader", path=path, offset=RESOURCE_OFFSET)
        assert not decode_leader(data, path).held
        assert await worker("acquire", holder_pid=pid, epoch=1, **vm) == {"refused": ""}
        told, leader = await look(pid)
        assert (told["held"], leader.epoch, leader.held) == (2, 2, True)


@contextlib.contextmanager
def registered(daemon: SanlockDaemon) -> Iterator[int]:
    code = "import sanlock, time; sanlock.register(); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=daemon.environment) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            yield holder.pid
        finally:
            holder.kill()


async def test_no_daemon_is_one_clear_error(tmp_path: Path) -> None:
    worker = Worker(tmp_path, {"SANLOCK_RUN_DIR": str(tmp_path)})
    try:
        with pytest.raises(EnvironmentFault, match=r"no sanlock daemon .* package sanlock and"):
            await worker("look", host_id=1, path="/x", resource="vm", holder_pid=0, read=False)
        assert await worker.lane("sanlock_watchdog") is None
    finally:
        await worker.close()


async def test_no_lockspace_on_storage(tmp_path: Path, worker: Worker) -> None:
    with pytest.raises(EnvironmentFault, match="ENOENT"):
        await worker("join", host_id=1, path=str(tmp_path / "none"), io_timeout_seconds=2)
    (tmp_path / "zeros").write_bytes(bytes(RESOURCE_OFFSET))
    with pytest.raises(BadInput, match="nobody has initialised the lockspace"):
        await worker("join", host_id=1, path=str(tmp_path / "zeros"), io_timeout_seconds=2)
