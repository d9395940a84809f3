# SPDX-License-Identifier: Apache-2.0
"""Making OVF_STORE volumes as the engine makes them, empty; the first put fills them.

128 MiB, raw, of VDSM's disk type OVFS, each in an image of its own, described as never written
(facts/ovf-and-volumes.md, 1.2). Volumes that are there count, so that it may be called again.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.store.claim import Access, Clock, StoreClaims, StoreRefusal
from ha_agent.broker.store.reader import OVFS, StoreReader
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.ovfstore.locate import StoreCopy, format_description
from ha_agent.vdsm.client.verbs import Allocation, Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed

log = logging.getLogger(__name__)

VOLUME_BYTES = 128 * 1024 * 1024
MIN_COPIES = 2  # of one, a write that is cut off leaves nothing
MAX_COPIES = 16  # the engine's StorageDomainOvfStoreCount
_BLOCK_DOMAINS = ("ISCSI", "FCP")
_TASK_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class CreateResult:
    """`existing` copies were there, `created` are new."""

    refusal: Optional[StoreRefusal] = None
    existing: tuple[StoreCopy, ...] = ()
    created: tuple[StoreCopy, ...] = ()


class StoreCreator:
    """Makes volumes on the reader's domain."""

    def __init__(
        self,
        vdsm: Vdsm,
        reader: StoreReader,
        claims: StoreClaims,
        *,
        clock: Clock,
        task_deadline_seconds: float,
    ) -> None:
        self._vdsm = vdsm
        self._reader = reader
        self._claims = claims
        self._clock = clock
        self._task_deadline_seconds = task_deadline_seconds

    async def create(self, count: int) -> CreateResult:
        """Make volumes until there are `count`.

        Raises BadInput for a count out of range; EnvironmentFault when VDSM fails, or can't
        tell about a volume that may be a copy.
        """
        if not MIN_COPIES <= count <= MAX_COPIES:
            raise BadInput(f"{count} copies: from {MIN_COPIES} to {MAX_COPIES} are possible")
        access = await self._claims.access()
        if isinstance(access, StoreRefusal):
            return CreateResult(access)
        existing = await self._reader.copies()
        if self._reader.problems:
            raise EnvironmentFault(
                f"not known how many copies there are: {'; '.join(self._reader.problems)}"
            )
        info = await self._vdsm.domain_info(self._reader.domain_uuid)
        # VDSM makes the engine's OVF_STOREs preallocated on blocks, and so must uploads have it.
        on_blocks = info.type.upper() in _BLOCK_DOMAINS
        allocation = Allocation.PREALLOCATED if on_blocks else Allocation.SPARSE
        created: list[StoreCopy] = []
        for _ in range(count - len(existing)):
            try:
                created.append(await self._create_one(access, allocation))
            except VdsmCallFailed as error:
                refusal = await self._claims.refusal_for(error)
                if created or refusal is None:
                    raise
                return CreateResult(refusal, existing)
        return CreateResult(None, existing, tuple(created))

    async def _create_one(self, access: Access, allocation: Allocation) -> StoreCopy:
        domain = self._reader.domain_uuid
        description = format_description(
            storage_domain_uuid=domain, updated=False, last_updated_text=None
        )
        copy = StoreCopy(str(uuid.uuid4()), str(uuid.uuid4()), description)
        task = await self._vdsm.create_volume(
            domain,
            copy.image_uuid,
            copy.volume_uuid,
            size_bytes=VOLUME_BYTES,
            disk_type=OVFS,
            description=description,
            allocation=allocation,
            pool_id=access.pool_id,
        )
        await self._wait_for(task, f"volume {copy.volume_uuid}")
        await self._claims.expect(copy, description)
        log.info("OVF_STORE volume %s made in image %s", copy.volume_uuid, copy.image_uuid)
        return copy

    async def _wait_for(self, task: str, what: str) -> None:
        deadline_seconds = self._task_deadline_seconds
        ends_at = self._clock.now() + deadline_seconds
        status = await self._vdsm.task_status(task)
        while not status.has_ended:
            if self._clock.now() >= ends_at:
                raise DeadlineExceeded(f"{what}: VDSM's task {task}", deadline_seconds)
            await self._clock.sleep(_TASK_POLL_SECONDS)
            status = await self._vdsm.task_status(task)
        await self._vdsm.clear_task(task)
        if not status.has_succeeded:
            raise EnvironmentFault(
                f"{what} could not be made: {status.message} (code {status.code})"
            )
