# SPDX-License-Identifier: Apache-2.0
"""Waiting for an event or a result with a limit, in a task that may be cancelled.

Not asyncio.wait_for: before Python 3.12 it swallows a cancellation that arrives together with
the event (python/cpython issue 86296), and the task that was to end goes on for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Callable, Generic, Optional, TypeVar

T = TypeVar("T")


class Signal:
    """As an asyncio.Event whose `wait` has a limit, and costs no task of its own.

    For what is waited for again and again, such as the next tick.
    """

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[asyncio.Future[None]] = []

    def is_set(self) -> bool:
        """Whether it was set since the last `clear`."""
        return self._set

    def set(self) -> None:
        """Let all who wait go on, and who will wait."""
        self._set = True
        for future in self._waiting:
            _end(future)

    def clear(self) -> None:
        """Let who waits from now on wait for the next `set`."""
        self._set = False

    async def wait(self, limit_seconds: float) -> bool:
        """Wait until it is set, at most `limit_seconds`; tell whether it was."""
        if self._set:
            return True
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(limit_seconds, _end, future)
        self._waiting.append(future)
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.remove(future)
        return self._set


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def wait_for_event(event: asyncio.Event, limit_seconds: float) -> bool:
    """Wait until `event` is set, at most `limit_seconds`; tell whether it is."""
    if event.is_set():
        return True
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiter}, timeout=limit_seconds)
    finally:
        waiter.cancel()
    return event.is_set()


async def within(
    limit_seconds: float,
    work: Awaitable[T],
    discard: Optional[Callable[[T], object]] = None,
) -> T:
    """Return what `work` gives within `limit_seconds`.

    Raises what `work` raises, or asyncio.TimeoutError when it takes longer: it is cancelled then,
    and not waited for. A result that comes too late, or together with a cancellation, goes to
    `discard`, which closes what it holds.
    """
    task = asyncio.ensure_future(work)
    wanted = False
    try:
        await asyncio.wait({task}, timeout=limit_seconds)
        wanted = task.done()
    finally:
        if not wanted:
            task.cancel()
            task.add_done_callback(lambda late: _forget(late, discard))
    if not wanted:
        raise asyncio.TimeoutError
    return task.result()


def _forget(late: asyncio.Future[T], discard: Optional[Callable[[T], object]]) -> None:
    # Fetched also where it failed, or asyncio complains that nobody did.
    if not late.cancelled() and late.exception() is None and discard is not None:
        discard(late.result())


class Joined(Generic[T]):
    """Work that is done once at a time, for all who ask for it meanwhile.

    For what costs others something and tells everybody the same. Who leaves does not end it.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._task: Optional[asyncio.Task[T]] = None

    async def result(self) -> T:
        """Return what `work` gives, or raise what it raises."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._task.add_done_callback(lambda late: _forget(late, None))
        return await asyncio.shield(self._task)
