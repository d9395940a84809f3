# SPDX-License-Identifier: Apache-2.0
"""`python -m lab peers`: rounds of both sides in turn, a table, docs/peers.md.

    a round     ha-agent: three hosts from nothing, guest-crash, power-cut, all taken down
                Pacemaker: the same
                Pacemaker without fencing: power-cut only

Each fault of each round finds hosts that have just been made, so nothing is carried over: no fail
count, no back-off, no host that is still booting. About 6 minutes a round.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Callable, Optional

from ha_agent import atomic_file
from ha_agent.clock import SystemClock
from lab.cluster import ROOT
from lab.peers.document import Outcome, comparison, document
from lab.peers.figures import GUEST_CRASH, POWER_CUT, Cost
from lab.peers.layer import make_layer
from lab.peers.measure import do_fault, drawn_waits
from lab.peers.our_settings import our_settings
from lab.peers.ours import OurSide
from lab.peers.pacemaker import PacemakerSide
from lab.peers.side import OURS, PACEMAKER, UNFENCED, Side
from lab.plan import LabPlan
from lab.ports import LabError
from lab.run_cases import RUNS, accelerator_of, run_name
from lab.tools import must, unmount

TIMES = 10
LAYER_MIB = 1024
FAULTS_OF: Mapping[str, Sequence[str]] = {
    OURS: (GUEST_CRASH, POWER_CUT),
    PACEMAKER: (GUEST_CRASH, POWER_CUT),
    UNFENCED: (POWER_CUT,),
}

SIDES = {"ours": OURS, "pacemaker": PACEMAKER, "unfenced": UNFENCED}

Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how much is measured."""
    parser.add_argument(
        "--runs",
        type=int,
        default=TIMES,
        help="of each fault (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=8, help="of the waits (%(default)s)")
    parser.add_argument(
        "--side",
        action="append",
        default=[],
        choices=tuple(SIDES),
        help="only this side; again for more",
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the document there, too")


class Measurement:
    """All rounds of one run. `costs` and `missed` grow as it goes on."""

    def __init__(self, plan: LabPlan, runs: Path, say: Say) -> None:
        self._plan = plan
        self._runs = runs
        self._say = say
        self._layer: Optional[Path] = None
        self.costs: list[Cost] = []
        self.missed: list[str] = []
        self.versions: dict[str, Mapping[str, str]] = {}
        self._accelerators: set[str] = set()

    def install(self) -> None:
        """Get the peers' packages. Raises LabError."""
        folder = self._plan.work.with_name(f"{self._plan.work.name}-peers")
        folder.mkdir(parents=True, exist_ok=True)
        size = f"size={LAYER_MIB}m"
        must(["mount", "-t", "tmpfs", "-o", size, "ha-lab-peers", str(folder)])
        self._say("installing Pacemaker, corosync and libvirt into a layer of the hosts' roots")
        self._layer = make_layer(folder / "layer", f"{self._plan.prefix}layer")

    def remove(self) -> None:
        """Take the packages away."""
        unmount(self._plan.work.with_name(f"{self._plan.work.name}-peers"))

    def _side(self, name: str) -> Side:
        if name == OURS:
            return OurSide(self._plan, self._say)
        if self._layer is None:
            raise LabError("the peers' packages are not installed")
        return PacemakerSide(self._plan, self._layer, fencing=name == PACEMAKER, say=self._say)

    def round(self, number: int, name: str, wait_seconds: Mapping[str, Sequence[float]]) -> None:
        """Do each fault once to a side made for it; what does not come about is in `missed`."""
        begun = time.monotonic()
        try:
            side = self._side(name)
            try:
                side.start()
                for fault in FAULTS_OF[name]:
                    cost = do_fault(side, fault, wait_seconds[fault][number], self._say)
                    self.costs.append(cost)
                    self._accelerators.add(accelerator_of(side.observer.qemus.running()))
                    self._say(cost_line(cost))
                self.versions[name] = side.versions()
            finally:
                try:
                    _keep_journals(side, self._runs / f"{number + 1:02} {name}")
                finally:
                    side.remove()
        except (LabError, OSError) as error:
            self.missed.append(f"round {number + 1}, {name}: {error}")
            self._say(f"MISSED {self.missed[-1]}")
        self._say(f"{name}: this took {time.monotonic() - begun:.0f} s")

    def outcome(self, runs: int) -> Outcome:
        """Return what was measured until now, of so many rounds asked for."""
        cpus = len(os.sched_getaffinity(0))
        versions = self.versions
        place = where(runs, self._accelerators)
        return Outcome(place, cpus, self.costs, our_settings(), versions, self.missed)


def run(plan: LabPlan, arguments: argparse.Namespace, say: Say) -> int:
    """Measure, print the table, write the document. The exit code is 1 where a round did not come
    about. Raises LabError where nothing could begin."""
    if arguments.runs < 1:
        raise ValueError("--runs: at least 1")
    names = [SIDES[word] for word in arguments.side or SIDES]
    runs = RUNS / run_name()
    runs.mkdir(parents=True, exist_ok=True)
    waits = drawn_waits(arguments.runs, arguments.seed)
    measurement = Measurement(plan, runs, say)
    try:
        if set(names) - {OURS}:
            measurement.install()
        for number in range(arguments.runs):
            say(f"round {number + 1} of {arguments.runs}")
            for name in names:
                measurement.round(number, name, waits)
            # A run that is cut off has what it measured until then.
            text = document(measurement.outcome(arguments.runs))
            (runs / "peers.md").write_text(text)
    finally:
        measurement.remove()
    if arguments.write is not None:
        atomic_file.replace_file(arguments.write, text.encode())
    say("\n" + "\n".join(comparison(measurement.costs)))
    say(f"journals and document: {runs}")
    return 1 if measurement.missed else 0


def _keep_journals(side: Side, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, host in side.cluster.hosts.items():
        text = host.journal_text(0.0, "--output=short-precise")
        (folder / f"{name}.journal").write_text(text)


def cost_line(cost: Cost) -> str:
    """Return one cost as a line of progress. Pure."""
    return (
        f"{cost.side}: {cost.fault}: page away {cost.page_seconds:.1f} s, QEMU after "
        f"{cost.qemu_seconds:.1f} s, boot {cost.boot_seconds:.1f} s, "
        f"{'moved' if cost.moved else 'same host'}, {cost.most_vms} VM at most"
    )


def where(runs: int, accelerators: Iterable[str]) -> str:
    """Return sentences with date, machine, commit, load and what the guests ran by."""
    wall = SystemClock().wall()
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    ran_by = " and ".join(sorted(accelerators)) or "unknown"
    return (
        f"Measured on {wall.iso()[:10]}, commit {commit.stdout.strip() or 'unknown'}, {runs} runs "
        f"asked for: {len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), Linux "
        f"{platform.release()}, QEMU by {ran_by}. Load of this machine at the end: "
        f"{os.getloadavg()[0]:.1f}."
    )
