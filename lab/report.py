# SPDX-License-Identifier: Apache-2.0
"""What the cases came to: a line on the screen, a table, docs/lab.md. Pure.

All of the document is made here, so that no figure in it is anybody's memory; what was not done
in a run is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from lab.case import Result
from lab.results import Found, Part

SECURITY_LIMIT = 2.0
_EXPOSURE = re.compile(r"Overall exposure level for (\S+): ([0-9.]+)")

_INTRO = """\
<!-- Written by `python -m lab {command}`; not by hand. -->
# The lab

Labs that came up for this, each with the load of the machine at that moment:

{where}

Three hosts: systemd-nspawn containers that boot systemd, with the Debian packages installed and
set up by `ha-agent deploy` and `join`; the shipped timings; QEMU guests. The engine VM is a small
Linux that writes a counter to its disk every second. An observer outside of all hosts, on this
machine, looks at the kernel's processes 20 times a second, at the engine's page over the bridge 5
times a second, and at the guest's counters on its disk.

- **page**: the longest time without a good answer of the engine's page, from the last good one
  before the fault to the first after it; in brackets what is allowed.
- **no VM**: the time in which no QEMU of the engine VM ran; in brackets what is allowed.
- **VMs**: how many could run at the worst moment; one that has got its SIGKILL and waits in the
  kernel for storage can't. More than one would be a corrupted disk.
- **data**: the guest's counters never went back, and it booted no more often than it should.

What is allowed follows from the shipped configuration, with two allowances of the lab's own: 2 s
for a start, and for the page three times the boot of this guest, measured whenever a lab comes up
(at most {boot_seconds:.1f} s). On a busy machine that makes the page's allowance a loose one; the
one without a VM is not affected.

What this does not show: the machine keeps its power, so nothing is said of what fsync promises.
The storage frees a dead or silent host's locks at once, or as its lease ends; an NFSv4 server
takes its own lease time for that, 90 s by default on Linux.
"""

_HEAD = ("case", "storage", "what was done", "page, s", "no VM, s", "VMs", "data", "verdict")


@dataclass(frozen=True)
class Outcome:
    """All that one run has found. `missing`: cases that it did not come to; `seed`: of what was
    drawn, None where nothing was."""

    command: str
    found: Found
    missing: tuple[str, ...] = ()
    seed: Optional[int] = None

    @property
    def passed(self) -> bool:
        """Whether every case and every unit is as promised."""
        sound = all(level <= SECURITY_LIMIT for level in self.found.exposure.values())
        results = self.found.results
        all_of_it = bool(results) and not self.missing
        return sound and all_of_it and all(result.passed for result in results)


def parse_exposure(text: str) -> Optional[tuple[str, float]]:
    """Return unit and level of what `systemd-analyze security UNIT` prints."""
    found = _EXPOSURE.search(text)
    return (found[1], float(found[2])) if found else None


def line(result: Result) -> str:
    """Return one result for the screen."""
    cells = _cells(result)
    _case, _storage, _what, page, gone, vms, data, _verdict = cells
    word = "passed" if result.passed else "FAILED: " + "; ".join(result.problems)
    return (
        f"{result.name} ({result.storage}): page {page} s, no VM {gone} s, {vms} VMs at most, "
        f"data {data}: {word} ({result.seconds:.0f} s)"
    )


def table(results: Sequence[Result]) -> str:
    """Return all results as a table for the screen."""
    rows = [_HEAD, *(_cells(result) for result in results)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    lines = []
    for row in rows:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return "\n".join(lines)


def document(outcome: Outcome) -> str:
    """Return docs/lab.md."""
    found = outcome.found
    where = "\n".join(_places(found.parts))
    boot_seconds = found.boot_seconds
    lines = [_INTRO.format(command=outcome.command, where=where, boot_seconds=boot_seconds)]
    plain = [one for one in found.results if not one.name.startswith("random-")]
    drawn = [one for one in found.results if one.name.startswith("random-")]
    lines += _table(plain)
    if plain:
        lines += ["", "## What is allowed, and why", "", *_table_of_budgets(plain)]
    if drawn:
        lines += ["", *_random(drawn, outcome.seed)]
    lines += ["", "## The sandbox", "", *_security(found.exposure)]
    failed = [one for one in found.results if not one.passed]
    if failed:
        lines += ["", "## What failed", "", *_failures(failed)]
    if found.redone:
        lines += ["", "## What failed at first, and was done again", "", *_failures(found.redone)]
    if outcome.missing:
        lines += ["", "## What was not done", "", *(f"- {one}" for one in outcome.missing)]
    return "\n".join(lines) + "\n"


def _places(parts: Sequence[Part]) -> list[str]:
    """Return a line for each lab that came up, in the order of their times."""
    return [f"- {part.place} {part.kind} storage." for part in parts] or ["No lab came up."]


def _failures(results: Sequence[Result]) -> list[str]:
    return [f"- **{one.name}** ({one.storage}): {'; '.join(one.problems)}" for one in results]


def _table(results: Sequence[Result]) -> list[str]:
    if not results:
        return []
    return [_line(_HEAD), "|---" * len(_HEAD) + "|", *(_line(_cells(one)) for one in results)]


def _table_of_budgets(results: Sequence[Result]) -> list[str]:
    head = ("case", "storage", "seconds of it without a VM, and why")
    rows = []
    for one in results:
        if one.budget is not None:
            gone = f"{one.budget.gone_seconds:.1f}: " if one.budget.moves else ""
            rows.append(_line((f"`{one.name}`", one.storage, gone + one.budget.why)))
    return [_line(head), "|---" * len(head) + "|", *rows]


def _random(drawn: Sequence[Result], seed: Optional[int]) -> list[str]:
    seen = [one.seen for one in drawn if one.seen is not None]
    failed = [one for one in drawn if not one.passed]
    lines = [
        "## Faults by a seed",
        "",
        f"Seed {seed}, {len(drawn)} draws, one or two faults each "
        f"(`python -m lab --random --seed {seed} --count {len(drawn)}` does the same again): "
        f"{len(drawn) - len(failed)} passed, {len(failed)} failed.",
    ]
    if seen:
        lines += [
            "",
            f"At the worst moment {max(one.most_vms for one in seen)} VM could run; the longest "
            f"time without a page was {max(one.page_seconds for one in seen):.1f} s, without a VM "
            f"{max(one.gone_seconds for one in seen):.1f} s.",
        ]
    return lines


def _security(exposure: Mapping[str, float]) -> list[str]:
    if not exposure:
        return ["Not looked at in this run."]
    lines = [
        f"`systemd-analyze security` on the live hosts, at most {SECURITY_LIMIT:.1f} wanted:",
        "",
        "| host and unit | exposure |",
        "|---|---|",
    ]
    return [*lines, *(f"| {name} | {level:.1f} |" for name, level in exposure.items())]


def _cells(result: Result) -> tuple[str, ...]:
    seen, budget = result.seen, result.budget
    if seen is None or budget is None:
        return (result.name, result.storage, result.what, "", "", "", "", _verdict(result))
    page = f"{seen.page_seconds:.1f} ({result.page_budget_seconds:.1f})"
    gone = f"{seen.gone_seconds:.1f} ({budget.gone_seconds if budget.moves else 0.0:.1f})"
    data = "lost" if seen.faults else ("unknown" if seen.boots is None else "kept")
    return (
        result.name,
        result.storage,
        result.what,
        page,
        gone,
        str(seen.most_vms),
        data,
        _verdict(result),
    )


def _verdict(result: Result) -> str:
    return "passed" if result.passed else "FAILED"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
