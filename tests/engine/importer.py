# SPDX-License-Identifier: Apache-2.0
"""`engine import` as a test runs it: the real SDK, an engine of ours, and a clock that waits for
nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

from ha_agent.engine import reach
from ha_agent.engine.api import Engine
from ha_agent.engine.budget import Budget
from ha_agent.engine.importing import Outcome, connect, import_all, journal_of
from ha_agent.engine.sdk import EngineLink, Login
from ha_agent.engine.step_base import Run
from ha_agent.engine.store_view import Definition, StoreCopy
from ha_agent.engine.views import Wanted
from ha_agent.errors import EnvironmentFault
from ha_agent.setup.journal import Journal
from ha_agent.vdsm.client import storage_server
from tests.engine.engine_model import DOMAIN, VM, Model
from tests.engine.engine_server import PASSWORD, USER, EngineServer
from tests.fakes import FakeClock

SERVER = storage_server.nfs("192.0.2.1:/exports/he", "4.1")
WANTED = Wanted(DOMAIN, VM, SERVER, "alpha")


class FakeView:
    """The OVF_STORE as a broker beside that engine's storage sees it; or no broker."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.away = False

    async def copies(self) -> tuple[StoreCopy, ...]:
        if self.away:
            raise EnvironmentFault("no broker")
        return tuple(
            StoreCopy(uuid, copy.status.now == "ok", f"updated {copy.date}")
            for uuid, copy in self.model.copies.items()
        )

    async def definition(self, refresh: bool) -> Definition:
        if self.away:
            raise EnvironmentFault("no broker")
        date = max(copy.date for copy in self.model.copies.values())
        return Definition(f"identity-{date}", str(date), "")


class Importer:
    """Runs `engine import` against a server of engine_server.py; `said` is its progress."""

    def __init__(self, server: EngineServer, folder: Path, wanted: Wanted = WANTED) -> None:
        self.server = server
        self.folder = folder
        self.wanted = wanted
        self.view = FakeView(server.model)
        self.said: list[str] = []
        self.clock = FakeClock()
        self.total_seconds = 3600.0

    def want(self, **changes: object) -> None:
        """Want something else from now on."""
        self.wanted = replace(self.wanted, **changes)  # type: ignore[arg-type]

    def link(self, password: str = PASSWORD, ca_file: Optional[str] = None) -> EngineLink:
        """Return a login that is not made yet."""
        login = Login(self.server.url, USER, password, ca_file or self.server.ca)
        return EngineLink(login, Budget(self.clock, self.total_seconds))

    async def run(self, *, password: str = PASSWORD, dry_run: bool = False) -> Outcome:
        """Connect and import everything, with a clock that runs only while it sleeps."""
        link = self.link(password)
        budget = Budget(self.clock, self.total_seconds)
        engine = Engine(link)
        try:
            trust = reach.trust_of(self.server.ca)
            await connect(engine, self.server.url, trust, budget=budget, say=self.said.append)
            return await import_all(
                engine,
                self.wanted,
                self.view,
                state_dir=self.folder,
                budget=budget,
                clock=self.clock,
                say=self.said.append,
                dry_run=dry_run,
                interval_minutes=5,
            )
        finally:
            await link.close()

    def journal(self, *, write: bool = True) -> Journal:
        """Open the journal that `run` uses."""
        return journal_of(self.folder, self.wanted, write=write)

    def step_run(self, link: EngineLink, journal: Journal) -> Run:
        """Return what the steps are made with, to take one alone."""
        return Run(
            Engine(link),
            self.wanted,
            journal=journal,
            budget=Budget(self.clock, self.total_seconds),
            say=self.said.append,
        )

    def has_said(self, words: str) -> bool:
        """Tell whether a line of the progress has those words."""
        return any(words in line for line in self.said)
