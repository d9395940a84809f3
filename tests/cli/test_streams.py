# SPDX-License-Identifier: Apache-2.0
"""Both commands as processes whose streams are closed, full, narrow or not read any more."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compat.hosted_engine.running import FIRST, PICTURE, deployed, environment, shows
from tests.fake_broker import FakeBroker

OURS, THEIRS = "ha_agent.cli status", "ha_agent.compat.hosted_engine.cli --vm-status"


def shell(folder: Path, line: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which $COMMAND is `python -m`."""
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**environment(folder), "COMMAND": f"{sys.executable} -m", **more},
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done


@pytest.fixture
def host(folder: Path, broker: FakeBroker) -> Path:
    deployed(folder)
    shows(broker, replace(PICTURE, hosts=(replace(FIRST, host_name="hôte"),)))
    return folder


@pytest.mark.parametrize("command", [OURS, THEIRS])
def test_closed_streams(host: Path, command: str) -> None:
    assert shell(host, f"$COMMAND {command} <&- >&- 2>&-").returncode == 0
    done = shell(host, f"$COMMAND {command} >&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", [OURS, THEIRS])
def test_a_full_disk(host: Path, command: str, buffered: str) -> None:
    done = shell(host, f"$COMMAND {command} >/dev/full", PYTHONUNBUFFERED=buffered)
    assert done.returncode == 1
    assert "the output can't be written: [Errno 28]" in done.stderr
    assert shell(host, f"$COMMAND {command} >/dev/full 2>&1").returncode == 1


@pytest.mark.parametrize("command", [OURS, THEIRS])
def test_a_reader_that_is_gone(host: Path, command: str) -> None:
    done = shell(host, f"$COMMAND {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) in ((0, ""), (1, ""))


@pytest.mark.parametrize("command", [OURS, THEIRS])
def test_a_terminal_with_few_characters(host: Path, command: str) -> None:
    narrow = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = shell(host, f"$COMMAND {command}", **narrow)
    assert (done.returncode, done.stderr) == (0, "")
    assert "h\\xf4te" in done.stdout


def test_passwords_are_not_asked_of_a_closed_stdin(host: Path) -> None:
    done = shell(host, "$COMMAND ha_agent.compat.hosted_engine.cli --add-console-password <&-")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Standard input is not a terminal" in done.stderr


def test_a_closed_stdin_is_no_yes(host: Path) -> None:
    line = "from ha_agent.compat.hosted_engine.companions import cleanup; exit(cleanup())"
    done = shell(host, f"{sys.executable} -c '{line}' <&-")
    assert (done.returncode, done.stderr) == (1, "FATAL: nothing was changed\n")
    assert os.listdir(host / "run") == ["broker.socket"]
