# SPDX-License-Identifier: Apache-2.0
"""ovirt-ha-agent and ovirt-hosted-engine-cleanup."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ha_agent import __version__
from ha_agent.compat.hosted_engine.companions import agent, cleanup
from tests.compat.hosted_engine.running import Here, environment, refusal


def test_the_agents_cleanup_is_clean_metadata(here: Here) -> None:
    here.broker.answers["host.remove"] = (None, {"removed": "h2"})
    assert agent(["--cleanup", "--force-cleanup", "--host-id", "2"]) == 0
    assert here.asked() == [("host.remove", {"host_id": 2})]
    here.broker.answers["host.remove"] = refusal("h2 lives")
    assert agent(["--cleanup", "--host-id=2"]) == 1


def test_the_agents_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert agent(["--help"]) == 0
    assert "--cleanup" in capsys.readouterr().out


def test_what_the_agent_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert agent(["--pdb"]) == 1
    assert capsys.readouterr().err == "Invalid option '--pdb'\n"


def run(folder: Path, entry: str, words: list[str], answer: str) -> tuple[int, str, str]:
    code = (
        f"import sys; from ha_agent.compat.hosted_engine.companions import {entry};"
        f"sys.exit({entry}({words!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=answer,
        capture_output=True,
        text=True,
        env=environment(folder),
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("answer", ["n\n", "yes\n", ""])
def test_cleanup_asks_first(folder: Path, answer: str) -> None:
    code, out, err = run(folder, "cleanup", [], answer)
    assert (code, err) == (1, "FATAL: nothing was changed\n")
    assert "Are you sure you want to proceed? [y/n]" in out


@pytest.mark.parametrize(("words", "answer"), [(["-q"], ""), ([], "y\n")])
def test_cleanup_becomes_leave(folder: Path, words: list[str], answer: str) -> None:
    code, out, err = run(folder, "cleanup", [*words, "--no-such-option"], answer)
    assert (code, "--no-such-option" in err, "usage: ha-agent" in err) == (2, True, True)
    assert ("proceed?" in out) is (not words)


@pytest.mark.parametrize("words", [["cleanup", "-q", "--nonsense"], ["agent"]])
def test_modules_of_the_folder_it_is_called_in_are_not_used(
    folder: Path, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may be in /tmp, where others write."""
    (tmp_path / "argparse.py").write_text("import os; os._exit(66)\n")
    monkeypatch.chdir(tmp_path)
    code = (
        "import sys; del sys.path[0]; from ha_agent.compat.hosted_engine.companions import "
        f"{words[0]}; sys.exit({words[0]}({words[1:]!r}))"
    )
    (folder / "ha-agent.conf").write_text("[nonsense]\n")
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(folder),
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done
    assert "nonsense" in done.stderr


def test_cleanup_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cleanup(["-h"]) == 0
    assert capsys.readouterr().out.startswith("Usage: ovirt-hosted-engine-cleanup")
