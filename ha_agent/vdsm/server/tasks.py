# SPDX-License-Identifier: Apache-2.0
"""VDSM's tasks: what a verb begins, and how its end is asked for.

    Volume.create  -> a task's id        the work goes on after the answer
    Task.getStatus -> running, later finished, with success or the code of what went wrong
    Task.clear     -> forgotten; refused (403) while it runs

A task lives in memory only: as with VDSM's own of this kind, a restart leaves none.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Coroutine
from typing import Any, Optional

from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal

log = logging.getLogger(__name__)

_MAX_TASKS = 100  # those that nobody clears are forgotten, the oldest first


class Tasks:
    """The tasks of this VDSM by id."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Optional[Refusal]]] = {}

    def begin(self, what: str, work: Coroutine[Any, Any, None]) -> str:
        """Begin the work and return the task's id. The work fails with a Refusal."""
        ended = [name for name, task in self._tasks.items() if task.done()]
        for name in ended[: max(0, len(self._tasks) + 1 - _MAX_TASKS)]:
            del self._tasks[name]
        task_id = str(uuid.uuid4())
        self._tasks[task_id] = asyncio.create_task(self._run(what, task_id, work))
        return task_id

    async def _run(
        self, what: str, task_id: str, work: Coroutine[Any, Any, None]
    ) -> Optional[Refusal]:
        try:
            await work
        except Refusal as refusal:
            log.warning("task %s, %s: %d %s", task_id, what, refusal.code, refusal.message)
            return refusal
        return None

    def status(self, task_id: str) -> dict[str, Any]:
        """Task.getStatus. Raises Refusal 401."""
        task = self._get(task_id)
        answer = {"taskID": task_id, "code": 0, "message": "", "taskResult": ""}
        if not task.done():
            return {**answer, "taskState": "running", "message": "running job 1 of 1"}
        refusal = task.result()
        if refusal is not None:
            return {
                **answer,
                "taskState": "finished",
                "taskResult": "cleanSuccess",
                "code": refusal.code,
                "message": refusal.message,
            }
        message = "1 jobs completed successfully"
        return {**answer, "taskState": "finished", "taskResult": "success", "message": message}

    def info(self, task_id: str) -> dict[str, Any]:
        """Task.getInfo. Raises Refusal 401."""
        self._get(task_id)
        return {"id": task_id, "verb": "createVolume"}

    def clear(self, task_id: str) -> None:
        """Task.clear. Raises Refusal 401, or 403 while it runs."""
        if not self._get(task_id).done():
            raise Refusal(VdsmCode.TASK_NOT_FINISHED, f"Task not finished: {(task_id,)!r}")
        del self._tasks[task_id]

    async def stop(self) -> None:
        """End all that run."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _get(self, task_id: str) -> asyncio.Task[Optional[Refusal]]:
        if task_id not in self._tasks:
            raise Refusal(VdsmCode.TASK_UNKNOWN, f"Task id unknown: {(task_id,)!r}")
        return self._tasks[task_id]
