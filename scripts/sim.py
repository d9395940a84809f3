# SPDX-License-Identifier: Apache-2.0
"""`make sim` and `make sim-long`: seeds on all cores, and the simulator's own figures.

    scripts/sim.py                        100 seeds of 3 to 7 hosts, an hour each
    scripts/sim.py --seeds 1000 --large   1,000 of them, and a cluster of 2000 hosts
    scripts/sim.py --host-hours 50000     as many seeds as that takes
    scripts/sim.py --write docs/sim.md    also keep the outcome there

Exit code 1: a seed broke a rule (it is printed, and shrunk).
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ha_agent.cli import main as cli
from ha_agent.clock import SystemClock
from ha_agent.sim import figures
from ha_agent.sim.campaign import Summary, Wanted, cores, run_seeds

SIZES = ((3, 600.0), (30, 120.0), (250, 20.0))
# Each host looks at all others: all of them together cost the square of their number.
LARGE = (2000, 6.0)


def main() -> int:
    """Run the campaign; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--host-hours", type=float, help="as many seeds as this takes")
    parser.add_argument("--no-figures", action="store_true", help="seeds only")
    parser.add_argument("--large", action="store_true", help="also a cluster of 2000 hosts")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the outcome there")
    arguments = parser.parse_args()

    def progress(summary: Summary) -> None:
        if sys.stderr.isatty() or summary.runs % 100 == 0:
            end = "\r" if sys.stderr.isatty() else "\n"
            sys.stderr.write(
                f"{summary.runs} seeds, {summary.host_hours:.0f} host-hours,"
                f" {len(summary.failed)} broke a rule{end}"
            )
            sys.stderr.flush()

    rows: list[figures.Row] = []
    if not arguments.no_figures:
        rows += figures.speed_rows(range(1, 6))
        rows += figures.size_rows((*SIZES, LARGE) if arguments.large else SIZES)
        sys.stdout.write(figures.table(rows))
    wanted = Wanted()
    seeds = _seeds(arguments, wanted)
    summary = run_seeds(wanted, seeds, cores(), progress)
    found = [*summary.rows(), ("cores", f"{cores()}"), ("python", sys.version.split()[0])]
    sys.stdout.write(figures.table(found))
    if arguments.write is not None:
        _write(arguments.write, [*rows, *found], summary)
    for failed in summary.failed[:5]:
        cli.main(["simulate", "--seed", str(failed.seed)])
    return 1 if summary.failed else 0


def _seeds(arguments: argparse.Namespace, wanted: Wanted) -> Iterator[int]:
    host_hours = 0.0
    for seed in itertools.count(arguments.first):
        if arguments.host_hours is None and seed >= arguments.first + arguments.seeds:
            return
        if arguments.host_hours is not None and host_hours >= arguments.host_hours:
            return
        spec = wanted.spec(seed)
        host_hours += spec.hosts * spec.seconds / 3600
        yield seed


def _write(path: Path, rows: list[figures.Row], summary: Summary) -> None:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    title = f"{summary.runs} seeds, {summary.host_hours:.0f} host-hours"
    date = SystemClock().wall().ctime()
    entry = figures.log_entry(date, commit or "unknown", title, rows, summary)
    path.write_text(figures.with_entry(path.read_text("utf-8"), entry), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
