# SPDX-License-Identifier: Apache-2.0
"""Fuzz every target, as many at once as there are processors, and sum up: `make fuzz`.

Ends with 1 when a target crashed, hung or took too much memory; its input and report then stay
in fuzz-work/<target>/.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fuzz.targets import TARGETS

WORK = Path("fuzz-work")
_PROGRESS_SECONDS = 10.0
# A target that makes no progress at all is ended; libFuzzer notices a hanging input long before.
_LIMIT_SECONDS = 3600.0
_RUNS = re.compile(r"^#(\d+)\s", re.MULTILINE)
_DONE = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)
_MEMORY = re.compile(r"^stat::peak_rss_mb:\s+(\d+)", re.MULTILINE)
_COVERED = re.compile(r"cov: (\d+)")


@dataclass
class Running:
    """One target at work. Its output goes to a file, which is also where its progress is read."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    began: float

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def runs(self) -> int:
        found = _RUNS.findall(self.output())
        return int(found[-1]) if found else 0


def _start(name: str, runs: int) -> Running:
    folder = WORK / name
    folder.mkdir(parents=True)
    log = folder / "log"
    command = [sys.executable, "-m", "fuzz.one", name, str(runs), str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    return Running(name, process, log, time.monotonic())


def _ended(one: Running) -> tuple[bool, int]:
    """Print how a target ended; return whether well, and after how many inputs."""
    output, seconds = one.output(), time.monotonic() - one.began
    done, memory = _DONE.search(output), _MEMORY.search(output)
    good = one.process.returncode == 0 and done is not None
    runs = int(done[1]) if done else one.runs()
    covered = _COVERED.findall(output)
    print(
        f"fuzz: {one.name:14} {'good' if good else 'FAILED':6} {runs:>9,} inputs"
        f" in {seconds:.0f} s,"
        f" {covered[-1] if covered else '?'} points covered,"
        f" {memory[1] if memory else '?'} MB at most",
        flush=True,
    )
    if not good:
        print(f"fuzz: exit code {one.process.returncode}; the end of {one.log}:")
        print("\n".join(output.splitlines()[-40:]), flush=True)
    return good, runs


def main() -> int:
    """Run what the command line asks for; 0 when all targets ended well."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of inputs")
    arguments = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("fuzz: the fuzzer atheris is not here: it comes as wheels for CPython 3.11 to 3.13")
        print("fuzz: on x86_64 Linux, and `make setup` installs it there")
        return 1
    waiting = list(arguments.targets or TARGETS)
    shutil.rmtree(WORK, ignore_errors=True)
    running: list[Running] = []
    total, all_good, told = 0, True, time.monotonic()
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            name = waiting.pop(0)
            runs = max(1000, int(TARGETS[name].runs * arguments.share))
            print(f"fuzz: {name:14} begins, {runs:,} inputs", flush=True)
            running.append(_start(name, runs))
        time.sleep(0.5)
        for one in list(running):
            if one.process.poll() is None:
                if time.monotonic() - one.began > _LIMIT_SECONDS:
                    one.process.kill()
                continue
            running.remove(one)
            good, runs = _ended(one)
            all_good, total = all_good and good, total + runs
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            for one in running:
                print(f"fuzz: {one.name:14} {one.runs():>9,} inputs", flush=True)
    print(f"fuzz: {total:,} inputs in all: {'none did harm' if all_good else 'SEE ABOVE'}")
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
