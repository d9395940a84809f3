# SPDX-License-Identifier: Apache-2.0
"""The engine VM's definition: found in the OVF_STORE, checked, judged, kept.

    VDSM: the descriptions of the copies that are known; all images and volumes of the domain at
          the start, when told that something changed, and every ten minutes
      -> locate.order_copies: the copy that is whole and newest first
      -> Image.prepare, then <vm>.ovf out of it by a storage worker
      -> the description read again: the same, or the copy changed under us
      -> parse_ovf, domain_xml
      -> the guard: a definition that it refuses waits; the one in use stays in use
      -> this host's history, where the next start of the broker finds it

A copy that can't be used gives way to the next one. When none can, the newest definition of the
history stays in use, visibly stale. A refused definition is judged again with each look, since
hosts come back, and is used when the guard lets it pass, when a person has approved it beside
the OVF or earlier on this host, or when one insists now (`accept`). Nothing that asks for
status waits for any of this. A store whose descriptions have not changed is not read again.
Long work, parsing, judging and writing files, is done in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Callable, Optional, Protocol

from ha_agent.broker.definition.files import DefinitionFiles
from ha_agent.broker.definition.values import (
    Definition,
    Judge,
    Judged,
    Pending,
    dates_of,
    definition_entry,
    is_from_one_of,
    is_read_from,
    is_way_back,
    read_definition,
    source_of,
    store_notes,
    was_written,
)
from ha_agent.broker.snapshot import DefinitionEntry
from ha_agent.broker.store.reader import StoreReader, approved_codes
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.ovfstore.difference import differences
from ha_agent.ovfstore.guard import Refusal
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.locate import RankedCopy, StoreCopy, order_copies
from ha_agent.waiting import wait_for_event

log = logging.getLogger(__name__)

# A new copy is seen after so long, whoever made it and told nobody.
_FULL_LOOK_SECONDS = 600.0


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...


class DefinitionKeeper:
    """Keeps `current` as good as the store, the guard and this host's memory allow."""

    def __init__(
        self,
        reader: StoreReader,
        *,
        history: History,
        judge: Judge,
        vm_conf: Path,
        clock: Clock,
        refresh_interval_seconds: float,
        on_change: Callable[[DefinitionEntry], None],
    ) -> None:
        self._reader = reader
        self._vm_uuid = reader.vm_uuid
        self._domain_uuid = reader.domain_uuid
        self._judge = judge
        self._clock = clock
        self._refresh_interval_seconds = refresh_interval_seconds
        self._on_change = on_change
        self._seen: Optional[tuple[StoreCopy, ...]] = None
        self._looked_at_all: Optional[Instant] = None
        self._passed_over: list[str] = []
        self._store_notes: tuple[str, ...] = ()
        self._dates: dict[str, str] = {}
        self._wanted = asyncio.Event()
        self._refreshing: Optional[asyncio.Task[str]] = None
        self._loading: Optional[asyncio.Task[None]] = None
        self._deciding = asyncio.Lock()
        self._puts = 0
        self._problem = "the store has not been read yet"
        self._files = DefinitionFiles(
            history,
            vm_conf,
            vm_uuid=reader.vm_uuid,
            domain_uuid=reader.domain_uuid,
            on_change=self._publish,
        )
        self.current: Optional[Definition] = None
        self.pending: Optional[Pending] = None

    async def run(self) -> None:
        """Look at once, then at each interval, and whenever `poke` is called."""
        while True:
            self._wanted.clear()
            await self.refresh()
            # Without any definition nothing can start: look again soon.
            interval_seconds = self._refresh_interval_seconds
            if self.current is None:
                interval_seconds = min(interval_seconds, 1.0)
            elif self._problem:
                interval_seconds = min(interval_seconds, 5.0)
            await wait_for_event(self._wanted, interval_seconds)

    def poke(self) -> None:
        """Look soon: VDSM has come back, or the engine says that something changed."""
        self._wanted.set()

    async def refresh(self, *, read_again: bool = False) -> str:
        """Look at the store now. Returns "" or why the definition may not be the newest.

        Several callers share one look. With `read_again` an unchanged description is no
        reason not to read, all volumes of the domain are looked at, and a look that began before
        the call does not count.
        """
        if read_again:
            if self._refreshing is not None:
                await asyncio.wait({self._refreshing})
            self._seen = self._looked_at_all = None
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.ensure_future(self._refresh())
        return await asyncio.shield(self._refreshing)

    async def _refresh(self) -> str:
        await self._loaded()
        before = self._problem
        try:
            self._problem = await self._look()
        except (EnvironmentFault, BadInput) as fault:
            self._problem = str(fault)
        if self._problem and self._problem != before:
            log.warning("definition: %s", self._problem)
        elif before and not self._problem:
            log.info("definition: read from the store")
        await self._files.keep_rest()
        return self._publish().problem

    # Looking at the store ----------------------------------------------------------------

    async def _look(self) -> str:
        copies = await self._copies()
        if not copies:
            return f"storage domain {self._domain_uuid} has no OVF_STORE volume"
        if self._seen == copies and self.current is not None:
            async with self._deciding:
                if self.pending is not None:
                    await self._consider(self.pending.definition)
            return ""
        puts = self._puts
        faults = list(self._reader.problems)
        all_read = True
        # What VDSM can't tell about now may be the copy that was read before.
        known = bool(faults) and not is_from_one_of(self.current, copies)
        held: Optional[Pending] = None
        ranking = order_copies(copies, storage_domain_uuid=self._domain_uuid)
        unusable = [ranked.reason for ranked in ranking if was_written(ranked)]
        for ranked in ranking:
            if not ranked.usable:
                faults.append(ranked.reason)
                continue
            try:
                definition = await self._read(ranked)
            except (EnvironmentFault, BadInput) as fault:
                faults.append(str(fault))
                all_read = False
                known = known or is_read_from(self.current, ranked)
                continue
            doubtful = known or unusable or not all_read
            if doubtful and is_way_back(
                self.current, definition, ranked, known=known, dates=self._dates
            ):
                return "what was read before stays in use: " + "; ".join([*faults, *unusable])
            # What could not be read, perhaps just now, is tried again with the next look.
            self._seen = copies if all_read else None
            async with self._deciding:
                if puts == self._puts:
                    await self._consider(definition)
            if puts != self._puts:
                return await self._look()  # it was read before this host put another
            if self.current is None:
                # An older copy that the guard lets pass is better than nothing.
                faults.append(f"the guard refuses definition {definition.identity}")
                held = held or self.pending
                continue
            self.pending = held or self.pending
            self._tell_passed_over(faults)
            self._store_notes = store_notes(ranking, faults)
            self._dates = dates_of(ranking) if self.pending is None else self._dates
            return ""
        self.pending = held or self.pending
        return "no copy of the OVF_STORE can be used: " + "; ".join(faults)

    async def _copies(self) -> tuple[StoreCopy, ...]:
        began_at, before = self._clock.now(), self._looked_at_all
        if before is not None and began_at - before < _FULL_LOOK_SECONDS:
            return await self._reader.known_copies()
        copies = await self._reader.copies()
        self._looked_at_all = began_at
        return copies

    def _tell_passed_over(self, faults: list[str]) -> None:
        if faults != self._passed_over:
            for reason in faults:
                log.warning("definition taken from the other copy: %s", reason)
        self._passed_over = faults

    async def _read(self, ranked: RankedCopy) -> Definition:
        stored = await self._reader.read(ranked)
        where = f"volume {stored.copy.volume_uuid}, {self._vm_uuid}.ovf"
        source = source_of(stored.copy)
        definition = await self._parsed(stored.document, where, source, stored.last_updated)
        approved = approved_codes(stored, definition.identity)
        return dataclasses.replace(definition, approved=approved)

    async def _parsed(
        self, document: bytes, where: str, source: str, last_updated: str = ""
    ) -> Definition:
        """Read a document in a thread: a long one would hold up everything for a second."""
        read = functools.partial(
            read_definition,
            document,
            where,
            vm_uuid=self._vm_uuid,
            domain_uuid=self._domain_uuid,
            source=source,
            last_updated=last_updated,
            accepted_at=self._clock.wall(),
        )
        return await asyncio.get_running_loop().run_in_executor(None, read)

    # Judging -----------------------------------------------------------------------------

    async def _consider(self, definition: Definition) -> None:
        """Use a definition of the store unless the guard refuses it."""
        current = self.current
        if current is not None and current.identity == definition.identity:
            self.pending = None
            self.current = dataclasses.replace(
                current,
                source=definition.source,
                last_updated=definition.last_updated,
                is_from_history=False,
            )
            return
        refusals = await self._refusals(definition)
        approved = self._files.approved(definition.identity) | set(definition.approved)
        standing = tuple(r for r in refusals if not (r.may_force and r.code in approved))
        if standing:
            await self._hold(definition, standing)
            return
        overruled = tuple(sorted({refusal.code for refusal in refusals}))
        await self._adopt(dataclasses.replace(definition, approved=overruled))

    async def _refusals(self, definition: Definition) -> tuple[Refusal, ...]:
        current = None if self.current is None else self.current.vm
        return await self._judge(definition.vm, definition.domain, current)

    async def _hold(self, definition: Definition, refusals: tuple[Refusal, ...]) -> None:
        changes = await self._changes(definition)
        before, self.pending = self.pending, Pending(definition, refusals, changes)
        if before is None or before.problem != self.pending.problem:
            log.warning("definition: %s", self.pending.problem)
            for change in changes:
                log.warning("definition %s would change: %s", definition.identity, change)

    async def _changes(self, definition: Definition) -> tuple[str, ...]:
        if self.current is None:
            return ()
        compare = functools.partial(differences, self.current.vm, definition.vm)
        return await asyncio.get_running_loop().run_in_executor(None, compare)

    async def judge_document(self, document: bytes, *, where: str = "the document") -> Judged:
        """Return what a document means, what the guard has against it now, and its changes.

        Approvals don't count. Raises BadInput when nothing can be started from it.
        """
        await self._loaded()
        definition = await self._parsed(document, where, where)
        current = self.current
        same = current is not None and current.identity == definition.identity
        refusals = () if same else await self._refusals(definition)
        return Judged(definition.vm, definition.domain, refusals, await self._changes(definition))

    async def accept(self, identity: str, *, force: bool) -> tuple[Refusal, ...]:
        """Use the definition that waits, as a person on this host wants it.

        Returns the refusals that stand against that: those that nobody may force, without
        `force` all. () when it is in use now. Raises BadInput when no such definition waits.
        """
        async with self._deciding:
            pending = self.pending
            if pending is None or pending.definition.identity != identity:
                waiting = "none does" if pending is None else f"{pending.definition.identity} does"
                raise BadInput(f"no definition {identity!r:.40} waits to be accepted; {waiting}")
            refusals = await self._refusals(pending.definition)
            standing = tuple(r for r in refusals if not (force and r.may_force))
            if not standing:
                definition = dataclasses.replace(
                    pending.definition,
                    accepted_at=self._clock.wall(),
                    how="forced" if refusals else pending.definition.how,
                    approved=tuple(sorted({refusal.code for refusal in refusals})),
                )
                await self._adopt(definition)
            return standing

    @contextlib.asynccontextmanager
    async def putting(self) -> AsyncIterator[None]:
        """While this host puts a document: a look that finds it there waits for `accepted`."""
        async with self._deciding:
            yield

    async def accepted(
        self,
        document: bytes,
        *,
        how: str,
        source: str,
        last_updated: str = "",
        approved: tuple[str, ...] = (),
    ) -> Definition:
        """Use a document that this host has just put into the store, within `putting`.

        The caller judged it. `how` is put, pushed or rollback, `last_updated` the copies' date
        now. Raises BadInput when nothing can be started from it.
        """
        await self._loaded()
        definition = await self._parsed(document, source, source, last_updated)
        definition = dataclasses.replace(definition, how=how, approved=approved)
        self._puts += 1
        self._seen = None
        await self._adopt(definition)
        self.poke()
        return definition

    async def _adopt(self, definition: Definition) -> None:
        log.info(
            "definition %s of %s accepted from %s (%s)%s",
            definition.identity,
            definition.vm.name,
            definition.source,
            definition.how,
            f"; overruled: {', '.join(definition.approved)}" if definition.approved else "",
        )
        self.current, self.pending = definition, None
        self._publish()
        await self._files.keep(definition)

    async def _loaded(self) -> None:
        """Wait until the history has been looked at, once."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._load())
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        self.current = await self._files.load()
        self._publish()

    def _publish(self) -> DefinitionEntry:
        current = self.current
        entry = definition_entry(
            current,
            self.pending,
            version=0 if current is None else self._files.version_of(current.identity),
            store_problem=self._problem,
            history_problem=self._files.problem,
            store_notes=(*self._store_notes, *self._files.damage),
        )
        self._on_change(entry)
        return entry
