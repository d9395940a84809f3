# SPDX-License-Identifier: Apache-2.0
"""Processes that look as QEMU does: any program, under a name and with arguments of our own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from ha_agent.broker.probes.engine_process import EngineProcess

# One that no other test looks for.
VM = str(uuid.uuid4())
_SLEEP = "-c", "import time; time.sleep(60)", "-name", "guest=HostedEngine"


@contextmanager
def qemu(
    folder: Path, *arguments: str, name: str = "qemu-kvm"
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process called `name` until the end."""

    program = folder / name
    if not program.exists():
        shutil.copy(Path(sys.executable).resolve(), program)
    begun = subprocess.Popen([str(program), *_SLEEP, *arguments], stdin=subprocess.DEVNULL)
    try:
        # Popen returns while the kernel still puts the new name and arguments in their place.
        while psutil.Process(begun.pid).cmdline()[-1:] != [*_SLEEP, *arguments][-1:]:
            pass
        yield begun
    finally:
        begun.kill()
        begun.wait()


def test_no_such_vm(tmp_path: Path) -> None:
    with ExitStack() as all_of:
        for arguments, name in (
            (("-uuid", str(uuid.uuid4())), "qemu-kvm"),
            (("-uuid",), "qemu-kvm"),
            ((VM,), "qemu-kvm"),
            (("-uuid", VM), "editor"),
        ):
            all_of.enter_context(qemu(tmp_path, *arguments, name=name))
        assert EngineProcess(VM).look() is None


def test_what_it_uses(tmp_path: Path) -> None:
    with qemu(tmp_path, "-uuid", VM.upper()) as process:
        use = EngineProcess(VM).look()
    assert use is not None
    assert use.pid == process.pid
    assert use.memory_bytes > 0
    assert use.cpu_seconds >= 0


def test_one_that_ends_is_gone_and_its_successor_is_found(tmp_path: Path) -> None:
    seen = EngineProcess(VM)
    with qemu(tmp_path, "-uuid", VM):
        first = seen.look()
    assert seen.look() is None
    with qemu(tmp_path, "-uuid", VM):
        second = seen.look()
    assert first is not None
    assert second is not None
    assert (first.pid, first.began_at) != (second.pid, second.began_at)


def test_one_that_has_ended_but_is_not_reaped_is_gone(tmp_path: Path) -> None:
    seen = EngineProcess(VM)
    with qemu(tmp_path, "-uuid", VM) as process:
        assert seen.look() is not None
        process.send_signal(signal.SIGKILL)
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert seen.look() is None


def test_processes_that_vanish_between_list_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psutil lists some that are gone when they are read, as it may at any time."""
    listed = psutil.pids
    highest = int(Path("/proc/sys/kernel/pid_max").read_text())
    monkeypatch.setattr(psutil, "pids", lambda: [highest + 1, highest + 2, *listed()])
    assert EngineProcess(VM).look() is None
    with qemu(tmp_path, "-uuid", VM):
        assert EngineProcess(VM).look() is not None
