# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ha_agent.errors import InvariantBroken
from ha_agent.sim.loop import Process, SimLoop, new_loop


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    made = new_loop()
    with made.entered():
        yield made
        made.end()


async def count(said: list[str], name: str, seconds: float) -> None:
    try:
        for number in range(1, 100):
            await asyncio.sleep(seconds)
            said.append(f"{name}{number}")
    finally:
        said.append(f"{name} ended")


def test_time_jumps_and_order_is_by_time_then_by_who_asked_first(loop: SimLoop) -> None:
    said: list[str] = []
    loop.call_later(5.0, said.append, "late")
    loop.call_later(1.0, said.append, "first")
    loop.call_later(1.0, said.append, "second")
    loop.call_soon(said.append, "now")
    loop.run_until(1.0)
    assert (said, loop.now) == (["now", "first", "second"], 1.0)
    loop.run_until(100.0)
    assert (said[-1], loop.now) == ("late", 100.0)


def test_a_cancelled_callback_does_not_run(loop: SimLoop) -> None:
    said: list[str] = []
    loop.call_later(1.0, said.append, "never").cancel()
    loop.call_soon(said.append, "never").cancel()
    loop.run_until(2.0)
    assert said == []


def test_asyncio_works_on_it(loop: SimLoop) -> None:
    async def both() -> list[float]:
        event = asyncio.Event()
        loop.call_later(3.0, event.set)
        done, late = await asyncio.wait(
            {asyncio.ensure_future(event.wait()), asyncio.ensure_future(asyncio.sleep(9.0))},
            timeout=4.0,
        )
        assert len(done) == len(late) == 1
        await asyncio.gather(asyncio.sleep(1.0), asyncio.sleep(2.0))
        return [loop.time()]

    assert loop.run(both()) == [6.0]


def test_a_hung_process_goes_on_where_it_was(loop: SimLoop) -> None:
    said: list[str] = []
    process = Process(loop, "p")
    process.spawn(count(said, "a", 1.0))
    process.call_later(2.5, said.append, "timer")
    loop.run_until(1.5)
    process.hang()
    loop.run_until(10.0)
    assert said == ["a1"]
    process.go_on()
    loop.run_until(10.0)
    assert said == ["a1", "timer", "a2"] or said == ["a1", "a2", "timer"]
    loop.run_until(11.0)
    assert said[-1] == "a3"


def test_what_hangs_twice_needs_two_to_go_on(loop: SimLoop) -> None:
    said: list[str] = []
    process = Process(loop, "p")
    process.hang()
    process.hang()
    process.call_later(0.0, said.append, "ran")
    process.go_on()
    loop.run_until(1.0)
    assert said == []
    process.go_on()
    loop.run_until(1.0)
    assert said == ["ran"]


def test_a_killed_process_runs_no_finally(loop: SimLoop) -> None:
    said: list[str] = []
    process, other = Process(loop, "p"), Process(loop, "other")
    process.spawn(count(said, "a", 1.0))
    other.spawn(count(said, "b", 1.0))
    told: list[str] = []
    process.on_killed.append(lambda: told.append("killed"))
    loop.run_until(1.5)
    process.kill()
    process.kill()
    loop.run_until(3.5)
    assert said == ["a1", "b1", "b2", "b3"]
    assert told == ["killed"]


def test_what_a_task_starts_belongs_to_its_process(loop: SimLoop) -> None:
    said: list[str] = []
    process = Process(loop, "p")

    async def parent() -> None:
        asyncio.ensure_future(count(said, "child", 1.0))  # noqa: RUF006
        asyncio.get_running_loop().call_later(1.5, said.append, "timer")
        await asyncio.sleep(100.0)

    process.spawn(parent())
    loop.run_until(1.2)
    process.kill()
    loop.run_until(5.0)
    assert said == ["child1"]


def test_it_is_killed_at_its_nth_step(loop: SimLoop) -> None:
    said: list[str] = []
    process = Process(loop, "p")
    process.spawn(count(said, "a", 1.0))
    process.kill_at(4, process.kill)  # the start; then two a second: the timer, and the task
    loop.run_until(9.0)
    assert said == ["a1"]
    assert not process.alive


def test_a_fast_clock_ends_its_sleeps_early(loop: SimLoop) -> None:
    said: list[str] = []
    Process(loop, "fast", rate=2.0).spawn(count(said, "fast", 2.0))
    loop.run_until(1.0)
    assert said == ["fast1"]


def test_a_suspended_host_s_timers_end_later(loop: SimLoop) -> None:
    said: list[str] = []
    process, other = Process(loop, "p"), Process(loop, "other")
    process.call_later(3.0, said.append, "asleep")
    other.call_later(3.0, said.append, "awake")
    loop.delay((process,), 10.0)
    loop.run_until(12.9)
    assert said == ["awake"]
    loop.run_until(13.0)
    assert said == ["awake", "asleep"]


def test_an_exception_in_a_daemon_ends_the_run(loop: SimLoop) -> None:
    async def broken() -> None:
        await asyncio.sleep(1.0)
        raise ZeroDivisionError

    Process(loop, "p").spawn(broken())
    with pytest.raises(ZeroDivisionError):
        loop.run_until(5.0)
    assert loop.now == 1.0


def test_an_exception_that_nobody_looked_at_ends_the_run(loop: SimLoop) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    async def careless() -> None:
        asyncio.ensure_future(broken())  # noqa: RUF006
        await asyncio.sleep(1.0)

    Process(loop, "p").spawn(careless())
    with pytest.raises(ZeroDivisionError):
        loop.run_until(5.0)


def test_threads_are_refused(loop: SimLoop) -> None:
    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(None, print)

    with pytest.raises(InvariantBroken, match="thread"):
        loop.run(work())


def test_waiting_for_nothing_is_an_error(loop: SimLoop) -> None:
    with pytest.raises(InvariantBroken, match="nothing will ever happen"):
        loop.run(asyncio.Event().wait())


def test_a_process_can_be_spoken_for(loop: SimLoop) -> None:
    said: list[str] = []
    process = Process(loop, "p")
    process.run(lambda: loop.call_later(1.0, said.append, "never"))
    process.kill()
    loop.run_until(2.0)
    assert said == []
