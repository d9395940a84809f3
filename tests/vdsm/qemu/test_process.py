# SPDX-License-Identifier: Apache-2.0
"""A process that is spawned, watched by pidfd and outlives us; QMP with real QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.qemu.process import QemuExit, QemuProcess, listen_for_qmp, spawn
from tests.vdsm.embedded import kill


@pytest.fixture
def vm_dir() -> Iterator[Path]:
    # Socket names have 107 bytes at most, pytest's own directories are long.
    path = Path(tempfile.mkdtemp(prefix="qemu-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


class Watched:
    """A process and what was told about it."""

    def __init__(self, arguments: list[str], vm_dir: Path, leases: tuple[int, ...] = ()) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.ended: asyncio.Future[QemuExit] = asyncio.get_running_loop().create_future()
        with contextlib.closing(listen_for_qmp(vm_dir)) as listener:
            pid = spawn(arguments, vm_dir, listener, leases)
        self.process = QemuProcess(
            pid,
            on_event=lambda name, data: self.events.append((name, data)),
            on_exit=self.ended.set_result,
        )


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_the_end_is_told_with_its_status(vm_dir: Path) -> None:
    watched = Watched(python("import sys; print('said'); sys.exit(7)"), vm_dir)
    assert await asyncio.wait_for(watched.ended, 10) == QemuExit(7, "")
    assert (vm_dir / "qemu.log").read_text() == "said\n"
    await watched.process.close()


async def test_a_kill_is_told_as_a_signal(vm_dir: Path) -> None:
    watched = Watched(python("import time; time.sleep(60)"), vm_dir)
    assert not await watched.process.wait(0.01)
    watched.process.kill()
    assert await asyncio.wait_for(watched.ended, 10) == QemuExit(-signal.SIGKILL, "")
    assert await watched.process.wait(1)
    watched.process.kill()  # nobody is left to be hit
    await watched.process.close()


async def test_a_connect_that_is_cancelled_leaves_nothing_behind(vm_dir: Path) -> None:
    """What were still hanging up would be cancelled by the loop's end, and log tracebacks."""
    watched = Watched(python("import time; time.sleep(60)"), vm_dir)
    try:
        connecting = asyncio.create_task(watched.process.connect(vm_dir))
        for _ in range(20):
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert asyncio.all_tasks() == {asyncio.current_task()}
    finally:
        watched.process.kill()
        await asyncio.wait_for(watched.ended, 10)
        await watched.process.close()


async def test_only_the_listener_and_the_leases_are_inherited(vm_dir: Path) -> None:
    lease = os.open(vm_dir / "lease", os.O_RDWR | os.O_CREAT)
    other = socket.socket()
    code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:6], os.getsid(0))"
    watched = Watched(python(f"{code}; print(os.readlink('/proc/self/fd/4'))"), vm_dir, (lease,))
    await asyncio.wait_for(watched.ended, 10)
    os.close(lease)
    other.close()
    first, path = (vm_dir / "qemu.log").read_text().splitlines()
    # 5 is the listing of the directory itself.
    assert first == f"[0, 1, 2, 3, 4, 5] {watched.process.pid}"
    assert path == str(vm_dir / "lease")
    await watched.process.close()


async def test_closing_leaves_the_process_alone(vm_dir: Path) -> None:
    watched = Watched(python("import time; time.sleep(60)"), vm_dir)
    pid = watched.process.pid
    await watched.process.close()
    os.kill(pid, 0)
    kill(pid)
    assert not watched.ended.done()
    with pytest.raises(EnvironmentFault, match="not connected"):
        await watched.process.execute("stop")


async def test_a_process_that_ends_before_it_greets(vm_dir: Path) -> None:
    watched = Watched(python("pass"), vm_dir)
    with pytest.raises(EnvironmentFault, match="QMP"):
        await watched.process.connect(vm_dir)
    await asyncio.wait_for(watched.ended, 10)
    await watched.process.close()


def test_no_such_binary(vm_dir: Path) -> None:
    with contextlib.closing(listen_for_qmp(vm_dir)) as listener, pytest.raises(OSError):  # noqa: PT011
        spawn([str(vm_dir / "none")], vm_dir, listener, ())


@pytest.mark.qemu
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU")
async def test_commands_events_and_a_held_file(vm_dir: Path) -> None:
    qemu = shutil.which("qemu-system-x86_64") or ""
    base = [qemu, "-machine", "none", "-accel", "tcg", "-nodefaults", "-display", "none"]
    qmp = ["-chardev", "socket,id=qmp,fd=3,server=on,wait=off", "-mon", "chardev=qmp,mode=control"]
    watched = Watched([*base, *qmp], vm_dir)
    process = watched.process
    try:
        await process.connect(vm_dir)
        assert process.is_connected
        assert (await process.execute("query-status"))["running"] is True
        with pytest.raises(EnvironmentFault, match="nonsense"):
            await process.execute("nonsense")
        await process.execute("stop")
        assert watched.events[-1][0] == "STOP"
        with (vm_dir / "lease").open("w") as file:
            await process.hold(file.fileno(), "lease0")
        held = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in _descriptors(process.pid)]
        assert str(vm_dir / "lease") in held
        with contextlib.suppress(EnvironmentFault):
            await process.execute("quit")
        assert await asyncio.wait_for(watched.ended, 10) == QemuExit(0, "host-qmp-quit")
    finally:
        process.kill()
        await process.wait(10)
        await process.close()


def _descriptors(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")
