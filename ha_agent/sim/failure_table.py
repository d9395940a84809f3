# SPDX-License-Identifier: Apache-2.0
"""The failure table of ARCHITECTURE.md: each failure, what follows, and how long it takes.

Its rows are scenarios, its figures are measured in them: true seconds of simulated time, with
the default settings, three hosts, and an engine that needs 20 s to boot. Nothing here is
written by hand but which scenarios it shows; what happens is the scenario's own README.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.fsm.diagram import replace_between
from ha_agent.sim import scenario
from ha_agent.sim.play import Played, play

BEGIN = "<!-- failures: made by scripts/make_failure_table.py from the scenarios named -->"
END = "<!-- failures: end -->"

SINGLES = (
    "crash-host",
    "crash-other-host",
    "storage-owner",
    "storage-other-host",
    "storage-all",
    "net-owner",
    "net-owner-cable",
    "net-other-host",
    "net-all",
    "net-all-cables",
    "crash-agent",
    "crash-agent-long",
    "crash-broker",
    "crash-broker-long",
    "crash-vdsm",
    "crash-vdsm-long",
    "crash-guest",
    "crash-loop-moves",
    "hang-engine",
    "hang-guest",
    "hang-boot",
    "storage-guest-paused-for-good",
    "clock-suspend-owner",
    "cold-power-cut",
)


@dataclass(frozen=True)
class Figure:
    """One row. `start_seconds`: to the first QEMU, from the last fault before it; None: none."""

    name: str
    failure: str
    follows: str
    start_seconds: Optional[float]
    outage_seconds: float


def pairs() -> list[str]:
    """Return the names of the pairs' scenarios."""
    return [name for name in scenario.names() if name.startswith("pair-")]


def figure(name: str) -> Figure:
    """Run a scenario and measure it."""
    told = scenario.load(name)
    failure, _, follows = told.readme.rstrip(".").partition(": ")
    played = play(told)
    outages = [o.ended_seconds - o.began_seconds for o in played.result.outages]
    return Figure(name, failure, follows, _first_start(played), max(outages, default=0.0))


def _first_start(played: Played) -> Optional[float]:
    faults = [fault.at_seconds for fault in played.result.spec.faults]
    starts = [at for at, _ in played.history.starts if at > min(faults)]
    if not starts:
        return None
    return starts[0] - max(began for began in faults if began <= starts[0])


def line(name: str) -> str:
    """Return the row of a scenario, which is run for it."""
    row = figure(name)
    start = "" if row.start_seconds is None else f"{row.start_seconds:.1f}"
    cells = (row.failure, row.follows, start, f"{row.outage_seconds:.1f}", f"`{row.name}`")
    return f"| {' | '.join(cells)} |"


def table(names: list[str]) -> str:
    """Return the Markdown table of some scenarios."""
    head = "| what fails | what happens | QEMU starts after, s | engine down, s | scenario |"
    return "\n".join([head, "|---|---|---|---|---|", *map(line, names)])


def section() -> str:
    """Return the generated part, with its marks."""
    parts = [BEGIN, table(list(SINGLES)), "Two at a time:", table(pairs()), END]
    return "\n\n".join(parts)


def replace_section(text: str) -> str:
    """Return `text` with its generated part made anew. ValueError when the marks are missing."""
    # Missing marks are told at once, not after all that the section simulates.
    replace_between(text, BEGIN, END, "")
    return replace_between(text, BEGIN, END, section())
