# SPDX-License-Identifier: Apache-2.0
"""Looks on from outside all hosts, and believes none of them.

    the kernel's processes    20 times a second   qemu_watch.py: how many VMs could run
    the engine's page         5 times a second    over the bridge, as its users ask it
    the guest's own counters  once a second       on its disk past all that may hang, in its page

Each look has a thread of its own, so that a slow one holds up no other. Moments are of
time.monotonic(). What they mean is for `seen` and `data_faults` to say: pure functions.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from bench.failure_watch import PageWitness, Watch, longest_silence
from demo.guest import HTTP_PORT, Counters, read_counters
from ha_agent.errors import HaAgentError
from lab.qemu_watch import QemuWatch, Run

QEMU_LOOK_SECONDS = 0.05
PAGE_LOOK_SECONDS = 0.2
COUNTER_LOOK_SECONDS = 1.0
COUNTERS_PATH = "/cgi-bin/counters"
_PAGE_DEADLINE_SECONDS = 3.0
_COUNTERS = re.compile(r"boots (\d+)\s+heartbeat (\d+)")


@dataclass(frozen=True)
class Counted:
    """What the guest had counted at a moment; `on_disk`, or as its own page tells it."""

    at: float
    counters: Counters
    on_disk: bool = True


@dataclass(frozen=True)
class Seen:
    """What happened between two moments. `page_seconds`: the longest time without a good page;
    `gone_seconds`: all the time without a QEMU; `starts`: QEMUs that began meanwhile."""

    page_seconds: float
    gone_seconds: float
    starts: int
    most_vms: int
    worst: tuple[Run, ...]
    before: Optional[Counters]
    after: Optional[Counters]
    faults: tuple[str, ...]

    @property
    def boots(self) -> Optional[int]:
        """How often the guest booted, by its own counter."""
        if self.before is None or self.after is None:
            return None
        return self.after.boots - self.before.boots


def gone_seconds(runs: Sequence[Run], begin: float, end: float) -> float:
    """Return the time between two moments in which none of `runs` ran."""
    gone, reached = 0.0, begin
    for run in sorted(runs, key=lambda one: one.begun_at):
        if run.begun_at > reached:
            gone += min(run.begun_at, end) - reached
        reached = max(reached, end if run.ended_at is None else run.ended_at)
        if reached >= end:
            return gone
    return gone + (end - reached)


def data_faults(counted: Sequence[Counted]) -> list[str]:
    """Return what the guest lost, a sentence each: its counters only ever grow.

    Looks at the disk and at the page are two series. The last of each before a fault and the first
    after it are neighbours here, so what was lost with a host shows as a counter that goes back.
    The page may tell of the one write that is on its way to the disk, and may be lost with it.
    """
    faults = []
    for on_disk, where, on_its_way in ((True, "on its disk", 0), (False, "in its page", 1)):
        series = [one for one in counted if one.on_disk is on_disk]
        for old, new in zip(series, series[1:]):
            for name in ("boots", "heartbeat"):
                was, became = getattr(old.counters, name), getattr(new.counters, name)
                if became < was - on_its_way:
                    faults.append(f"the guest's {name} {where} went back from {was} to {became}")
    return faults


def parse_counters(text: str) -> Optional[Counters]:
    """Return what the guest's page of counters says; None where it is no such page."""
    found = _COUNTERS.search(text)
    return Counters(boots=int(found[1]), heartbeat=int(found[2])) if found else None


class CounterWatch:
    """The guest's counters over time. `disk` is its disk past all that may hang."""

    def __init__(self, disk: Path, address: str) -> None:
        self._disk = disk
        self._address = address
        self._counted: list[Counted] = []
        self._lock = threading.Lock()

    def look_at_disk(self) -> None:
        """Read the counters off the disk."""
        try:
            counters = read_counters(self._disk)
        except (HaAgentError, OSError):
            return
        self._note(Counted(time.monotonic(), counters))

    def look_at_page(self) -> None:
        """Ask the guest."""
        connection = http.client.HTTPConnection(
            self._address, HTTP_PORT, timeout=_PAGE_DEADLINE_SECONDS
        )
        try:
            connection.request("GET", COUNTERS_PATH)
            counters = parse_counters(connection.getresponse().read(4096).decode("latin-1"))
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        if counters is not None:
            self._note(Counted(time.monotonic(), counters, on_disk=False))

    def last(self) -> Optional[Counted]:
        """Return the newest look at the disk."""
        with self._lock:
            return next((one for one in reversed(self._counted) if one.on_disk), None)

    def since(self, at: float) -> list[Counted]:
        """Return all looks from this moment on, and the last ones before it."""
        with self._lock:
            kept = [one for one in self._counted if one.at >= at]
            for on_disk in (True, False):
                before = [c for c in self._counted if c.at < at and c.on_disk is on_disk]
                kept += before[-1:]
        return sorted(kept, key=lambda one: one.at)

    def _note(self, counted: Counted) -> None:
        with self._lock:
            self._counted.append(counted)


class Observer:
    """All looks together, while `watching`."""

    def __init__(self, qemus: QemuWatch, page: PageWitness, counters: CounterWatch) -> None:
        self.qemus = qemus
        self.page = page
        self.counters = counters
        self._watch = Watch()

    def start(self) -> None:
        """Begin to look."""
        self._watch.start(self.qemus.look, QEMU_LOOK_SECONDS)
        self._watch.start(self.page.look, PAGE_LOOK_SECONDS)
        self._watch.start(self.counters.look_at_disk, COUNTER_LOOK_SECONDS)
        self._watch.start(self.counters.look_at_page, COUNTER_LOOK_SECONDS)

    def stop(self) -> None:
        """End all looks."""
        self._watch.stop()

    def begin(self) -> float:
        """Return the moment from which on a case is looked at."""
        self.qemus.begin()
        return time.monotonic()

    def seen(self, begun: float) -> Seen:
        """Return what has happened from then until now."""
        # The counters of before the fault may be a second old, and those of now another.
        self.counters.look_at_disk()
        now = time.monotonic()
        counted = self.counters.since(begun)
        on_disk = [one.counters for one in counted if one.on_disk]
        runs = self.qemus.runs(begun)
        most, worst = self.qemus.worst()
        good = self.page.good_between(begun, now)
        return Seen(
            page_seconds=longest_silence(good, begun, now),
            gone_seconds=gone_seconds(runs, begun, now),
            starts=sum(run.begun_at > begun for run in runs),
            most_vms=most,
            worst=worst,
            before=on_disk[0] if on_disk else None,
            after=on_disk[-1] if on_disk else None,
            faults=tuple(data_faults(counted)),
        )


def make_observer(
    texts: Sequence[str],
    disk: Path,
    disk_texts: Sequence[str],
    address: str,
    leaders: Callable[[], dict[str, Optional[int]]],
) -> Observer:
    """Return an observer of one VM, with its page at `address` and its raw disk at `disk`."""
    return Observer(
        QemuWatch(texts, disk_texts, leaders),
        PageWitness(HTTP_PORT, address),
        CounterWatch(disk, address),
    )
