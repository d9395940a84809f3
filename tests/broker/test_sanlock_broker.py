# SPDX-License-Identifier: Apache-2.0
"""A whole broker process over a real sanlock daemon: killed and started anew, it adopts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.lease.fence_deadline import GuardFence
from ha_agent.broker.sanlock.hold import HolderProcess
from ha_agent.clock import SystemClock
from tests.broker.test_service import Process
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock
from tests.small_config import VM, write_config

pytestmark = [pytest.mark.sanlock, needs_sanlock, pytest.mark.timeout(120)]
CLOCK = SystemClock()


@pytest.fixture
def start(short_path: Path) -> Iterator[Callable[[], Process]]:
    path = short_path / "lease.sanlock"
    more = f"[lease]\nbackend = sanlock\n[sanlock]\nprofile = fast\npath = {path}\n"
    write_config(short_path, more)
    started: list[Process] = []

    def start() -> Process:
        started.append(Process(short_path))
        return started[-1]

    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(SanlockDaemon(short_path / "daemon", "alpha"))
        stack.enter_context(mock.patch.dict(os.environ, daemon.variables))
        yield start
        for process in started:
            process.popen.kill()
            process.popen.wait(10)
        run_dir = short_path / "run"
        GuardFence(run_dir, VM, read_boot_id()).disarm()
        holder = HolderProcess(run_dir, VM, "", CLOCK)
        holder.end()
        holder.close()


def lease_when(process: Process, condition: Callable[[Any], Any]) -> Any:
    ends_at = CLOCK.now() + 60
    while True:
        lease = process.ask("status")["lease"]
        if condition(lease):
            return lease
        assert CLOCK.now() < ends_at, (lease, process.log.read_text())
        CLOCK.block(0.1)


def test_a_killed_broker_adopts_what_its_holder_has(start: Callable[[], Process]) -> None:
    broker = start()
    lease_when(broker, lambda lease: "can't" in lease["detail"] or "No such" in lease["detail"])
    broker.ask("lease.initialise")
    lease_when(broker, lambda lease: lease["state"] == "free")
    ends_at = CLOCK.now() + 60
    while not broker.ask("lease.take", expected_epoch=0, why="test")["ok"]:
        assert CLOCK.now() < ends_at
        CLOCK.block(0.2)
    assert lease_when(broker, lambda lease: lease["ours"])["epoch"] == 1
    broker.popen.kill()
    broker.popen.wait(10)
    again = start()
    lease = lease_when(again, lambda lease: lease["ours"])
    assert (lease["epoch"], lease["host_name"]) == (1, "alpha")
