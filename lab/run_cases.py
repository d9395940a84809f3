# SPDX-License-Identifier: Apache-2.0
"""Runs cases on a cluster, one after the other, and keeps what each leaves.

    .lab-work/runs/<date>/<storage>/<case>/hostN.journal
    .lab-work/runs/<date>/results.jsonl                      results.py

A case that fails leaves its journals, and the next one begins on new hosts unless those at hand
are all well. Nothing here judges: that is case.py's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Callable, Optional

from demo.watcher import command_line
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from lab.acts_people import NEWER
from lab.acts_vm import panic
from lab.budgets import Budgets, budgets_of
from lab.case import Case, Lab, Result, guarded
from lab.cluster import ROOT, Choices, LabCluster, lab_cluster
from lab.observer import make_observer
from lab.packages import DIST
from lab.plan import LabPlan
from lab.ports import LabError
from lab.qemu_watch import Run
from lab.report import line, parse_exposure
from lab.results import Part, Results
from lab.tools import call
from lab.view import NotSo, View, wait_for

RUNS = ROOT / ".lab-work" / "runs"
NEWER_SUFFIX = "+lab"
UNITS = ("ha-agent.service", "ha-broker.service")
_READY_SECONDS = 240.0
_BUILD_SECONDS = 1800.0

Say = Callable[[str], None]


@contextlib.contextmanager
def observed(cluster: LabCluster, work: Path, say: Say) -> Iterator[Lab]:
    """Yield the lab with its observer, when all hosts are well; the looks end afterwards."""
    hosts = cluster.hosts

    def leaders() -> dict[str, Optional[int]]:
        return {name: host.leader for name, host in hosts.items()}

    storage = cluster.storage
    address = cluster.network.engine_address
    texts = (cluster.vm_uuid,)
    observer = make_observer(texts, storage.disk, storage.disk_texts, address, leaders)
    observer.start()
    try:
        view = View(hosts, observer.qemus.running)
        lab = Lab(cluster, observer, view, budgets_here(cluster), say, work)
        view.settle(_READY_SECONDS)
        lab.boot_seconds = measure_boot(lab)
        say(f"the guest needs {lab.boot_seconds:.1f} s to boot here")
        yield lab
    finally:
        observer.stop()


def budgets_here(cluster: LabCluster) -> Budgets:
    """Return the budgets of the configuration that host1 has."""
    host = cluster.hosts["host1"]
    return budgets_of(layers.load((), {layers.ROOT_VARIABLE: str(host.root)}))


def measure_boot(lab: Lab) -> float:
    """Return how long the guest's page is away while its kernel starts anew."""
    begun = lab.observer.begin()
    panic(lab, "")
    wait_for(lab.booted, _READY_SECONDS, "the guest does not boot")
    return lab.observer.seen(begun).page_seconds


def run_cases(plan: LabPlan, kind: str, cases: Sequence[Case], results: Results, say: Say) -> None:
    """Run them on one kind of storage; what they come to is written to `results`. Raises LabError
    where the last one can't even begin."""
    todo = list(cases)
    while todo:
        try:
            with (
                lab_cluster(plan, Choices(storage=kind), say) as cluster,
                observed(cluster, results.folder / kind, say) as lab,
            ):
                place = where(accelerator_of(lab.observer.qemus.running()))
                results.add_part(Part(kind, place, lab.boot_seconds, exposure_of(cluster)))
                while todo:
                    case = todo.pop(0)
                    result = one_case(lab, case, results.folder / kind / case.name)
                    results.add_result(result)
                    say(line(result))
                    if not result.passed and lab.view.owner() is None:
                        say("the next case begins on new hosts")
                        break
        except (LabError, NotSo) as error:
            if not todo:
                raise
            # The lab did not come up: the next case is not done, and all else is tried.
            case = todo.pop(0)
            problem = f"the lab: {error}"
            result = Result(case.name, case.what, kind, None, None, 0.0, (problem,), 0.0)
            results.add_result(result)
            say(line(result))


def accelerator_of(qemus: Sequence[Run]) -> str:
    """Return what QEMU was told to run by: its word on the command line."""
    texts = [command_line(run.pid) for run in qemus]
    found = [match[1] for text in texts if (match := re.search(r"-accel (\w+)", text))]
    return found[0].upper() if found else "unknown"


def one_case(lab: Lab, case: Case, folder: Path) -> Result:
    """Run one, and keep each host's journal of it."""
    since = SystemClock().wall().unix_seconds
    result = guarded(lab, case)
    folder.mkdir(parents=True, exist_ok=True)
    problems = list(result.problems)
    for name, host in lab.cluster.hosts.items():
        text = host.journal_text(since, "--output=short-precise")
        (folder / f"{name}.journal").write_text(text)
        problems += journal_faults(name, text)
    result = dataclasses.replace(result, problems=tuple(problems))
    (folder / "result").write_text(line(result) + "\n")
    return result


def journal_faults(host: str, text: str) -> list[str]:
    """Return what in a host's journal may not be, whatever fails around us. Pure."""
    found = []
    for unit in ("ha-agent", "ha-broker", "ha-vdsm"):
        ours = [one for one in text.splitlines() if f" {unit}[" in one]
        if any("Traceback (most recent call last)" in one for one in ours):
            found.append(f"{host}: a traceback of {unit} in the journal")
    return found


def exposure_of(cluster: LabCluster) -> dict[str, float]:
    """Return what systemd says of our units' sandboxes on the live hosts."""
    found = {}
    for name, host in cluster.hosts.items():
        for unit in UNITS:
            told = host.must("systemd-analyze", "security", "--no-pager", unit)
            parsed = parse_exposure(told)
            if parsed is None:
                raise LabError(f"{name}: systemd-analyze says nothing of {unit}")
            found[f"{name}: {parsed[0]}"] = parsed[1]
    return found


def make_newer(say: Say) -> None:
    """See that there are packages of a higher version, of the tree as it is; builds them."""
    base = max((path.stat().st_mtime for path in DIST.glob("ha-agent_*.deb")), default=0.0)
    have = [path.stat().st_mtime for path in NEWER.glob("ha-agent_*.deb")]
    if have and min(have) >= base:
        return
    say(f"building the packages once more, as version {NEWER_SUFFIX}")
    words = [str(ROOT / "scripts" / "make_deb"), "--suffix", NEWER_SUFFIX, "--out", str(NEWER)]
    done = call(words, deadline_seconds=_BUILD_SECONDS)
    if done.returncode != 0:
        raise LabError(f"the newer packages: {(done.stderr or done.stdout).strip()[-500:]}")


def where(accelerator: str) -> str:
    """Return a sentence with date, machine, versions and commit."""
    wall = SystemClock().wall()
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    ).stdout.strip()
    return (
        f"{wall.iso()[:16]}, commit {commit or 'unknown'}: "
        f"{len(os.sched_getaffinity(0))} CPUs ({platform.machine()}), Linux {platform.release()}, "
        f"QEMU by {accelerator}, load {os.getloadavg()[0]:.1f}."
    )


def run_name() -> str:
    """Return the folder's name of a run that begins now."""
    return SystemClock().wall().iso()[:19].replace(":", "")


def elapsed(since: float) -> str:
    """Return minutes and seconds from a moment of time.monotonic() until now."""
    minutes, seconds = divmod(int(time.monotonic() - since), 60)
    return f"{minutes} min {seconds} s"
