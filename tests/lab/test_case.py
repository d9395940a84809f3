# SPDX-License-Identifier: Apache-2.0
"""The verdict on a case, and the list of all."""

from __future__ import annotations

import dataclasses
import re
from typing import Optional

import pytest

from demo.guest import Counters
from lab.budgets import Budget, Budgets
from lab.case import ALL, BLOCK, FILE, OTHER, OWNER, verdict
from lab.cases import CASES, of_storage
from lab.observer import Seen
from lab.qemu_watch import Run

BOOT = 8.0
MOVED = Budgets().takeover()
STAYED = Budgets().untouched()
REBOOTED = Budgets().reboot()


def seen(
    page: float = 1.0,
    gone: float = 0.0,
    starts: int = 0,
    most: int = 1,
    boots: Optional[int] = 0,
) -> Seen:
    after = None if boots is None else Counters(boots=1 + boots, heartbeat=20)
    return Seen(page, gone, starts, most, (), Counters(boots=1, heartbeat=10), after, ())


@pytest.mark.parametrize(
    ("budget", "found", "same_vm"),
    [
        (STAYED, seen(), True),
        (REBOOTED, seen(page=12.0, boots=1), True),
        (MOVED, seen(page=30.0, gone=16.0, starts=1, boots=1), False),
        # One that could have moved and did not is as good.
        (MOVED, seen(), True),
    ],
)
def test_what_is_within_the_budget_passes(budget: Budget, found: Seen, same_vm: bool) -> None:
    assert verdict(found, budget, BOOT, same_vm) == []


@pytest.mark.parametrize(
    ("budget", "found", "same_vm", "words"),
    [
        (STAYED, seen(page=7.5), True, "no good page for 7.5 s, 7.0 are allowed"),
        (STAYED, seen(starts=1), True, "should have run on"),
        (STAYED, seen(), False, "should have run on"),
        (STAYED, seen(boots=1), True, "booted 1 times, 0 are expected"),
        (MOVED, seen(gone=18.4, starts=1, boots=1), False, "no VM for 18.4 s, 18.0 are allowed"),
        (MOVED, seen(page=300.0), False, "no good page for 300.0 s"),
        (MOVED, seen(boots=2), False, "booted 2 times, 1 are expected"),
        (MOVED, seen(boots=None), False, "could not be read"),
    ],
)
def test_what_is_not_is_told(budget: Budget, found: Seen, same_vm: bool, words: str) -> None:
    (problem,) = verdict(found, budget, BOOT, same_vm)
    assert words in problem


def test_two_vms_are_named() -> None:
    worst = (Run(11, "host1", 0.0), Run(12, "host3", 1.0))
    found = dataclasses.replace(seen(most=2), worst=worst)
    (problem,) = verdict(found, MOVED, BOOT, same_vm=False)
    assert problem == "2 VMs could run at once: pid 11 on host1, pid 12 on host3"


def test_lost_data_is_told() -> None:
    found = dataclasses.replace(seen(), faults=("the guest's heartbeat went back",))
    assert verdict(found, STAYED, BOOT, same_vm=True) == ["the guest's heartbeat went back"]


def test_every_case_is_whole() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", case.name)
        assert case.on in (OWNER, OTHER, ALL)
        assert case.budget(Budgets()).why
        assert set(case.storages) <= {FILE, BLOCK}


def test_the_selection_is_a_part_and_a_name_is_one() -> None:
    quick, all_of_it = of_storage(FILE, quick=True), of_storage(FILE, quick=False)
    assert set(quick) < set(all_of_it)
    (one,) = of_storage(FILE, quick=True, only=("page-hangs",))
    assert one.name == "page-hangs"


def test_sanlock_is_killed_only_where_it_is() -> None:
    assert "sanlock-killed" not in {case.name for case in of_storage(FILE, quick=False)}
    assert "sanlock-killed" in {case.name for case in of_storage(BLOCK, quick=False)}
