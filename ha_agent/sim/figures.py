# SPDX-License-Identifier: Apache-2.0
"""How fast the simulator is, what a large cluster costs a host, and the record of campaigns.

Times are this machine's; the rest can be repeated. `docs/sim.md` keeps a log of long campaigns
between two marks; everything around them is written by people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput
from ha_agent.sim.campaign import Summary
from ha_agent.sim.runner import run
from ha_agent.sim.seeds import spec_of
from ha_agent.sim.spec import Spec

LOG_BEGINS = "<!-- log begins: scripts/sim writes what is below -->"
LOG_ENDS = "<!-- log ends -->"

Row = tuple[str, str]


@dataclass(frozen=True)
class Speed:
    """One run against the machine's clock."""

    hosts: int
    simulated_seconds: float
    real_seconds: float
    ticks: int
    steps: int

    @property
    def times_real_time(self) -> float:
        """How many simulated seconds a real one has."""
        return self.simulated_seconds / self.real_seconds

    @property
    def tick_microseconds(self) -> float:
        """What a host costs between two of its ticks, all its reads and writes included."""
        return 1e6 * self.real_seconds / max(self.ticks, 1)

    @property
    def looked_at_microseconds(self) -> float:
        """The same for each host that it has to look at."""
        return self.tick_microseconds / self.hosts


def measure(spec: Spec) -> Speed:
    """Run it once, in this process."""
    clock = SystemClock()
    begun = clock.now()
    result = run(spec)
    return Speed(spec.hosts, spec.seconds, clock.now() - begun, result.ticks, result.steps)


def speed_rows(seeds: Iterable[int]) -> list[Row]:
    """Three hosts on one core: quiet, and with these seeds' faults, an hour each."""
    quiet = measure(spec_of(1, hosts=3, hours=1.0, quiet=True))
    faulty = [measure(spec_of(seed, hosts=3, hours=1.0)) for seed in seeds]
    real_seconds = sum(speed.real_seconds for speed in faulty)
    simulated_seconds = sum(speed.simulated_seconds for speed in faulty)
    return [
        ("3 hosts, quiet, one core", f"{quiet.times_real_time:.0f} x real time"),
        (
            f"3 hosts, faults of {len(faulty)} seeds, one core",
            f"{simulated_seconds / real_seconds:.0f} x real time",
        ),
    ]


def size_rows(sizes: Iterable[tuple[int, float]]) -> list[Row]:
    """Clusters of many hosts, quiet, for so many simulated seconds each."""
    rows = []
    for hosts, seconds in sizes:
        speed = measure(spec_of(1, hosts=hosts, hours=seconds / 3600.0, quiet=True))
        rows.append(
            (
                f"{hosts} hosts, {seconds:g} s",
                f"{speed.tick_microseconds:.0f} us a host and tick,"
                f" {speed.looked_at_microseconds:.1f} us for each host it looks at"
                f" ({speed.real_seconds:.1f} s, {speed.times_real_time:.1f} x real time)",
            )
        )
    return rows


def table(rows: Iterable[Row]) -> str:
    """Return rows as lines for a terminal."""
    listed = list(rows)
    width = max(len(what) for what, _ in listed) + 2
    return "".join(f"{what:{width}}{figure}\n" for what, figure in listed)


def log_entry(date: str, commit: str, title: str, rows: Iterable[Row], summary: Summary) -> str:
    """Return one entry of the log, in Markdown."""
    lines = [f"### {date}, commit {commit}: {title}", "", "| what | figure |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in rows]
    lines.append("")
    for failed in summary.failed:
        first = failed.violations[0]
        lines.append(
            f"- seed {failed.seed}: {first.checker} at {first.at_seconds:.1f} s: {first.what}"
        )
    return "\n".join(lines) + "\n"


def with_entry(document: str, entry: str) -> str:
    """Return the document with an entry at the top of its log. Raises BadInput without marks."""
    before, begins, rest = document.partition(LOG_BEGINS)
    log, ends, after = rest.partition(LOG_ENDS)
    if not begins or not ends:
        raise BadInput(f"no {LOG_BEGINS!r} and {LOG_ENDS!r}", where="docs/sim.md")
    return f"{before}{LOG_BEGINS}\n\n{entry}\n{log.strip()}".rstrip() + f"\n\n{LOG_ENDS}{after}"
