# SPDX-License-Identifier: Apache-2.0
"""Programs end at their deadline, with all that they have started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab.ports import LabError
from lab.tools import call, must, wait_gone, wait_until


def test_what_a_program_says_and_how_it_ended() -> None:
    ended = call(["sh", "-c", "cat; echo no >&2; exit 3"], text="yes")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "yes", "no\n")


def test_at_the_deadline_its_children_end_too(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"sleep 600 & echo $! >{note}; wait"
    with pytest.raises(LabError, match=r"no end within 0\.5 s"):
        call(["sh", "-c", script], deadline_seconds=0.5)
    try:
        descriptor = os.pidfd_open(int(note.read_text()))
    except ProcessLookupError:
        return
    try:
        assert wait_gone(descriptor, 20.0)
    finally:
        os.close(descriptor)


def test_one_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(LabError, match="exit code 4: broken"):
        must(["sh", "-c", "echo broken; exit 4"])
    with pytest.raises(LabError, match="not installed"):
        must(["ha-lab-no-such-program"])


def test_a_process_that_runs_on_is_not_gone() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        descriptor = os.pidfd_open(process.pid)
        try:
            assert not wait_gone(descriptor, 0.0)
            process.kill()
            assert wait_gone(descriptor, 20.0)
        finally:
            process.kill()
            os.close(descriptor)


def test_what_is_missing_is_told() -> None:
    with pytest.raises(LabError, match="after 0 s it is not there"):
        wait_until(lambda: False, 0.0, "it is not there")
