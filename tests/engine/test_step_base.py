# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Union

import pytest

from ha_agent.engine.api import Engine
from ha_agent.engine.budget import Budget
from ha_agent.engine.faults import EngineBusy, EngineFault
from ha_agent.engine.step_base import MAX_REQUESTS, EngineStep, Run
from ha_agent.engine.views import Wanted
from ha_agent.errors import DeadlineExceeded
from ha_agent.setup.journal import open_journal
from ha_agent.setup.step import Found, SetupFailed
from tests.fakes import FakeClock


class Scripted(EngineStep):
    """Goes through what it is given."""

    name = "scripted"
    title = "do what it is told"

    def __init__(self, run: Run, script: list[Union[str, Exception]]) -> None:
        super().__init__(run)
        self.script = script

    async def observe(self) -> Found:
        return Found(not self.script, "as it is")

    async def advance(self) -> str:
        now = self.script.pop(0)
        if isinstance(now, Exception):
            raise now
        return now


class Rig:
    """A run without an engine: these steps ask none."""

    def __init__(self, folder: Path, total_seconds: float = 60.0) -> None:
        self.said: list[str] = []
        clock = FakeClock()
        engine: Engine = Engine(None)  # type: ignore[arg-type]
        with open_journal(folder, "test", "x", write=False) as journal:
            self.run = Run(
                engine,
                Wanted("sd", "vm", None, "alpha"),
                journal=journal,
                budget=Budget(clock, total_seconds),
                say=self.said.append,
            )


async def test_it_goes_on_until_there_is_nothing_left(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    script: list[Union[str, Exception]] = ["locked", "locked", EngineBusy("away"), "locked", ""]
    assert await Scripted(rig.run, script).do(rig.said.append) == "as it is"
    # What stays the same is said once, with the time since the beginning.
    assert rig.said == ["locked (0 s)", "away; looking again (1 s)", "locked (1 s)"]


async def test_other_faults_end_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with pytest.raises(EngineFault, match="broken"):
        await Scripted(rig.run, [EngineFault("broken")]).do(rig.said.append)


async def test_the_budget_ends_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, total_seconds=10.0)
    with pytest.raises(DeadlineExceeded, match="do what it is told: no answer within 10 s"):
        await Scripted(rig.run, ["locked"] * 100).do(rig.said.append)


async def test_a_look_is_patient(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    answers: list[Union[int, Exception]] = [EngineBusy("away"), EngineBusy("away"), 7]

    async def ask() -> int:
        now = answers.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    assert await rig.run.patiently("it", ask) == 7
    assert rig.said == ["away; trying again (0 s)"]


async def test_what_is_in_vain_is_not_asked_for_for_ever(tmp_path: Path) -> None:
    step = Scripted(Rig(tmp_path).run, [])
    taken = 0

    async def take() -> None:
        nonlocal taken
        taken += 1

    async def be_busy() -> None:
        raise EngineBusy("in progress")

    for _ in range(MAX_REQUESTS):
        with pytest.raises(EngineBusy):  # which is no answer, and does not count
            await step.request("it is inactive", be_busy)
        await step.request("it is inactive", take)
    with pytest.raises(SetupFailed, match="took 3 requests, but it is inactive"):
        await step.request("it is inactive", take)
    assert taken == MAX_REQUESTS
