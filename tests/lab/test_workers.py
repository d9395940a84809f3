# SPDX-License-Identifier: Apache-2.0
"""How several labs share the work."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ports import LabError
from lab.workers import Share, end_workers, parse_share, wait_for


def test_shares_are_all_of_the_work_once() -> None:
    work = list(range(7))
    shares = [Share(number, 3, Path("/x")).of(work) for number in range(3)]
    assert sorted(one for share in shares for one in share) == work
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_goes_over_the_command_line() -> None:
    share = Share(1, 2, Path("/a b/c:d"))
    assert parse_share(share.text()) == share


@pytest.mark.parametrize("text", ["", "1", "1/2x:/y", "a/2:/y"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        parse_share(text)


@contextlib.contextmanager
def shell(text: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a shell that has said it is ready."""
    with subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def test_a_worker_that_fails_is_told_while_others_run() -> None:
    said = []
    with shell("echo ready; exec sleep 60") as runs, shell("echo ready; exit 2") as fails:

        def say(text: str) -> None:
            said.append((text, runs.poll()))
            runs.kill()

        wait_for({"a": runs, "b": fails}, say)
    assert said[0][0].startswith("lab b: exit code 2")
    assert said[0][1] is None


def test_workers_are_told_to_take_down() -> None:
    with shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done") as worker:
        end_workers({"a": worker}, 60.0)
        assert worker.returncode == 7


def test_a_worker_that_does_not_end_is_named() -> None:
    deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with shell("echo ready; exec sleep 60") as ends, shell(deaf) as stays:
        with pytest.raises(LabError) as caught:
            end_workers({"a": ends, "b": stays}, 0.5)
        assert f"lab b (pid {stays.pid})" in str(caught.value)
        assert "lab a" not in str(caught.value)
        assert "lab clean" in str(caught.value)
