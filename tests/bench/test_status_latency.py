# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from bench.cluster import NotMeasured
from bench.status_latency import WORKER, StorageHang

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a child that sleeps, with this text among its arguments."""
    children: list[subprocess.Popen[bytes]] = []

    def start(text: str) -> subprocess.Popen[bytes]:
        code = "import time; print(flush=True); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code, text], stdout=subprocess.PIPE)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def stopped(child: subprocess.Popen[bytes]) -> bool:
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def wait_for(look: Callable[[], bool]) -> bool:
    ends_at = time.monotonic() + 5
    while not look() and time.monotonic() < ends_at:
        time.sleep(0.01)
    return look()


def ready(child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    child.stdout.readline()


def test_workers_of_the_broker_are_stopped_later_ones_too_and_go_on_afterwards(
    start: Start,
) -> None:
    worker, other = start(WORKER), start("another child")
    ready(worker)
    ready(other)
    with StorageHang(os.getpid()) as hang:
        assert wait_for(lambda: stopped(worker))
        late = start(WORKER)
        assert wait_for(lambda: stopped(late))
        assert hang.stopped_count == 2
        assert not stopped(other)
    assert wait_for(lambda: not stopped(worker) and not stopped(late))


def test_without_a_worker_nothing_is_measured(start: Start) -> None:
    ready(start("another child"))
    with pytest.raises(NotMeasured, match="no storage worker"), StorageHang(os.getpid()):
        pass
