# SPDX-License-Identifier: Apache-2.0
"""Sleeping in virtual time: what a task awaits, as much of a future as one task needs.

Its timer wakes the task itself, where asyncio.sleep has a future between the two. Sleeps are
most of what happens in a simulation, so that is a third of all steps.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator
from typing import TYPE_CHECKING, Callable, Optional

if TYPE_CHECKING:
    from ha_agent.sim.loop import SimHandle, SimLoop


class Pause:
    """Await it once. The names are those that asyncio.Task asks of a future."""

    __slots__ = ("_asyncio_future_blocking", "_context", "_loop", "_seconds", "_timer", "_wake")

    def __init__(self, loop: SimLoop, duration_seconds: float) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._seconds = duration_seconds
        self._timer: SimHandle

    def __await__(self) -> Generator[Pause, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> SimLoop:
        return self._loop

    def add_done_callback(
        self, wake: Callable[[Pause], object], *, context: contextvars.Context
    ) -> None:
        self._wake, self._context = wake, context
        self._timer = self._loop.call_later(self._seconds, wake, self, context=context)

    def cancel(self, msg: Optional[str] = None) -> bool:  # noqa: ARG002  # given by name
        if self._timer.cancelled():
            return False
        self._timer.cancel()
        self._loop.call_soon(self._wake, self, context=self._context)
        return True

    def result(self) -> None:
        if self._timer.cancelled():
            raise asyncio.CancelledError
