# SPDX-License-Identifier: Apache-2.0
"""Workers, one for each processor, and the mutants handed out to them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, Optional, TypeVar

from mutate.targets import ROOT

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Job:
    """One mutant: the module's name, its source, and the tests, a list of arguments a group.

    Without a module's name the tests run on the code as it is.
    """

    module: str
    source: str
    groups: tuple[tuple[str, ...], ...]
    cpu_seconds: float
    wall_seconds: float


@dataclasses.dataclass(frozen=True)
class Verdict:
    """caught by the named test, survived, or broken: it could not be judged, and why.

    `cpu_seconds` is what each group that ran took of the processor.
    """

    fate: str
    by: str = ""
    cpu_seconds: tuple[float, ...] = ()


CAUGHT, SURVIVED, BROKEN = "caught", "survived", "broken"


class WorkerFailed(Exception):
    """A worker has ended before its work; the text is the end of what it said."""


class Pool:
    """Judges jobs, as many at once as there are workers. A context manager."""

    def __init__(self, workers: Optional[int] = None) -> None:
        self._count = workers or len(os.sched_getaffinity(0))
        self._workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Pool:
        command = [sys.executable, "-m", "mutate.worker"]
        for _ in range(self._count):
            self._workers.append(
                subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for worker in self._workers:
            with contextlib.suppress(BrokenPipeError):  # a job that it did not live to read
                _end(worker.stdin).close()
            if kind is not None:
                worker.terminate()
        for worker in self._workers:
            worker.wait()
            _end(worker.stdout).close()

    def judge(self, jobs: Iterable[tuple[T, Job]]) -> Iterator[tuple[T, Verdict]]:
        """Yield what comes with each job and its verdict, as they come. Raises WorkerFailed."""
        waiting = iter(jobs)
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                self._give(worker, waiting, selector)
            while selector.get_map():
                for key, _ in selector.select():
                    worker, subject = key.data
                    selector.unregister(key.fileobj)
                    line = _end(worker.stdout).readline()
                    if not line:
                        raise WorkerFailed(f"a worker ended with {worker.wait()}")
                    words = json.loads(line)
                    words["cpu_seconds"] = tuple(words["cpu_seconds"])
                    self._give(worker, waiting, selector)
                    yield subject, Verdict(**words)

    @staticmethod
    def _give(
        worker: subprocess.Popen[str],
        waiting: Iterator[tuple[T, Job]],
        selector: selectors.BaseSelector,
    ) -> None:
        one = next(waiting, None)
        if one is None:
            return
        subject, job = one
        stdin = _end(worker.stdin)
        stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
        stdin.flush()
        selector.register(_end(worker.stdout), selectors.EVENT_READ, (worker, subject))


def _end(pipe: Optional[IO[str]]) -> IO[str]:
    assert pipe is not None
    return pipe
