# SPDX-License-Identifier: Apache-2.0
"""Runs many seeds on all cores, and says what came of them.

A seed's simulation depends on nothing but the seed, so they are spread over processes in any
order. Figures of time are the machine's; everything else of a campaign can be repeated.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Callable, Optional

from ha_agent.clock import SystemClock
from ha_agent.sim.runner import run
from ha_agent.sim.seeds import spec_of
from ha_agent.sim.shrink import RUNS_MAX, shrink
from ha_agent.sim.spec import LOCKFILE, Result, Spec, Violation

SHRUNK_MAX = 5
"""So many failing seeds of a campaign are shrunk: there are often few causes."""


@dataclass(frozen=True)
class Wanted:
    """What to draw of each seed; see seeds.spec_of."""

    hosts: int = 0
    hours: float = 1.0
    old: Optional[int] = None
    lease_backend: str = LOCKFILE
    hostile_vdsm: bool = False

    def spec(self, seed: int) -> Spec:
        """Return that seed's simulation."""
        return spec_of(
            seed,
            hosts=self.hosts,
            hours=self.hours,
            old=self.old,
            lease_backend=self.lease_backend,
            hostile_vdsm=self.hostile_vdsm,
        )


@dataclass(frozen=True)
class SeedRun:
    """What came of one seed. `real_seconds`: by this machine's clock, in its process."""

    seed: int
    hosts: int
    faults: int
    simulated_seconds: float
    real_seconds: float
    ticks: int
    outages: int
    outage_seconds: float
    violations: tuple[Violation, ...]


@dataclass
class Summary:
    """What came of all of them."""

    runs: int = 0
    faults: int = 0
    host_hours: float = 0.0
    simulated_seconds: float = 0.0
    core_seconds: float = 0.0
    real_seconds: float = 0.0
    ticks: int = 0
    outages: int = 0
    outage_seconds: float = 0.0
    failed: list[SeedRun] = field(default_factory=list)

    def add(self, done: SeedRun) -> None:
        """Take in one seed's run."""
        self.runs += 1
        self.faults += done.faults
        self.host_hours += done.hosts * done.simulated_seconds / 3600
        self.simulated_seconds += done.simulated_seconds
        self.core_seconds += done.real_seconds
        self.ticks += done.ticks
        self.outages += done.outages
        self.outage_seconds += done.outage_seconds
        if done.violations:
            self.failed.append(done)
            self.failed.sort(key=lambda run: run.seed)

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as (what, figure)."""
        broken = Counter(run.violations[0].checker for run in self.failed)
        by_rule = ", ".join(f"{name} {count}" for name, count in broken.most_common())
        return [
            ("seeds run", f"{self.runs}"),
            ("host-hours simulated", f"{self.host_hours:.1f}"),
            ("faults", f"{self.faults}"),
            ("agents' ticks", f"{self.ticks}"),
            (
                "outages of the engine",
                f"{self.outages}, {self.outage_seconds / 60:.0f} min in all",
            ),
            ("seeds that broke a rule", f"{len(self.failed)}{f' ({by_rule})' if by_rule else ''}"),
            ("time on this machine", f"{self.real_seconds:.1f} s"),
            (
                "times real time, on one core",
                f"{self.simulated_seconds / max(self.core_seconds, 1e-9):.0f}",
            ),
        ]


def run_seed(wanted: Wanted, seed: int) -> SeedRun:
    """Run one seed in this process."""
    clock = SystemClock()
    spec = wanted.spec(seed)
    begun = clock.now()
    result = run(spec)
    return SeedRun(
        seed=seed,
        hosts=spec.hosts,
        faults=len(spec.faults),
        simulated_seconds=spec.seconds,
        real_seconds=clock.now() - begun,
        ticks=result.ticks,
        outages=len(result.outages),
        outage_seconds=sum(o.ended_seconds - o.began_seconds for o in result.outages),
        violations=result.violations,
    )


def cores() -> int:
    """Return how many processes may run at once here."""
    return len(os.sched_getaffinity(0))


def run_seeds(
    wanted: Wanted,
    seeds: Iterable[int],
    jobs: int,
    progress: Callable[[Summary], None] = lambda _: None,
) -> Summary:
    """Run all these seeds in so many processes; tell `progress` after each."""
    clock = SystemClock()
    begun = clock.now()
    summary = Summary()
    for done in _runs(wanted, seeds, jobs):
        summary.add(done)
        summary.real_seconds = clock.now() - begun
        progress(summary)
    return summary


def _runs(wanted: Wanted, seeds: Iterable[int], jobs: int) -> Iterator[SeedRun]:
    if jobs <= 1:
        for seed in seeds:
            yield run_seed(wanted, seed)
        return
    todo = iter(seeds)
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        # A few at a time: a campaign may have a hundred thousand of them.
        running = {pool.submit(run_seed, wanted, seed) for _, seed in zip(range(4 * jobs), todo)}
        while running:
            done, running = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            # The range first: zip takes one of its first before it finds the second empty.
            for _, seed in zip(range(len(done)), todo):
                running.add(pool.submit(run_seed, wanted, seed))
            for future in done:
                yield future.result()


def shrunk(result: Result, runs_max: int = RUNS_MAX) -> Result:
    """Return the run of the smallest simulation found that breaks the same rule."""
    checker = result.violations[0].checker

    def failed_at(spec: Spec) -> Optional[float]:
        found = (v.at_seconds for v in run(spec).violations if v.checker == checker)
        return next(found, None)

    return run(shrink(result.spec, failed_at, runs_max))
