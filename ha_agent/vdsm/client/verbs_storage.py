# SPDX-License-Identifier: Apache-2.0
"""VDSM's verbs on storage, typed; verbs.py says what holds for all of them.

What belongs to the pool's manager (SPM) only, `create_volume`, `set_volume_description` and the
tasks, is refused elsewhere with code 309 (no connected pool) or 654 (this host is not SPM).
Parameter names are those of vdsm's lib/vdsm/api/vdsm-api.yml.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Optional

from ha_agent.vdsm.client import answers
from ha_agent.vdsm.client.verb_calls import (
    MEMORY_DEADLINE_SECONDS,
    NO_POOL,
    STORAGE_DEADLINE_SECONDS,
    VerbCalls,
)
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode

_NOT_THERE = frozenset((VdsmCode.VOLUME_DOES_NOT_EXIST, VdsmCode.IMAGE_PATH_ERROR))

# On the wire (vdsm's storage/constants.py): formats 4 COW, 5 RAW; allocations 1 PREALLOCATED,
# 2 SPARSE.
_RAW = 5


class Allocation(enum.IntEnum):
    """How a new volume takes its space. Block storage takes OVF_STOREs preallocated only."""

    PREALLOCATED = 1
    SPARSE = 2


class StorageCalls(VerbCalls):
    """The verbs on storage."""

    async def start_monitoring_domain(self, domain_id: str, host_id: int) -> None:
        """Host.startMonitoringDomain: watch the domain and acquire our sanlock host id there.

        Returns at once; `storage_vitals` shows `acquired` after 30 to 40 s the first time. No
        effect when monitored already, even under another host id. A restart of vdsmd forgets it.
        """
        params = {"sdUUID": domain_id, "hostID": host_id}
        await self._call("Host.startMonitoringDomain", params, STORAGE_DEADLINE_SECONDS)

    async def stop_monitoring_domain(self, domain_id: str) -> bool:
        """Host.stopMonitoringDomain: release the host id. Changes.

        False: the engine has attached the domain to a pool (code 900), and VDSM keeps it.
        """
        verb = "Host.stopMonitoringDomain"
        try:
            await self._call(verb, {"sdUUID": domain_id}, STORAGE_DEADLINE_SECONDS)
        except VdsmCallFailed as error:
            if error.code == VdsmCode.DOMAIN_IS_MEMBER_OF_POOL:
                return False
            raise
        return True

    async def storage_vitals(
        self, domain_ids: Sequence[str] = ()
    ) -> dict[str, answers.DomainVitals]:
        """Host.getStorageRepoStats: monitored domains, of `domain_ids` when there are any.

        A domain that is not monitored is missing in the result.
        """
        params = {"domains": list(domain_ids)} if domain_ids else {}
        return await self._ask(
            "Host.getStorageRepoStats",
            params,
            MEMORY_DEADLINE_SECONDS,
            answers.read_storage_vitals,
        )

    async def domain_info(self, domain_id: str) -> answers.StorageDomainInfo:
        """StorageDomain.getInfo. Code 358: no such domain is visible here."""
        params = {"storagedomainID": domain_id}
        return await self._ask(
            "StorageDomain.getInfo", params, STORAGE_DEADLINE_SECONDS, answers.read_domain_info
        )

    async def domain_images(self, domain_id: str) -> list[str]:
        """StorageDomain.getImages: the ids of all images on the domain."""
        params = {"storagedomainID": domain_id}
        return await self._ask(
            "StorageDomain.getImages", params, STORAGE_DEADLINE_SECONDS, answers.read_ids
        )

    async def image_volumes(
        self, domain_id: str, image_id: str, *, pool_id: str = NO_POOL
    ) -> list[str]:
        """StorageDomain.getVolumes: the ids of an image's volumes."""
        params = _image_params(pool_id, domain_id, image_id)
        return await self._ask(
            "StorageDomain.getVolumes", params, STORAGE_DEADLINE_SECONDS, answers.read_ids
        )

    async def volume_info(
        self, domain_id: str, image_id: str, volume_id: str, *, pool_id: str = NO_POOL
    ) -> Optional[answers.VolumeInfo]:
        """Volume.getInfo; None when volume or image is not there (codes 201, 254)."""
        params = {**_image_params(pool_id, domain_id, image_id), "volumeID": volume_id}
        try:
            return await self._ask(
                "Volume.getInfo", params, STORAGE_DEADLINE_SECONDS, answers.read_volume_info
            )
        except VdsmCallFailed as error:
            if error.code in _NOT_THERE:
                return None
            raise

    async def prepare_image(
        self, domain_id: str, image_id: str, volume_id: str, *, pool_id: str = NO_POOL
    ) -> str:
        """Image.prepare: make a volume readable on this host and return its path.

        Without a pool the path is /run/vdsm/storage/<domain>/<image>/<volume>. Changes; harmless
        to repeat. Codes 201 and 254: no such volume, no such image.
        """
        params = {**_image_params(pool_id, domain_id, image_id), "volumeID": volume_id}
        return await self._ask(
            "Image.prepare", params, STORAGE_DEADLINE_SECONDS, answers.read_path
        )

    async def teardown_image(
        self, domain_id: str, image_id: str, volume_id: str = "", *, pool_id: str = NO_POOL
    ) -> None:
        """Image.teardown: undo `prepare_image`. Changes; harmless to repeat."""
        params = _image_params(pool_id, domain_id, image_id)
        if volume_id:
            params["volumeID"] = volume_id
        await self._call("Image.teardown", params, STORAGE_DEADLINE_SECONDS)

    # What only the pool's manager (SPM) does.

    async def spm_status(self, pool_id: str) -> Optional[answers.SpmStatus]:
        """StoragePool.getSpmStatus; None when the pool is not connected here (code 309)."""
        params = {"storagepoolID": pool_id}
        try:
            return await self._ask(
                "StoragePool.getSpmStatus",
                params,
                STORAGE_DEADLINE_SECONDS,
                answers.read_spm_status,
            )
        except VdsmCallFailed as error:
            if error.code == VdsmCode.POOL_NOT_CONNECTED:
                return None
            raise

    async def set_volume_description(
        self,
        domain_id: str,
        image_id: str,
        volume_id: str,
        description: str,
        *,
        pool_id: str = NO_POOL,
    ) -> None:
        """Volume.setDescription. Changes. VDSM cuts what is longer than 210 characters.

        Codes: 309 and 654 where this host may not write; 201 and 254 as in `prepare_image`.
        """
        params = {
            **_image_params(pool_id, domain_id, image_id),
            "volumeID": volume_id,
            "description": description,
        }
        await self._call("Volume.setDescription", params, STORAGE_DEADLINE_SECONDS)

    async def create_volume(
        self,
        domain_id: str,
        image_id: str,
        volume_id: str,
        *,
        size_bytes: int,
        disk_type: str,
        description: str,
        allocation: Allocation,
        pool_id: str = NO_POOL,
    ) -> str:
        """Volume.create: begin to make a raw volume, and its image. Changes. Returns a task's id.

        The volume is there when `task_status` says so; clear the task then. Codes: 309 and 654
        where this host may not write.
        """
        params = {
            **_image_params(pool_id, domain_id, image_id),
            "volumeID": volume_id,
            "size": str(size_bytes),
            "volFormat": _RAW,
            "preallocate": int(allocation),
            "diskType": disk_type,
            "desc": description,
            "srcImgUUID": NO_POOL,
            "srcVolUUID": NO_POOL,
        }
        return await self._ask(
            "Volume.create", params, STORAGE_DEADLINE_SECONDS, answers.read_task_id
        )

    async def task_status(self, task_id: str) -> answers.TaskStatus:
        """Task.getStatus. Code 401: there is no such task."""
        return await self._ask(
            "Task.getStatus",
            {"taskID": task_id},
            MEMORY_DEADLINE_SECONDS,
            answers.read_task_status,
        )

    async def clear_task(self, task_id: str) -> None:
        """Task.clear: forget a task that has ended. Changes. Code 401: there is no such task."""
        await self._call("Task.clear", {"taskID": task_id}, STORAGE_DEADLINE_SECONDS)


def _image_params(pool_id: str, domain_id: str, image_id: str) -> dict[str, str]:
    return {"storagepoolID": pool_id, "storagedomainID": domain_id, "imageID": image_id}
