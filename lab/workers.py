# SPDX-License-Identifier: Apache-2.0
"""Several labs side by side that share one run, a process each.

They begin together, each with its own bridge, hosts and storage, and write what they find into the
run's one file. Each holds the machine's lock for labs as long as it lives, and ends when the
command that began it does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, TypeVar

from lab.cluster import ROOT
from lab.plan import NAME_VARIABLE
from lab.ports import LabError

MOST_LABS = 4
_NAMES = "abcd"
_REMOVE_SECONDS = 120.0
_LOOK_SECONDS = 0.5
T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The `number`th lab of `labs`, counted from 0; `folder`: the run's."""

    number: int
    labs: int
    folder: Path

    def text(self) -> str:
        """Return it as an argument."""
        return f"{self.number}/{self.labs}:{self.folder}"

    def of(self, work: Sequence[T]) -> list[T]:
        """Return this lab's share of the work."""
        return list(work[self.number :: self.labs])


def parse_share(text: str) -> Share:
    """Return what `Share.text` returned. Raises ValueError."""
    numbers, _colon, folder = text.partition(":")
    number, _slash, labs = numbers.partition("/")
    return Share(int(number), int(labs), Path(folder))


def run_workers(labs: int, folder: Path, lock: int, say: Callable[[str], None]) -> None:
    """Run that many labs until each has done its share. What one could not do is not in the run's
    file. Raises LabError where one does not end."""
    workers = {_NAMES[number]: _begin(Share(number, labs, folder), lock) for number in range(labs)}
    try:
        wait_for(workers, say)
    finally:
        end_workers(workers, _REMOVE_SECONDS)


def wait_for(workers: Mapping[str, subprocess.Popen[bytes]], say: Callable[[str], None]) -> None:
    """Wait for all; one that fails is told at once, since the others may take hours."""
    running = dict(workers)
    while running:
        for name, worker in workers.items():
            if name in running and worker.poll() is not None:
                del running[name]
                if worker.returncode != 0:
                    again = "--resume does what it leaves undone"
                    say(f"lab {name}: exit code {worker.returncode}; {again}")
        time.sleep(_LOOK_SECONDS)


def end_workers(workers: Mapping[str, subprocess.Popen[bytes]], deadline_seconds: float) -> None:
    """Tell those that still run to take down what they made, and wait for it. Raises LabError for
    those that are not done by then: they go on with it, and hold the machine's lock."""
    for worker in workers.values():
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
    until = time.monotonic() + deadline_seconds
    left = []
    for name, worker in workers.items():
        try:
            worker.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            left.append(f"{name} (pid {worker.pid})")
    if left:
        raise LabError(
            f"still taking down after {deadline_seconds:.0f} s: lab {', '.join(left)}; "
            "python -m lab clean ends and removes it"
        )


def _begin(share: Share, lock: int) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches it once, by us, and not again while it takes down.
    words = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "lab", "run"]
    return subprocess.Popen(
        [*words, "--worker", share.text()],
        cwd=ROOT,
        env={**os.environ, NAME_VARIABLE: _NAMES[share.number]},
        stdin=subprocess.DEVNULL,
        pass_fds=(lock,),
        start_new_session=True,
    )
