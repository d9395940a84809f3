# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import os
import pathlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Optional

import pytest

from ha_agent.broker.storage.lane import (
    StorageFault,
    StorageLane,
    WorkerProcess,
    launch_worker,
)
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, DeadlineExceeded

SHORT_SECONDS = 0.1
LONG_SECONDS = 10.0


class StuckProcess:
    """A process that SIGKILL does not end, as in state D; `free` lets it die after all."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self.pid = process.pid

    def kill(self) -> None:
        pass

    def poll(self) -> Optional[int]:
        return self._process.poll()

    def free(self) -> None:
        self._process.kill()


class Launcher:
    """Starts real workers, of which the first `stuck` can't be killed; remembers them."""

    def __init__(self, stuck: int = 0) -> None:
        self.stuck = stuck
        self.started: list[WorkerProcess] = []

    def __call__(
        self, python: str, name: str, run_dir: str
    ) -> tuple[WorkerProcess, socket.socket]:
        process, ours = launch_worker(python, name, run_dir)
        if len(self.started) < self.stuck:
            process = StuckProcess(process)
        self.started.append(process)
        return process, ours

    def free(self) -> None:
        for process in self.started:
            if isinstance(process, StuckProcess):
                process.free()


@pytest.fixture
def launcher() -> Launcher:
    return Launcher()


@pytest.fixture
async def lane(launcher: Launcher) -> AsyncIterator[StorageLane]:
    lane = StorageLane(
        "test", "/run/of/test", clock=SystemClock(), launch=launcher, max_abandoned=2
    )
    await lane.start()
    await lane.call("ping", LONG_SECONDS)  # the interpreter is up: short deadlines hold now
    yield lane
    launcher.free()
    await lane.close()


async def pid_of(lane: StorageLane) -> int:
    value = await lane.call("ping", LONG_SECONDS)
    assert isinstance(value, dict)
    return int(value["pid"])


async def hang(lane: StorageLane) -> int:
    """Stop the worker, as storage that hangs would; return its pid."""
    pid = await pid_of(lane)
    os.kill(pid, signal.SIGSTOP)
    return pid


def is_gone(pid: int) -> bool:
    return not pathlib.Path(f"/proc/{pid}").exists()


class TestCalls:
    async def test_value(self, lane: StorageLane, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "volume"
        path.write_bytes(b"v" * 4096)
        answer = await lane.call("read_slots", LONG_SECONDS, path=str(path), slots=[0])
        assert answer["slots"] == [{"slot": 0, "data": b"v" * 4096}]

    async def test_environment_fault(self, lane: StorageLane) -> None:
        with pytest.raises(StorageFault, match=r"read_slots /none/such: No such file") as caught:
            await lane.call("read_slots", LONG_SECONDS, path="/none/such", slots=[0])
        assert caught.value.errno_name == "ENOENT"
        assert caught.value.operation == "read_slots"
        assert caught.value.path == "/none/such"
        assert lane.stats()["last_error"] == str(caught.value)

    async def test_bad_input(self, lane: StorageLane) -> None:
        with pytest.raises(BadInput, match="unknown operation 'exec'"):
            await lane.call("exec", LONG_SECONDS)

    async def test_what_messagepack_cannot_carry(self, lane: StorageLane) -> None:
        with pytest.raises(TypeError):
            await lane.call("ping", LONG_SECONDS, x=object())
        assert await pid_of(lane)

    async def test_calls_run_in_order(self, lane: StorageLane, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "volume"
        path.write_bytes(bytes(4096))
        writes = [
            lane.call("write_slot", LONG_SECONDS, path=str(path), slot=0, data=letter * 4096)
            for letter in (b"a", b"b", b"c")
        ]
        await asyncio.gather(*writes)
        assert path.read_bytes() == b"c" * 4096

    async def test_big_answers(self, lane: StorageLane, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "volume"
        path.write_bytes(os.urandom(4096) * 2001)
        answer = await lane.call("scan_slots", LONG_SECONDS, path=str(path), count=2001)
        assert len(answer["slots"]) == 2001

    async def test_first_call_starts_the_worker(self) -> None:
        lane = StorageLane("late", "/run", clock=SystemClock())
        assert lane.stats()["worker_pid"] is None
        assert await pid_of(lane) == lane.stats()["worker_pid"]
        await lane.close()

    async def test_missing_interpreter(self) -> None:
        lane = StorageLane("none", "/run", clock=SystemClock(), python="/none/python")
        with pytest.raises(StorageFault, match="no worker") as caught:
            await lane.start()
        assert caught.value.errno_name == "ENOENT"
        with pytest.raises(StorageFault, match="no worker"):
            await lane.call("ping", LONG_SECONDS)
        await lane.close()


class TestHungStorage:
    async def test_the_deadline_holds_and_the_next_call_works(self, lane: StorageLane) -> None:
        hung = await hang(lane)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="ping: no answer within"):
            await lane.call("ping", SHORT_SECONDS)
        assert 0.09 <= time.monotonic() - began < LONG_SECONDS / 5
        assert await pid_of(lane) != hung
        assert lane.stats()["replaced"] == 1
        assert lane.stats()["abandoned_alive"] == 0
        assert is_gone(hung)

    async def test_the_deadline_includes_queueing(self, lane: StorageLane) -> None:
        hung = await hang(lane)
        first = asyncio.ensure_future(pid_of(lane))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await lane.call("ping", SHORT_SECONDS)
        assert lane.stats()["worker_pid"] == hung, "the call ahead still has its time"
        assert lane.stats()["queued"] == 0
        os.kill(hung, signal.SIGCONT)
        assert await first == hung
        assert lane.stats()["replaced"] == 0

    async def test_the_next_worker_starts_before_it_is_needed(
        self, lane: StorageLane, launcher: Launcher
    ) -> None:
        await hang(lane)
        with pytest.raises(DeadlineExceeded):
            await lane.call("ping", SHORT_SECONDS)
        await asyncio.sleep(0.05)
        assert lane.stats()["worker_pid"] == launcher.started[1].pid

    async def test_calls_behind_a_hung_one_get_the_new_worker(self, lane: StorageLane) -> None:
        hung = await hang(lane)
        first = asyncio.ensure_future(lane.call("ping", SHORT_SECONDS))
        await asyncio.sleep(0)
        assert await pid_of(lane) != hung
        with pytest.raises(DeadlineExceeded):
            await first

    async def test_stats_while_it_hangs(self, lane: StorageLane) -> None:
        before = SystemClock().now()
        await hang(lane)
        call = asyncio.ensure_future(lane.call("ping", LONG_SECONDS))
        behind = asyncio.ensure_future(lane.call("ping", LONG_SECONDS))
        await asyncio.sleep(0.01)
        stats = lane.stats()
        assert stats["busy_with"] == "ping"
        assert stats["busy_since"] > before
        assert stats["queued"] == 1
        os.kill(stats["worker_pid"], signal.SIGCONT)
        await asyncio.gather(call, behind)
        stats = lane.stats()
        assert (stats["busy_with"], stats["busy_since"], stats["queued"]) == (None, None, 0)
        assert stats["latency_seconds"]["max"] >= 0.01

    async def test_storage_that_comes_back_in_time(self, lane: StorageLane) -> None:
        hung = await hang(lane)
        call = asyncio.ensure_future(pid_of(lane))
        await asyncio.sleep(0.02)
        os.kill(hung, signal.SIGCONT)
        assert await call == hung
        assert lane.stats()["replaced"] == 0

    async def test_a_cancelled_call_does_not_cost_the_worker(self, lane: StorageLane) -> None:
        hung = await hang(lane)
        running = asyncio.ensure_future(lane.call("ping", LONG_SECONDS))
        queued = asyncio.ensure_future(lane.call("ping", LONG_SECONDS))
        await asyncio.sleep(0.01)
        running.cancel()
        queued.cancel()
        await asyncio.wait({running, queued})
        os.kill(hung, signal.SIGCONT)
        assert await pid_of(lane) == hung


class TestWorkersThatCannotBeKilled:
    @pytest.fixture
    def launcher(self) -> Launcher:
        return Launcher(stuck=2)

    async def test_bound_is_reached_and_left(self, lane: StorageLane, launcher: Launcher) -> None:
        hung = []
        for count in (1, 2):
            hung.append(await hang(lane))
            with pytest.raises(DeadlineExceeded):
                await lane.call("ping", SHORT_SECONDS)
            assert lane.stats()["abandoned_alive"] == count
        began = time.monotonic()
        with pytest.raises(
            StorageFault, match="refused: 2 storage workers of lane test"
        ) as caught:
            await lane.call("ping", LONG_SECONDS)
        assert time.monotonic() - began < LONG_SECONDS / 5
        assert caught.value.errno_name == "stuck"
        assert len(launcher.started) == 2, "no third process hangs in the same place"

        os.kill(hung[0], signal.SIGKILL)
        os.waitid(os.P_PID, hung[0], os.WEXITED | os.WNOWAIT)
        assert await pid_of(lane) not in hung
        assert lane.stats()["abandoned_alive"] == 1

    async def test_a_write_waits_for_an_earlier_one_that_may_still_land(
        self, lane: StorageLane, tmp_path: pathlib.Path
    ) -> None:
        path = tmp_path / "volume"
        path.write_bytes(bytes(8192))

        async def write(slot: int, deadline_seconds: float) -> None:
            data = b"x" * 4096
            await lane.call("write_slot", deadline_seconds, path=str(path), slot=slot, data=data)

        hung = await hang(lane)
        with pytest.raises(DeadlineExceeded):
            await write(1, SHORT_SECONDS)
        for _ in range(3):
            with pytest.raises(StorageFault, match="an earlier write there hangs") as caught:
                await write(1, LONG_SECONDS)
            assert caught.value.errno_name == "stuck"
        # What it does not write goes on, and no worker more is lost.
        await write(0, LONG_SECONDS)
        assert await lane.call("read_slots", LONG_SECONDS, path=str(path), slots=[0, 1])
        assert lane.stats()["abandoned_alive"] == 1

        os.kill(hung, signal.SIGKILL)
        os.waitid(os.P_PID, hung, os.WEXITED | os.WNOWAIT)
        await write(1, LONG_SECONDS)
        assert path.read_bytes() == b"x" * 8192
        assert lane.stats()["abandoned_alive"] == 0

    async def test_calls_that_wait_are_refused_too(self, lane: StorageLane) -> None:
        await hang(lane)
        with pytest.raises(DeadlineExceeded):
            await lane.call("ping", SHORT_SECONDS)
        await hang(lane)
        running = asyncio.ensure_future(lane.call("ping", SHORT_SECONDS))
        behind = asyncio.ensure_future(lane.call("ping", LONG_SECONDS))
        with pytest.raises(DeadlineExceeded):
            await running
        with pytest.raises(StorageFault, match="refused"):
            await behind

    async def test_close_does_not_wait_for_them(self, lane: StorageLane) -> None:
        await hang(lane)
        call = asyncio.ensure_future(lane.call("ping", LONG_SECONDS))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        await lane.close()
        assert time.monotonic() - began < 3.0
        with pytest.raises(StorageFault, match="closed"):
            await call


class TestWorkersThatDie:
    async def test_killed_in_the_call(self, lane: StorageLane) -> None:
        pid = await hang(lane)
        call = asyncio.ensure_future(lane.call("ping", LONG_SECONDS))
        await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(StorageFault, match="ended in the call") as caught:
            await call
        assert caught.value.errno_name == "worker_died"
        assert await pid_of(lane) != pid
        assert lane.stats()["replaced"] == 1

    async def test_killed_while_idle_costs_no_call(self, lane: StorageLane) -> None:
        pid = await pid_of(lane)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert await pid_of(lane) != pid
        assert lane.stats()["replaced"] == 1

    async def test_an_answer_that_is_not_one(self, tmp_path: pathlib.Path) -> None:
        """Another program in the worker's place: its output is refused, not believed."""
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\nprintf '\\000\\000\\000\\001\\300'; exec sleep 60\n")
        program.chmod(0o755)
        lane = StorageLane("x", "/run", clock=SystemClock(), python=str(program))
        with pytest.raises(StorageFault, match="does not belong to the request"):
            await lane.call("ping", LONG_SECONDS)
        await lane.close()

    async def test_the_owner_is_told_before_the_next_call_runs(self, launcher: Launcher) -> None:
        told: list[tuple[str, int]] = []
        lane = StorageLane(
            "test",
            "/run",
            clock=SystemClock(),
            python=sys.executable,
            launch=launcher,
            on_replaced=lambda reason: told.append((reason, len(launcher.started))),
        )
        await hang(lane)
        with pytest.raises(DeadlineExceeded):
            await lane.call("ping", SHORT_SECONDS)
        await lane.close()
        assert told == [("ping: no answer within 0.1 s", 1)]


class TestClose:
    async def test_ends_the_worker_and_refuses_calls(self, launcher: Launcher) -> None:
        lane = StorageLane("test", "/run", clock=SystemClock(), launch=launcher)
        # One that is still importing on a busy machine would be killed.
        await lane.call("ping", LONG_SECONDS)
        await lane.close()
        assert launcher.started[0].poll() == 0, "by the end of its stdin, not by SIGKILL"
        with pytest.raises(StorageFault, match="storage lane test is closed"):
            await lane.call("ping", LONG_SECONDS)
        await lane.close()

    async def test_with_a_hung_worker(self, lane: StorageLane) -> None:
        pid = await hang(lane)
        calls: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(lane.call("ping", LONG_SECONDS)) for _ in range(3)
        ]
        await asyncio.sleep(0.01)
        await lane.close()
        for call in calls:
            with pytest.raises(StorageFault, match="closed"):
                await call
        assert is_gone(pid)

    async def test_before_any_call(self) -> None:
        await StorageLane("test", "/run", clock=SystemClock()).close()
