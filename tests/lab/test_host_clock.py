# SPDX-License-Identifier: Apache-2.0
"""The calendar clock of a program jumps while it runs; no other of its clocks does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import host_clock

# Says how far the clocks have gone since the last line that it was given.
PROGRAM = """
import sys, time
def look():
    return time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic()
was = look()
print("ready", flush=True)
for line in sys.stdin:
    time.sleep(0.01)
    now = look()
    print(*(round(a - b) for a, b in zip(now, was)), flush=True)
    was = now
"""


class HereHost:
    """A host whose files are in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.root = folder
        self.said: list[tuple[str, ...]] = []

    def must(self, *arguments: str, deadline_seconds: float = 60.0, text: str = "") -> str:
        self.said.append(arguments)
        return ""

    def file_there(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def host(tmp_path: Path) -> HereHost:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    for name in ("usr/lib", "run"):
        (tmp_path / name).mkdir(parents=True)
    return HereHost(tmp_path)


def test_the_calendar_jumps_and_nothing_else(host: HereHost) -> None:
    host_clock.fake(host, ["a.service"])
    offset = host.file_there(host_clock.OFFSET_FILE)
    preload = {"LD_PRELOAD": str(host.root / host_clock.LIBRARY), "HA_LAB_CLOCK": str(offset)}
    told = []
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **preload},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            for jump_seconds in (86400.0, -86400.0, 0.0):
                host_clock.jump(host, jump_seconds)
                process.stdin.write("\n")
                process.stdin.flush()
                told.append([int(word) for word in process.stdout.readline().split()])
        finally:
            process.kill()
    jumps = [86400, -172800, 86400]
    for (calendar, boot, monotonic), jump in zip(told, jumps):
        assert abs(calendar - jump) < 3600
        assert boot == monotonic
        assert boot < 3600


def test_units_are_restarted_with_it_and_without(host: HereHost) -> None:
    host_clock.fake(host, ["a.service", "b.service"])
    assert host.said[-1] == ("systemctl", "restart", "--", "a.service", "b.service")
    host_clock.real(host, ["a.service", "b.service"])
    assert host.said[-3][:2] == ("rm", "-f")
    assert host.said[-1][1] == "restart"
