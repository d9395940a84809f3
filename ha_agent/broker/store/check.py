# SPDX-License-Identifier: Apache-2.0
"""What each copy of the OVF_STORE is worth: by its description, and read whole. It never writes.

    listed      the description alone: usable, or why not        cheap, no volume is read
    checked     every header of the archive, the engine VM's OVF, parsed, and the description again

A copy is *whole* when its archive is, so that other VMs' members can be taken from it; it is
*good* when it holds the engine VM's OVF besides, so that an engine VM can start from it.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.store.reader import StoreReader, member_names
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ovfstore.approval import identity_of
from ha_agent.ovfstore.locate import RankedCopy, order_copies
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.vdsm.client.verbs import Vdsm


async def check_ovf(document: bytes, where: str, vm_uuid: str) -> None:
    """Raise BadInput unless a document is this VM's OVF.

    It is parsed in a thread: a long one would hold up everything for a second.
    """
    parse = functools.partial(parse_ovf, document, where=where, expect_uuid=vm_uuid)
    await asyncio.get_running_loop().run_in_executor(None, parse)


@dataclass(frozen=True)
class StoreListing:
    """Every copy, the one to read first at the front; `problems` name volumes not told about."""

    copies: tuple[RankedCopy, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class CopyCheck:
    """One copy. `problem` is "" for a good one, and `fault` is set when it could not be read.

    `members` are (name, bytes) in the archive's order, without those that were replaced; None
    unless the archive is whole.
    """

    ranked: RankedCopy
    members: Optional[tuple[tuple[str, int], ...]] = None
    document: Optional[bytes] = None
    approval: Optional[bytes] = None
    problem: str = ""
    fault: Optional[EnvironmentFault] = None

    @property
    def is_whole(self) -> bool:
        """Tell whether the archive is sound."""
        return self.members is not None

    @property
    def is_good(self) -> bool:
        """Tell whether an engine VM can be started from this copy."""
        return self.is_whole and not self.problem

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing has ever been completely written here."""
        description = self.ranked.description
        return (
            description is not None
            and not description.updated
            and description.last_updated is None
        )

    def sentences(self) -> tuple[str, ...]:
        """Return the verdict in words."""
        said = [self.ranked.reason]
        if self.members is not None:
            said.append(f"the archive is whole: {len(self.members)} members")
        if self.document is not None and not self.problem:
            said.append(f"the engine VM's OVF is {identity_of(self.document)}")
        if self.approval is not None:
            said.append("an approval stands beside it")
        if self.problem and self.problem != self.ranked.reason:
            said.append(self.problem)
        return tuple(said)


@dataclass(frozen=True)
class StoreVerdict:
    """All copies checked, in the order of a listing."""

    copies: tuple[CopyCheck, ...]
    problems: tuple[str, ...]

    @property
    def agree(self) -> bool:
        """Tell whether all copies are good and hold the same OVF and approval."""
        return all(copy.is_good for copy in self.copies) and (
            len({(copy.document, copy.approval) for copy in self.copies}) <= 1
        )

    @property
    def is_good(self) -> bool:
        """Tell whether the store is as it should be: two copies or more, which agree."""
        return len(self.copies) > 1 and self.agree and not self.problems


class StoreChecker:
    """Looks at the copies of one domain's store, for one VM."""

    def __init__(
        self, vdsm: Vdsm, lane: StorageLane, reader: StoreReader, *, read_deadline_seconds: float
    ) -> None:
        self._vdsm = vdsm
        self._lane = lane
        self._reader = reader
        self._read_deadline_seconds = read_deadline_seconds

    async def list(self, known: bool = False) -> StoreListing:
        """Return every copy by its description; with `known`, as StoreReader.known_copies.

        Raises EnvironmentFault.
        """
        copies = await (self._reader.known_copies() if known else self._reader.copies())
        ranked = order_copies(copies, storage_domain_uuid=self._reader.domain_uuid)
        return StoreListing(tuple(ranked), self._reader.problems)

    async def check(self, listing: StoreListing) -> StoreVerdict:
        """Read each copy of a listing. What can't be read is that copy's fault; raises nothing."""
        checks = [await self.check_copy(ranked) for ranked in listing.copies]
        return StoreVerdict(tuple(checks), listing.problems)

    async def check_copy(self, ranked: RankedCopy) -> CopyCheck:
        """Read one copy whole."""
        if not ranked.usable:
            return CopyCheck(ranked, problem=ranked.reason)
        members = None
        try:
            members = await self._list_members(ranked)
            stored = await self._reader.read(ranked)
        except BadInput as error:
            return CopyCheck(ranked, members, problem=str(error))
        except EnvironmentFault as error:
            return CopyCheck(ranked, members, problem=str(error), fault=error)
        problem = ""
        where = f"{member_names(self._reader.vm_uuid)[0]} in {ranked.copy.volume_uuid}"
        try:
            await check_ovf(stored.document, where, self._reader.vm_uuid)
        except BadInput as error:
            problem = str(error)
        return CopyCheck(ranked, members, stored.document, stored.approval, problem)

    async def _list_members(self, ranked: RankedCopy) -> tuple[tuple[str, int], ...]:
        copy, description = ranked.copy, ranked.description
        assert description is not None  # a usable copy has one
        path = await self._vdsm.prepare_image(
            self._reader.domain_uuid, copy.image_uuid, copy.volume_uuid
        )
        answer = await self._lane.call(
            "list_archive",
            self._read_deadline_seconds,
            path=path,
            size_bytes=description.size_bytes,
        )
        # Of what was replaced a copy has more or less, by what happened to it; nobody reads that.
        return tuple(
            (member["name"], member["size_bytes"])
            for member in answer["members"]
            if not member["dead"]
        )
