# SPDX-License-Identifier: Apache-2.0
"""Which definitions the engine VM was started from on this host, and which proved themselves.

    <state_dir>/definitions.proven     identities, one a line, that an engine became healthy with,
                                       the last one last; with "elsewhere" behind it where that
                                       was told by another host's status block (blocks/entry.py)
    <run_dir>/definition.started       what the VM that runs here was started from: JSON with the
                                       boot's id, for it means nothing after a reboot

A definition that fails to start again and again gives way to the newest other version that is
proven and still in this host's history: the agent decides when, this hands it out. It goes the
way of any other: read, translated, and judged by the guard. One that is proven here has no
fallback: then it is not the definition that keeps the VM from starting. One that is proven
elsewhere only gives way to what is proven here: it may be this host that can't run it.

This host tells others what is proven by its own engine, and never passes on what it was told.

A file that can't be written or read costs the knowledge in it, and no start.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from ha_agent.atomic_file import replace_file
from ha_agent.broker.definition.values import Definition, Judge, read_version
from ha_agent.broker.snapshot import DefinitionEntry, Report
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.journal_messages import DEFINITION_FALLBACK
from ha_agent.log import fields
from ha_agent.ovfstore.history import IMPORT, History
from ha_agent.ovfstore.version import Version

log = logging.getLogger(__name__)

PROVEN_NAME = "definitions.proven"
STARTED_NAME = "definition.started"
# As many as a history can have (config/schema.py).
_PROVEN_LIMIT = 1000
_FILE_LIMIT_BYTES = 65536
_IDENTITY = re.compile(r"[0-9a-f]{12}")
_ELSEWHERE = "elsewhere"
_VM_GONE = ("down", "down_missing", "down_unexpected")


@dataclass(frozen=True)
class Started:
    """What the VM here was started from; `instead_of` which one that failed, and `why`."""

    identity: str = ""
    instead_of: str = ""
    why: str = ""


@dataclass(frozen=True)
class _Kept:
    """What the files hold: proofs of here and of elsewhere, the last one last, and the start."""

    here: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    started: Optional[Started] = None

    def proven(self, identity: str) -> _Kept:
        """Return this with a proof of here."""
        if self.here[-1:] == (identity,):
            return self
        rest = tuple(one for one in self.here if one != identity)
        return dataclasses.replace(self, here=(*rest, identity)[-_PROVEN_LIMIT:])

    def told(self, identities: Iterable[str]) -> _Kept:
        """Return this with proofs of elsewhere."""
        new = sorted({*identities} - {*self.here, *self.elsewhere})
        return dataclasses.replace(self, elsewhere=(*self.elsewhere, *new)[-_PROVEN_LIMIT:])


class DefinitionStarts:
    """Remembers starts, and finds what to start from. `run` reads and writes the files."""

    def __init__(
        self,
        history: History,
        *,
        state_dir: Path,
        run_dir: Path,
        boot_id: str,
        vm_uuid: str,
        domain_uuid: str,
        judge: Judge,
        proven_by_blocks: Callable[[], set[str]],
        on_change: Callable[[], None],
    ) -> None:
        """`proven_by_blocks` gives the identities that the hosts' status blocks say are proven;
        `on_change` is called when `complete` has another answer."""
        self._history = history
        self._proven_path = state_dir / PROVEN_NAME
        self._started_path = run_dir / STARTED_NAME
        self._boot_id = boot_id
        self._vm_uuid = vm_uuid
        self._domain_uuid = domain_uuid
        self._judge = judge
        self._proven_by_blocks = proven_by_blocks
        self._on_change = on_change
        self._versions: dict[str, Version] = {}
        self._kept = _Kept()
        self._handed = Started()
        self._face = ("", 0)
        self._work = asyncio.Event()

    # What is known -----------------------------------------------------------------------

    def complete(self, entry: DefinitionEntry) -> DefinitionEntry:
        """Return the entry with what was started and what could be instead."""
        face = (entry.identity, entry.version)
        if face != self._face:
            self._face = face
            self._work.set()  # the history has another version, or one less
        started = self._kept.started or Started()
        problem = ""
        if started.instead_of == entry.identity and started.instead_of:
            why = f" ({started.why})" if started.why else ""
            problem = (
                f"definition {started.instead_of} failed to start twice{why}:"
                f" the engine VM runs with {started.identity}, the last that did start"
            )
        fallbacks = self._fallbacks(entry.identity)
        return dataclasses.replace(
            entry,
            running=started.identity,
            running_problem=problem,
            fallback=fallbacks[0].identity if fallbacks else "",
        )

    def proven_here(self) -> str:
        """Return what an engine became healthy with on this host last, "" for nothing."""
        return self._kept.here[-1] if self._kept.here else ""

    def _fallbacks(self, current: str) -> list[Version]:
        """Return the versions to start from instead of `current`, the newest first."""
        here, elsewhere = set(self._kept.here), set(self._kept.elsewhere)
        if current in here:
            return []
        proven = here if current in elsewhere else here | elsewhere
        found = [version for identity, version in self._versions.items() if identity in proven]
        return sorted(found, key=lambda version: version.number, reverse=True)

    def reported(self, report: Report) -> None:
        """Take what the agent says of the VM that runs here."""
        identity, engine = report.running_definition, report.engine_status
        before = kept = self._kept
        if identity:
            if kept.started is None or kept.started.identity != identity:
                known = self._handed.identity == identity
                started = self._handed if known else Started(identity)
                kept = dataclasses.replace(kept, started=started)
            if engine.get("health") == "good":
                kept = kept.proven(identity)
        elif engine.get("vm") in _VM_GONE:
            # One that appears here without a start of ours was started elsewhere, or by hand.
            kept = dataclasses.replace(kept, started=Started())
        # Only of what is here: so all that is told, by however many hosts, is bounded.
        kept = kept.told(self._proven_by_blocks() & self._versions.keys())
        if kept != before:
            self._kept = kept
            if kept.here != before.here:
                log.info("definition %s: the engine became healthy with it here", identity)
            if kept.elsewhere != before.elsewhere:
                new = ", ".join(set(kept.elsewhere) - set(before.elsewhere))
                log.info("definition %s: the engine became healthy with it elsewhere", new)
            self._work.set()
            self._on_change()

    # Handing out -------------------------------------------------------------------------

    async def hand_out(self, current: Definition, *, fallback: bool, why: str) -> Definition:
        """Return what to start the VM from now: `current`, or with `fallback` the last other one
        that did start, for the reason `why`. Without a usable one it is `current` again."""
        found = await self._fallback(current) if fallback else None
        if found is None:
            self._handed = Started(current.identity)
            return current
        told = fields(DEFINITION_FALLBACK)
        text = "definition %s instead of %s: %s"
        log.warning(text, found.identity, current.identity, why, extra=told)
        self._handed = Started(found.identity, current.identity, why)
        return found

    async def _fallback(self, current: Definition) -> Optional[Definition]:
        loop = asyncio.get_running_loop()
        for version in self._fallbacks(current.identity):
            try:
                definition = await loop.run_in_executor(None, self._read, version)
            except (BadInput, EnvironmentFault) as fault:
                log.warning("definition %s can't be fallen back to: %s", version.identity, fault)
                continue
            refusals = await self._judge(definition.vm, definition.domain, None)
            standing = [r for r in refusals if not (r.may_force and r.code in version.approved)]
            if not standing:
                return definition
            reasons = "; ".join(refusal.sentence for refusal in standing)
            log.warning("definition %s can't be fallen back to: %s", version.identity, reasons)
        return None

    def _read(self, version: Version) -> Definition:
        """In a thread."""
        return read_version(
            self._history, version, vm_uuid=self._vm_uuid, domain_uuid=self._domain_uuid
        )

    # Files -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read what was known, then write what changes, for ever."""
        loop = asyncio.get_running_loop()
        on_disk = await loop.run_in_executor(None, self._load)
        # Reports may have come meanwhile.
        here = dict.fromkeys((*on_disk.here, *self._kept.here))
        started = self._kept.started or on_disk.started
        self._kept = dataclasses.replace(on_disk, here=tuple(here), started=started)
        self._work.set()
        while True:
            await self._work.wait()
            self._work.clear()
            wanted = self._kept
            store = functools.partial(self._store, on_disk, wanted)
            self._versions = await loop.run_in_executor(None, store)
            on_disk = wanted
            self._on_change()

    def _load(self) -> _Kept:
        """In a thread."""
        here: list[str] = []
        elsewhere: list[str] = []
        for line in _text(self._proven_path).splitlines():
            identity, _, where = line.partition(" ")
            if _IDENTITY.fullmatch(identity) and where in ("", _ELSEWHERE):
                (elsewhere if where else here).append(identity)
        return _Kept(tuple(here), tuple(elsewhere), self._load_started())

    def _load_started(self) -> Optional[Started]:
        try:
            values = json.loads(_text(self._started_path) or "{}")
        except ValueError:
            values = {}
        if not isinstance(values, dict) or values.get("boot_id") != self._boot_id:
            return None
        known = [values.get(name) for name in ("identity", "instead_of", "why")]
        texts = [value for value in known if isinstance(value, str)]
        return Started(*texts) if len(texts) == len(known) else None

    def _store(self, before: _Kept, wanted: _Kept) -> dict[str, Version]:
        """In a thread. Return the history's versions by identity."""
        started = wanted.started
        try:
            if (wanted.here, wanted.elsewhere) != (before.here, before.elsewhere):
                told = [f"{identity} {_ELSEWHERE}" for identity in wanted.elsewhere]
                content = "".join(f"{line}\n" for line in (*told, *wanted.here))
                replace_file(self._proven_path, content.encode())
            if started is not None and started != before.started:
                values = {"boot_id": self._boot_id, **dataclasses.asdict(started)}
                replace_file(self._started_path, json.dumps(values).encode(), sync=False)
            versions = self._history.versions()
        except (OSError, EnvironmentFault) as fault:
            log.warning("definition: what was started is not kept: %s", fault)
            return self._versions
        return {version.identity: version for version in versions if version.how != IMPORT}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        log.warning("%s can't be read: %s", path, error.strerror)
        return ""
