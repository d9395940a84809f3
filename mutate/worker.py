# SPDX-License-Identifier: Apache-2.0
"""A process that judges mutants, one at a time, each in a child of its own.

It reads a Job a line on stdin and answers with a Verdict a line on stdout, both JSON. It has
pytest and the libraries imported, but nothing of ha_agent: a child puts the mutant in front of
the file, by an import hook, and runs pytest in its own process. No file is changed.

A child that is over its time is killed with all that it has started: a mutant that hangs is
caught. A time of the processor and one of the clock: the machine may be busy, and a mutant may
wait for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest

from mutate.pool import BROKEN, CAUGHT, SURVIVED, Job, Verdict
from mutate.targets import ROOT

TIME_LIMIT = "the time limit"

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_TEST_TIMEOUT_SECONDS = 30
_MEMORY_LIMIT_BYTES = 3 * 2**30
# So that importing them is not paid for with each mutant.
_LIBRARIES = (
    "asyncio", "email", "h11", "lxml.etree", "msgpack", "multiprocessing", "qemu.qmp",
    "transitions", "transitions.extensions", "unittest.mock",
)  # fmt: skip


class MutantLoader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module a source that is not the file's."""

    def __init__(self, module: str, source: str) -> None:
        self._module, self._source = module, source

    def find_spec(
        self,
        fullname: str,
        path: Optional[Sequence[str]],  # noqa: ARG002  # the import system passes it
        target: Optional[types.ModuleType] = None,  # noqa: ARG002
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """Answer for this module only."""
        if fullname != self._module:
            return None
        origin = str(ROOT / f"{fullname.replace('.', '/')}.py")
        return importlib.util.spec_from_loader(fullname, self, origin=origin)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the source."""
        assert module.__spec__ is not None
        exec(compile(self._source, str(module.__spec__.origin), "exec"), module.__dict__)


class Recorder:
    """A plugin of pytest: the first test that failed; hypothesis the same way each time."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_configure(self) -> None:
        """After tests/conftest.py has chosen its profile."""
        # Not at the top of this module: pytest wants to import it first, as its plugin.
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutate",
            parent=settings(),
            database=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
        )
        settings.load_profile("mutate")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the name of the first that failed."""
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What can't even be imported is caught there."""
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid} (import)"


def judge(job: Job) -> Verdict:
    """Run one mutant in a child process, and wait for it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            os.setsid()
            # It goes with its worker, whatever ends that.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _limit(job.cpu_seconds)
            verdict = _run(job)
        except BaseException:  # of this program, and not of the mutant: pytest holds that
            verdict = Verdict(BROKEN, traceback.format_exc()[-1000:])
        os.write(writer, json.dumps(dataclasses.asdict(verdict)).encode())
        os._exit(0)
    os.close(writer)
    answer = b""
    in_time, _, _ = select.select([reader], [], [], job.wall_seconds)
    if in_time:
        answer = os.read(reader, 65536)
    os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if answer:
        words = json.loads(answer)
        return Verdict(words["fate"], words["by"], tuple(words["cpu_seconds"]))
    if not in_time or os.WIFSIGNALED(status):
        return Verdict(CAUGHT, TIME_LIMIT)
    return Verdict(CAUGHT, "the end of the process")


def _limit(cpu_seconds: float) -> None:
    seconds = max(1, round(cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT_BYTES, _MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _run(job: Job) -> Verdict:
    if job.module:
        sys.meta_path.insert(0, MutantLoader(job.module, job.source))
    times = []
    for group in job.groups:
        began = _cpu_seconds()
        code, by = _pytest(group)
        times.append(round(_cpu_seconds() - began, 3))
        if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
            return Verdict(BROKEN, f"pytest {' '.join(group)} ended with {code}", tuple(times))
        if code != pytest.ExitCode.OK:
            return Verdict(CAUGHT, by or f"pytest's exit code {code}", tuple(times))
    if job.module and job.module not in sys.modules:
        return Verdict(BROKEN, f"no test imports {job.module}", tuple(times))
    return Verdict(SURVIVED, "", tuple(times))


def _pytest(arguments: Sequence[str]) -> tuple[int, str]:
    recorder = Recorder()
    usual = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={_TEST_TIMEOUT_SECONDS}"]
    code = pytest.main([*usual, *arguments], plugins=[recorder])
    return int(code), recorder.failed


def _cpu_seconds() -> float:
    own, theirs = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime


def prepare() -> None:
    """Import all that tests need but ha_agent, with what pytest does to its own plugins."""
    os.chdir(ROOT)
    # The rest of a child's output is of no use, and stdout is for verdicts.
    with tempfile.TemporaryDirectory() as nothing:
        scope = "asyncio_default_fixture_loop_scope=function"
        pytest.main(["-p", "no:cacheprovider", "-o", scope, "--rootdir", nothing, nothing])
    for library in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    already = [name for name in sys.modules if name.split(".")[0] == "ha_agent"]
    if already:
        raise RuntimeError(f"imported before any mutant: {already}")


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2) if "--loud" not in sys.argv else (1,):
        os.dup2(silent, stream)
    # What hypothesis keeps of mutants must not come back in other runs.
    with tempfile.TemporaryDirectory(prefix="ha-mutate-") as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        prepare()
        for line in sys.stdin:
            words: dict[str, Any] = json.loads(line)
            answers.write(json.dumps(dataclasses.asdict(judge(Job(**words)))) + "\n")
            answers.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main()
