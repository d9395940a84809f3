# SPDX-License-Identifier: Apache-2.0
"""`make mutate`: are the tests of the decision core able to fail?

Each mutant changes one guard, effect, comparison, constant or statement of table, guards, score,
lease and their neighbours; then tests run until one fails. A mutant that all tests pass has
survived: either a test is missing, or the change changes nothing that matters, which
mutate/survivors.txt then says with a reason.

Exit codes: 0 enough are caught and every survivor has its reason; 1 not so; 2 the tests fail
without any mutant, or could not run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional

from mutate import survivors
from mutate.mutants import Mutant, mutants
from mutate.pool import BROKEN, CAUGHT, SURVIVED, Job, Pool, WorkerFailed
from mutate.targets import ROOT, Target, arguments_of, targets

GOOD, NOT_CAUGHT, NOT_JUDGED = 0, 1, 2
WANTED_SHARE = 0.95
_PROGRESS_SECONDS = 15.0
# A mutant may take this many times what the tests take without one, and some seconds more.
_TIMES_BASELINE = 4.0
_SECONDS_MORE = 8.0
# Of the clock: others may have the processor for most of the time.
_WALL_TIMES_CPU = 5.0
_BASELINE_CPU_SECONDS = 1800.0


@dataclass
class Count:
    """What became of one file's mutants."""

    path: str
    caught: int = 0
    listed: list[str] = field(default_factory=list)
    survived: list[str] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        return self.caught + len(self.listed) + len(self.survived)

    @property
    def share(self) -> float:
        return self.caught / self.mutants if self.mutants else 1.0


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m mutate", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="0 to 1: judge a fixed sample")
    parser.add_argument("--only", metavar="FILE", help="mutants of this file, such as fsm/row.py")
    parser.add_argument("--key", metavar="TEXT", help="mutants whose key has this text in it")
    parser.add_argument("--workers", type=int, help="how many at once; default: all processors")
    parser.add_argument(
        "--without", action="append", default=[], metavar="GROUP", help="leave these tests out"
    )
    parser.add_argument("--list", action="store_true", help="print the keys, judge nothing")
    arguments = parser.parse_args()
    there = targets(arguments.without)
    chosen = [t for t in there if arguments.only is None or t.path.endswith(arguments.only)]
    if not chosen:
        parser.error(f"{arguments.only}: none of {', '.join(t.path for t in there)}")
    every = [(t, m) for t in chosen for m in mutants(t.path, (ROOT / t.path).read_text())]
    sample = [
        (target, mutant)
        for target, mutant in every
        if mutant.in_share(arguments.share) and (arguments.key or "") in mutant.key
    ]
    if arguments.list:
        for _, mutant in sample:
            print(mutant.key)
        return GOOD
    reasons = {
        key: reason
        for key, reason in survivors.parse(survivors.FILE.read_text(), survivors.FILE.name).items()
        if key.split(":")[0] in {target.path for target in chosen}
    }
    try:
        with Pool(arguments.workers) as pool:
            return _run(pool, sample, reasons, [mutant.key for _, mutant in every])
    except WorkerFailed as failure:
        print(f"mutate: {failure}")
        return NOT_JUDGED


def _run(
    pool: Pool,
    sample: list[tuple[Target, Mutant]],
    reasons: dict[str, str],
    known: list[str],
) -> int:
    used = list(dict.fromkeys(target for target, _ in sample))
    print(
        f"mutate: {len(sample)} of {len(known)} mutants; first the tests as they are", flush=True
    )
    seconds = _baseline(pool, used)
    if seconds is None:
        return NOT_JUDGED
    jobs = (
        ((target, mutant), _job(target, mutant.source(), seconds)) for target, mutant in sample
    )
    counts = {target.path: Count(target.path) for target in used}
    caught: list[str] = []
    began = told = time.monotonic()
    for done, (subject, verdict) in enumerate(pool.judge(jobs), start=1):
        _, mutant = subject
        count = counts[mutant.path]
        if verdict.fate == BROKEN:
            print(f"mutate: could not judge {mutant.key}: {verdict.by}")
            return NOT_JUDGED
        if verdict.fate == CAUGHT:
            count.caught += 1
            caught.append(mutant.key)
        elif mutant.key in reasons:
            count.listed.append(mutant.key)
        else:
            count.survived.append(mutant.key)
            print(f"mutate: SURVIVED, line {mutant.line}: {mutant.key}", flush=True)
        now = time.monotonic()
        if now - told > _PROGRESS_SECONDS:
            told = now
            left_seconds = (now - began) / done * (len(sample) - done)
            print(
                f"mutate: {done} of {len(sample)}, {done - len(caught)} survived,"
                f" about {left_seconds / 60:.0f} min left",
                flush=True,
            )
    outdated = survivors.outdated(reasons, caught, known)
    return _sum_up(list(counts.values()), reasons, outdated)


def _baseline(pool: Pool, used: list[Target]) -> Optional[dict[str, float]]:
    """Return what each group of tests takes without a mutant; None when one fails."""
    groups = list(dict.fromkeys(group for target in used for group in target.groups))
    limit = _BASELINE_CPU_SECONDS
    jobs = (
        (group, Job("", "", (tuple(arguments_of(group)),), limit, limit * _WALL_TIMES_CPU))
        for group in groups
    )
    seconds: dict[str, float] = {}
    for group, verdict in pool.judge(jobs):
        if verdict.fate != SURVIVED:
            print(f"mutate: without any mutant, {group} fails: {verdict.by}")
            return None
        [seconds[group]] = verdict.cpu_seconds
    print(
        "mutate: seconds of the processor: "
        + ", ".join(f"{group} {seconds[group]:.1f}" for group in groups),
        flush=True,
    )
    return seconds


def _job(target: Target, source: str, seconds: dict[str, float]) -> Job:
    limit = sum(seconds[group] for group in target.groups) * _TIMES_BASELINE + _SECONDS_MORE
    tests = tuple(tuple(arguments_of(group)) for group in target.groups)
    return Job(target.module, source, tests, limit, limit * _WALL_TIMES_CPU)


def _sum_up(counts: list[Count], reasons: dict[str, str], outdated: list[str]) -> int:
    listed = [key for count in counts for key in count.listed]
    if listed:
        print("\nSurvivors that have a reason:")
        for key in listed:
            print(f"  {key}\n      {reasons[key]}")
    whole = Count("in all")
    for count in counts:
        whole.caught += count.caught
        whole.listed += count.listed
        whole.survived += count.survived
    if whole.survived:
        print("\nSurvivors without one: a test is missing, or a line in mutate/survivors.txt:")
        print("\n".join(f"  {key}" for key in whole.survived))
    if outdated:
        print("\nTo be taken out of mutate/survivors.txt:")
        print("\n".join(f"  {line}" for line in outdated))
    print("\n" + table([*counts, whole]))
    enough = whole.share >= WANTED_SHARE
    print(
        f"\nmutate: {whole.share:.1%} caught, {'' if enough else 'LESS THAN the '}"
        f"{WANTED_SHARE:.0%} {'or more are' if enough else 'that are'} wanted;"
        f" {len(whole.survived)} without a reason"
    )
    return GOOD if enough and not whole.survived else NOT_CAUGHT


def table(counts: Iterable[Count]) -> str:
    """Return the figures by file, aligned."""
    lines = [f"{'file':36}{'mutants':>9}{'caught':>9}{'survived':>10}{'share':>8}"]
    for count in counts:
        left = len(count.listed) + len(count.survived)
        lines.append(
            f"{count.path:36}{count.mutants:>9}{count.caught:>9}{left:>10}{count.share:>8.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
