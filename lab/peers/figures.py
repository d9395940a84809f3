# SPDX-License-Identifier: Apache-2.0
"""What one fault cost, and what several of a kind say together. Pure.

    last good page ── fault ────────── QEMU runs ────────── first good page
                      └ qemu_seconds ─┘         └ boot_seconds ┘
    └────────────────────────── page_seconds ──────────────────────────┘

All are moments of one monotonic clock, noted by the lab's observer from outside the hosts.
`page_seconds`, the outage, is what an engine's user has to wait; the boot in it is the guest's own
and the same for all, so it is told apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from lab.qemu_watch import Run

POWER_CUT = "power-cut"
GUEST_CRASH = "guest-crash"
FAULTS = (POWER_CUT, GUEST_CRASH)


@dataclass(frozen=True)
class Cost:
    """What one fault cost. `moved`: the VM ran on another host afterwards; `most_vms`: how many
    could run at the worst moment."""

    side: str
    fault: str
    page_seconds: float
    qemu_seconds: float
    boot_seconds: float
    moved: bool
    most_vms: int


@dataclass(frozen=True)
class Summary:
    """Median and worst of a figure over all runs."""

    median: float
    worst: float
    runs: int

    def __str__(self) -> str:
        if self.runs == 1:
            return f"{self.median:.1f}"
        return f"{self.median:.1f} / {self.worst:.1f}"


def summary(values: Sequence[float]) -> Optional[Summary]:
    """Return median and worst; None of nothing."""
    if not values:
        return None
    return Summary(statistics.median(values), max(values), len(values))


def of(costs: Sequence[Cost], side: str, fault: str) -> list[Cost]:
    """Return those of one side and fault, in the order in which they were seen."""
    return [one for one in costs if one.side == side and one.fault == fault]


def outage(good: Sequence[float], fault_at: float) -> Optional[tuple[float, float]]:
    """Return the last good page before a fault's silence and the first one after it.

    `good` are moments of good answers, in order. An answer that was under way may still come after
    the fault, so the silence is the longest one that ends after it. None where the page has not
    been good again, or never was before.
    """
    pairs = [(old, new) for old, new in zip(good, good[1:]) if new > fault_at]
    if not pairs:
        return None
    return max(pairs, key=lambda pair: pair[1] - pair[0])


def cost_of(
    side: str,
    fault: str,
    fault_at: float,
    good: Sequence[float],
    runs: Sequence[Run],
    host: str,
    most_vms: int,
) -> Optional[Cost]:
    """Return what a fault cost; None where what was seen makes no outage.

    `good`: moments of good pages from shortly before the fault on; `runs`: the QEMUs since, of
    which the last one to begin before the page was good again is the one that it came from, as a
    start that failed may come before it; `host`: where the VM ran at the fault.
    """
    silence = outage(good, fault_at)
    if silence is None:
        return None
    began = [run for run in runs if fault_at < run.begun_at < silence[1]]
    if not began:
        return None
    last = max(began, key=lambda run: run.begun_at)
    return Cost(
        side=side,
        fault=fault,
        page_seconds=silence[1] - silence[0],
        qemu_seconds=last.begun_at - fault_at,
        boot_seconds=silence[1] - last.begun_at,
        moved=last.host != host,
        most_vms=most_vms,
    )


def waits(seed_numbers: Sequence[float], most_seconds: float) -> list[float]:
    """Return how long to wait before each fault, so that it hits pollers at any point of their
    intervals: `seed_numbers` from 0 to 1 become seconds from 0 to `most_seconds`, spread evenly
    over as many equal parts as there are numbers."""
    count = len(seed_numbers)
    return [(place + number) / count * most_seconds for place, number in enumerate(seed_numbers)]
