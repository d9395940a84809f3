# SPDX-License-Identifier: Apache-2.0
"""What each failure costs, with the shipped times: `python -m bench failures`.

    the fault ── QEMU's end ── another QEMU runs ── its page is good
    │                          │                    │
    └──── measured, against ───┘                    │
    │     the design's promise                      │
    └──────────────── measured, with this guest's boot ┘

Three hosts on one machine, real daemons, real QEMU. Processes are the kernel's word, the page is
asked as users ask it; no agent and no broker is believed (failure_watch.py). The second figure
has the boot of the guest in it, a small Linux under TCG; a real engine takes minutes longer.

Before each failure all is well again. One that can't be measured is told, and the rest goes on
with new hosts. Where the VM is to run on, it is looked at for longer than a lease's life.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from bench.cluster import NotMeasured
from bench.failure_cluster import FailureCluster, failure_cluster
from bench.failure_list import FAILURES, Failure
from bench.failure_times import TIMES
from bench.failure_watch import longest_silence
from bench.report import COUNT, WORST, Bound, Row
from ha_agent.errors import HaAgentError

# Beyond the last promise there is a boot.
BOOT_LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Measured:
    """One failure, once. `qemu_seconds` and `page_seconds` are None where the VM ran on; `silence`
    is the longest time between two good pages then. `moved`: it runs on another host now."""

    name: str
    qemu_seconds: Optional[float]
    page_seconds: Optional[float]
    silence_seconds: Optional[float]
    most_qemus: int
    moved: bool
    was_seen: bool


@dataclass(frozen=True)
class Outcome:
    """All that was measured, and why the rest was not: (name of the failure, why)."""

    measured: tuple[Measured, ...]
    missed: tuple[tuple[str, str], ...]

    def of(self, name: str) -> list[Measured]:
        """Return a failure's runs."""
        return [one for one in self.measured if one.name == name]


def run(
    work: Path,
    guest_work: Path,
    say: Callable[[str], None],
    *,
    runs: int = 1,
    only: Collection[str] = (),
) -> Outcome:
    """Measure the failures, all of them `runs` times, one round after the other."""
    wanted = [failure for failure in FAILURES if not only or failure.name in only]
    todo = wanted * runs
    measured: list[Measured] = []
    missed: list[tuple[str, str]] = []
    while todo:
        say("failures: three hosts are started, with the shipped times")
        with failure_cluster(work, guest_work, say) as cluster:
            while todo and _one(cluster, todo.pop(0), measured, missed, work / "logs"):
                pass
    return Outcome(tuple(measured), tuple(missed))


def _one(
    cluster: FailureCluster,
    failure: Failure,
    measured: list[Measured],
    missed: list[tuple[str, str]],
    logs: Path,
) -> bool:
    """Measure one, and mend. Returns whether these hosts are good for another."""
    try:
        found = _measure(cluster, failure)
    except (NotMeasured, HaAgentError) as error:
        missed.append((failure.name, str(error)))
        cluster.say(f"{failure.name}: NOT MEASURED: {error}")
        cluster.keep_logs(logs / failure.name)
        return False
    measured.append(found)
    cluster.say(f"{failure.name}: {_told(found)}")
    try:
        cluster.mend()
    except NotMeasured as error:
        cluster.say(f"{failure.name}: afterwards: {error}")
        cluster.keep_logs(logs / failure.name)
        return False
    return True


def _measure(cluster: FailureCluster, failure: Failure) -> Measured:
    owner = cluster.settle()
    (before,) = cluster.qemus.running()
    cluster.say(f"{failure.name}: {failure.title}; the engine VM is on {owner}")
    cluster.qemus.begin()
    cluster.status.begin(failure.see)
    begun = time.monotonic()
    counted_from = failure.act(cluster, owner) or begun
    if failure.restarts:
        return _returned(cluster, failure, before.pid, counted_from)
    return _ran_on(cluster, failure, begun)


def _returned(
    cluster: FailureCluster, failure: Failure, old_pid: int, counted_from: float
) -> Measured:
    """Wait until another QEMU has a good page, and return how long each took."""
    old_host = cluster.qemus.seen[old_pid].host

    def good() -> Optional[tuple[float, float, str]]:
        new = [qemu for qemu in cluster.qemus.running() if qemu.pid != old_pid]
        if len(new) != 1:
            return None
        page_at = cluster.pages[new[0].host].good_since(new[0].begun_at)
        return None if page_at is None else (new[0].begun_at, page_at, new[0].host)

    limit = (failure.promise or (0.0, 0.0))[1] + BOOT_LIMIT_SECONDS
    begun_at, page_at, host = cluster.wait(good, limit, "no other QEMU has a good page")
    return Measured(
        failure.name,
        max(0.0, begun_at - counted_from),
        max(0.0, page_at - counted_from),
        None,
        cluster.qemus.most_at_once,
        host != old_host,
        cluster.status.was_seen,
    )


def _ran_on(cluster: FailureCluster, failure: Failure, begun: float) -> Measured:
    """Look on for longer than a lease's life. A QEMU that is another one by then is told as such:
    what should have run on did not."""
    ends_at = begun + max(TIMES.untouched_seconds, time.monotonic() - begun + 5.0)
    time.sleep(max(0.0, ends_at - time.monotonic()))
    ended_at = time.monotonic()
    good = [at for page in cluster.pages.values() for at in page.good_between(begun, ended_at)]
    ran = sorted(cluster.qemus.ran_since(begun), key=lambda qemu: qemu.begun_at)
    first, last = ran[0], ran[-1]
    if last.ended_at is not None:
        raise NotMeasured("the VM should have run on, and does not run")
    page_at = cluster.pages[last.host].good_since(max(begun, last.begun_at))
    if page_at is None:
        raise NotMeasured("the VM should have run on, and has no good page")
    ran_on = first is last
    return Measured(
        failure.name,
        None if ran_on else last.begun_at - begun,
        None if ran_on else page_at - begun,
        longest_silence(good, begun, ended_at),
        cluster.qemus.most_at_once,
        last.host != first.host,
        cluster.status.was_seen or not failure.see,
    )


def _told(one: Measured) -> str:
    where = "on another host" if one.moved else "on the same host"
    seen = "" if one.was_seen else "; what status should say was NOT SEEN"
    most = f"at most {one.most_qemus} QEMU"
    if one.qemu_seconds is None or one.page_seconds is None:
        return f"the VM ran on, {one.silence_seconds:.1f} s without a good page, {most}{seen}"
    return (
        f"QEMU after {one.qemu_seconds:.2f} s, its page after {one.page_seconds:.2f} s, "
        f"{where}, {most}{seen}"
    )


# --- as the benchmark's rows -------------------------------------------------------------


def rows(outcome: Outcome) -> list[Row]:
    """Return what was measured against what is promised."""
    return list(_rows(outcome))


def _rows(outcome: Outcome) -> Iterator[Row]:
    for failure in FAILURES:
        found = outcome.of(failure.name)
        started = tuple(one.qemu_seconds for one in found if one.qemu_seconds is not None)
        if not failure.restarts and found:
            kept = tuple(2.0 if one.qemu_seconds is not None else 1.0 for one in found)
            yield Row(
                f"{failure.name}: QEMUs that ran",
                kept,
                "the one",
                (1.0,),
                Bound(WORST, 1.0, COUNT),
                COUNT,
            )
        elif started and failure.promise is not None:
            _floor, limit = failure.promise
            yield Row(
                f"{failure.name} -> QEMU runs",
                started,
                "the promise",
                (limit,),
                Bound(WORST, limit),
            )
    if outcome.measured:
        most = tuple(float(one.most_qemus) for one in outcome.measured)
        yield Row(
            "all failures: QEMUs at once", most, "one", (1.0,), Bound(WORST, 1.0, COUNT), COUNT
        )
