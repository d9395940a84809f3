# SPDX-License-Identifier: Apache-2.0
"""Changing the engine VM's OVF in the OVF_STORE, by the engine's own protocol; making a store.

It must not judge a definition (the guard does) nor choose the one that is used.

One copy after the other, the worst first and the best one, from which the others can be made
again, last (facts/ovf-and-volumes.md, 1.3):

    1  marked: "Updated":false with the OLD date, and our mark         store/claim.py
    2  the worker changes the archive, or writes it whole; durable      store/volume_ops.py
    3  read afresh: whole, the very document, the mark still ours       else stop
    4  "Updated":true, the new Size, the new date                      readers take it from here
       then the next copy, from 1

Between 1 and 2 the copies that are good meanwhile are looked at: when one of them is changed by
somebody else now, nothing is touched, and the copy gets its old description back; as it does when
a write is refused and left it as it was. While a worker hangs that was given up, nothing is begun:
what it was writing may still come.

A copy is changed where it stands when it is from the same update as the best one, else written
whole from that. Cut off anywhere, the copy in work says "Updated":false and is not read, and
another one is good, with the old OVF or the new; the next put starts with the one that is not.
The answer comes when the last copy has passed 4.

Readers take the newest date, so the new one is always later than all that stand there, whatever
this host's clock says and whatever zone the engine's dates are in.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from ha_agent.broker.storage.lane import StorageFault, StorageLane
from ha_agent.broker.store import plan as store_plan
from ha_agent.broker.store.check import (
    CopyCheck,
    StoreChecker,
    StoreListing,
    StoreVerdict,
    check_ovf,
)
from ha_agent.broker.store.claim import (
    Access,
    Clock,
    StoreChanged,
    StoreClaims,
    StoreRefusal,
)
from ha_agent.broker.store.create import MIN_COPIES, CreateResult, StoreCreator
from ha_agent.broker.store.reader import StoreReader, member_names
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.ovfstore.approval import identity_of
from ha_agent.ovfstore.locate import (
    RankedCopy,
    StoreCopy,
    format_description,
    parse_description,
)
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed

log = logging.getLogger(__name__)

_ERRNO_NAMES = frozenset(errno.errorcode.values())
_UNLOCKED = (
    "volume {0.volume_uuid}: no locks here: two hosts that write at once are told apart by the"
    " mark only"
)


@dataclass(frozen=True)
class WriterDeadlines:
    """Seconds. No write is begun that could end later than `grace_seconds` after its mark.

    Other hosts count on the grace time, so that it is no configuration, and `write_seconds` may
    be made shorter only. The engine gives its own uploads 5 minutes (UploadFileMaxTimeInMinutes).
    """

    read_seconds: float = 30.0
    write_seconds: float = 60.0
    task_seconds: float = 120.0
    settle_seconds: float = 2.0
    grace_seconds: float = 90.0
    engine_grace_seconds: float = 330.0

    @classmethod
    def with_reads_of(cls, read_seconds: float) -> WriterDeadlines:
        """Return those for storage that a copy is read from in `read_seconds` at most.

        To write one is to read as much of another, to write it, and to read it back.
        """
        return cls(write_seconds=min(3 * read_seconds, cls.write_seconds))


@dataclass(frozen=True)
class WrittenCopy:
    """One copy that was written: all of it (`whole`) or the change alone; `direct` I/O or not;
    `locked` is false where the file system has no locks."""

    copy: StoreCopy
    size_bytes: int
    written_bytes: int
    whole: bool
    direct: bool
    locked: bool


@dataclass(frozen=True)
class PutResult:
    """`refusal` None: every copy holds the document, durable and read back.

    `copies` is empty when they held it before. `problems` are sentences about volumes VDSM could
    not tell about, and copies that were written without a lock.
    """

    identity: str
    refusal: Optional[StoreRefusal] = None
    last_updated: str = ""
    copies: tuple[WrittenCopy, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Put:
    access: Access
    changes: Mapping[str, Optional[bytes]]
    date: str
    mtime: float
    checks: Mapping[StoreCopy, CopyCheck]


class StoreWriter:
    """The store of the reader's domain and VM. One change at a time."""

    def __init__(
        self,
        vdsm: Vdsm,
        lane: StorageLane,
        reader: StoreReader,
        *,
        host_id: int,
        clock: Clock,
        deadlines: Optional[WriterDeadlines] = None,
    ) -> None:
        """`host_id` is this host's number among the hosts of the domain."""
        self._vdsm = vdsm
        self._lane = lane
        self._reader = reader
        self._clock = clock
        self._deadlines = deadlines or WriterDeadlines()
        self._checker = StoreChecker(
            vdsm, lane, reader, read_deadline_seconds=self._deadlines.read_seconds
        )
        self._claims = StoreClaims(
            vdsm,
            domain_uuid=reader.domain_uuid,
            host_id=host_id,
            clock=clock,
            settle_seconds=self._deadlines.settle_seconds,
            grace_seconds=self._deadlines.grace_seconds,
            engine_grace_seconds=self._deadlines.engine_grace_seconds,
        )
        self._creator = StoreCreator(
            vdsm,
            reader,
            self._claims,
            clock=clock,
            task_deadline_seconds=self._deadlines.task_seconds,
        )
        self._changing = asyncio.Lock()

    async def list(self) -> StoreListing:
        """Return every copy by its description, the one to read first at the front.

        Raises EnvironmentFault when VDSM does not tell.
        """
        return await self._checker.list()

    async def verify(self) -> StoreVerdict:
        """Read every copy whole. Raises EnvironmentFault when VDSM does not list them."""
        return await self._checker.check(await self._checker.list())

    async def put(self, document: bytes, approval: Optional[bytes], why: str) -> PutResult:
        """Store the engine VM's OVF, and the approval beside it or none, in every copy.

        `why` stands in the log. Don't cancel it: what is cut off is repaired by the next put
        only. Raises BadInput for a document that is not this VM's OVF or has no room,
        StoreChanged when somebody else writes, EnvironmentFault when VDSM or storage fails;
        after each of these a good copy has the old document or the new one.
        """
        name, approval_name = member_names(self._reader.vm_uuid)
        await check_ovf(document, "the document to store", self._reader.vm_uuid)
        identity = identity_of(document)
        async with self._changing:
            access = await self._claims.access()
            if isinstance(access, StoreRefusal):
                return PutResult(identity, access)
            verdict = await self._checker.check(
                await self._claims.wait_until_quiet(access, self._checker.list)
            )
            fault = store_plan.fault_of_newest(verdict)
            if fault is not None:
                raise fault
            refusal = store_plan.refuse(verdict)
            if refusal is not None:
                return PutResult(identity, refusal, problems=verdict.problems)
            first = verdict.copies[0]
            if verdict.agree and (first.document, first.approval) == (document, approval):
                described = first.ranked.description
                date = (described.last_updated_text if described else None) or ""
                return PutResult(identity, None, date, (), verdict.problems)
            wall = self._clock.wall()
            date = store_plan.date_after(
                wall, (copy.ranked.description for copy in verdict.copies)
            )
            changes: dict[str, Optional[bytes]] = {approval_name: approval, name: document}
            checks = {check.ranked.copy: check for check in verdict.copies}
            put = _Put(access, changes, date, wall.unix_seconds, checks)
            written = await self._write_all(put, verdict)
            if isinstance(written, StoreRefusal):
                return PutResult(identity, written, problems=verdict.problems)
            log.info("OVF %s stored in %d copies, date %s: %s", identity, len(written), date, why)
            unlocked = (_UNLOCKED.format(done.copy) for done in written if not done.locked)
            problems = (*verdict.problems, *unlocked)
            return PutResult(identity, None, date, written, problems)

    async def create(self, count: int = MIN_COPIES) -> CreateResult:
        """Make OVF_STORE volumes until there are `count`: store_create.StoreCreator.create."""
        async with self._changing:
            return await self._creator.create(count)

    # The write.

    async def _write_all(
        self, put: _Put, verdict: StoreVerdict
    ) -> Union[StoreRefusal, tuple[WrittenCopy, ...]]:
        written: list[WrittenCopy] = []
        steps = store_plan.plan(verdict)
        for step in steps:
            source = step.source
            if step.size_bytes is None and source is None and written:
                # A new store: its second copy is made of the first.
                source = store_plan.Source(written[0].copy, written[0].size_bytes)
            others = [done.copy for done in written[:1]]
            if step is not steps[-1]:
                others.append(steps[-1].copy)
            self._refuse_when_a_worker_hangs()
            try:
                mark = await self._claims.claim(put.access, step.copy, step.old_date)
            except VdsmCallFailed as error:
                refusal = await self._claims.refusal_for(error)
                if written or refusal is None:
                    raise
                return refusal
            written.append(await self._write_marked(put, step, source, mark, others))
        return tuple(written)

    def _refuse_when_a_worker_hangs(self) -> None:
        hanging = self._lane.stats()["abandoned_alive"]
        if hanging:
            raise EnvironmentFault(
                f"{hanging} storage workers that were given up still hang, and what they were"
                " writing may come late: nothing was begun. Try again when they have ended"
                " (`ha-agent status`)"
            )

    async def _write_marked(
        self,
        put: _Put,
        step: store_plan.Step,
        source: Optional[store_plan.Source],
        mark: str,
        others: Sequence[StoreCopy],
    ) -> WrittenCopy:
        """Steps 2 to 4 of the module's docstring. One of `others` stays good meanwhile."""
        copy, marked_at = step.copy, self._clock.now() - self._deadlines.settle_seconds
        try:
            for other in others:
                await self._claims.expect(other, other.description)
            answer = await self._change(put, step, source, mark, marked_at)
        except (BadInput, StoreChanged):
            # Nothing was written: the copy is what it was.
            await self._give_back(put, copy, mark)
            raise
        except StorageFault as fault:
            # An errno is an answer: no worker is at work any more.
            if fault.errno_name in _ERRNO_NAMES and await self._is_as_before(put, copy, mark):
                await self._give_back(put, copy, mark)
            raise
        if source is not None:
            # Else what was copied may be half of this and half of that.
            await self._claims.expect(source.copy, source.copy.description)
        good = format_description(
            storage_domain_uuid=self._reader.domain_uuid,
            updated=True,
            last_updated_text=put.date,
            size_bytes=answer["size_bytes"],
        )
        await self._read_back(put, copy, mark, good)
        took_seconds = self._clock.now() - marked_at
        if not put.access.is_exclusive and took_seconds > self._deadlines.grace_seconds:
            raise EnvironmentFault(
                f"volume {copy.volume_uuid}: written in {took_seconds:.0f} s, so that another"
                " host may write there by now; it was not called good"
            )
        await self._claims.expect(copy, mark)
        await self._claims.describe(put.access, copy, good)
        await self._claims.expect(copy, good)
        return WrittenCopy(
            copy=StoreCopy(copy.image_uuid, copy.volume_uuid, good),
            size_bytes=answer["size_bytes"],
            written_bytes=answer["written_bytes"],
            whole=step.size_bytes is None,
            direct=answer["direct"],
            locked=answer["locked"],
        )

    async def _change(
        self,
        put: _Put,
        step: store_plan.Step,
        source: Optional[store_plan.Source],
        mark: str,
        marked_at: Instant,
    ) -> Any:
        deadlines = self._deadlines
        info = await self._claims.expect(step.copy, mark)
        if info.capacity_bytes is None:
            raise EnvironmentFault(f"VDSM tells no capacity of volume {step.copy.volume_uuid}")
        fields: dict[str, Any] = {
            "path": await self._prepare(put.access, step.copy),
            "changes": dict(put.changes),
            "capacity_bytes": info.capacity_bytes,
            "last_updated_text": put.date,
            "mtime": put.mtime,
        }
        operation = "change_members"
        if step.size_bytes is not None:
            fields["size_bytes"] = step.size_bytes
        else:
            operation = "write_archive"
            fields["from_path"] = await self._prepare(put.access, source.copy) if source else None
            fields["from_size_bytes"] = source.size_bytes if source else 0
            fields["storage_domain_uuid"] = self._reader.domain_uuid
        # Others take a mark for a dead writer's when it has stood for the grace time.
        took_seconds = self._clock.now() - marked_at
        if took_seconds + deadlines.write_seconds > deadlines.grace_seconds:
            raise EnvironmentFault(
                f"volume {step.copy.volume_uuid}: marked {took_seconds:.0f} s ago, too long to"
                " write it now; its content was not touched"
            )
        return await self._lane.call(operation, deadlines.write_seconds, **fields)

    async def _prepare(self, access: Access, copy: StoreCopy) -> str:
        return await self._vdsm.prepare_image(
            self._reader.domain_uuid, copy.image_uuid, copy.volume_uuid, pool_id=access.pool_id
        )

    async def _give_back(self, put: _Put, copy: StoreCopy, mark: str) -> None:
        await self._claims.expect(copy, mark)
        await self._claims.describe(put.access, copy, copy.description)

    async def _is_as_before(self, put: _Put, copy: StoreCopy, mark: str) -> bool:
        """Tell whether a marked copy, which was good, holds what it did then."""
        before = put.checks[copy]
        if not before.is_good:
            return False
        marked = StoreCopy(copy.image_uuid, copy.volume_uuid, mark)
        now = await self._checker.check_copy(dataclasses.replace(before.ranked, copy=marked))
        return now.is_good and (now.members, now.document, now.approval) == (
            before.members,
            before.document,
            before.approval,
        )

    async def _read_back(self, put: _Put, copy: StoreCopy, mark: str, good: str) -> None:
        """Read a marked copy as if it were called good already. Raises EnvironmentFault."""
        where = f"volume {copy.volume_uuid}"
        marked = StoreCopy(copy.image_uuid, copy.volume_uuid, mark)
        check = await self._checker.check_copy(
            RankedCopy(marked, parse_description(good, where=where), usable=True, reason="written")
        )
        if check.fault is not None:
            raise check.fault
        name, approval_name = member_names(self._reader.vm_uuid)
        wanted = (put.changes[name], put.changes[approval_name])
        if not check.is_good or (check.document, check.approval) != wanted:
            await self._claims.expect(copy, mark)
            what = check.problem or "it holds another document"
            raise EnvironmentFault(f"{where} does not read back as it was written: {what}")
