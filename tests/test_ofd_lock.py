# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent import ofd_lock


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[int, int]]:
    path = tmp_path / "file"
    path.touch()
    fds = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    yield fds
    for fd in fds:
        os.close(fd)


def test_two_descriptions_of_one_process_exclude_each_other(two: tuple[int, int]) -> None:
    one, other = two
    assert ofd_lock.try_lock(one, 0, 4096)
    assert ofd_lock.try_lock(one, 0, 4096)
    assert not ofd_lock.try_lock(other, 4095, 1)
    assert ofd_lock.is_locked(other, 0, 1)
    assert not ofd_lock.is_locked(one, 0, 1)
    ofd_lock.unlock(one, 0, 4096)
    assert ofd_lock.try_lock(other, 0, 4096)


def test_ranges_are_apart_also_past_the_end_of_the_file(two: tuple[int, int]) -> None:
    one, other = two
    assert ofd_lock.try_lock(one, 2**20 + 1, 1)
    assert ofd_lock.try_lock(other, 2**20 + 2, 1)
    assert not ofd_lock.try_lock(other, 2**20 + 1, 1)


def test_closing_another_descriptor_of_the_file_keeps_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    one, other = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    try:
        assert ofd_lock.try_lock(one, 0, 1)
        os.close(os.open(path, os.O_RDWR))  # would drop a classic POSIX lock
        assert not ofd_lock.try_lock(other, 0, 1)
    finally:
        os.close(one)
        os.close(other)


def test_a_child_that_inherits_the_descriptor_keeps_the_lock(two: tuple[int, int]) -> None:
    one, other = two
    inherited = os.dup(one)
    assert ofd_lock.try_lock(inherited, 0, 1)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[inherited]
    )
    os.close(inherited)
    os.dup2(os.open("/dev/null", os.O_RDWR), one)
    assert not ofd_lock.try_lock(other, 0, 1)
    child.kill()
    child.communicate()
    assert ofd_lock.try_lock(other, 0, 1)


def test_a_file_that_is_not_open_for_writing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            ofd_lock.try_lock(fd, 0, 1)
    finally:
        os.close(fd)
