# SPDX-License-Identifier: Apache-2.0
"""Step of a deploy: the engine VM's disk, there already or made from an image file.

A new volume's description says that it is being made until the copy is whole: a copy that was cut
off is begun again, and a VM can't be started from half a disk unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.errors import BadInput
from ha_agent.setup.answers import Answers
from ha_agent.setup.deploy import qemu_image
from ha_agent.setup.deploy.deployment import DISK, GIB, MAKING, Deployment
from ha_agent.setup.deploy.pool import Pool
from ha_agent.setup.deploy.volumes import describe, make_volume
from ha_agent.setup.step import Found, Say, SetupRefused
from ha_agent.vdsm.client.verbs import Allocation


@dataclass(frozen=True)
class NewDisk:
    """The image file, its format, and how large the volume gets: whole GiB."""

    source: Path
    format: str
    size_gib: int

    @property
    def size_bytes(self) -> int:
        """The size as VDSM wants it."""
        return self.size_gib * GIB


async def new_disk(answers: Answers) -> Optional[NewDisk]:
    """Return the disk to make, None where there is one. Raises BadInput, EnvironmentFault."""
    source = answers.path("disk_image_file")
    if source is None:
        return None
    info = await qemu_image.image_info(source)
    least_gib = -(-info.virtual_bytes // GIB)
    wanted = answers.values.get("disk_size_gib")
    if wanted is not None and wanted < least_gib:
        raise BadInput(
            f"the image has {least_gib} GiB, disk_size_gib is {wanted}", where=str(source)
        )
    return NewDisk(source, info.format, wanted or least_gib)


class MakeDisk:
    """The disk is there, whole."""

    name, title = "disk", "make the engine VM's disk"

    def __init__(self, deployment: Deployment, pool: Pool, new: Optional[NewDisk]) -> None:
        self._deployment = deployment
        self._pool = pool
        self._new = new

    async def look(self) -> Found:
        """Raises SetupRefused for a disk that was named and can't be used."""
        deployment, new = self._deployment, self._new
        there = await deployment.domain_info() is not None
        info = await deployment.info(DISK) if there else None
        if new is None:
            if info is None and there:
                raise SetupRefused(
                    f"storage domain {deployment.domain_uuid} has no volume"
                    f" {deployment.volume(DISK)} in image {deployment.image(DISK)}"
                )
            if info is None:
                return Found(False, "it must be on the storage domain")
            if info.format not in ("RAW", "") or info.legality not in ("LEGAL", ""):
                raise SetupRefused(
                    f"volume {info.volume_id} is {info.format}, {info.legality}: a raw one is"
                    " needed"
                )
            return Found(True, f"volume {info.volume_id}")
        if info is None:
            return Found(False, f"{new.size_gib} GiB from {new.source}")
        if info.description.endswith(MAKING):
            return Found(False, f"volume {info.volume_id} is half filled")
        if info.capacity_bytes is not None and info.capacity_bytes < new.size_bytes:
            raise SetupRefused(
                f"volume {info.volume_id} has {info.capacity_bytes / GIB:g} GiB, and"
                f" {new.size_gib} are wanted"
            )
        return Found(True, f"volume {info.volume_id}")

    async def do(self, say: Say) -> str:
        """Make the volume, fill it, and call it finished."""
        deployment, new = self._deployment, self._new
        if new is None:
            raise SetupRefused("the engine VM's disk is not on the storage domain")
        # VDSM's block volumes that are sparse can't be raw.
        allocation = Allocation.PREALLOCATED if deployment.is_block else Allocation.SPARSE
        await make_volume(deployment, self._pool, DISK, new.size_bytes, allocation, say)
        await qemu_image.copy_image(new.source, new.format, await deployment.path(DISK), say)
        await describe(deployment, self._pool, DISK)
        return f"volume {deployment.volume(DISK)} of {new.size_gib} GiB from {new.source}"
