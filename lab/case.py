# SPDX-License-Identifier: Apache-2.0
"""One case of the lab: a drive on healthy hosts, what it may cost, and the verdict.

    all hosts are well ── the act ── its end is awaited ── mended ── all hosts are well again
    └──────────────────────── the observer looks on ───────────────────────────────────────┘

What the observer saw in all that time is held against the budget: the page's outage, the time
without a QEMU, how many VMs could run at the worst moment, and the guest's own counters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from lab.budgets import Budget, Budgets
from lab.observer import Observer, Seen
from lab.ports import Cluster, Host, LabError
from lab.qemu_watch import Run
from lab.view import NotSo, View, wait_for

OWNER, OTHER, ALL = "owner", "other", "all"
FILE, BLOCK = "file", "block"
# Hosts boot, are seen as live, and able, by all: far more than a budget, and no part of one.
SETTLE_SECONDS = 240.0


@dataclass
class Lab:
    """What an act is given. `boot_seconds`: this machine's boot of the guest, as measured."""

    cluster: Cluster
    observer: Observer
    view: View
    budgets: Budgets
    say: Callable[[str], None]
    work: Path
    boot_seconds: float = 10.0
    ended: dict[str, list[float]] = field(default_factory=dict)
    """When QEMU ended unasked, by host: each time the restart waits longer."""
    boots_due: int = 0
    """What the guest's count of boots comes to before the case is over."""

    def host(self, name: str) -> Host:
        """Return a host by its name."""
        return self.cluster.hosts[name]

    def others(self, name: str) -> list[str]:
        """Return the names of the other hosts."""
        return [other for other in self.cluster.hosts if other != name]

    def command(self, name: str, *arguments: str, text: str = "") -> str:
        """Run a program on a host. Raises NotSo when it fails."""
        ended = self.host(name).run(*arguments, text=text, deadline_seconds=120.0)
        if ended.returncode != 0:
            said = (ended.stderr or ended.stdout).strip()
            raise NotSo(f"{name}: {' '.join(arguments)}: exit code {ended.returncode}: {said}")
        return ended.stdout

    def boot_is_due(self) -> None:
        """Note that the guest boots again for what was just done to it. Until it has, hosts and
        page may say that all is well: it is done a moment later, and noticed later still."""
        self.observer.counters.look_at_disk()
        last = self.observer.counters.last()
        self.boots_due = 1 + (last.counters.boots if last is not None else 0)

    def booted(self) -> Optional[bool]:
        """Whether it has, and its page is good."""
        last = self.observer.counters.last()
        if last is None or last.counters.boots < self.boots_due:
            return None
        return self.observer.page.good_since(last.at) is not None or None

    def wait_back(self, since: float, limit_seconds: float) -> None:
        """Wait for a QEMU that began after this moment, and its page. Raises NotSo."""

        def back() -> Optional[bool]:
            new = [run for run in self.observer.qemus.running() if run.begun_at > since]
            if not new or self.observer.page.good_since(new[0].begun_at) is None:
                return None
            return True

        wait_for(back, limit_seconds, "no other QEMU has a good page")


Act = Callable[[Lab, str], Optional[Budget]]


def nothing(_lab: Lab, _target: str) -> None:
    """There is nothing to mend."""


@dataclass(frozen=True)
class Case:
    """A drive. `act` is given the host it is done to, and may return a budget that depends on what
    it found; `mend` ends what lasts. `awaits`: the VM comes back before anything is mended.
    `quick`: in `make lab`; `drawn`: one of the faults that a seed draws from."""

    name: str
    what: str
    act: Act
    budget: Callable[[Budgets], Budget]
    on: str = OWNER
    mend: Callable[[Lab, str], None] = nothing
    awaits: bool = True
    quick: bool = False
    drawn: bool = False
    storages: tuple[str, ...] = (FILE, BLOCK)


@dataclass(frozen=True)
class Result:
    """What a case came to. `seen` is None where it could not even begin."""

    name: str
    what: str
    storage: str
    seen: Optional[Seen]
    budget: Optional[Budget]
    page_budget_seconds: float
    problems: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all of it was as promised."""
        return not self.problems


def run_case(lab: Lab, case: Case) -> Result:
    """Do it, and judge. Raises LabError where the lab itself fails."""
    started = time.monotonic()
    try:
        owner = lab.view.settle(SETTLE_SECONDS)
    except NotSo as error:
        return _result(lab, case, None, None, [f"before the case: {error}"], started)
    target = lab.others(owner)[0] if case.on == OTHER else owner
    (before,) = lab.observer.qemus.running()
    lab.say(f"{case.name}: {case.what} ({target}; the engine VM is on {owner})")
    begun = lab.observer.begin()
    budget, problems = case.budget(lab.budgets), []
    try:
        try:
            budget = case.act(lab, target) or budget
            if case.awaits:
                _await(lab, budget, before, begun)
        except NotSo as error:
            problems.append(str(error))
        finally:
            case.mend(lab, target)
        wait_for(lab.booted, _limit_seconds(lab, budget), "the guest does not boot again")
        lab.view.settle(SETTLE_SECONDS)
    except NotSo as error:
        problems.append(f"afterwards: {error}")
    seen = lab.observer.seen(begun)
    same = [run.pid for run in lab.observer.qemus.running()] == [before.pid]
    problems += verdict(seen, budget, lab.boot_seconds, same)
    return _result(lab, case, seen, budget, problems, started)


def _result(
    lab: Lab,
    case: Case,
    seen: Optional[Seen],
    budget: Optional[Budget],
    problems: list[str],
    started: float,
) -> Result:
    page = budget.page_seconds(lab.boot_seconds) if budget is not None else 0.0
    return Result(
        case.name,
        case.what,
        lab.cluster.storage.kind,
        seen,
        budget,
        page,
        tuple(problems),
        time.monotonic() - started,
    )


def _await(lab: Lab, budget: Budget, before: Run, begun: float) -> None:
    """Wait until what is to happen has: the VM is back, or has run on for a lease's life."""
    if budget.moves:
        lab.wait_back(max(begun, before.begun_at), _limit_seconds(lab, budget))
    elif not budget.boots:
        done = time.monotonic() - begun
        rest = lab.budgets.dead_seconds + 2 * lab.budgets.renew_seconds
        time.sleep(max(5.0, min(rest, 60.0) - done))


def _limit_seconds(lab: Lab, budget: Budget) -> float:
    # Late is a matter of the verdict; this only ends the wait.
    return 60.0 + 2 * budget.page_seconds(lab.boot_seconds)


def verdict(seen: Seen, budget: Budget, boot_seconds: float, same_vm: bool) -> list[str]:
    """Return what is not as promised, a sentence each. Pure."""
    found = []
    if seen.most_vms > 1:
        which = ", ".join(f"pid {run.pid} on {run.host}" for run in seen.worst)
        found.append(f"{seen.most_vms} VMs could run at once: {which}")
    allowed = budget.page_seconds(boot_seconds)
    if seen.page_seconds > allowed:
        found.append(f"no good page for {seen.page_seconds:.1f} s, {allowed:.1f} are allowed")
    if budget.moves and seen.gone_seconds > budget.gone_seconds:
        found.append(f"no VM for {seen.gone_seconds:.1f} s, {budget.gone_seconds:.1f} are allowed")
    if not budget.moves and (seen.starts or not same_vm):
        found.append(f"the VM should have run on, and was started {seen.starts} times")
    found += seen.faults
    if seen.boots is None:
        found.append("the guest's counters could not be read")
    elif seen.boots > budget.boots:
        found.append(f"the guest booted {seen.boots} times, {budget.boots} are expected")
    return found


def guarded(lab: Lab, case: Case) -> Result:
    """As run_case; where the lab fails, that is the case's problem."""
    started = time.monotonic()
    try:
        return run_case(lab, case)
    except LabError as error:
        return _result(lab, case, None, None, [f"the lab: {error}"], started)
