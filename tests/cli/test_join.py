# SPDX-License-Identifier: Apache-2.0
"""`ha-agent join` and `leave` as processes: their command lines, exit codes and sentences."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.setup.join_world import JoiningHost, make_cluster


def run(host: JoiningHost, *words: str, code: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ha_agent.cli", *words],
        env={**os.environ, "HA_AGENT_HOST_ROOT": str(host.root)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    return said


def test_a_join_and_what_it_says(tmp_path: Path) -> None:
    shared = make_cluster(tmp_path / "storage")
    host = JoiningHost(tmp_path, "alpha")
    path = str(shared.path)
    plan = run(host, "join", "--path", path, "--no-start", "--dry-run", code=0)
    assert "[4/7] take a host id: to do: host id 1, free" in plan
    assert not host.conf.exists()
    said = run(host, "join", "--path", path, "--no-start", code=0)
    assert "take a host id ... done" in said
    assert host.host_id() == 1
    again = run(host, "join", "--path", path, "--no-start", "--host-id", "2", code=1)
    assert "registered with host id 1, not 2" in again
    assert "broker does not answer" in run(host, "leave", "--no-units", code=1)


def test_what_can_not_be_done(tmp_path: Path) -> None:
    host = JoiningHost(tmp_path, "alpha")
    assert "is it mounted" in run(host, "join", "--path", str(tmp_path), "--no-start", code=1)
    assert "is not there" in run(host, "join", "--from", str(tmp_path / "no"), code=1)
    assert "in no cluster" in run(host, "leave", code=0)


def test_what_is_wrong_with_the_command_line(tmp_path: Path) -> None:
    host = JoiningHost(tmp_path, "alpha")
    assert "--path" in run(host, "join", code=2)
    assert "no host id" in run(host, "join", "--host-id", "0", code=2)
    assert "not allowed with" in run(host, "join", "--path", "/a", "--from", "/b", code=2)
    answers = tmp_path / "answers"
    answers.write_text("storage_type = floppy\nnonsense = 1\n")
    said = run(host, "join", "--answers", str(answers), code=2)
    assert "floppy" in said
    assert "nonsense" in said
