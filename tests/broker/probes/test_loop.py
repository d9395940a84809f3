# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Callable, Optional, TypeVar

import pytest

from ha_agent.broker.probes.loop import ProbeLoop, Sample
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant

Value = TypeVar("Value")


class _HandClock:
    """Time moves only while somebody sleeps, and then at once."""

    def __init__(self) -> None:
        self.instant = Instant(1000.0)
        self.slept: list[float] = []

    def now(self) -> Instant:
        return self.instant

    async def sleep(self, duration_seconds: float) -> None:
        self.slept.append(duration_seconds)
        self.instant += duration_seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def _running(loop: ProbeLoop[Value]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(loop.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _scripted(values: list[str], done: asyncio.Event) -> Callable[[], Awaitable[str]]:
    left = list(values)

    async def probe() -> str:
        if not left:
            done.set()
            await asyncio.sleep(60)
        return left.pop(0)

    return probe


async def test_samples_have_the_time_at_which_they_began_and_old_ones_go() -> None:
    clock, done = _HandClock(), asyncio.Event()
    loop = ProbeLoop(
        "p",
        _scripted(list("abcd"), done),
        interval_seconds=10,
        deadline_seconds=5,
        clock=clock,
        history=3,
    )
    assert loop.latest is None
    async with _running(loop):
        await done.wait()
    assert loop.samples == (
        Sample("b", "", Instant(1010)),
        Sample("c", "", Instant(1020)),
        Sample("d", "", Instant(1030)),
    )
    assert loop.latest == Sample("d", "", Instant(1030))


async def test_interval_is_counted_from_start_to_start() -> None:
    clock, done = _HandClock(), asyncio.Event()
    durations = [3.0, 12.0, 0.0]

    async def probe() -> None:
        if not durations:
            done.set()
            await asyncio.sleep(60)
        clock.instant += durations.pop(0)

    loop = ProbeLoop("p", probe, interval_seconds=10, deadline_seconds=20, clock=clock)
    async with _running(loop):
        await done.wait()
    assert clock.slept == [7.0, 0.0, 10.0]


async def test_on_change_is_for_changes() -> None:
    done = asyncio.Event()
    heard: list[Optional[str]] = []
    loop = ProbeLoop(
        "p",
        _scripted(list("aabba"), done),
        interval_seconds=1,
        deadline_seconds=5,
        clock=_HandClock(),
        on_change=lambda sample: heard.append(sample.value),
    )
    async with _running(loop):
        await done.wait()
    assert heard == ["a", "b", "a"]


async def test_late_probe_is_cancelled_and_the_next_one_runs() -> None:
    runs: list[str] = []
    heard: list[Sample[str]] = []
    done = asyncio.Event()

    async def probe() -> str:
        runs.append("begun")
        if len(runs) == 1:
            try:
                await asyncio.sleep(60)
            finally:
                runs.append("cancelled")
        return "good"

    def on_change(sample: Sample[str]) -> None:
        heard.append(sample)
        if sample.value == "good":
            done.set()

    loop = ProbeLoop(
        "slow",
        probe,
        interval_seconds=0.02,
        deadline_seconds=0.05,
        clock=SystemClock(),
        on_change=on_change,
    )
    async with _running(loop):
        await asyncio.wait_for(done.wait(), 5)
    assert runs[:3] == ["begun", "cancelled", "begun"]
    assert [(sample.value, sample.failure) for sample in heard] == [
        (None, "slow: did not end within 0.05 s"),
        ("good", ""),
    ]


async def test_a_probe_that_will_not_end_is_not_started_twice_and_blocks_no_other() -> None:
    release, done, stuck_seen = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begun = 0

    async def stubborn() -> str:
        nonlocal begun
        begun += 1
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return "at last"

    def on_change(sample: Sample[str]) -> None:
        if "has not ended" in sample.failure:
            stuck_seen.set()
        if sample.value == "at last":
            done.set()

    stuck = ProbeLoop(
        "stuck",
        stubborn,
        interval_seconds=0.01,
        deadline_seconds=0.02,
        clock=SystemClock(),
        on_change=on_change,
    )
    other_done = asyncio.Event()
    other = ProbeLoop(
        "other",
        _scripted(list("abc"), other_done),
        interval_seconds=0.01,
        deadline_seconds=1,
        clock=SystemClock(),
    )
    async with _running(stuck), _running(other):
        await asyncio.wait_for(other_done.wait(), 5)
        await asyncio.wait_for(stuck_seen.wait(), 5)
        assert begun == 1
        release.set()
        await asyncio.wait_for(done.wait(), 5)
        assert begun >= 2


@pytest.mark.parametrize(
    ("error", "failure", "logged"),
    [
        (EnvironmentFault("no storage"), "p: no storage", 0),
        (asyncio.CancelledError(), "p: was cancelled from inside", 0),
        (OSError(5, "Input/output error"), "p: [Errno 5] Input/output error", 0),
        (ZeroDivisionError("a fault of ours"), "p: failed inside; the broker's log says more", 1),
    ],
)
async def test_a_probe_that_raises_gives_a_failed_sample(
    caplog: pytest.LogCaptureFixture, error: BaseException, failure: str, logged: int
) -> None:
    done = asyncio.Event()
    errors = [error]

    async def probe() -> str:
        if errors:
            raise errors.pop()
        done.set()
        return "good again"

    loop = ProbeLoop(
        "p", probe, interval_seconds=1, deadline_seconds=5, clock=_HandClock(), history=1000
    )
    async with _running(loop):
        await done.wait()
        await asyncio.sleep(0.01)
    assert loop.samples[0] == Sample(None, failure, Instant(1000))
    assert loop.samples[1].value == "good again"
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == logged


async def test_cancelling_the_loop_cancels_its_probe() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def probe() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    loop = ProbeLoop("p", probe, interval_seconds=1, deadline_seconds=50, clock=SystemClock())
    async with _running(loop):
        await begun.wait()
    await asyncio.wait_for(cancelled.wait(), 5)
