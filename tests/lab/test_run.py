# SPDX-License-Identifier: Apache-2.0
"""What the command line asks for."""

from __future__ import annotations

import argparse
from pathlib import Path

import cattrs
import pytest

from lab.case import BLOCK, FILE, Result
from lab.cases import CASES
from lab.results import Found
from lab.run import FULL_DRAWS, Asked, Wanted, add_arguments, asked_of, list_text, wanted_from
from lab.workers import MOST_LABS, Share


def asked_for(*words: str) -> Asked:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return asked_of(parser.parse_args(list(words)), lambda: 0.5)


def wanted(*words: str) -> Wanted:
    return asked_for(*words).wanted


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


@pytest.mark.parametrize("words", [(), ("--full", "--seed", "7"), ("--only", "page-hangs")])
def test_what_was_asked_for_is_kept_with_the_run(words: tuple[str, ...]) -> None:
    asked = wanted(*words)
    assert wanted_from(cattrs.unstructure(asked)) == asked


def test_what_has_passed_is_not_left_and_what_failed_is() -> None:
    asked = wanted("--only", "page-hangs", "--only", "boot-all", "--only", "run-full")

    def result(name: str, *problems: str) -> Result:
        return Result(name, "", FILE, None, None, 0.0, problems, 0.0)

    found = Found({}, (), (result("page-hangs"), result("run-full", "2 VMs")), ())
    left = {case.name for _kind, case in asked.left(found)}
    assert left == {"boot-all", "run-full"}
    shares = [asked.left(found, Share(number, 2, Path())) for number in range(2)]
    assert sorted(case.name for share in shares for _kind, case in share) == sorted(left)


@pytest.mark.parametrize("words", [("--full",), ("--only", "page-hangs"), ("--seed", "3")])
def test_a_run_that_goes_on_is_asked_for_nothing_else(words: tuple[str, ...]) -> None:
    assert asked_for("--resume").resume
    with pytest.raises(ValueError, match="--resume"):
        asked_for("--resume", *words)


@pytest.mark.parametrize("labs", [0, MOST_LABS + 1])
def test_there_are_only_so_many_labs_at_once(labs: int) -> None:
    with pytest.raises(ValueError, match="--labs"):
        asked_for("--labs", str(labs))
