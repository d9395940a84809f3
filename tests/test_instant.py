# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import operator
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.instant import Instant, WallTime, reached

KINDS = [Instant, WallTime]
seconds = st.integers(-(10**9), 10**9).map(float)


@pytest.mark.parametrize("kind", KINDS)
def test_points_and_durations(kind: Any) -> None:
    @given(seconds, seconds)
    def check(start: float, duration: float) -> None:
        point = kind(start)
        assert (point + duration) - point == duration
        assert (point + duration) - duration == point
        assert (point < point + duration) is (duration > 0)
        assert hash(kind(start)) == hash(point)

    check()


MIXES: list[Callable[[Any, Any], Any]] = [
    operator.sub,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_two_clocks_can_not_be_mixed(kind: Any, mix: Callable[[Any, Any], Any]) -> None:
    """The predecessor did, so its retry limit never worked."""
    other: Any = WallTime(5.0) if kind is Instant else Instant(5.0)
    with pytest.raises(TypeError):
        mix(kind(5.0), other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_point_is_no_duration_and_no_number(kind: Any) -> None:
    point: Any = kind(5.0)
    for wrong in (point, None, "5"):
        with pytest.raises(TypeError):
            point + wrong
    with pytest.raises(TypeError):
        point - "5"
    with pytest.raises(TypeError):
        assert point > 4.0
    others: list[Any] = [5.0, Instant(5.0) if kind is WallTime else WallTime(5.0)]
    assert point not in others


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("unix_seconds", [0.0, 1_700_000_000.9, 1_720_000_000.0, 951_782_400.0])
@pytest.mark.usefixtures("zone")
def test_ctime_is_cs_in_the_local_zone(unix_seconds: float) -> None:
    assert WallTime(unix_seconds).ctime() == time.ctime(unix_seconds)


@pytest.mark.usefixtures("zone")
def test_iso_is_in_utc_whatever_the_zone() -> None:
    assert WallTime(0.0).iso() == "1970-01-01T00:00:00Z"
    assert WallTime(1_700_000_000.9).iso() == "2023-11-14T22:13:20Z"


@given(st.floats(0, 4e9))
def test_local_is_the_local_zone_to_the_second(unix_seconds: float) -> None:
    moment = time.localtime(unix_seconds)
    assert WallTime(unix_seconds).local() == time.strftime("%Y-%m-%d %H:%M:%S", moment)


class TestReached:
    def test_is_when_so_much_has_passed(self) -> None:
        assert reached(Instant(100.0), 2.5) == Instant(102.5)
        assert reached(Instant(100.0), 0.0) == Instant(100.0)

    @given(st.floats(0.0, 1e9), st.floats(0.0, 1e6))
    def test_is_the_first_instant_for_which_that_holds(
        self, since_seconds: float, seconds: float
    ) -> None:
        since = Instant(since_seconds)
        at = reached(since, seconds)
        assert at - since >= seconds
        earlier = Instant(math.nextafter(at.boottime_seconds, -math.inf))
        assert earlier - since < seconds
