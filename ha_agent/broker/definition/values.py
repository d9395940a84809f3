# SPDX-License-Identifier: Apache-2.0
"""What the keeper of the engine VM's definition holds, and how it is told to others.

Values only: keeper.py decides which definition is in use. Making one out of a document
takes a while for a long one, so that is for a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.broker.snapshot import DefinitionEntry, PendingEntry
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.ovfstore.approval import identity_of
from ha_agent.ovfstore.guard import Refusal
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.locate import RankedCopy, StoreCopy, parse_java_date
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import DomainXml, domain_xml
from ha_agent.ovfstore.version import Version

Judge = Callable[
    [VmDefinition, DomainXml, Optional[VmDefinition]], Awaitable["tuple[Refusal, ...]"]
]
"""`judge(new, domain, current)`: the guard (guard.py) with this host's facts, in a thread."""

_LINES = 20
_LINE_LENGTH = 300


@dataclass(frozen=True)
class Definition:
    """One version: the document, what it means, and what VDSM is to be given.

    `how` it came is as in version.py; `approved` are the codes of the guard that a person
    overruled for it. `is_from_history`: it was not seen in the store since the broker started.
    """

    identity: str
    document: bytes
    vm: VmDefinition
    domain: DomainXml
    source: str
    last_updated: str
    accepted_at: WallTime
    how: str = "read"
    approved: tuple[str, ...] = ()
    is_from_history: bool = False


@dataclass(frozen=True)
class Pending:
    """A definition that the guard refuses, with what it would change."""

    definition: Definition
    refusals: tuple[Refusal, ...]
    differences: tuple[str, ...]

    @property
    def may_force(self) -> bool:
        """Whether a person may insist on it."""
        return all(refusal.may_force for refusal in self.refusals)

    @property
    def advice(self) -> str:
        """What a person can do."""
        identity = self.definition.identity
        if self.may_force:
            return f"to use it all the same: ha-agent ovf accept {identity} --force"
        return "nobody can insist on that: correct the VM in the engine"

    @property
    def problem(self) -> str:
        """The warning."""
        reasons = "; ".join(refusal.sentence for refusal in self.refusals)
        return (
            f"the definition {self.definition.identity} of the store is not used: {reasons};"
            f" {self.advice}"
        )


@dataclass(frozen=True)
class Judged:
    """What a document means, what the guard has against it, and what it would change."""

    vm: VmDefinition
    domain: DomainXml
    refusals: tuple[Refusal, ...]
    differences: tuple[str, ...]


def read_definition(
    document: bytes,
    where: str,
    *,
    vm_uuid: str,
    domain_uuid: str,
    source: str,
    last_updated: str,
    accepted_at: WallTime,
) -> Definition:
    """Return what a document says. Raises BadInput when nothing can be started from it."""
    vm = parse_ovf(document, where=where, expect_uuid=vm_uuid)
    domain = domain_xml(vm, storage_domain_uuid=domain_uuid)
    identity = identity_of(document)
    return Definition(identity, document, vm, domain, source, last_updated, accepted_at)


def read_version(
    history: History, version: Version, *, vm_uuid: str, domain_uuid: str
) -> Definition:
    """Return what a version of this host's history says. Reads a local file.

    Raises BadInput when nothing can be started from it, EnvironmentFault when it can't be read.
    """
    return read_definition(
        history.document(version.number),
        f"version {version.number} of this host's history",
        vm_uuid=vm_uuid,
        domain_uuid=domain_uuid,
        source=version.source,
        last_updated=version.last_updated,
        accepted_at=version.accepted_at,
    )


def source_of(copy: StoreCopy) -> str:
    """Return what a definition that was read from a copy has as its `source`."""
    return f"volume {copy.volume_uuid}"


def is_read_from(current: Optional[Definition], ranked: RankedCopy) -> bool:
    """Tell whether `current` was read from this copy, and the copy was not written since."""
    description = ranked.description
    if current is None or description is None:
        return False
    written = (source_of(ranked.copy), description.last_updated_text or "")
    return (current.source, current.last_updated) == written


def store_notes(ranking: Sequence[RankedCopy], faults: Sequence[str]) -> tuple[str, ...]:
    """Return what a person should know of the store while one copy is good.

    Such as a copy that an interrupted write left: it is not read, and nobody else repairs it.
    """
    reasons = [*faults, *(ranked.reason for ranked in ranking if not ranked.usable)]
    if len(ranking) == 1:
        reasons.append("there is only one copy: `ha-agent store create` makes the second")
    return tuple(f"OVF_STORE: {reason}" for reason in dict.fromkeys(reasons))


def was_written(ranked: RankedCopy) -> bool:
    """Tell of a copy that is not usable whether it may hold a newer definition than others."""
    description = ranked.description
    return not ranked.usable and (description is None or description.last_updated is not None)


def is_from_one_of(current: Optional[Definition], copies: Iterable[StoreCopy]) -> bool:
    """Tell whether `current` was read from one of these; so is none."""
    return current is None or current.source in map(source_of, copies)


def dates_of(ranking: Iterable[RankedCopy]) -> dict[str, str]:
    """Return by volume what copies say of their last update."""
    return {
        ranked.copy.volume_uuid: ranked.description.last_updated_text or ""
        for ranked in ranking
        if ranked.description is not None
    }


def is_way_back(
    current: Optional[Definition],
    read: Definition,
    ranked: RankedCopy,
    *,
    known: bool,
    dates: Mapping[str, str],
) -> bool:
    """Tell whether `read`, out of a copy, is older than `current`, and another one.

    For when not every copy could be read: else the store has the last word. `known`: the copy
    of `current` is one of those that could not. Then one of unknown age is taken for older.
    `dates` are those of the copies when `current` was the store's: what has another one now was
    written since, whatever that is, for clocks and zones differ.
    """
    if current is None or current.identity == read.identity:
        return False
    volume = ranked.copy.volume_uuid
    if volume in dates and dates[volume] != dates_of([ranked]).get(volume):
        return False
    theirs = None if ranked.description is None else ranked.description.last_updated
    try:
        ours = parse_java_date(current.last_updated, where="the definition in use")
    except BadInput:
        return known
    return theirs is None or theirs < ours or (known and theirs == ours)


def definition_entry(
    current: Optional[Definition],
    pending: Optional[Pending],
    *,
    version: int,
    store_problem: str,
    history_problem: str,
    store_notes: Sequence[str] = (),
) -> DefinitionEntry:
    """Return the entry for the snapshot. `store_problem`: why `current` may not be the newest;
    `version` is the number of `current` in the history, 0 while it is not kept there;
    `store_notes`: what is wrong with the store that does no harm yet."""
    problems = (store_problem, "" if pending is None else pending.problem)
    problem = "; ".join(text for text in problems if text)
    waiting = None if pending is None else _pending_entry(pending)
    if current is None:
        return DefinitionEntry(problem=problem, history_problem=history_problem, pending=waiting)
    source = current.source
    if current.is_from_history:
        source = f"this host's history, version {version} ({source})"
    return DefinitionEntry(
        available=True,
        identity=current.identity,
        vm_name=current.vm.name,
        memory_mib=current.vm.memory_mib,
        source=source,
        last_updated=current.last_updated,
        accepted_at_unix_seconds=current.accepted_at.unix_seconds,
        stale=bool(store_problem),
        problem=problem,
        notes=_lines((*store_notes, *current.domain.notes, *current.vm.notes)),
        version=version,
        how=current.how,
        history_problem=history_problem,
        pending=waiting,
    )


def _pending_entry(pending: Pending) -> PendingEntry:
    definition = pending.definition
    return PendingEntry(
        identity=definition.identity,
        vm_name=definition.vm.name,
        source=definition.source,
        last_updated=definition.last_updated,
        codes=tuple(refusal.code for refusal in pending.refusals),
        sentences=_lines([refusal.sentence for refusal in pending.refusals]),
        differences=_lines(pending.differences),
        may_force=pending.may_force,
        advice=pending.advice,
    )


def _lines(lines: Sequence[str]) -> tuple[str, ...]:
    """For status: not more, and not longer, than a person reads."""
    return tuple(line[:_LINE_LENGTH] for line in lines[:_LINES])
