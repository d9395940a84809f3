# SPDX-License-Identifier: Apache-2.0
"""What a seed stands for."""

from __future__ import annotations

import pytest

from lab.budgets import Budgets
from lab.case import ALL, FILE, OTHER, OWNER
from lab.cases import CASES
from lab.random_faults import (
    ANOTHER,
    SAME,
    Drawn,
    another,
    as_case,
    both,
    drawn_names,
    plan,
)

BY_NAME = {case.name: case for case in CASES}


def test_a_seed_is_the_same_plan_and_another_is_another() -> None:
    assert plan(7, 50) == plan(7, 50)
    assert plan(7, 50) != plan(8, 50)


def test_a_shorter_plan_is_the_beginning_of_a_longer_one() -> None:
    assert plan(7, 20) == plan(7, 200)[:20]


def test_two_hundred_draws_have_every_fault_and_pairs() -> None:
    draws = plan(1, 200)
    assert {draw.first for draw in draws} == set(drawn_names(FILE))
    pairs = [draw for draw in draws if draw.second]
    assert 40 < len(pairs) < 100
    assert {draw.second_on for draw in pairs} == {SAME, ANOTHER}


@pytest.mark.parametrize("seed", range(20))
def test_what_is_drawn_may_be_drawn(seed: int) -> None:
    for draw in plan(seed, 60):
        for name in filter(None, (draw.first, draw.second)):
            assert BY_NAME[name].drawn
            assert not (draw.second and BY_NAME[name].on == ALL)


def test_a_draw_is_a_case_of_its_own_name() -> None:
    case = as_case(Drawn(12, 1.5, "power-cut"))
    assert case.name == "random-012"
    assert case.what == "12: after 1.5 s power-cut"
    assert case.budget is BY_NAME["power-cut"].budget
    assert case.awaits


def test_a_pair_is_mended_before_its_end_is_awaited() -> None:
    case = as_case(Drawn(3, 0.0, "broker-killed", "power-cut", ANOTHER, 2.5))
    assert not case.awaits
    assert case.what == "3: after 0.0 s broker-killed, 2.5 s later power-cut, another host"


def test_a_second_fault_for_hosts_without_the_vm_spares_the_one_that_has_it() -> None:
    """The first may have been done to a host without it."""
    others = ["host2", "host3"]
    assert another(others, OTHER, {"host3"}) == "host2"
    assert another(others, OTHER, {"host1"}) == "host3"
    assert another(others, OWNER, {"host3"}) == "host3"
    assert another(others, OTHER, {"host2", "host3"}) == "host3"


def test_two_harmless_faults_move_the_vm_only_on_one_host() -> None:
    budgets = Budgets()
    harmless = budgets.untouched()
    assert not both(budgets, harmless, harmless, same_host=False).moves
    assert both(budgets, harmless, harmless, same_host=True).moves


def test_a_pair_may_cost_what_both_do_and_a_failed_take_over() -> None:
    budgets = Budgets()
    takeover, fenced = budgets.takeover(), budgets.fenced()
    gone = both(budgets, takeover, fenced, same_host=False).gone_seconds
    assert gone == 2 * takeover.gone_seconds + fenced.gone_seconds
