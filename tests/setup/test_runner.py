# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import pytest

from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.setup.journal import Journal, open_journal
from ha_agent.setup.runner import run_steps
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from tests.fakes import FakeClock


class Killed(BaseException):
    """As a SIGKILL: no handler of ours sees it."""


@dataclass
class FakeStep:
    """Needs `needs` in the world, and puts its own name there."""

    name: str
    world: dict[str, int]
    needs: str = ""
    refuse: str = ""
    fault: Optional[HaAgentError] = None
    kill_before: bool = False
    kill_after: bool = False
    in_vain: bool = False
    journal: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"make {self.name}"

    async def look(self) -> Found:
        if self.refuse:
            raise SetupRefused(self.refuse)
        if self.name in self.world:
            return Found(True, f"{self.name} is there")
        return Found(False, f"there is no {self.name}")

    async def do(self, say: Say) -> str:
        assert not self.needs or self.needs in self.world
        if self.fault:
            raise self.fault
        if self.kill_before:
            raise Killed
        say("50 %")
        if not self.in_vain:
            self.world[self.name] = self.world.get(self.name, 0) + 1
        if self.kill_after:
            raise Killed
        return f"{self.name} made"


async def run(journal: Journal, *steps: FakeStep, dry: bool = False) -> tuple[list[str], object]:
    lines: list[str] = []
    done = await run_steps(
        steps, journal=journal, say=lines.append, dry_run=dry, clock=FakeClock()
    )
    return lines, done


async def test_steps_are_shown_and_done_once(tmp_path: Path) -> None:
    world: dict[str, int] = {}
    steps = FakeStep("a", world), FakeStep("b", world, needs="a")
    with open_journal(tmp_path, "deploy", "x") as journal:
        lines, done = await run(journal, *steps)
        assert lines == [
            "[1/2] make a ...",
            "[1/2] make a ... 50 %",
            "[1/2] make a ... done (0.0 s): a made",
            "[2/2] make b ...",
            "[2/2] make b ... 50 %",
            "[2/2] make b ... done (0.0 s): b made",
        ]
        assert done == ("a", "b")
        assert journal.is_finished()
    with open_journal(tmp_path, "deploy", "x") as journal:
        before = journal.path.read_bytes()
        lines, done = await run(journal, *steps)
        assert lines[0] == "[1/2] make a ... already done: a is there"
        assert done == ()
        assert journal.path.read_bytes() == before
    assert world == {"a": 1, "b": 1}


async def test_a_dry_run_shows_the_plan_and_does_nothing(tmp_path: Path) -> None:
    world = {"a": 1}
    steps = FakeStep("a", world), FakeStep("b", world)
    journal = open_journal(tmp_path, "deploy", "x", write=False)
    lines, plan = await run(journal, *steps, dry=True)
    assert lines == [
        "[1/2] make a: already done: a is there",
        "[2/2] make b: to do: there is no b",
        "dry run: 1 step to do, nothing was changed",
    ]
    assert plan == ("b",)
    assert world == {"a": 1}


class Lines(list[str]):
    """What was said; `seen(part)` waits until a line has it."""

    def __init__(self) -> None:
        self._more = asyncio.Event()

    def say(self, text: str) -> None:
        self.append(text)
        self._more.set()

    async def seen(self, part: str) -> None:
        while not any(part in line for line in self):
            self._more.clear()
            await self._more.wait()


class SlowStep(FakeStep):
    """Looks and works until somebody was told that it is at it."""

    def __init__(self, lines: Lines) -> None:
        super().__init__("a", {})
        self.lines = lines

    async def look(self) -> Found:
        await self.lines.seen("looking: at it for")
        return await super().look()

    async def do(self, say: Say) -> str:
        await self.lines.seen("... at it for")
        return await super().do(say)


async def test_a_long_step_is_told_to_be_at_it(tmp_path: Path) -> None:
    lines = Lines()
    with open_journal(tmp_path, "deploy", "x") as journal:
        await run_steps(
            [SlowStep(lines)],
            journal=journal,
            say=lines.say,
            dry_run=False,
            clock=FakeClock(),
            tell_seconds=0.01,
        )
    assert lines[0].startswith("[1/1] make a: looking: at it for ")
    assert any(line.startswith("[1/1] make a ... at it for ") for line in lines)
    assert lines[-1].endswith("a made")


class HungStep(FakeStep):
    """Never ends, and puts "ended" into the world when it is cancelled."""

    async def do(self, say: Say) -> str:
        say("hung")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.world["ended"] = 1
        return ""


async def test_a_cancelled_run_ends_after_its_step(tmp_path: Path) -> None:
    world: dict[str, int] = {}
    lines = Lines()
    with open_journal(tmp_path, "deploy", "x") as journal:
        task = asyncio.ensure_future(
            run_steps(
                [HungStep("a", world)],
                journal=journal,
                say=lines.say,
                dry_run=False,
                clock=FakeClock(),
            )
        )
        await lines.seen("[1/1] make a ... hung")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert world == {"ended": 1}


async def test_all_refusals_are_known_before_the_first_change(tmp_path: Path) -> None:
    world: dict[str, int] = {}
    steps = (
        FakeStep("a", world),
        FakeStep("b", world, refuse="other content"),
        FakeStep("c", world, refuse="taken"),
    )
    caught = pytest.raises(SetupRefused)
    with open_journal(tmp_path, "deploy", "x") as journal, caught as error:
        await run(journal, *steps)
    assert str(error.value) == "can't make b: other content\ncan't make c: taken"
    assert world == {}


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_any_step_a_re_run_ends_well(tmp_path: Path, at: int, after: bool) -> None:
    world: dict[str, int] = {}
    steps = [FakeStep("a", world), FakeStep("b", world, "a"), FakeStep("c", world, "b")]
    steps[at].kill_before, steps[at].kill_after = not after, after
    with open_journal(tmp_path, "deploy", "x") as journal:
        with pytest.raises(Killed):
            await run(journal, *steps)
        assert not journal.is_finished()
    steps[at].kill_before = steps[at].kill_after = False
    with open_journal(tmp_path, "deploy", "x") as journal:
        await run(journal, *steps)
        assert journal.is_finished()
    assert world == {"a": 1, "b": 1, "c": 1}


async def test_a_step_that_says_done_and_is_not_ends_the_run(tmp_path: Path) -> None:
    world: dict[str, int] = {}
    steps = FakeStep("a", world, in_vain=True), FakeStep("b", world)
    with open_journal(tmp_path, "deploy", "x") as journal:
        with pytest.raises(SetupFailed, match=r"make a: it was done, but .* there is no a"):
            await run(journal, *steps)
        assert not journal.is_finished()
    assert world == {}


async def test_a_fault_names_its_step(tmp_path: Path) -> None:
    step = FakeStep("a", {}, fault=EnvironmentFault("no VDSM"))
    failed = pytest.raises(SetupFailed, match="can't make a: no VDSM")
    with open_journal(tmp_path, "deploy", "x") as journal, failed:
        await run(journal, step)
