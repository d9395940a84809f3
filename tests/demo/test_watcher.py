# SPDX-License-Identifier: Apache-2.0
"""The witness, with programs that are called qemu-... and are not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from demo.watcher import DiskWatcher, command_line
from ha_agent.clock import SystemClock

CLOCK = SystemClock()
Opener = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"x")
    return path


@pytest.fixture
def opens(disk: Path, tmp_path: Path) -> Iterator[Opener]:
    """Start a process, named as QEMU is, that has the disk open until its stdin ends."""
    program = tmp_path / "qemu-fake"
    shell = shutil.which("dash") or shutil.which("bash")
    assert shell is not None
    shutil.copy(shell, program)
    started = []

    def one(host: str) -> subprocess.Popen[bytes]:
        script = 'exec 9<"$1"; read line'
        started.append(
            subprocess.Popen([str(program), "-c", script, host, str(disk)], stdin=subprocess.PIPE)
        )
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.communicate(timeout=60)


@pytest.fixture
def watcher(disk: Path) -> Iterator[DiskWatcher]:
    made = DiskWatcher(disk, {"folder-of-1/": "host1", "folder-of-2/": "host2"})
    made.start()
    yield made
    made.stop()


def wait_until(look: Callable[[], bool]) -> None:
    ends_at = CLOCK.now() + 60
    while not look():
        assert CLOCK.now() < ends_at
        CLOCK.block(0.02)


def test_it_sees_who_comes_and_goes(watcher: DiskWatcher, opens: Opener) -> None:
    one = opens("/folder-of-1/x")
    wait_until(lambda: watcher.openers() == {one.pid: "host1"})
    one.communicate(timeout=60)
    wait_until(lambda: watcher.openers() == {})
    assert [(c.pid, c.host, c.opened) for c in watcher.since(0.0)] == [
        (one.pid, "host1", True),
        (one.pid, "host1", False),
    ]
    assert watcher.most_at_once == 1


def test_it_remembers_two_at_once(watcher: DiskWatcher, opens: Opener) -> None:
    one, two = opens("/folder-of-1/x"), opens("/folder-of-2/x")
    wait_until(lambda: len(watcher.openers()) == 2)
    for process in (one, two):
        process.communicate(timeout=60)
    wait_until(lambda: watcher.openers() == {})
    # Both may be gone by the second look of a slow machine: how many there were tells nothing.
    assert watcher.most_at_once == 2


def test_other_programs_do_not_count(watcher: DiskWatcher, disk: Path) -> None:
    with disk.open():
        looks = watcher.looks
        wait_until(lambda: watcher.looks > looks + 2)
        assert watcher.openers() == {}


def test_the_arguments_of_a_process() -> None:
    assert "pytest" in command_line(os.getpid())
    assert command_line(2**22 + 1) == ""
