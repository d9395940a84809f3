# SPDX-License-Identifier: Apache-2.0
"""Run a command's coroutine so that Ctrl-C ends it in order, on every Python that we support."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end. SIGINT cancels it; when it has ended, KeyboardInterrupt is raised.

    asyncio.run does so from Python 3.11 on; but a signal that the kernel gives to another thread
    (the SDK's, a storage call's) does not wake its loop, which may sleep for minutes. Before 3.11
    the interrupt is raised wherever the program is, and may be lost in a callback.
    """
    interrupts = 0

    async def main() -> T:
        task = asyncio.ensure_future(work)

        def interrupt() -> None:
            nonlocal interrupts
            interrupts += 1
            task.cancel()

        if threading.current_thread() is not threading.main_thread():
            return await task
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            return await task
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if interrupts:
            raise KeyboardInterrupt from None
        raise
