# SPDX-License-Identifier: Apache-2.0
"""Who may write the OVF_STORE's copies, and one writer at a time for each.

VDSM lets the pool's manager (SPM) alone change a volume's description. Where the domain belongs
to a pool, a host that is not SPM is refused, with a sentence that says where to go. Where it
belongs to no pool (only the embedded VDSM writes there) any host may, and several may try.

A writer marks a copy before it touches it, with the engine's own words and one more key, which
the engine and its readers do not look at (they take their keys out of a JSON object by name):

    {"Updated":false,"Last Updated":<the OLD date>,...,"Disk Description":"OVF_STORE",
     "Writer":"<host id>-<random>"}

Another's mark, or none, is another's copy. In a domain without a pool two hosts may mark at once:

    read: as listed ── mark ── settle ── read: my mark? then it is mine
    `<──── at most settle ───>`

Whoever marks after me has read before my mark, so its mark comes within the settle time of mine,
and I read it; who takes longer than that gives up. A copy that somebody marked, or that the
engine is writing, is left alone until its description has not changed for the grace time:
store/writer.py begins no write that could end later than that after its mark, and the engine's
uploads, which only a pool's domain sees, have a longer one. Marks of this very
host are from a life before this one and need no waiting for, but for those that came too late:
another may be at work underneath.

This narrows races, it can't end all: VDSM's `dd` on behalf of the engine asks nobody. That is
why our mark is read again before a copy is called good, and why the other copy is good meanwhile.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Callable, Optional, Protocol, Union

from ha_agent.broker.store.check import StoreListing
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.ovfstore.locate import StoreCopy, StoreDescription, format_description
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.verbs import NO_POOL, Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode

log = logging.getLogger(__name__)

_GRACE_LOOKS = 30
_NOT_ALLOWED_CODES = (VdsmCode.POOL_NOT_CONNECTED, VdsmCode.NOT_SPM)
_WRITER = "Writer"


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


@dataclass(frozen=True)
class StoreRefusal:
    """Why this host does not write, for a program (`code`) and for people (`sentence`).

    Codes: not_spm, pool_not_connected, no_store, one_copy, no_whole_copy.
    """

    code: str
    sentence: str


class StoreChanged(EnvironmentFault):
    """Somebody else changes the store at the same time; nothing was called good by us."""


@dataclass(frozen=True)
class Access:
    """How this host may write: under which pool's id, and whether no other host may."""

    pool_id: str

    @property
    def is_exclusive(self) -> bool:
        """Tell whether VDSM lets one host write only: the SPM of a pool."""
        return self.pool_id != NO_POOL


class StoreClaims:
    """Access to one domain's store, and marks on its copies."""

    def __init__(
        self,
        vdsm: Vdsm,
        *,
        domain_uuid: str,
        host_id: int,
        clock: Clock,
        settle_seconds: float,
        grace_seconds: float,
        engine_grace_seconds: float,
    ) -> None:
        self._vdsm = vdsm
        self._domain_uuid = domain_uuid
        self._host_id = host_id
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._grace_seconds = grace_seconds
        self._engine_grace_seconds = engine_grace_seconds
        self._late: set[str] = set()

    async def access(self) -> Union[Access, StoreRefusal]:
        """Ask VDSM whether this host may write. Raises EnvironmentFault."""
        info = await self._vdsm.domain_info(self._domain_uuid)
        pools = [pool for pool in info.pool_ids if pool not in ("", NO_POOL)]
        if not pools:
            return Access(NO_POOL)
        status = await self._vdsm.spm_status(pools[0])
        if status is None:
            return StoreRefusal(
                "pool_not_connected",
                f"storage domain {self._domain_uuid} belongs to pool {pools[0]}, which is not"
                " connected on this host, so that VDSM lets it write nothing there: run this on"
                " the host that is SPM, or change the VM in the engine",
            )
        if not status.is_spm:
            return self._not_spm(pools[0], status.spm_id)
        return Access(pools[0])

    def _not_spm(self, pool_id: str, spm_id: Optional[int]) -> StoreRefusal:
        """Return the refusal of a host that is not SPM; `spm_id` None when no host is."""
        who = "no host is SPM now" if spm_id is None else f"SPM is the host with id {spm_id}"
        where = "when there is one" if spm_id is None else "there"
        return StoreRefusal(
            "not_spm",
            f"storage domain {self._domain_uuid} belongs to pool {pool_id}, and only its manager"
            f" (SPM) may write there; {who}: run this {where}, or change the VM in the engine",
        )

    async def refusal_for(self, error: VdsmCallFailed) -> Optional[StoreRefusal]:
        """Return the refusal that VDSM's code means, None for other codes.

        The role of SPM may have gone since we asked. Raises EnvironmentFault.
        """
        if error.code not in _NOT_ALLOWED_CODES:
            return None
        access = await self.access()
        if isinstance(access, StoreRefusal):
            return access
        return StoreRefusal(
            "not_spm",
            f"VDSM lets this host write nothing on the storage domain ({error}): run this on the"
            " host that is SPM, or change the VM in the engine",
        )

    def _is_mine(self, copy: StoreCopy) -> bool:
        """Tell whether the last one to mark this copy was this host."""
        return _writer(copy.description).startswith(f"{self._host_id}-")

    def is_busy(self, copy: StoreCopy, description: Optional[StoreDescription]) -> bool:
        """Tell whether another may be writing this copy now, by its description."""
        if description is None or description.updated:
            return False
        if self._is_mine(copy):
            return copy.description in self._late
        return description.last_updated is not None or bool(_writer(copy.description))

    async def wait_until_quiet(
        self, access: Access, look: Callable[[bool], Awaitable[StoreListing]]
    ) -> StoreListing:
        """Return a listing in which no other writer is at work; wait the grace time for one.

        `look` lists the copies, only those known with True. Raises StoreChanged when somebody
        goes on writing, and EnvironmentFault.
        """
        listing = await look(False)
        busy = self._busy(listing)
        if not busy:
            return listing
        names = ", ".join(sorted(copy.volume_uuid for copy in busy))
        seconds = self._grace_seconds
        if access.is_exclusive and not all(_writer(copy.description) for copy in busy):
            seconds = self._engine_grace_seconds
        log.info("%s: being written, or a write was cut off; waiting %g s", names, seconds)
        ends_at = self._clock.now() + seconds
        while self._clock.now() < ends_at:
            # Who goes on writing may bring what is newer than our document: not for us to judge.
            await self._clock.sleep(seconds / _GRACE_LOOKS)
            listing = await look(True)
            is_there = busy <= {ranked.copy for ranked in listing.copies}
            if not is_there or not self._busy(listing) <= busy:
                raise StoreChanged(f"{names}: somebody else is writing the store; try again later")
        return listing

    def _busy(self, listing: StoreListing) -> set[StoreCopy]:
        return {
            ranked.copy
            for ranked in listing.copies
            if self.is_busy(ranked.copy, ranked.description)
        }

    async def claim(self, access: Access, copy: StoreCopy, old_date: Optional[str]) -> str:
        """Mark a copy as being written by us, and return the mark: its description now.

        `copy` is as listed. Raises StoreChanged when somebody else has it, and EnvironmentFault.
        """
        began_at = self._clock.now()
        await self.expect(copy, copy.description)
        mark = self._mark(old_date)
        self._late.add(mark)
        await self.describe(access, copy, mark)
        if not access.is_exclusive:
            took_seconds = self._clock.now() - began_at
            if took_seconds > self._settle_seconds:
                raise EnvironmentFault(
                    f"volume {copy.volume_uuid}: VDSM took {took_seconds:.1f} s to mark it, and"
                    f" {self._settle_seconds:g} s is the longest after which it is surely ours;"
                    " its content was not touched"
                )
            await self._clock.sleep(self._settle_seconds)
        await self.expect(copy, mark)
        self._late.discard(mark)
        return mark

    async def describe(self, access: Access, copy: StoreCopy, text: str) -> None:
        """Set a copy's description."""
        await self._vdsm.set_volume_description(
            self._domain_uuid, copy.image_uuid, copy.volume_uuid, text, pool_id=access.pool_id
        )

    async def expect(self, copy: StoreCopy, text: str) -> VolumeInfo:
        """Return the volume's data. Raises StoreChanged when its description is another."""
        info = await self._vdsm.volume_info(self._domain_uuid, copy.image_uuid, copy.volume_uuid)
        if info is None or info.description != text:
            now = "is gone" if info is None else f"reads {info.description!r}"
            raise StoreChanged(
                f"volume {copy.volume_uuid} is being changed by somebody else (the engine, or"
                f" another host): its description {now}, not {text!r}; we did not call it good."
                " Look with `ha-agent store verify` and try again"
            )
        return info

    def _mark(self, old_date: Optional[str]) -> str:
        value = json.loads(
            format_description(
                storage_domain_uuid=self._domain_uuid, updated=False, last_updated_text=old_date
            )
        )
        value[_WRITER] = f"{self._host_id}-{uuid.uuid4().hex[:8]}"
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _writer(description: str) -> str:
    try:
        value = json.loads(description)
    except (ValueError, RecursionError):
        return ""
    writer = value.get(_WRITER) if isinstance(value, dict) else None
    return writer if isinstance(writer, str) else ""
