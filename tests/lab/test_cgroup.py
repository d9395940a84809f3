# SPDX-License-Identifier: Apache-2.0
"""All processes of a cgroup are stopped, and ended, at once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cgroup import CGROUPS, freeze, is_empty, kill_all, remove_cgroup
from lab.ports import LabError
from lab.tools import wait_gone, wait_until

pytestmark = [pytest.mark.root]


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = CGROUPS / f"ha-lab-test-{os.getpid()}"
    try:
        (path / "below").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if not (path / "cgroup.kill").exists():
            pytest.skip("this kernel has no cgroup.kill")
        yield path
    finally:
        kill_all(path)
        wait_until(lambda: is_empty(path), 20.0, "it is not empty")
        remove_cgroup(path)


def sleeper(cgroup: Path) -> subprocess.Popen[bytes]:
    script = 'echo $$ >"$0/cgroup.procs" && exec sleep 600'
    process = subprocess.Popen(["sh", "-c", script, str(cgroup / "below")])
    wait_until(lambda: not is_empty(cgroup), 20.0, "nothing runs in it")
    return process


def test_killed_and_removed(cgroup: Path) -> None:
    process = sleeper(cgroup)
    with pytest.raises(LabError, match="busy"):
        remove_cgroup(cgroup)
    descriptor = os.pidfd_open(process.pid)
    try:
        kill_all(cgroup)
        assert wait_gone(descriptor, 20.0)
    finally:
        os.close(descriptor)
    process.wait(20)
    wait_until(lambda: is_empty(cgroup), 20.0, "it is not empty")
    remove_cgroup(cgroup)
    assert not cgroup.exists()


def test_frozen_until_thawed(cgroup: Path) -> None:
    process = sleeper(cgroup)

    def state(text: str) -> bool:
        return text in (cgroup / "cgroup.events").read_text()

    freeze(cgroup, True)
    wait_until(lambda: state("frozen 1"), 20.0, "it is not frozen")
    freeze(cgroup, False)
    wait_until(lambda: state("frozen 0"), 20.0, "it is not thawed")
    process.kill()
    process.wait(20)


def test_one_that_is_not_there_is_empty_and_no_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    kill_all(gone)
    freeze(gone, True)
    remove_cgroup(gone)
    assert is_empty(gone)
