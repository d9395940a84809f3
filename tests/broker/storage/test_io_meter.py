# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ha_agent.broker.storage.io_meter import IoMeter


@pytest.fixture
def alone() -> None:
    """Other threads' reads are counted, too."""
    if threading.active_count() > 1:
        pytest.skip("other threads of this process may read meanwhile")


@pytest.mark.usefixtures("alone")
def test_counts_what_is_read_and_written_and_not_itself(tmp_path: Path) -> None:
    path = tmp_path / "file"
    meter = IoMeter()
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        before = meter.read()
        os.pwrite(fd, b"x" * 100, 0)
        os.pread(fd, 40, 0)
        os.pread(fd, 40, 0)
        assert meter.since(before) == (2, 80, 1, 100)
        before = meter.read()
        assert meter.since(before) == (0, 0, 0, 0)
    finally:
        os.close(fd)
        meter.close()


def test_a_kernel_that_does_not_tell_is_no_error() -> None:
    meter = IoMeter()
    meter.close()
    before = meter.read()
    assert before is None
    assert meter.since(before) is None
