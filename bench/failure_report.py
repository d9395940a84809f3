# SPDX-License-Identifier: Apache-2.0
"""The failures as a benchmark: measured, told, and written into a document if that is wanted."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Callable, Optional

import ha_agent
from bench import failures
from bench.cluster import NotMeasured
from bench.failure_doc import document
from bench.failure_list import SIMULATED
from bench.report import Row
from ha_agent import atomic_file
from ha_agent.clock import SystemClock
from ha_agent.sim.failure_table import figure

_VERSION_DEADLINE_SECONDS = 20.0


def measure(
    work: Path,
    guest_work: Path,
    say: Callable[[str], None],
    runs: int,
    only: Collection[str],
    write: Optional[Path],
    missed: Callable[[str], None],
) -> list[Row]:
    """Measure the failures, `runs` times; with `write` make the document of them.

    `missed` is told of each that was not measured; the rest is.
    """
    if write is not None and only and runs:
        raise NotMeasured("--write wants all failures: a document of some would lose the others")
    where = _where(runs)
    outcome = failures.run(work, guest_work, say, runs=runs, only=only)
    if write is not None:
        say("failures: the simulator's are played")
        text = document(where, outcome, [figure(name) for name in SIMULATED])
        atomic_file.replace_file(write, text.encode())
        say(f"failures: written to {write}")
    for name, why in outcome.missed:
        missed(f"{name}: {why}")
    return failures.rows(outcome)


def _where(runs: int) -> str:
    if not runs:
        return "Not measured yet."
    wall = SystemClock().wall()
    times = "once" if runs == 1 else f"{runs} times"
    load = os.getloadavg()[0]
    return (
        f"{wall.iso()[:10]}: each failure {times}, on {len(os.sched_getaffinity(0))} cores "
        f"({platform.machine()}, load {load:.1f} at the beginning), Linux {platform.release()}, "
        f"{_qemu_version()}, Python {platform.python_version()}, ha-agent {ha_agent.__version__}."
    )


def _qemu_version() -> str:
    done = subprocess.run(
        ["qemu-system-x86_64", "--version"],
        capture_output=True,
        text=True,
        timeout=_VERSION_DEADLINE_SECONDS,
        check=True,
    )
    return done.stdout.splitlines()[0].replace("QEMU emulator version", "QEMU").split(" (")[0]
