# SPDX-License-Identifier: Apache-2.0
"""Does a fault to a side that is well, and notes what it cost.

    settle ── wait, drawn ── fault ── another QEMU ── its page is good ── still good 5 s later

The wait is drawn anew for each fault, evenly from 0 to 12 s: Pacemaker looks at the VM every 10 s,
our owner renews every 3 s, and where in that time a fault falls is part of what it costs.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Callable

from lab.peers.figures import GUEST_CRASH, POWER_CUT, Cost, cost_of, waits
from lab.peers.side import Side
from lab.ports import LabError
from lab.qemu_watch import Run
from lab.tools import wait_until

# 12 s are whole intervals of none of both sides' pollers, and longer than the longest of them.
WAIT_SECONDS = 12.0
GIVE_UP_SECONDS = 240.0
GOOD_SECONDS = 5.0
BEFORE_SECONDS = 3.0


def drawn_waits(runs: int, seed: int) -> Mapping[str, Sequence[float]]:
    """Return fault -> the wait before it in each run, the same for each side."""
    draw = random.Random(seed)
    found = {}
    for fault in (GUEST_CRASH, POWER_CUT):
        places = waits([draw.random() for _run in range(runs)], WAIT_SECONDS)
        draw.shuffle(places)
        found[fault] = places
    return found


def do_fault(side: Side, fault: str, wait_seconds: float, say: Callable[[str], None]) -> Cost:
    """Do it once. Raises LabError where the VM does not come back."""
    side.settle()
    time.sleep(BEFORE_SECONDS + wait_seconds)
    owner = side.settle()
    (before,) = side.observer.qemus.running()
    say(f"{side.name}: {fault} on {owner}")
    begun = side.observer.begin()
    fault_at = time.monotonic()
    if fault == POWER_CUT:
        side.cluster.hosts[owner].power_cut()
    elif fault == GUEST_CRASH:
        os.kill(before.pid, signal.SIGKILL)
    else:
        raise LabError(f"there is no fault {fault!r}")
    _wait_back(side, before, begun)
    return _cost(side, fault, before, fault_at)


def _wait_back(side: Side, before: Run, begun: float) -> None:
    page, qemus = side.observer.page, side.observer.qemus

    def is_back() -> bool:
        new = [run for run in qemus.running() if run.pid != before.pid]
        return bool(new) and page.good_since(max(begun, new[-1].begun_at)) is not None

    wait_until(is_back, GIVE_UP_SECONDS, f"{side.name}: the engine's page is not good again")
    time.sleep(GOOD_SECONDS)
    if not is_back():
        raise LabError(f"{side.name}: the engine came back, and went again")


def _cost(side: Side, fault: str, before: Run, fault_at: float) -> Cost:
    good = side.observer.page.good_between(fault_at - BEFORE_SECONDS, time.monotonic())
    runs = side.observer.qemus.runs(fault_at)
    most_vms, _which = side.observer.qemus.worst()
    cost = cost_of(side.name, fault, fault_at, good, runs, before.host, most_vms)
    if cost is None:
        raise LabError(f"{side.name}: {fault}: what the observer saw makes no outage")
    return cost
