# SPDX-License-Identifier: Apache-2.0
"""VDSM's verbs on storage servers and what is found behind them, typed; verbs.py says what holds
for all of them. Parameter names are those of vdsm's lib/vdsm/api/vdsm-api.yml.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ha_agent.vdsm.client import answers, answers_connect
from ha_agent.vdsm.client.storage_server import Connection, DomainType, Portal, StorageServer
from ha_agent.vdsm.client.verb_calls import NO_POOL, STORAGE_DEADLINE_SECONDS, VerbCalls

# A mount that times out, or logins to iSCSI targets that are not there: 120 s by VDSM's own
# account (its storageServer.py), and more for what comes before and behind.
CONNECT_DEADLINE_SECONDS = 180.0


class ConnectCalls(VerbCalls):
    """The verbs on storage servers, devices and domains to be found."""

    async def connect_storage_server(
        self, server: StorageServer
    ) -> list[answers_connect.ConnectionStatus]:
        """StoragePool.connectStorageServer: mount or log in. Changes; harmless to repeat.

        Takes up to 180 s. What fails, fails for each connection alone, and is told in its status:
        451 no connection, 477 mount, 464 and above iSCSI. Code 1000: no connections at all.
        """
        return await self._servers("StoragePool.connectStorageServer", server, server.connections)

    async def disconnect_storage_server(
        self, server: StorageServer
    ) -> list[answers_connect.ConnectionStatus]:
        """StoragePool.disconnectStorageServer: unmount or log out. Changes; harmless to repeat.

        Nothing may use the storage any more: VDSM does not ask. Statuses as in
        `connect_storage_server`.
        """
        verb = "StoragePool.disconnectStorageServer"
        return await self._servers(verb, server, server.connections)

    async def _servers(
        self, verb: str, server: StorageServer, connections: Sequence[Connection]
    ) -> list[answers_connect.ConnectionStatus]:
        params = {
            "storagepoolID": NO_POOL,
            "domainType": int(server.domain_type),
            "connectionParams": [dict(connection.fields) for connection in connections],
        }
        read = answers_connect.read_connection_statuses
        return await self._ask(verb, params, CONNECT_DEADLINE_SECONDS, read)

    async def domain_space(self, domain_id: str) -> answers_connect.DomainSpace:
        """StorageDomain.getStats: total and free bytes. Has VDSM refresh its links to the domain.

        Codes: 358 no such domain is visible here, 360 its file system is not mounted, 379 it
        can't be accessed.
        """
        return await self._ask(
            "StorageDomain.getStats",
            {"storagedomainID": domain_id},
            STORAGE_DEADLINE_SECONDS,
            answers_connect.read_domain_space,
        )

    async def storage_domains(self) -> list[str]:
        """Host.getStorageDomains: the ids of all domains that are visible here."""
        return await self._ask(
            "Host.getStorageDomains", {}, STORAGE_DEADLINE_SECONDS, answers.read_ids
        )

    async def block_devices(self, domain_type: DomainType) -> list[answers_connect.BlockDevice]:
        """Host.getDeviceList: the LUNs of one type. VDSM looks for new ones first.

        Whether a LUN is in use is not asked for: that opens every one of them.
        """
        params: dict[str, Any] = {
            "storageType": int(domain_type),
            "guids": [],
            "checkStatus": False,
            "refresh": True,
        }
        return await self._ask(
            "Host.getDeviceList", params, STORAGE_DEADLINE_SECONDS, answers_connect.read_devices
        )

    async def discover_targets(
        self, portal: Portal, user: str = "", password: str = ""
    ) -> list[answers_connect.IscsiTarget]:
        """ISCSIConnection.discoverSendTargets: what targets a portal offers, and where.

        Codes from 464 on: iSCSI, as when the portal is not there or wants another password.
        """
        params: dict[str, Any] = {"host": portal.address, "port": str(portal.port)}
        if user:
            params.update(user=user, password=password)
        return await self._ask(
            "ISCSIConnection.discoverSendTargets",
            params,
            STORAGE_DEADLINE_SECONDS,
            answers_connect.read_targets,
        )
