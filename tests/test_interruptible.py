# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the middle of a command's work."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from ha_agent import interruptible


async def forever(ends: list[str]) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        ends.append("put away")


def test_the_work_ends_in_order_and_then_the_interrupt_is_raised() -> None:
    ends: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interruptible.run(forever(ends))
    assert ends == ["put away"]


async def told(value: str) -> str:
    return value


def test_a_result_is_returned_and_the_handler_is_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert interruptible.run(told("done")) == "done"
    assert signal.getsignal(signal.SIGINT) is before


async def cancelled() -> None:
    raise asyncio.CancelledError


def test_a_cancellation_that_nobody_typed_is_none() -> None:
    with pytest.raises(asyncio.CancelledError):
        interruptible.run(cancelled())


def test_a_thread_has_no_signals() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(interruptible.run(told("done"))))
    thread.start()
    thread.join(30)
    assert found == ["done"]
