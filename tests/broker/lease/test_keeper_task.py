# SPDX-License-Identifier: Apache-2.0
"""The keepers' task: one step at a time, faults survived, changes told once."""

from __future__ import annotations

import asyncio
from typing import Optional

import pytest

from ha_agent.broker.lease.keeper_task import KeeperTask
from ha_agent.broker.snapshot import LeaseEntry


class Keeper:
    """Its view is what a test sets; each wait ends when a test lets it."""

    def __init__(self) -> None:
        self.entry = LeaseEntry(state="free", epoch=1)
        self.told: list[LeaseEntry] = []
        self.steps = 0
        self.failures = 0
        self.fault: Optional[Exception] = None
        self.go = asyncio.Semaphore(0)
        self.stepped = asyncio.Event()
        self.task = KeeperTask(
            self.step,
            failed=self.failed,
            wait=self.wait,
            view=lambda: self.entry,
            on_change=self.told.append,
        )

    async def step(self) -> None:
        self.steps += 1
        if self.fault is not None:
            raise self.fault

    async def failed(self) -> None:
        self.failures += 1

    async def wait(self) -> None:
        self.stepped.set()
        await self.go.acquire()

    async def next_step(self) -> None:
        self.stepped.clear()
        self.go.release()
        await self.stepped.wait()


async def test_tells_a_change_once() -> None:
    keeper = Keeper()
    keeper.task.start()
    await keeper.stepped.wait()
    await keeper.next_step()
    assert [entry.epoch for entry in keeper.told] == [1]
    keeper.entry = LeaseEntry(state="held", epoch=2)
    await keeper.next_step()
    await keeper.task.stop()
    assert [entry.epoch for entry in keeper.told] == [1, 2]


async def test_a_step_that_raises_is_said_and_not_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper = Keeper()
    keeper.fault = RuntimeError("a bug")
    keeper.task.start()
    await keeper.stepped.wait()
    assert keeper.failures == 1
    assert "a bug" in caplog.text
    keeper.fault = None
    await keeper.next_step()
    assert (keeper.steps, keeper.failures) == (2, 1)
    await keeper.task.stop()


async def test_no_step_begins_while_a_verb_is_busy() -> None:
    keeper = Keeper()
    async with keeper.task.busy:
        keeper.task.start()
        for _ in range(5):
            await asyncio.sleep(0)
        assert keeper.steps == 0
    await keeper.stepped.wait()
    assert keeper.steps == 1
    await keeper.task.stop()


async def test_stop_ends_it_and_may_come_twice() -> None:
    keeper = Keeper()
    await keeper.task.stop()
    keeper.task.start()
    await keeper.stepped.wait()
    await keeper.task.stop()
    keeper.go.release()
    await asyncio.sleep(0)
    assert keeper.steps == 1
    await keeper.task.stop()
