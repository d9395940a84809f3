# SPDX-License-Identifier: Apache-2.0
"""Measurements, their figures, and the table that is printed at the end. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional, Union

WORST = "worst"
P99 = "p99"
SECONDS = "seconds"
BYTES = "bytes"
SHARE = "share of one core"
COUNT = "count"
# With fewer runs than this the 99th percentile is the worst one, and is called that.
_P99_FROM_RUNS = 100

HEADINGS = (
    "what",
    "runs",
    "median",
    "worst/p99",
    "against",
    "its median",
    "ratio",
    "bound",
    "kept",
)


@dataclass(frozen=True)
class Bound:
    """What is promised: `figure` (median, p99, or worst of all runs) is at most the limit.

    `unit` is the row's; the limit is in it.
    """

    figure: str
    limit: float
    unit: str = SECONDS

    def __str__(self) -> str:
        return f"{self.figure} ≤ {text_of(self.limit, self.unit)}"


@dataclass(frozen=True)
class Less:
    """The median is at most that of what it stands against, divided by `times`."""

    times: float

    def __str__(self) -> str:
        return f"≤ 1/{self.times:g}"


@dataclass(frozen=True)
class Row:
    """One claim: what was measured, and what in the same run it stands against.

    Samples are seconds, or what `unit` says. `against_samples` are as many as there
    are samples, or any number: medians are compared. Without a bound the row is for information.
    """

    what: str
    samples: tuple[float, ...]
    against: str
    against_samples: tuple[float, ...]
    bound: Union[Bound, Less, None] = None
    unit: str = SECONDS

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def tail(self) -> tuple[str, float]:
        """The 99th percentile of many runs, the worst of few, and which of the two it is."""
        if len(self.samples) >= _P99_FROM_RUNS:
            return P99, percentile(self.samples, 99)
        return WORST, max(self.samples)

    @property
    def against_median(self) -> float:
        return statistics.median(self.against_samples)

    @property
    def ratio(self) -> float:
        """Median against median; how many times as long as the other it took."""
        return self.median / self.against_median

    @property
    def kept(self) -> Optional[bool]:
        """Whether the bound held; None without a bound."""
        if self.bound is None:
            return None
        if isinstance(self.bound, Less):
            return self.ratio * self.bound.times <= 1
        figures = {WORST: max(self.samples), P99: percentile(self.samples, 99)}
        return figures.get(self.bound.figure, self.median) <= self.bound.limit

    def to_json(self) -> dict[str, Any]:
        """Return the row with its figures and every sample, in its unit."""
        name, tail = self.tail
        return {
            **asdict(self),
            "median": self.median,
            name: tail,
            "against_median": self.against_median,
            "ratio": self.ratio,
            "kept": self.kept,
        }


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that `percent` of all are not above (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def seconds_text(seconds: float) -> str:
    """Return a duration in the unit that fits it, with three figures or so."""
    if seconds >= 10:
        return f"{seconds:.2f} s"
    if seconds >= 1:
        return f"{seconds:.3f} s"
    if seconds >= 0.001:
        return f"{seconds * 1e3:.4g} ms"
    return f"{seconds * 1e6:.3g} µs"


def bytes_text(count: float) -> str:
    """Return a number of bytes in the unit that fits it."""
    for limit, unit in ((1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f} B"


def text_of(value: float, unit: str) -> str:
    """Return a figure in its unit."""
    if unit == BYTES:
        return bytes_text(value)
    if unit == SHARE:
        return f"{value * 100:.3g} %"
    return f"{value:.5g}" if unit == COUNT else seconds_text(value)


def table(rows: Iterable[Row]) -> str:
    """Return the rows as an aligned table with a head."""
    lines = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        for line in (lines[0], rule, *lines[1:])
    )


def _cells(row: Row) -> tuple[str, ...]:
    name, tail = row.tail
    kept = {None: "-", True: "yes", False: "NO"}[row.kept]
    return (
        row.what,
        str(len(row.samples)),
        text_of(row.median, row.unit),
        f"{name} {text_of(tail, row.unit)}",
        row.against,
        text_of(row.against_median, row.unit),
        f"{row.ratio:.3g} x",
        str(row.bound) if row.bound else "-",
        kept,
    )
