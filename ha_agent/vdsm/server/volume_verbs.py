# SPDX-License-Identifier: Apache-2.0
"""The embedded VDSM's verbs that write: a new volume, a volume's description.

VDSM lets only the manager (SPM) of the domain's connected pool write. This VDSM connects no
pool, so for a domain whose metadata names one it refuses as VDSM does on a host without that
pool (309). A domain that belongs to no pool has no SPM: there, and this is the one difference,
it writes, for the pool id of zeros, as the hosts that have this VDSM are the domain's only users.

They may be several, so nothing is kept in memory: a description is read from the storage each
time, and its file is replaced whole.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Callable, Optional

from ha_agent.instant import WallTime
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.storage_verbs import StorageVerbs
from ha_agent.vdsm.server.tasks import Tasks

_RAW = 5
_ALLOCATIONS = {1: "PREALLOCATED", 2: "SPARSE"}


class VolumeVerbs:
    """Writes on the domains that `storage` finds."""

    def __init__(
        self, storage: StorageVerbs, tasks: Tasks, make_lease: Callable[[Path], None]
    ) -> None:
        """`make_lease` makes the lease of a volume that is being created, beside its file."""
        self._storage = storage
        self._make_lease = make_lease
        self._tasks = tasks
        # VDSM holds the image's lock meanwhile; a write here is short enough for one lock.
        self._writing = asyncio.Lock()

    async def set_description(
        self, volume: str, pool: str, domain: str, image: str, description: str
    ) -> None:
        """Volume.setDescription: the text is cut at VDSM's limit."""

        def write() -> None:
            path = self._writable_domain(pool, domain)
            file_domain.write_description(
                file_domain.find_volume(path, image, volume), description
            )

        async with self._writing:
            await self._storage.run("Volume.setDescription", write)

    async def create(
        self,
        volume: str,
        pool: str,
        domain: str,
        image: str,
        size: str,
        volume_format: int,
        allocation: int,
        disk_type: str,
        description: str,
        _source_image: Optional[str],
        _source_volume: Optional[str],
        *,
        wall: WallTime,
    ) -> str:
        """Volume.create: begin to make a raw volume, with its image, and return the task."""
        if volume_format != _RAW:
            raise Refusal(VdsmCode.INCORRECT_FORMAT, f"Incorrect Volume format: {volume_format}")
        kind = _ALLOCATIONS.get(allocation)
        if not size.isdecimal() or kind is None or disk_type not in file_domain.DISK_TYPES:
            raise Refusal(
                VdsmCode.INVALID_PARAMETER,
                f"Invalid parameter: size={size[:40]!r}, preallocate={allocation},"
                f" diskType={disk_type[:40]!r}",
            )
        path = await self._storage.run(
            "Volume.create", lambda: self._writable_domain(pool, domain)
        )

        def make() -> None:
            if (path / "images" / image / volume).exists():
                raise Refusal(VdsmCode.VOLUME_ALREADY_EXISTS, f"Volume already exists: {volume}")
            file_domain.create_volume(
                path,
                image,
                volume,
                int(size),
                file_domain.cut_description(description),
                disk_type,
                created_at_seconds=int(wall.unix_seconds),
                type=kind or "",
                make_lease=self._make_lease,
            )

        return self._tasks.begin(f"volume {volume}", self._storage.run("Volume.create", make))

    def _writable_domain(self, pool: str, domain: str) -> Path:
        path = file_domain.find_domain(self._storage.paths(), domain)
        of_domain = file_domain.read_domain_metadata(path).get("POOL_UUID", "")
        if pool != file_domain.BLANK_UUID or of_domain not in ("", file_domain.BLANK_UUID):
            raise _not_connected()
        return path


def _not_connected() -> Refusal:
    return Refusal(VdsmCode.POOL_NOT_CONNECTED, "Unknown pool id, pool not connected")
