# SPDX-License-Identifier: Apache-2.0
"""The whole of `ha-agent engine import`: the steps in their order, and what is said around them.

It must not keep state of its own: the engine is asked, the journal remembers one word
(vm_steps.py). Order: nothing is asked of the VM before the domain is active, and the OVF_STORE is
written last, when the engine has all that is to stand in it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.engine import reach
from ha_agent.engine.api import INTERVAL_OPTION, Engine
from ha_agent.engine.budget import Budget
from ha_agent.engine.domain_steps import ActivateDomain, AttachDomain, FindHost, ImportDomain
from ha_agent.engine.faults import EngineBusy
from ha_agent.engine.step_base import EngineStep, Run
from ha_agent.engine.store_view import Definition, StoreView
from ha_agent.engine.views import Wanted
from ha_agent.engine.vm_steps import ProtectVm, RegisterVm, UpdateOvfStore
from ha_agent.errors import EnvironmentFault
from ha_agent.ports import Clock
from ha_agent.setup.journal import Journal, open_journal
from ha_agent.setup.runner import run_steps
from ha_agent.setup.step import Found, Say, SetupRefused

VERB = "engine-import"


@dataclass(frozen=True)
class Outcome:
    """What a run did: names of the steps that had something to do, and what is to be said."""

    changed: tuple[str, ...]
    notes: tuple[str, ...]


async def connect(
    engine: Engine,
    url: str,
    trust: ssl.SSLContext,
    *,
    budget: Budget,
    say: Say,
) -> None:
    """Wait until an engine answers at `url` and lets us in. Raises EngineFault and its kinds."""
    told, looks = "", 0
    while True:
        try:
            await reach.look(url, trust, budget)
            say(f"connected: {await engine.product()}")
            return
        except EngineBusy as busy:
            if str(busy) != told:
                told = str(busy)
                say(f"{told}; trying again ({budget.elapsed_seconds:.0f} s)")
        await budget.pause("the engine", looks)
        looks += 1


def steps_of(run: Run, view: StoreView) -> tuple[EngineStep, ...]:
    """Return the steps in their order."""
    host = FindHost(run)
    return (
        host,
        ImportDomain(run, host),
        AttachDomain(run, host),
        ActivateDomain(run, host),
        RegisterVm(run, host),
        ProtectVm(run),
        UpdateOvfStore(run, view),
    )


async def import_all(
    engine: Engine,
    wanted: Wanted,
    view: StoreView,
    *,
    state_dir: Path,
    budget: Budget,
    clock: Clock,
    say: Say,
    dry_run: bool,
    interval_minutes: int,
) -> Outcome:
    """Bring everything into the engine. Raises SetupRefused, SetupFailed, EnvironmentFault."""
    before = await _definition(view, refresh=False)
    with journal_of(state_dir, wanted, write=not dry_run) as journal:
        run = Run(engine, wanted, journal=journal, budget=budget, say=say)
        changed = await run_steps(
            steps_of(run, view), journal=journal, say=say, dry_run=dry_run, clock=clock
        )
        interval = await run.patiently("the update interval", engine.ovf_interval_minutes)
    notes = [interval_note(interval, interval_minutes)]
    if not dry_run:
        notes.append(definition_note(before, await _definition(view, refresh=True)))
    return Outcome(changed, tuple(notes))


async def status_of(run: Run, view: StoreView) -> tuple[tuple[EngineStep, Found], ...]:
    """Look at every step and change nothing; what a look refuses is told as not done."""
    told = []
    for step in steps_of(run, view):
        try:
            found = await step.look()
        except SetupRefused as refused:
            found = Found(False, str(refused))
        told.append((step, found))
    return tuple(told)


def journal_of(state_dir: Path, wanted: Wanted, *, write: bool) -> Journal:
    """Open the journal of the import of this domain and VM."""
    subject = f"VM {wanted.vm_uuid} on storage domain {wanted.domain_uuid}"
    return open_journal(state_dir, VERB, subject, write=write)


def interval_note(minutes: Optional[int], wanted_minutes: int) -> str:
    """Return what is to be done about the update interval, which the API can't set."""
    command = (
        f"`engine-config -s {INTERVAL_OPTION}={wanted_minutes} && "
        "systemctl restart ovirt-engine`, in the engine VM"
    )
    if minutes is None:
        return f"the engine does not tell {INTERVAL_OPTION}; to set it: {command}"
    if minutes <= wanted_minutes:
        return f"the engine writes changes to the OVF_STORE every {minutes} minutes"
    return (
        f"the engine writes changes to the OVF_STORE every {minutes} minutes, and its API can't "
        f"change that; for {wanted_minutes} minutes: {command}"
    )


def definition_note(before: Optional[Definition], after: Optional[Definition]) -> str:
    """Return what the hosts use now, as `ha-agent ovf` shows it."""
    if after is None:
        return "this host's broker can't be asked; look at `ha-agent ovf history` later"
    if after.problem:
        return f"the engine's definition is not in use: {after.problem}"
    dated = f", of {after.last_updated}" if after.last_updated else ""
    if before is None:
        return f"definition {after.identity} is in use{dated}"
    if before.identity == after.identity:
        return f"definition {after.identity} is in use{dated}, the same as before"
    return f"definition {after.identity} is in use{dated}; it was {before.identity} before"


async def _definition(view: StoreView, *, refresh: bool) -> Optional[Definition]:
    try:
        return await view.definition(refresh)
    except EnvironmentFault:
        return None
