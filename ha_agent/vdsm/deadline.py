# SPDX-License-Identifier: Apache-2.0
"""Calls that may hang with the storage, run in threads that are left behind when they do.

A thread inside the kernel on a dead mount can't be ended. So each call gets a daemon thread of
its own, the caller waits no longer than the deadline, and the number of threads left behind is
bounded: beyond it calls are refused at once, until the storage lets some of them go.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Callable, Optional, TypeVar

from ha_agent.errors import DeadlineExceeded, EnvironmentFault

T = TypeVar("T")


class StorageThreads:
    """Runs calls with a deadline; at most `max_threads` at once, stuck ones included."""

    def __init__(self, max_threads: int = 32) -> None:
        self._max_threads = max_threads
        self._running = 0

    async def run(
        self,
        what: str,
        deadline_seconds: float,
        call: Callable[[], T],
        *,
        discard: Optional[Callable[[T], object]] = None,
    ) -> T:
        """Return what `call` returns, or raise what it raises.

        A result that comes too late goes to `discard`, which closes what it holds; that runs in
        the thread or on the loop. So does that of a call whose caller was cancelled, who then
        ends with it, or at the deadline. Raises DeadlineExceeded when the call takes longer, and
        EnvironmentFault when too many calls hang already.
        """
        if self._running >= self._max_threads:
            raise EnvironmentFault(f"{what}: {self._running} storage calls hang already")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(future: concurrent.futures.Future[T]) -> None:
            self._running -= 1
            error = future.exception()
            if done.done():
                if error is None and discard is not None:
                    discard(future.result())
            elif error is not None:
                done.set_exception(error)
            else:
                done.set_result(future.result())

        def body() -> None:
            future: concurrent.futures.Future[T] = concurrent.futures.Future()
            try:
                future.set_result(call())
            except BaseException as error:  # handed to the caller, whatever it is
                future.set_exception(error)
            try:
                loop.call_soon_threadsafe(settle, future)
            except RuntimeError:  # the loop is closed: nobody waits any more
                if discard is not None and future.exception() is None:
                    discard(future.result())

        self._running += 1
        threading.Thread(target=body, name=f"storage: {what}", daemon=True).start()
        # Not wait_for: before Python 3.12 it swallows a cancel that comes with the result.
        try:
            await asyncio.wait({done}, timeout=deadline_seconds)
        except asyncio.CancelledError:
            try:
                if discard is not None:
                    # What the call takes has to be free again when our caller has ended.
                    await asyncio.wait({done}, timeout=deadline_seconds)
            finally:
                if done.done() and done.exception() is None and discard is not None:
                    discard(done.result())
                else:
                    done.cancel()
            raise
        if not done.done():
            done.cancel()
            raise DeadlineExceeded(what, deadline_seconds)
        return done.result()
