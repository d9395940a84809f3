# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest

from mutate.__main__ import Count, table
from mutate.targets import ROOT


def mutate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mutate", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_mutants_of_a_file_can_be_listed() -> None:
    done = mutate("--only", "fsm/takeover.py", "--list")
    assert done.returncode == 0
    keys = done.stdout.splitlines()
    assert len(keys) > 5
    assert all(key.startswith("ha_agent/fsm/takeover.py:") for key in keys)


@pytest.mark.long
def test_one_mutant_from_the_command_line() -> None:
    groups = ("fsm", "cycle", "scenarios", "simulator", "guards")
    left_out = [word for group in groups for word in ("--without", group)]
    done = mutate(
        "--only",
        "fsm/takeover.py",
        "--key",
        "mine becomes (-peer.score, peer.host_id) >= mine",
        *left_out,
    )
    assert done.returncode == 0, done.stdout
    assert "100.0% caught" in done.stdout
    assert "ha_agent/fsm/takeover.py" in done.stdout


def test_a_file_that_is_no_target_is_refused_with_the_targets() -> None:
    done = mutate("--only", "ha_agent/cli/main.py")
    assert done.returncode == 2
    assert "ha_agent/fsm/table.py" in done.stderr


def test_the_table() -> None:
    count = Count("ha_agent/fsm/x.py", caught=19, listed=["a"], survived=[])
    assert table([count]).splitlines()[1].split() == [
        "ha_agent/fsm/x.py",
        "20",
        "19",
        "1",
        "95.0%",
    ]
