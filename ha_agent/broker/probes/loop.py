# SPDX-License-Identifier: Apache-2.0
"""Runs one probe again and again: each interval, within its deadline, apart from all others.

It must not judge samples (N of M is for who reads them), nor let a probe hold anything up: a
probe that is over its deadline is cancelled, and one that does not heed that is left behind; no
second one is started beside it, and the sample says so.

    begun            deadline                 begun + interval
    | probe ........ | cancelled, a failed     | next one (at once, if the deadline is longer
                       sample                    than the interval)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Callable, Generic, Optional, Protocol, TypeVar

from ha_agent.errors import HaAgentError
from ha_agent.instant import Instant
from ha_agent.journal_messages import BUG
from ha_agent.log import fields

_log = logging.getLogger(__name__)

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

# For a probe that ends itself at its deadline: the loop's comes so much later.
GRACE_SECONDS = 1.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


@dataclass(frozen=True)
class Sample(Generic[Value_co]):
    """What one run gave: `value`, or None and a sentence in `failure`."""

    value: Optional[Value_co]
    failure: str
    taken_at: Instant
    """Read before the probe began: what it saw is at least that fresh."""

    def says_the_same(self, other: Sample[object]) -> bool:
        """Whether both gave the same, whenever they were taken."""
        return self.value == other.value and self.failure == other.failure


class ProbeLoop(Generic[Value]):
    """Repeats `probe` and keeps the last `history` samples.

    `on_change` is called, in the event loop, with the first sample and then with each one that
    does not say the same as the one before it.
    """

    def __init__(
        self,
        name: str,
        probe: Callable[[], Awaitable[Value]],
        *,
        interval_seconds: float,
        deadline_seconds: float,
        clock: Clock,
        history: int = 5,
        on_change: Optional[Callable[[Sample[Value]], None]] = None,
    ) -> None:
        self.name = name
        self._probe = probe
        self._interval_seconds = interval_seconds
        self._deadline_seconds = deadline_seconds
        self._clock = clock
        self._on_change = on_change
        self._samples: deque[Sample[Value]] = deque(maxlen=history)
        self._running: Optional[asyncio.Future[Value]] = None

    @property
    def latest(self) -> Optional[Sample[Value]]:
        """The newest sample; None before the first run has ended."""
        return self._samples[-1] if self._samples else None

    @property
    def samples(self) -> tuple[Sample[Value], ...]:
        """The last samples, oldest first."""
        return tuple(self._samples)

    async def run(self) -> None:
        """Repeat until cancelled."""
        try:
            while True:
                begun = self._clock.now()
                self._keep(await self._take(begun))
                spent_seconds = self._clock.now() - begun
                await self._clock.sleep(max(0.0, self._interval_seconds - spent_seconds))
        finally:
            if self._running is not None:
                self._running.cancel()

    async def _take(self, begun: Instant) -> Sample[Value]:
        if self._running is not None and not self._running.done():
            # Wait for it instead of running two; its deadline has passed already.
            await asyncio.wait({self._running}, timeout=self._deadline_seconds)
            if not self._running.done():
                return Sample(None, f"{self.name}: an earlier run has not ended yet", begun)
        run = self._running = asyncio.ensure_future(self._probe())
        await asyncio.wait({run}, timeout=self._deadline_seconds)
        if not run.done():
            run.cancel()
            run.add_done_callback(_forget_outcome)
            what = f"{self.name}: did not end within {self._deadline_seconds:g} s"
            return Sample(None, what, begun)
        if run.cancelled():  # by itself: what it waited for was cancelled
            return Sample(None, f"{self.name}: was cancelled from inside", begun)
        try:
            return Sample(run.result(), "", begun)
        except (HaAgentError, OSError) as error:
            return Sample(None, f"{self.name}: {error}", begun)
        except Exception:  # a process loop: a fault in one probe must not silence it for ever
            _log.exception("probe %s failed", self.name, extra=fields(BUG))
            return Sample(None, f"{self.name}: failed inside; the broker's log says more", begun)

    def _keep(self, sample: Sample[Value]) -> None:
        before = self.latest
        self._samples.append(sample)
        changed = before is None or not sample.says_the_same(before)
        if changed and self._on_change is not None:
            self._on_change(sample)


def _forget_outcome(run: asyncio.Future[Value]) -> None:
    """Fetch a late outcome, or asyncio complains that nobody did."""
    if not run.cancelled():
        run.exception()
