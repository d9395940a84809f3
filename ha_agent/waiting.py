# SPDX-License-Identifier: Apache-2.0
"""Waiting for an event with a limit, in a task that may be cancelled.

Not asyncio.wait_for: before Python 3.12 it swallows a cancellation that arrives together with
the event (python/cpython issue 86296), and the task that was to end goes on for ever.
"""

from __future__ import annotations

import asyncio


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
