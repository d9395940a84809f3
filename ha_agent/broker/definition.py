# SPDX-License-Identifier: Apache-2.0
"""The engine VM's definition: found in the OVF_STORE, checked, kept.

    VDSM: images and volumes of the domain, their descriptions
      -> locate.order_copies: the copy that is whole and newest first
      -> Image.prepare, then <vm>.ovf out of it by a storage worker
      -> the description read again: the same, or the copy changed under us
      -> parse_ovf, domain_xml

A copy that can't be used gives way to the next one. When none can, the last definition that
was good on this host stays in use, visibly stale, also across restarts. Nothing that asks for
status waits for any of this. A store whose descriptions have not changed is not read again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional, Protocol

from ha_agent.atomic_file import replace_file
from ha_agent.broker.snapshot import DefinitionEntry
from ha_agent.broker.store_reader import StoreReader
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.ovfstore.locate import RankedCopy, StoreCopy, order_copies
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import DomainXml, domain_xml
from ha_agent.ovfstore.vmconf import vm_conf_text
from ha_agent.waiting import wait_for_event

log = logging.getLogger(__name__)

LAST_GOOD = "last_good.ovf"
VM_CONF = "vm.conf"


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...


@dataclasses.dataclass(frozen=True)
class Definition:
    """One accepted version: the document, what it means, and what VDSM is to be given."""

    identity: str
    document: bytes
    vm: VmDefinition
    domain: DomainXml
    source: str
    last_updated: str
    accepted_at: WallTime


class DefinitionKeeper:
    """Keeps `current` as good as the store and this host's memory allow."""

    def __init__(
        self,
        reader: StoreReader,
        *,
        state_dir: Path,
        run_dir: Path,
        clock: Clock,
        refresh_interval_seconds: float,
        on_change: Callable[[DefinitionEntry], None],
    ) -> None:
        self._reader = reader
        self._vm_uuid = reader.vm_uuid
        self._domain_uuid = reader.domain_uuid
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._clock = clock
        self._refresh_interval_seconds = refresh_interval_seconds
        self._on_change = on_change
        self._seen: Optional[tuple[StoreCopy, ...]] = None
        self._passed_over: list[str] = []
        self._wanted = asyncio.Event()
        self._refreshing: Optional[asyncio.Task[str]] = None
        self._problem = "the store has not been read yet"
        self.current: Optional[Definition] = None

    async def run(self) -> None:
        """Look at once, then at each interval, and whenever `poke` is called."""
        self._load_last_good()
        self._publish()
        while True:
            self._wanted.clear()
            problem = await self.refresh()
            # Without any definition nothing can start: look again soon.
            interval_seconds = self._refresh_interval_seconds
            if problem:
                interval_seconds = min(interval_seconds, 5.0 if self.current else 1.0)
            await wait_for_event(self._wanted, interval_seconds)

    def poke(self) -> None:
        """Look soon: VDSM has come back, or the engine says that something changed."""
        self._wanted.set()

    async def refresh(self, *, read_again: bool = False) -> str:
        """Look at the store now. Returns "" or why the definition may not be the newest.

        Several callers share one look. With `read_again` an unchanged description is no
        reason not to read, and a look that began before the call does not count.
        """
        if read_again:
            if self._refreshing is not None:
                await asyncio.wait({self._refreshing})
            self._seen = None
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.ensure_future(self._refresh())
        return await asyncio.shield(self._refreshing)

    async def _refresh(self) -> str:
        before = self._problem
        try:
            self._problem = await self._look()
        except (EnvironmentFault, BadInput) as fault:
            self._problem = str(fault)
        if self._problem and self._problem != before:
            log.warning("definition: %s", self._problem)
        elif before and not self._problem:
            log.info("definition: read from the store")
        self._publish()
        return self._problem

    async def _look(self) -> str:
        copies = await self._reader.copies()
        if not copies:
            return f"storage domain {self._domain_uuid} has no OVF_STORE volume"
        if self._seen == copies and self.current is not None:
            return ""
        faults: list[str] = []
        all_read, known = True, False
        for ranked in order_copies(copies, storage_domain_uuid=self._domain_uuid):
            if not ranked.usable:
                faults.append(ranked.reason)
                continue
            try:
                definition = await self._read(ranked)
            except (EnvironmentFault, BadInput) as fault:
                faults.append(str(fault))
                all_read = False
                known = known or self._is_current(ranked)
                continue
            if known and self.current and self.current.identity != definition.identity:
                # What stands in the other copy is older: no way back.
                return "what was read before stays in use: " + "; ".join(faults)
            self._accept(definition)
            # What could not be read, perhaps just now, is tried again with the next look.
            self._seen = copies if all_read else None
            if faults != self._passed_over:
                for reason in faults:
                    log.warning("definition taken from the other copy: %s", reason)
            self._passed_over = faults
            return ""
        return "no copy of the OVF_STORE can be used: " + "; ".join(faults)

    def _is_current(self, ranked: RankedCopy) -> bool:
        """Whether `current` was read from this copy, and the copy was not written since."""
        current, description = self.current, ranked.description
        if current is None or description is None:
            return False
        written = (_source(ranked.copy), description.last_updated_text or "")
        return (current.source, current.last_updated) == written

    async def _read(self, ranked: RankedCopy) -> Definition:
        stored = await self._reader.read(ranked)
        return self._definition(
            stored.document,
            f"volume {stored.copy.volume_uuid}, {self._vm_uuid}.ovf",
            source=_source(stored.copy),
            last_updated=stored.last_updated,
            accepted_at=self._clock.wall(),
        )

    def _definition(
        self, ovf: bytes, where: str, *, source: str, last_updated: str, accepted_at: WallTime
    ) -> Definition:
        vm = parse_ovf(ovf, where=where, expect_uuid=self._vm_uuid)
        xml = domain_xml(vm, storage_domain_uuid=self._domain_uuid)
        identity = hashlib.sha256(ovf).hexdigest()[:12]
        known = self.current
        if known is not None and known.identity == identity:
            accepted_at = known.accepted_at if known.source == source else accepted_at
        return Definition(identity, ovf, vm, xml, source, last_updated, accepted_at)

    def _accept(self, definition: Definition) -> None:
        known = self.current
        if known is None or known.identity != definition.identity:
            log.info(
                "definition %s of %s accepted from %s",
                definition.identity,
                definition.vm.name,
                definition.source,
            )
            self._keep(definition.document, definition.vm)
        self.current = definition

    # The last good one on this host ------------------------------------------------------

    def _keep(self, ovf: bytes, vm: VmDefinition) -> None:
        """Write the document where the next start of the broker finds it, and the file that a
        VDSM hook reads for `vmId=` (facts/ovf-and-volumes.md 2.3)."""
        _write(self._state_dir / LAST_GOOD, ovf)
        _write(self._run_dir / VM_CONF, vm_conf_text(vm).encode())

    def _load_last_good(self) -> None:
        path = self._state_dir / LAST_GOOD
        try:
            ovf = path.read_bytes()
            accepted_at = WallTime(path.stat().st_mtime)
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("%s can't be read: %s", path, error)
            return
        try:
            self.current = self._definition(
                ovf, str(path), source=LAST_GOOD, last_updated="", accepted_at=accepted_at
            )
        except BadInput as fault:
            log.error("the last good definition can't be used: %s", fault)
            return
        # The run folder does not outlive a reboot.
        _write(self._run_dir / VM_CONF, vm_conf_text(self.current.vm).encode())

    def _publish(self) -> None:
        current = self.current
        if current is None:
            self._on_change(DefinitionEntry(problem=self._problem))
            return
        self._on_change(
            DefinitionEntry(
                available=True,
                identity=current.identity,
                vm_name=current.vm.name,
                memory_mib=current.vm.memory_mib,
                source=current.source,
                last_updated=current.last_updated,
                accepted_at_unix_seconds=current.accepted_at.unix_seconds,
                stale=bool(self._problem),
                problem=self._problem,
                notes=_notes(current.domain.notes),
            )
        )


def _source(copy: StoreCopy) -> str:
    return f"volume {copy.volume_uuid}"


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        log.error("%s can't be written: %s", path, error)


def _notes(notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(note[:300] for note in notes[:20])
