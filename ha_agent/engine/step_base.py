# SPDX-License-Identifier: Apache-2.0
"""What the steps of an import share: looking patiently, and going on until the engine is there.

The engine works on after it has answered, and other people work in it. So a step never counts on
its own request: `advance` looks, does at most one thing, and is called again until it has nothing
left to do. That makes it resumable after a kill at any point, and lets it outlive a restart of
the engine: a request that failed in between is asked again only when a look says that it was lost.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable
from typing import Callable, TypeVar

from ha_agent.engine.api import Engine
from ha_agent.engine.budget import Budget
from ha_agent.engine.faults import EngineBusy
from ha_agent.engine.views import Wanted
from ha_agent.setup.journal import Journal
from ha_agent.setup.step import Found, Say, SetupFailed

T = TypeVar("T")

# So often one thing is asked for in a run. The engine said yes each time, and nothing came of it.
MAX_REQUESTS = 3
# What the store is in the journal under: "wanted" while the engine has a change of the VM that
# may not be in the OVF_STORE yet, "done" when it was written after the last of them.
STORE_KEY = "ovf_store"
WANTED, WRITTEN = "wanted", "done"


class Run:
    """What all steps of one run have in common."""

    def __init__(
        self,
        engine: Engine,
        wanted: Wanted,
        *,
        journal: Journal,
        budget: Budget,
        say: Say,
    ) -> None:
        self.engine = engine
        self.wanted = wanted
        self.journal = journal
        self.budget = budget
        self.say = say

    async def patiently(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what `ask` answers, asking again while the engine is busy or away."""
        told = ""
        looks = 0
        while True:
            try:
                return await ask()
            except EngineBusy as busy:
                if str(busy) != told:
                    told = str(busy)
                    self.say(f"{told}; trying again ({self.budget.elapsed_seconds:.0f} s)")
            await self.budget.pause(what, looks)
            looks += 1


class EngineStep(abc.ABC):
    """A step of setup.runner. Subclasses look once in `observe` and move once in `advance`."""

    name: str
    title: str

    def __init__(self, run: Run) -> None:
        self.run = run
        self.engine = run.engine
        self.wanted = run.wanted
        self._requests = 0

    @abc.abstractmethod
    async def observe(self) -> Found:
        """Look once. Raises SetupRefused, EngineFault."""

    @abc.abstractmethod
    async def advance(self) -> str:
        """Look, do at most one thing, and return what is waited for; "" when all is done.

        Raises SetupRefused, SetupFailed, EngineFault.
        """

    async def look(self) -> Found:
        """Look until the engine answers."""
        return await self.run.patiently(self.title, self.observe)

    async def do(self, say: Say) -> str:
        """Go on until it is done; `say` is told whenever something else is waited for."""
        told, looks = "", 0
        while True:
            try:
                waiting = await self.advance()
            except EngineBusy as busy:
                waiting = f"{busy}; looking again"
            if not waiting:
                return (await self.look()).text
            if waiting != told:
                told, looks = waiting, 0
                say(f"{waiting} ({self.run.budget.elapsed_seconds:.0f} s)")
            await self.run.budget.pause(self.title, looks)
            looks += 1

    async def request(self, state: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask for the one thing that this step wants; only requests that were taken count.

        Raises SetupFailed with `state` when they were in vain too often.
        """
        if self._requests >= MAX_REQUESTS:
            raise SetupFailed(
                f"the engine took {self._requests} requests, but {state}; its events tell why"
            )
        answer = await ask()
        self._requests += 1
        return answer
