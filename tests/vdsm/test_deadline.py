# SPDX-License-Identifier: Apache-2.0
"""Calls that hang are left behind, and what they bring too late is given back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.waiting import within


async def test_a_result_and_an_error_come_through() -> None:
    threads = StorageThreads()
    assert await threads.run("a", 5, lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await threads.run("b", 5, lambda: 1 // 0)


async def test_a_hung_call_is_left_and_its_late_result_discarded() -> None:
    threads = StorageThreads(max_threads=1)
    released = threading.Event()
    discarded: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def hang() -> int:
        released.wait(20)
        return 7

    with pytest.raises(DeadlineExceeded, match="disk"):
        await threads.run("disk", 0.05, hang, discard=discarded.set_result)
    with pytest.raises(EnvironmentFault, match="1 storage calls hang already"):
        await threads.run("next", 5, lambda: 1)
    released.set()
    assert await within(20, discarded) == 7
    assert await threads.run("next", 5, lambda: 1) == 1


async def test_a_cancelled_caller_ends_when_the_result_was_given_back() -> None:
    """VM.destroy during a start: the next start must not find the lease taken by the last one."""
    threads = StorageThreads()
    released = threading.Event()
    discarded: list[bool] = []
    call = asyncio.create_task(
        threads.run("lease", 20, lambda: released.wait(20), discard=discarded.append)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.sleep(0)
    assert not call.done()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert discarded == [True]


async def test_a_result_that_comes_together_with_the_cancel_is_given_back() -> None:
    threads = StorageThreads()
    discarded: list[int] = []
    call = asyncio.create_task(threads.run("lease", 20, lambda: 7, discard=discarded.append))
    await asyncio.sleep(0)
    while "lease" in " ".join(thread.name for thread in threading.enumerate()):
        pass  # the thread's last act has told the loop
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert discarded == [7]


async def test_a_cancelled_caller_of_a_hung_call_ends_at_the_deadline() -> None:
    threads = StorageThreads()
    released = threading.Event()
    discarded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    call = asyncio.create_task(
        threads.run("disk", 0.05, lambda: released.wait(20), discard=discarded.set_result)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    released.set()
    assert await within(20, discarded) is True
