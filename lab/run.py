# SPDX-License-Identifier: Apache-2.0
"""`python -m lab`: the cases, a table of what they came to, docs/lab.md.

    python -m lab                          the selection of `make lab`, on file storage
    python -m lab --full                   all cases on both storages, and 200 faults by a seed
    python -m lab --full --labs 2          the same, shared by two labs side by side
    python -m lab --resume                 go on with the last run, where that was cut off
    python -m lab --only CASE              one case; may be given again
    python -m lab --random --seed 7 --count 40
    python -m lab --list

The exit code is 1 when a case failed, or a unit's sandbox is weaker than it should be.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

import cattrs

from ha_agent import atomic_file
from lab.case import BLOCK, FILE, Case
from lab.cases import CASES, of_storage
from lab.plan import LabPlan
from lab.random_faults import as_case, plan
from lab.report import Outcome, document, table
from lab.results import Found, Results, last_run
from lab.run_cases import RUNS, elapsed, make_newer, run_cases, run_name
from lab.workers import MOST_LABS, Share, parse_share, run_workers

FULL_DRAWS = 200

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be run. `drawn`: how many faults by the seed, after the cases."""

    full: bool = False
    only: tuple[str, ...] = ()
    storages: tuple[str, ...] = ()
    drawn: int = 0
    seed: int = 0

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of storage."""
        return self.storages or ((FILE, BLOCK) if self.full else (FILE,))

    def cases(self, kind: str) -> list[Case]:
        """Return the cases for one of them."""
        named = self.drawn and not self.only and not self.full
        found = [] if named else of_storage(kind, not self.full, self.only)
        draws = plan(self.seed, self.drawn) if self.drawn and kind == self.kinds[0] else ()
        return [*found, *map(as_case, draws)]

    def left(self, found: Found, share: Optional[Share] = None) -> list[tuple[str, Case]]:
        """Return (storage, case) of what has not passed yet, or one lab's share of that."""
        passed = {(one.storage, one.name) for one in found.results if one.passed}
        every = [(kind, case) for kind in self.kinds for case in self.cases(kind)]
        # Of all, not of what is left: another lab may have found something since it began.
        mine = share.of(every) if share is not None else every
        return [(kind, case) for kind, case in mine if (kind, case.name) not in passed]


@dataclasses.dataclass(frozen=True)
class Asked:
    """A whole command line. `resume`: go on with the last run, and `wanted` is that one's."""

    wanted: Wanted
    resume: bool = False
    labs: int = 1
    worker: Optional[Share] = None
    write: Optional[Path] = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which cases are run."""
    parser.add_argument("--full", action="store_true", help="all cases, both storages, 200 faults")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CASE", help="this case; again for more"
    )
    parser.add_argument("--list", action="store_true", help="print the cases, do nothing")
    parser.add_argument(
        "--storage", action="append", default=[], choices=(FILE, BLOCK), help="on this storage"
    )
    parser.add_argument("--random", action="store_true", help="faults by a seed, and no cases")
    parser.add_argument("--seed", type=int, help="of --random; by default a new one, printed")
    parser.add_argument("--count", type=int, default=FULL_DRAWS, help="how many (%(default)s)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the last run: what it did not come to, and what failed, once more",
    )
    parser.add_argument(
        "--labs",
        type=int,
        default=1,
        help=f"that share the work, side by side, at most {MOST_LABS}; a processor each, or the "
        "times are not worth much (%(default)s)",
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--worker", type=parse_share, help=argparse.SUPPRESS)


def asked_of(arguments: argparse.Namespace, dice: Callable[[], float] = random.random) -> Asked:
    """Return what the command line asks for. Raises ValueError for what can't be done."""
    unknown = sorted(set(arguments.only) - {case.name for case in CASES})
    if unknown:
        raise ValueError(f"no such case: {', '.join(unknown)}; --list has them")
    if not 1 <= arguments.labs <= MOST_LABS:
        raise ValueError(f"--labs {arguments.labs}: from 1 to {MOST_LABS}")
    chooses = arguments.full or arguments.only or arguments.storage or arguments.random
    if arguments.resume and (chooses or arguments.seed is not None):
        raise ValueError("--resume goes on with what the last run was asked for, and nothing else")
    seed = arguments.seed if arguments.seed is not None else int(dice() * 1_000_000)
    wanted = Wanted(
        full=arguments.full,
        only=tuple(arguments.only),
        storages=tuple(arguments.storage),
        drawn=arguments.count if arguments.random or arguments.full else 0,
        seed=seed,
    )
    share, write = arguments.worker, arguments.write
    return Asked(wanted, arguments.resume, arguments.labs, share, write)


def list_text() -> str:
    """Return the cases, one a line; those of `make lab` are marked."""
    return "\n".join(f"{'*' if case.quick else ' '} {case.name:26} {case.what}" for case in CASES)


def wanted_from(saved: Mapping[str, Any]) -> Wanted:
    """Return what a run was asked for, by the first line of its file."""
    return cattrs.structure(saved, Wanted)


def run(lab_plan: LabPlan, asked: Asked, lock: int, say: Say) -> int:
    """Run what is wanted and print the table. `lock`: the descriptor that workers hold on to.
    Returns the exit code. Raises LabError."""
    began = time.monotonic()
    results = last_run(RUNS) if asked.resume else Results(RUNS / run_name())
    if not asked.resume:
        results.begin(cattrs.unstructure(asked.wanted))
    found = results.load()
    wanted = wanted_from(found.wanted)
    if wanted.drawn:
        say(f"seed {wanted.seed}, {wanted.drawn} draws")
    left = wanted.left(found)
    if any(case.name == "upgrade" for _kind, case in left):
        make_newer(say)
    if asked.labs > 1:
        run_workers(asked.labs, results.folder, lock, say)
    else:
        run_share(lab_plan, left, results, say)
    return _tell(asked, results, began, say)


def run_share(
    lab_plan: LabPlan, share: list[tuple[str, Case]], results: Results, say: Say
) -> None:
    """Run these, one kind of storage after the other. Raises LabError."""
    for kind in (FILE, BLOCK):
        cases = [case for of, case in share if of == kind]
        if cases:
            say(f"{len(cases)} cases on {kind} storage")
            run_cases(lab_plan, kind, cases, results, say)


def run_worker(lab_plan: LabPlan, share: Share, say: Say) -> int:
    """Run one lab's share of what is left of a run. Raises LabError."""
    results = Results(share.folder)
    found = results.load()
    run_share(lab_plan, wanted_from(found.wanted).left(found, share), results, say)
    return 0


def _tell(asked: Asked, results: Results, began: float, say: Say) -> int:
    found = results.load()
    wanted = wanted_from(found.wanted)
    done = {(one.storage, one.name) for one in found.results}
    missing = [
        f"{case.name} ({kind})"
        for kind, case in wanted.left(found)
        if (kind, case.name) not in done
    ]
    outcome = Outcome(
        "run --full" if wanted.full else "run",
        found,
        tuple(missing),
        wanted.seed if wanted.drawn else None,
    )
    say("\n" + table(found.results))
    for name, level in found.exposure.items():
        say(f"{name}: exposure {level:.1f}")
    text = document(outcome)
    (results.folder / "lab.md").write_text(text)
    if asked.write is not None:
        atomic_file.replace_file(asked.write, text.encode())
    failed = [one for one in found.results if not one.passed]
    say(
        f"{len(found.results)} cases, {elapsed(began)} now, {len(failed)} failed; journals: "
        f"{results.folder}"
    )
    for one in failed:
        say(f"FAILED {one.name} ({one.storage}): {'; '.join(one.problems)}")
    if missing:
        say(f"NOT DONE: {', '.join(missing)}; python -m lab run --resume goes on")
    return 0 if outcome.passed else 1
