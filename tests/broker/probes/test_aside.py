# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import threading

import pytest

from ha_agent.broker.probes.aside import Aside
from ha_agent.errors import EnvironmentFault


async def test_a_call_gives_what_it_returns_or_raises() -> None:
    aside = Aside("look")
    assert await aside.call(lambda: 7) == 7

    def fail() -> None:
        raise ZeroDivisionError("a fault of ours")

    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        await aside.call(fail)
    assert await aside.call(lambda: 8) == 8


async def test_beside_one_that_hangs_none_is_started_and_the_loop_goes_on() -> None:
    aside, begun, end = Aside("look"), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        end.wait(30)

    hanging = asyncio.ensure_future(aside.call(hang))
    try:
        while not begun.is_set():  # noqa: ASYNC110, another thread
            await asyncio.sleep(0.001)
        for _ in range(3):
            with pytest.raises(EnvironmentFault, match="an earlier look has not ended yet"):
                await aside.call(lambda: 1)
        # Another one's thread is another thread.
        assert await Aside("other").call(lambda: 2) == 2
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        with pytest.raises(EnvironmentFault):
            await aside.call(lambda: 1)
    finally:
        end.set()
    while True:
        try:
            assert await aside.call(lambda: 3) == 3
            break
        except EnvironmentFault:
            await asyncio.sleep(0.001)


def test_the_end_of_the_loop_waits_for_none_that_hangs() -> None:
    """asyncio's own threads would be waited for, as long as they hang."""
    end = threading.Event()

    async def ask_and_go() -> None:
        call = asyncio.ensure_future(Aside("look").call(lambda: end.wait(30)))
        await asyncio.sleep(0)
        call.cancel()

    try:
        asyncio.run(ask_and_go())
        assert [t.name for t in threading.enumerate() if t.name == "look" and t.daemon] == ["look"]
    finally:
        end.set()
    for thread in threading.enumerate():
        if thread.name == "look":
            thread.join()  # heard by nobody: its loop is closed
