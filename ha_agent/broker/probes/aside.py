# SPDX-License-Identifier: Apache-2.0
"""Blocking calls of a probe, in threads of their own, so that nothing waits for one that hangs.

Looking up a name waits for name servers, and /proc/<pid>/cmdline for a process whose memory
map is locked: neither can be interrupted. asyncio's shared threads are few, so that a handful
of such calls would hold up every other one, and its stop waits for them. Here each call has a
daemon thread; one that hangs is left behind, and no second one is started beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Callable, TypeVar

from ha_agent.errors import EnvironmentFault

Value = TypeVar("Value")


class StillBusy(EnvironmentFault):
    """An earlier call has not ended."""


class Aside:
    """Runs one blocking call at a time. `name` is for people, and the thread's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._busy = threading.Lock()

    async def call(self, work: Callable[[], Value]) -> Value:
        """Return what `work` returns, or raise what it raises; a cancelled one runs on unheard.

        Raises StillBusy while an earlier call has not ended, EnvironmentFault without a thread.
        """
        if not self._busy.acquire(blocking=False):
            raise StillBusy(f"an earlier {self._name} has not ended yet")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Value] = loop.create_future()

        def run() -> None:
            try:
                value = work()
            except BaseException as error:  # handed over, whatever it is
                outcome = error
                tell: Callable[[], None] = lambda: _fail(answer, outcome)  # noqa: E731
            else:
                tell = lambda: _succeed(answer, value)  # noqa: E731
            finally:
                self._busy.release()
            # The loop is closed where the broker stopped while this hung.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(tell)

        try:
            threading.Thread(target=run, name=self._name, daemon=True).start()
        except RuntimeError as error:
            self._busy.release()
            raise EnvironmentFault(f"no thread for the {self._name}: {error}") from error
        return await answer


def _fail(answer: asyncio.Future[Value], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _succeed(answer: asyncio.Future[Value], value: Value) -> None:
    if not answer.done():
        answer.set_result(value)
