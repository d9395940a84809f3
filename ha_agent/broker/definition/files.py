# SPDX-License-Identifier: Apache-2.0
"""The engine VM's definition in this host's own files: its history, and vm.conf for VDSM's hook.

Everything is written in a thread, one after the other, and waited for, but not for long: a full
disk or one that hangs must not keep a definition from being used. What could not be kept is
tried again with each `keep_rest`; until then `problem` says why.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Callable, Optional

from ha_agent.atomic_file import replace_file
from ha_agent.broker.definition.values import Definition, read_version
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ovfstore.history import IMPORT, History
from ha_agent.ovfstore.vmconf import vm_conf_text

log = logging.getLogger(__name__)

_WRITE_DEADLINE_SECONDS = 5.0
_UNKEPT_LIMIT = 20


class DefinitionFiles:
    """Keeps each definition that is accepted; finds the newest one after a start."""

    def __init__(
        self,
        history: History,
        vm_conf: Path,
        *,
        vm_uuid: str,
        domain_uuid: str,
        on_change: Callable[[], object],
    ) -> None:
        """`vm_conf` is where the hook looks for vm.conf. `on_change` is called when `problem` or
        `version_of` has another answer.

        `damage` has what `load` found damaged, a sentence for each version.
        """
        self._history = history
        self._vm_conf = vm_conf
        self._vm_uuid = vm_uuid
        self._domain_uuid = domain_uuid
        self._on_change = on_change
        self._unkept: deque[Definition] = deque(maxlen=_UNKEPT_LIMIT)
        self._writing: Optional[asyncio.Task[None]] = None
        self._numbers: dict[str, int] = {}
        self._approved: dict[str, frozenset[str]] = {}
        self.problem = ""
        self.damage: tuple[str, ...] = ()

    def version_of(self, identity: str) -> int:
        """Return the newest version of a document in the history; 0 when it is not kept."""
        return self._numbers.get(identity, 0)

    def approved(self, identity: str) -> frozenset[str]:
        """Return the codes of the guard that a person overruled for a document on this host."""
        return self._approved.get(identity, frozenset())

    def _approve(self, identity: str, codes: Iterable[str]) -> None:
        self._approved[identity] = self.approved(identity) | frozenset(codes)

    # Keeping -----------------------------------------------------------------------------

    async def keep(self, definition: Definition) -> None:
        """Keep a definition that has just been accepted."""
        self._approve(definition.identity, definition.approved)
        self._unkept.append(definition)
        await self.keep_rest()

    async def keep_rest(self) -> None:
        """Write what is not kept yet, and wait for it until the deadline."""
        if not self._unkept:
            return
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())
        await asyncio.wait({self._writing}, timeout=_WRITE_DEADLINE_SECONDS)
        if self._writing.done():
            self._writing.result()  # only a bug raises here
        else:
            self._fault(f"{self._history.folder}: this host's disk does not answer")

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._unkept:
            definition = self._unkept[0]
            try:
                number = await loop.run_in_executor(None, self._write_one, definition)
            except EnvironmentFault as fault:
                self._fault(str(fault))
                return
            # A full queue drops its oldest, which is this one then.
            if self._unkept[0] is definition:
                self._unkept.popleft()
            self._numbers[definition.identity] = number
            self.problem = ""
            self._on_change()

    def _fault(self, problem: str) -> None:
        if problem == self.problem:
            return
        log.error("definition: in use, but not kept: %s", problem)
        self.problem = problem
        self._on_change()

    def _write_one(self, definition: Definition) -> int:
        """In a thread. Return the version's number."""
        self._write_vm_conf(definition)
        version = self._history.add(
            definition.document,
            accepted_at=definition.accepted_at,
            source=definition.source,
            how=definition.how,
            vm_name=definition.vm.name,
            memory_mib=definition.vm.memory_mib,
            last_updated=definition.last_updated,
            approved=definition.approved,
        )
        return version.number

    def _write_vm_conf(self, definition: Definition) -> None:
        """The file that a VDSM hook reads for `vmId=` (facts/ovf-and-volumes.md 2.3)."""
        path = self._vm_conf
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, vm_conf_text(definition.vm).encode())
        except OSError as error:
            log.error("%s can't be written: %s", path, error.strerror)

    # After a start -----------------------------------------------------------------------

    async def load(self) -> Optional[Definition]:
        """Return the newest definition that this host has accepted, or None."""
        return await asyncio.get_running_loop().run_in_executor(None, self._load)

    def _load(self) -> Optional[Definition]:
        """In a thread."""
        try:
            listing = self._history.listing()
        except EnvironmentFault as fault:
            log.error("definition: %s", fault)
            return None
        self.damage = listing.faults
        for reason in listing.faults:
            log.error("definition: %s", reason)
        accepted = [version for version in listing.versions if version.how != IMPORT]
        for version in accepted:
            self._approve(version.identity, version.approved)
            self._numbers[version.identity] = version.number
        for version in reversed(accepted):
            try:
                definition = read_version(
                    self._history, version, vm_uuid=self._vm_uuid, domain_uuid=self._domain_uuid
                )
            except (BadInput, EnvironmentFault) as fault:
                log.error("definition: %s", fault)
                continue
            # The run folder does not outlive a reboot.
            self._write_vm_conf(definition)
            return dataclasses.replace(
                definition, how=version.how, approved=version.approved, is_from_history=True
            )
        return None
