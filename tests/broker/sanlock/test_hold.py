# SPDX-License-Identifier: Apache-2.0
"""The holder as a process, registered with a real daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.lease.fence_deadline import GuardFence
from ha_agent.broker.sanlock.hold import HolderProcess
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock

pytestmark = [pytest.mark.sanlock, needs_sanlock]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[SanlockDaemon]:
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(SanlockDaemon(tmp_path / "daemon", "alpha"))
        # For the holder, which has the broker's environment.
        stack.enter_context(mock.patch.dict(os.environ, daemon.variables))
        yield daemon


async def test_started_found_again_and_ended(tmp_path: Path, daemon: SanlockDaemon) -> None:
    first = HolderProcess(tmp_path, "vm", str(tmp_path), SystemClock())
    second = HolderProcess(tmp_path, "vm", str(tmp_path), SystemClock())
    assert first.pid == 0
    try:
        pid = await first.ensure(20.0)
        assert str(pid) in daemon.client("status").stdout
        assert await first.ensure(20.0) == pid
        assert second.pid == pid  # as a broker that was started anew
        assert not await second.gone(0.01)
    finally:
        first.end()
    assert await second.gone(20.0)
    assert (first.pid, second.pid) == (0, 0)
    # A pid that was given to another process is not the holder's.
    (tmp_path / "sanlock-holder.pid").write_text(f"{os.getpid()}\n", "ascii")
    assert second.pid == 0
    first.close()
    second.close()


async def test_sanlocks_sigterm_ends_the_vm_and_then_the_holder(
    tmp_path: Path, daemon: SanlockDaemon
) -> None:
    vm_uuid = str(uuid.uuid4())
    holder = HolderProcess(tmp_path, vm_uuid, str(tmp_path), SystemClock())
    fence = GuardFence(tmp_path, vm_uuid, read_boot_id(), str(tmp_path))
    sleep = ["-c", "import time; time.sleep(60)", "-uuid", vm_uuid, f"file={tmp_path}/disk"]
    with subprocess.Popen([sys.executable, *sleep]) as vm:
        try:
            pid = await holder.ensure(20.0)
            os.kill(pid, signal.SIGTERM)
            assert vm.wait(30) == -signal.SIGKILL
            armed = fence.armed()
            assert armed is not None
            assert armed.final
            assert await holder.gone(30.0)
        finally:
            vm.kill()
            holder.end()
            holder.close()
            fence.disarm()


async def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    holder = HolderProcess(tmp_path, "vm", "", SystemClock())
    nowhere = mock.patch.dict(os.environ, {"SANLOCK_RUN_DIR": str(tmp_path)})
    with nowhere, pytest.raises(EnvironmentFault, match=r"see .*sanlock-holder.log"):
        await holder.ensure(20.0)
    assert "can't hold the lease" in (tmp_path / "sanlock-holder.log").read_text()
