# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import threading

import pytest

from ha_agent.background_writer import BackgroundWriter
from ha_agent.errors import BadInput


class Disk:
    """What is written, behind a gate; the first `faults` writes fail."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.faults: list[Exception] = []
        self.closed = False

    def write(self, item: int) -> None:
        self.gate.wait(30)
        if self.faults:
            raise self.faults.pop()
        self.written.append(item)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_all_is_written_in_order_and_then_closed(disk: Disk) -> None:
    writer = BackgroundWriter("events", disk.write, disk.close)
    writer.start()
    for i in range(100):
        writer.put(i)
    writer.stop()
    assert disk.written == list(range(100))
    assert disk.closed
    assert writer.lost == 0


def test_a_disk_that_hangs_makes_nobody_wait(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.gate.clear()
    writer = BackgroundWriter("events", disk.write, disk.close)
    writer.start()
    for i in range(1000):
        writer.put(i)
    assert writer.lost >= 700
    assert caplog.text.count("too slow") == 1
    disk.gate.set()
    writer.stop()
    # The thread takes the first at a moment of its own, which makes room for one more.
    assert disk.written[:256] == list(range(256))
    assert disk.written == sorted(set(disk.written))
    assert len(disk.written) == 1000 - writer.lost


def test_trouble_is_told_once_and_its_end(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    disk.faults = [BadInput("too long"), OSError(28, "No space left on device")]
    writer = BackgroundWriter("events", disk.write, disk.close)
    writer.start()
    with caplog.at_level(logging.INFO):
        for i in range(4):
            writer.put(i)
        writer.stop()
    assert disk.written == [2, 3]
    assert caplog.text.count("can't be written") == 1
    assert "No space left" in caplog.text
    assert "written again; 2 were lost" in caplog.text


def test_one_that_was_never_started_can_be_stopped(disk: Disk) -> None:
    BackgroundWriter("events", disk.write, disk.close).stop()
    assert not disk.closed
