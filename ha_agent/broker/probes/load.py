# SPDX-License-Identifier: Apache-2.0
"""How busy this host's CPUs are with anything but the engine VM.

The VM's own work is left out: it is what the host is for, and a host would lose points, and
with them the VM, for doing it (BZ 1857793). It is known of QEMU's process, all its threads;
what the kernel does for it elsewhere (vhost) counts as the host's. It blocks, see
engine_process.py.

    share = (time spent by all CPUs - idle - waiting for disks - the engine VM's) / all time

between two looks. Where the VM's process has ended in between, its last seconds count as the
host's: less than an interval's, and the mean of many samples is what matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import psutil

from ha_agent.broker.probes.engine_process import EngineProcess, Use


@dataclass(frozen=True)
class Load:
    """Shares of all CPUs, 0 to 1: of the engine VM, and of everything else."""

    share: float
    engine_share: float


@dataclass(frozen=True)
class Reading:
    """What all CPUs have spent since boot, and the engine VM's process since it began."""

    total_seconds: float
    busy_seconds: float
    engine: Optional[Use]


def read(process: EngineProcess) -> Reading:
    """Read the counters. Raises OSError."""
    engine = process.look()
    times = psutil.cpu_times()._asdict()
    # Linux counts guest time in user time, too.
    total = sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)
    return Reading(total, total - times["idle"] - times.get("iowait", 0.0), engine)


def between(before: Reading, after: Reading) -> Optional[Load]:
    """Return the load from one reading to a later one; None when no time has passed."""
    total = after.total_seconds - before.total_seconds
    if total <= 0:
        return None
    busy = after.busy_seconds - before.busy_seconds
    engine = _spent(before.engine, after.engine)
    return Load(_share(busy - engine, total), _share(engine, total))


def _spent(before: Optional[Use], after: Optional[Use]) -> float:
    if after is None:
        return 0.0
    same = before is not None and (before.pid, before.began_at) == (after.pid, after.began_at)
    # A process that was not there before has begun since.
    spent = after.cpu_seconds - (before.cpu_seconds if same and before is not None else 0.0)
    return max(0.0, spent)


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))


class LoadMeter:
    """Measures from each look to the next; the first tells nothing."""

    def __init__(self, process: EngineProcess) -> None:
        self._process = process
        self._before: Optional[Reading] = None

    def look(self) -> Optional[Load]:
        """Return the load since the last look. Raises OSError."""
        before, self._before = self._before, read(self._process)
        return None if before is None else between(before, self._before)
