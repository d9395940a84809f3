# SPDX-License-Identifier: Apache-2.0
"""The failure table of ARCHITECTURE.md is measured, and current."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ha_agent.sim import failure_table, scenario

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
FAILURES = ("host", "storage", "all", "net", "agent", "broker", "vdsm")


@pytest.fixture(scope="module")
def rows() -> list[str]:
    """Return the rows that ARCHITECTURE.md shows."""
    text = ARCHITECTURE.read_text()
    section = text[text.index(failure_table.BEGIN) : text.index(failure_table.END)]
    return [line for line in section.splitlines() if line.endswith("` |")]


@pytest.mark.long
@pytest.mark.parametrize("name", [*failure_table.SINGLES, *failure_table.pairs()])
def test_architecture_shows_what_is_measured_today(name: str, rows: list[str]) -> None:
    assert failure_table.line(name) in rows, "run `make diagram`"


def test_architecture_shows_no_other_rows(rows: list[str]) -> None:
    shown = [row.split("`")[-2] for row in rows]
    assert shown == [*failure_table.SINGLES, *failure_table.pairs()]


def test_every_pair_of_failures_is_in_it() -> None:
    pairs = failure_table.pairs()
    for one, other in itertools.combinations(FAILURES, 2):
        assert {f"pair-{one}-{other}", f"pair-{other}-{one}"} & set(pairs)


@pytest.mark.parametrize("name", failure_table.SINGLES)
def test_a_row_has_a_failure_and_what_follows(name: str) -> None:
    failure, colon, follows = scenario.load(name).readme.partition(": ")
    assert (bool(failure), colon, bool(follows)) == (True, ": ", True)


def test_missing_marks_are_said() -> None:
    with pytest.raises(ValueError, match="failures"):
        failure_table.replace_section("no marks here")
