# SPDX-License-Identifier: Apache-2.0
"""Calls that hang are left behind, and what they bring too late is given back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads


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
    assert await asyncio.wait_for(discarded, 5) == 7
    assert await threads.run("next", 5, lambda: 1) == 1


async def test_a_cancelled_caller_gives_the_result_back_too() -> None:
    threads = StorageThreads()
    released = threading.Event()
    discarded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    call = asyncio.create_task(
        threads.run("disk", 5, lambda: released.wait(20), discard=discarded.set_result)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    released.set()
    assert await asyncio.wait_for(discarded, 5) is True
