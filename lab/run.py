# SPDX-License-Identifier: Apache-2.0
"""`python -m lab`: the cases, a table of what they came to, docs/lab.md.

    python -m lab                          the selection of `make lab`, on file storage
    python -m lab --full                   all cases on both storages, and 200 faults by a seed
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
from pathlib import Path
from typing import Callable, Optional

from ha_agent import atomic_file
from lab.case import BLOCK, FILE, Case
from lab.cases import CASES, of_storage
from lab.plan import LabPlan
from lab.random_faults import as_case, plan
from lab.report import Outcome, document, table
from lab.run_cases import RUNS, Done, elapsed, make_newer, run_cases, run_name, where

FULL_DRAWS = 200
DOCUMENT = Path(__file__).parents[1] / "docs" / "lab.md"

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be run. `drawn`: how many faults by the seed, after the cases."""

    full: bool = False
    only: tuple[str, ...] = ()
    storages: tuple[str, ...] = ()
    drawn: int = 0
    seed: int = 0
    write: Optional[Path] = None

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
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there, too")


def wanted_of(arguments: argparse.Namespace, dice: Callable[[], float] = random.random) -> Wanted:
    """Return what the command line asks for. Raises ValueError for a case that is none."""
    unknown = sorted(set(arguments.only) - {case.name for case in CASES})
    if unknown:
        raise ValueError(f"no such case: {', '.join(unknown)}; --list has them")
    seed = arguments.seed if arguments.seed is not None else int(dice() * 1_000_000)
    return Wanted(
        full=arguments.full,
        only=tuple(arguments.only),
        storages=tuple(arguments.storage),
        drawn=arguments.count if arguments.random or arguments.full else 0,
        seed=seed,
        write=arguments.write,
    )


def list_text() -> str:
    """Return the cases, one a line; those of `make lab` are marked."""
    return "\n".join(f"{'*' if case.quick else ' '} {case.name:26} {case.what}" for case in CASES)


def run(lab_plan: LabPlan, wanted: Wanted, say: Say) -> int:
    """Run what is wanted and print the table. Returns the exit code. Raises LabError."""
    began = time.monotonic()
    runs = RUNS / run_name()
    if wanted.drawn:
        say(f"seed {wanted.seed}, {wanted.drawn} draws")
    total = Done()
    for kind in wanted.kinds:
        cases = wanted.cases(kind)
        if any(case.name == "upgrade" for case in cases):
            make_newer(say)
        if not cases:
            continue
        say(f"{len(cases)} cases on {kind} storage")
        done = run_cases(lab_plan, kind, cases, runs, say)
        total.results += done.results
        total.exposure.update({f"{unit} ({kind})": level for unit, level in done.exposure.items()})
        total.boot_seconds = max(total.boot_seconds, done.boot_seconds)
        total.accelerator = done.accelerator
    return _tell(wanted, total, began, runs, say)


def _tell(wanted: Wanted, done: Done, began: float, runs: Path, say: Say) -> int:
    seed = wanted.seed if wanted.drawn else None
    command = "run --full" if wanted.full else "run"
    place = where(done.accelerator)
    outcome = Outcome(place, command, done.boot_seconds, done.results, done.exposure, seed)
    say("\n" + table(done.results))
    for name, level in done.exposure.items():
        say(f"{name}: exposure {level:.1f}")
    text = document(outcome)
    runs.mkdir(parents=True, exist_ok=True)
    (runs / "lab.md").write_text(text)
    if wanted.write is not None:
        atomic_file.replace_file(wanted.write, text.encode())
    failed = [one for one in done.results if not one.passed]
    say(f"{len(done.results)} cases in {elapsed(began)}, {len(failed)} failed; journals: {runs}")
    for one in failed:
        say(f"FAILED {one.name} ({one.storage}): {'; '.join(one.problems)}")
    return 0 if outcome.passed else 1
