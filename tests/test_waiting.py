# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

import pytest

from ha_agent.waiting import Joined, Signal, wait_for_event, within


async def test_a_set_event_is_there_at_once() -> None:
    event = asyncio.Event()
    event.set()
    assert await wait_for_event(event, 0.0)


async def test_an_event_ends_the_wait() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, event.set)
    assert await wait_for_event(event, 30.0)


async def test_the_limit_ends_the_wait() -> None:
    assert not await wait_for_event(asyncio.Event(), 0.01)


async def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()

    async def loop() -> None:
        while True:
            event.clear()
            await wait_for_event(event, 30.0)

    task = asyncio.ensure_future(loop())
    await asyncio.sleep(0.01)
    event.set()
    task.cancel()
    _done, left = await asyncio.wait({task}, timeout=5.0)
    assert not left
    assert task.cancelled()


async def test_nothing_is_left_waiting() -> None:
    before = asyncio.all_tasks()
    await wait_for_event(asyncio.Event(), 0.01)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_cancelling_the_waiter_ends_it() -> None:
    task = asyncio.ensure_future(wait_for_event(asyncio.Event(), 30.0))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_signal_ends_the_wait_of_all_and_stays_set_until_it_is_cleared() -> None:
    signal = Signal()
    waits = [asyncio.ensure_future(signal.wait(30.0)) for _ in range(2)]
    await asyncio.sleep(0)
    signal.set()
    assert await asyncio.gather(*waits) == [True, True]
    assert await signal.wait(0.0)
    signal.clear()
    assert not signal.is_set()
    assert not await signal.wait(0.01)


async def test_a_signal_that_is_set_and_cleared_at_once_still_ends_the_wait() -> None:
    signal = Signal()
    wait = asyncio.ensure_future(signal.wait(30.0))
    await asyncio.sleep(0)
    signal.set()
    signal.clear()
    done, _ = await asyncio.wait({wait}, timeout=5.0)
    assert done


async def test_a_cancelled_wait_for_a_signal_leaves_the_others() -> None:
    signal = Signal()
    cancelled, other = (asyncio.ensure_future(signal.wait(30.0)) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    signal.set()
    assert await other
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_within_gives_the_result_or_what_was_raised() -> None:
    async def sound() -> int:
        await asyncio.sleep(0)
        return 7

    async def unsound() -> int:
        raise ValueError("no")

    assert await within(30.0, sound()) == 7
    with pytest.raises(ValueError, match="no"):
        await within(30.0, unsound())


async def test_within_cancels_what_takes_too_long() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(asyncio.TimeoutError):
        await within(0.01, task)
    await asyncio.wait({task}, timeout=5.0)
    assert task.cancelled()


async def test_within_discards_a_result_that_comes_with_a_cancellation() -> None:
    work: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    discarded: list[int] = []
    task = asyncio.ensure_future(within(30.0, work, discarded.append))
    await asyncio.sleep(0.01)
    work.set_result(7)
    task.cancel()
    await asyncio.wait({task}, timeout=5.0)
    assert task.cancelled()
    await asyncio.sleep(0)
    assert discarded == [7]


@pytest.mark.parametrize("fails", [False, True])
async def test_within_discards_a_result_that_comes_too_late(fails: bool) -> None:
    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if fails:
                raise ValueError("no") from None
        return 7

    discarded: list[int] = []
    work = asyncio.ensure_future(stubborn())
    with pytest.raises(asyncio.TimeoutError):
        await within(0.01, work, discarded.append)
    await asyncio.wait({work}, timeout=5.0)
    await asyncio.sleep(0)
    assert discarded == ([] if fails else [7])


async def test_who_asks_meanwhile_gets_the_same_work_and_who_asks_later_gets_new() -> None:
    begun, go_on = 0, asyncio.Event()

    async def work() -> int:
        nonlocal begun
        begun += 1
        mine = begun
        await go_on.wait()
        if mine == 3:
            raise ValueError("third")
        return mine

    joined = Joined(work)
    tasks = [asyncio.ensure_future(joined.result()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    go_on.set()
    assert [await tasks[1], await tasks[2]] == [1, 1]
    assert await joined.result() == 2
    with pytest.raises(ValueError, match="third"):
        await joined.result()
