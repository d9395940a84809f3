# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

import pytest

from ha_agent.vdsm.client.answers import read_task_status
from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.tasks import Tasks


async def ended(tasks: Tasks, task_id: str) -> None:
    while tasks.status(task_id)["taskState"] == "running":  # noqa: ASYNC110 (VDSM has no event)
        await asyncio.sleep(0)


async def test_a_task_runs_and_succeeds_and_is_cleared() -> None:
    tasks, gate = Tasks(), asyncio.Event()

    async def work() -> None:
        await gate.wait()

    task_id = tasks.begin("work", work())
    status = tasks.status(task_id)
    assert (status["taskState"], status["taskResult"], status["taskID"]) == (
        "running",
        "",
        task_id,
    )
    with pytest.raises(Refusal) as refused:
        tasks.clear(task_id)
    assert refused.value.code == 403
    gate.set()
    await ended(tasks, task_id)
    assert read_task_status(tasks.status(task_id)).has_succeeded
    tasks.clear(task_id)
    with pytest.raises(Refusal) as refused:
        tasks.status(task_id)
    assert refused.value.code == 401


async def test_what_went_wrong_is_in_the_status() -> None:
    tasks = Tasks()

    async def work() -> None:
        raise Refusal(212, "Volume already exists")

    task_id = tasks.begin("work", work())
    await ended(tasks, task_id)
    status = read_task_status(tasks.status(task_id))
    assert (status.has_ended, status.has_succeeded) == (True, False)
    assert (status.code, status.message) == (212, "Volume already exists")


async def test_tasks_that_nobody_clears_are_forgotten_but_none_that_runs() -> None:
    tasks, gate = Tasks(), asyncio.Event()

    async def nothing() -> None:
        pass

    async def wait() -> None:
        await gate.wait()

    running = tasks.begin("wait", wait())
    first = tasks.begin("nothing", nothing())
    for _ in range(120):
        await ended(tasks, tasks.begin("nothing", nothing()))
    with pytest.raises(Refusal):
        tasks.status(first)
    assert tasks.status(running)["taskState"] == "running"
    await tasks.stop()
