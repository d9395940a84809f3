# SPDX-License-Identifier: Apache-2.0
"""Faults by a seed, one or two at a time: what is drawn, and what may come of it.

The plan is pure: `plan(7, 200)` is the same on every machine and Python, as all is drawn from
`random.Random(seed).random()`, whose sequence Python promises to keep. `plan(7, 40)` is the
beginning of it, so that a fault is reached again by its number (`--seed 7 --count 40`).

One in three is a pair: the second comes some seconds after the first, on the same host or on
another, before anything is mended. Each draw waits a while before it begins, so that faults meet
the lease in all its phases. What may come of a fault is the budget of its case; of a pair, that
of both with a failed host in between. However it is: never two VMs, none of the guest's data lost,
and all hosts well at the end.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Optional

from lab.budgets import Budget, Budgets
from lab.case import ALL, FILE, OTHER, Case, Lab
from lab.cases import CASES
from lab.view import NotSo

PAIR_SHARE = 1 / 3
LONGEST_PAUSE_SECONDS = 6.0
LONGEST_GAP_SECONDS = 12.0
SAME, ANOTHER = "same host", "another host"


@dataclass(frozen=True)
class Drawn:
    """One draw: `first` and perhaps `second` are names of cases; `second_on`: SAME or ANOTHER."""

    number: int
    pause_seconds: float
    first: str
    second: str = ""
    second_on: str = ANOTHER
    gap_seconds: float = 0.0

    def text(self) -> str:
        """Return it as one line."""
        words = f"{self.number}: after {self.pause_seconds:.1f} s {self.first}"
        if self.second:
            words += f", {self.gap_seconds:.1f} s later {self.second}, {self.second_on}"
        return words


def plan(seed: int, count: int, names: Optional[Sequence[str]] = None) -> tuple[Drawn, ...]:
    """Return the first `count` draws of a seed; `names` of the cases to draw from, by default all
    that are for drawing on file storage."""
    dice = random.Random(seed)
    by_name = {case.name: case for case in CASES}
    single = list(names) if names is not None else drawn_names(FILE)
    # What is done to all hosts at once leaves none for a second fault.
    pairable = [name for name in single if by_name[name].on != ALL]
    draws = []
    for number in range(1, count + 1):
        # As many rolls for each draw, so that a change of one leaves the others.
        rolls = [dice.random() for _ in range(6)]
        pause = round(rolls[0] * LONGEST_PAUSE_SECONDS, 1)
        if rolls[1] >= PAIR_SHARE:
            draws.append(Drawn(number, pause, _pick(single, rolls[2])))
            continue
        on = SAME if rolls[4] < 0.5 else ANOTHER
        gap = round(rolls[5] * LONGEST_GAP_SECONDS, 1)
        first, second = _pick(pairable, rolls[2]), _pick(pairable, rolls[3])
        draws.append(Drawn(number, pause, first, second, on, gap))
    return tuple(draws)


def _pick(names: Sequence[str], roll: float) -> str:
    return names[int(roll * len(names))]


def drawn_names(kind: str) -> list[str]:
    """Return the names of the cases that a seed draws from."""
    return [case.name for case in CASES if case.drawn and kind in case.storages]


def as_case(drawn: Drawn) -> Case:
    """Return a draw as a case, to be run and judged as all are."""
    by_name = {case.name: case for case in CASES}
    first = by_name[drawn.first]
    name = f"random-{drawn.number:03d}"
    if not drawn.second:

        def act(lab: Lab, target: str) -> Optional[Budget]:
            time.sleep(drawn.pause_seconds)
            return first.act(lab, target)

        return dataclasses.replace(first, name=name, what=drawn.text(), act=act)
    return _pair(drawn, name, first, by_name[drawn.second])


def _pair(drawn: Drawn, name: str, first: Case, second: Case) -> Case:
    undo: list[Callable[[], None]] = []

    def act(lab: Lab, target: str) -> Optional[Budget]:
        time.sleep(drawn.pause_seconds)
        undo.append(lambda: first.mend(lab, target))
        budget = first.act(lab, target) or first.budget(lab.budgets)
        time.sleep(drawn.gap_seconds)
        same = drawn.second_on == SAME
        with_vm = {run.host for run in lab.observer.qemus.running()}
        there = target if same else another(lab.others(target), second.on, with_vm)
        if lab.host(there).leader is None:
            return budget
        undo.append(lambda: second.mend(lab, there))
        later = second.budget(lab.budgets)
        try:
            later = second.act(lab, there) or later
        except NotSo as error:
            # The first fault may be in the way of the second: a guest that is gone, say.
            lab.say(f"{name}: {second.name} could not be done: {error}")
        return both(lab.budgets, budget, later, same)

    def mend(_lab: Lab, _target: str) -> None:
        # What was broken last is mended first.
        while undo:
            undo.pop()()

    return dataclasses.replace(
        first, name=name, what=drawn.text(), act=act, mend=mend, awaits=False
    )


def another(others: Sequence[str], on: str, with_vm: Collection[str]) -> str:
    """Return which of the hosts that the first fault was not done to has the second one: a fault
    for hosts without the VM is done to none that has it. Pure."""
    free = [host for host in others if on != OTHER or host not in with_vm]
    return (free or list(others))[-1]


def both(budgets: Budgets, first: Budget, second: Budget, same_host: bool) -> Budget:
    """Return what two faults, one after the other, may cost together. Two on one host that are
    harmless alone may cost it the lease."""
    if not (first.moves or second.moves or same_host):
        seconds = first.bad_seconds + second.bad_seconds
        return Budget(
            seconds, 0.0, f"{first.why}; {second.why}", False, first.boots + second.boots
        )
    again = budgets.takeover()
    bad = first.bad_seconds + second.bad_seconds
    gone = first.gone_seconds + second.gone_seconds + again.gone_seconds
    why = f"{first.why}; then {second.why}; then a host that was about to take over fails"
    return Budget(bad, gone, why, True, first.boots + second.boots + again.boots)
