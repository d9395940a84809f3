# SPDX-License-Identifier: Apache-2.0
"""VDSM's verbs that a set-up needs besides: to make a storage domain, and a pool for a while.

No daemon calls them. verbs.py says what holds for all verbs. Parameter names are those of vdsm's
lib/vdsm/api/vdsm-api.yml; what the pool's verbs want in which order was read in
ovirt-hosted-engine-setup's storage plug-in, which made volumes the same way until oVirt 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ha_agent.errors import BadInput
from ha_agent.vdsm.client import answers
from ha_agent.vdsm.client.storage_server import DomainType
from ha_agent.vdsm.client.verb_calls import STORAGE_DEADLINE_SECONDS
from ha_agent.vdsm.client.verbs import Vdsm

# 10 s on a real VDSM (facts 4), for the domain's lockspace; slow storage takes longer.
CREATE_DEADLINE_SECONDS = 300.0
DOMAIN_VERSION = 5
_DATA_DOMAIN = 1
_MAX_HOST_ID = 250
_MASTER_VERSION = 1


class SetupVdsm(Vdsm):
    """VDSM's verbs, with those of set-up."""

    async def create_domain(
        self, domain_id: str, domain_type: DomainType, type_arguments: str, name: str
    ) -> None:
        """StorageDomain.create: make a data domain of version 5. Changes.

        `type_arguments` is what is mounted, as it was connected, or a volume group's UUID. Codes:
        361 another domain is there, 365 this one is, 360 not mounted.
        """
        params = {
            "storagedomainID": domain_id,
            "domainType": int(domain_type),
            "typeArgs": type_arguments,
            "name": name,
            "domainClass": _DATA_DOMAIN,
            "version": DOMAIN_VERSION,
        }
        await self._call("StorageDomain.create", params, CREATE_DEADLINE_SECONDS)

    async def create_volume_group(self, name: str, guids: Sequence[str], *, force: bool) -> str:
        """LVMVolumeGroup.create: make a volume group of LUNs, return its UUID. Changes.

        Without `force` LUNs that hold something are refused.
        """
        params = {"name": name, "devlist": list(guids), "force": force}
        return await self._ask(
            "LVMVolumeGroup.create", params, CREATE_DEADLINE_SECONDS, _read_uuid
        )

    # The pool ------------------------------------------------------------------------------

    async def connected_pools(self) -> list[str]:
        """Host.getConnectedStoragePools: the ids of the pools that this host is connected to."""
        return await self._ask(
            "Host.getConnectedStoragePools", {}, STORAGE_DEADLINE_SECONDS, answers.read_ids
        )

    async def create_pool(self, pool_id: str, name: str, master: str, domain: str) -> None:
        """StoragePool.create: a pool of two domains, of which `master` is its master. Changes."""
        params = {
            "storagepoolID": pool_id,
            "name": name,
            "masterSdUUID": master,
            "masterVersion": _MASTER_VERSION,
            "domainList": [master, domain],
        }
        await self._call("StoragePool.create", params, CREATE_DEADLINE_SECONDS)

    async def connect_pool(self, pool_id: str, host_id: int, master: str, domain: str) -> None:
        """StoragePool.connect. Changes; harmless to repeat."""
        params = {
            "storagepoolID": pool_id,
            "hostID": host_id,
            "scsiKey": pool_id,
            "masterSdUUID": master,
            "masterVersion": _MASTER_VERSION,
            "domainDict": {master: "active", domain: "active"},
        }
        await self._call("StoragePool.connect", params, CREATE_DEADLINE_SECONDS)

    async def start_spm(self, pool_id: str) -> str:
        """StoragePool.spmStart: begin to make this host the pool's manager; returns a task."""
        params = {
            "storagepoolID": pool_id,
            "prevID": -1,
            "prevLver": -1,
            "enableScsiFencing": False,
            "maxHostID": _MAX_HOST_ID,
            "domVersion": DOMAIN_VERSION,
        }
        return await self._ask(
            "StoragePool.spmStart", params, STORAGE_DEADLINE_SECONDS, answers.read_task_id
        )

    async def activate_domain(self, domain_id: str, pool_id: str) -> None:
        """StorageDomain.activate. Changes; harmless to repeat."""
        params = {"storagedomainID": domain_id, "storagepoolID": pool_id}
        await self._call("StorageDomain.activate", params, CREATE_DEADLINE_SECONDS)

    async def detach_domain(self, domain_id: str, pool_id: str, master: str) -> None:
        """StorageDomain.detach: take a domain out of the pool. Changes."""
        params = {
            "storagedomainID": domain_id,
            "storagepoolID": pool_id,
            "masterSdUUID": master,
            "masterVersion": _MASTER_VERSION,
        }
        await self._call("StorageDomain.detach", params, CREATE_DEADLINE_SECONDS)

    async def destroy_pool(self, pool_id: str, host_id: int) -> None:
        """StoragePool.destroy, on the SPM: the pool is gone, and the role with it. Changes."""
        params = {"storagepoolID": pool_id, "hostID": host_id, "scsiKey": pool_id}
        await self._call("StoragePool.destroy", params, CREATE_DEADLINE_SECONDS)

    async def format_domain(self, domain_id: str) -> None:
        """StorageDomain.format: all that is on the domain is lost. Changes."""
        params = {"storagedomainID": domain_id, "autoDetach": True}
        await self._call("StorageDomain.format", params, CREATE_DEADLINE_SECONDS)


def _read_uuid(answer: Any) -> str:
    # The schema says UUID; VDSM's own dict has it below "uuid".
    value = answer.get("uuid") if isinstance(answer, dict) else answer
    if not isinstance(value, str) or not value:
        raise BadInput("no UUID")
    return value
