# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import (
    BYTES,
    HEADINGS,
    P99,
    WORST,
    Bound,
    Less,
    Row,
    bytes_text,
    percentile,
    seconds_text,
    table,
)


def row(*samples: float, bound: Bound | None = None) -> Row:
    return Row("a thing", samples, "a floor", (0.5, 1.0, 1.5), bound)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(1, 100))
def test_percentile_is_the_smallest_sample_that_enough_are_not_above(
    samples: list[float], percent: float
) -> None:
    found = percentile(samples, percent)

    def share(value: float) -> float:
        return 100 * sum(sample <= value for sample in samples) / len(samples)

    assert found in samples
    assert share(found) >= percent - 1e-9
    assert all(share(sample) < percent for sample in samples if sample < found)


def test_percentile_of_a_hundred() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 101), 100) == 100
    assert percentile([7.0], 99) == 7.0


def test_few_runs_have_a_worst_one_and_many_a_99th_percentile() -> None:
    assert row(1.0, 3.0, 2.0).tail == (WORST, 3.0)
    assert row(*[1.0] * 98, 5.0, 9.0).tail == (P99, 5.0)


def test_ratio_is_of_medians() -> None:
    assert row(2.0, 3.0, 100.0).ratio == 3.0


@pytest.mark.parametrize(
    ("figure", "limit_seconds", "kept"),
    [(WORST, 3.0, True), (WORST, 2.9, False), ("median", 2.0, True), ("median", 1.9, False)],
)
def test_bound_is_of_its_figure_and_may_be_reached(
    figure: str, limit_seconds: float, kept: bool
) -> None:
    assert row(1.0, 2.0, 3.0, bound=Bound(figure, limit_seconds)).kept is kept


def test_without_a_bound_nothing_is_kept_or_broken() -> None:
    assert row(1.0).kept is None
    assert table([row(1.0)]).splitlines()[-1].endswith("-")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (15.2934, "15.29 s"),
        (1.0, "1.000 s"),
        (0.0263, "26.3 ms"),
        (0.001, "1 ms"),
        (0.00020912, "209 µs"),
        (0.0, "0 µs"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(("times", "kept"), [(2, True), (4, True), (4.1, False)])
def test_a_bound_on_the_ratio_is_against_the_median(times: float, kept: bool) -> None:
    faster = Row("ours", (0.5, 0.5, 9.0), "theirs", (2.0, 2.0, 0.1), Less(times))
    assert faster.kept is kept
    assert f"≤ 1/{times:g}" in table([faster])


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (36864, "36.9 kB"), (37.5e6, "37.5 MB")]
)
def test_bytes_have_the_unit_that_fits(count: float, text: str) -> None:
    assert bytes_text(count) == text
    assert text in table([Row("ours", (count,), "theirs", (1.0,), unit=BYTES)])


def test_table_is_aligned_and_says_what_is_broken() -> None:
    broken = row(0.002, bound=Bound("median", 0.001))
    head, rule, *lines = table([row(1.0), broken]).splitlines()
    assert len(lines) == 2
    for heading in HEADINGS:
        assert rule[head.index(heading)] == "-"
    assert lines[0].index("a floor") == lines[1].index("a floor") == head.index("against")
    assert lines[1].endswith("median ≤ 1 ms  NO")


def test_json_has_figures_and_every_sample() -> None:
    value = json.loads(json.dumps(row(1.0, 2.0, bound=Bound(WORST, 1.5)).to_json()))
    assert value["samples"] == [1.0, 2.0]
    assert value["against_samples"] == [0.5, 1.0, 1.5]
    assert (value["median"], value["worst"], value["ratio"]) == (1.5, 2.0, 1.5)
    assert value["kept"] is False
    assert value["bound"] == {"figure": "worst", "limit": 1.5, "unit": "seconds"}
