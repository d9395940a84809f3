# SPDX-License-Identifier: Apache-2.0
"""What the command line asks for."""

from __future__ import annotations

import argparse

import pytest

from lab.case import BLOCK, FILE
from lab.cases import CASES
from lab.run import FULL_DRAWS, Wanted, add_arguments, list_text, wanted_of


def wanted(*words: str) -> Wanted:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return wanted_of(parser.parse_args(list(words)), lambda: 0.5)


def names(asked: Wanted, kind: str) -> list[str]:
    return [case.name for case in asked.cases(kind)]


def test_nothing_is_the_selection_on_files() -> None:
    asked = wanted()
    assert asked.kinds == (FILE,)
    assert names(asked, FILE) == [case.name for case in CASES if case.quick]


def test_full_is_all_of_it_and_two_hundred_draws_once() -> None:
    asked = wanted("--full", "--seed", "7")
    assert asked.kinds == (FILE, BLOCK)
    assert len(asked.cases(FILE)) == FULL_DRAWS + len([c for c in CASES if FILE in c.storages])
    assert names(asked, BLOCK) == [case.name for case in CASES if BLOCK in case.storages]


def test_one_case_is_one() -> None:
    assert names(wanted("--only", "page-hangs"), FILE) == ["page-hangs"]
    with pytest.raises(ValueError, match="no-such-case"):
        wanted("--only", "no-such-case")


def test_random_is_draws_alone_and_a_new_seed_is_told() -> None:
    asked = wanted("--random", "--count", "3")
    assert asked.seed == 500_000
    assert names(asked, FILE) == ["random-001", "random-002", "random-003"]


def test_every_case_is_listed() -> None:
    assert len(list_text().splitlines()) == len(CASES)
