# SPDX-License-Identifier: Apache-2.0
"""Steps of a deploy: the OVF_STORE volumes, and the engine VM's OVF in all of them.

Both by the broker's own writer, which other hosts and the engine know how to read. An OVF of this
VM that is there is left alone: the engine may have written it since.
"""

from __future__ import annotations

from ha_agent.broker.store.reader import StoreReader
from ha_agent.broker.store.writer import StoreWriter
from ha_agent.errors import BadInput
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.setup.deploy.definition import Document
from ha_agent.setup.deploy.deployment import Deployment
from ha_agent.setup.deploy.pool import Pool
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused

COPIES = 2
_READ_SECONDS = 30.0


class MakeStore:
    """There are two OVF_STORE volumes at least."""

    name, title = "store", "create the OVF_STORE volumes"

    def __init__(self, deployment: Deployment, pool: Pool) -> None:
        self._deployment = deployment
        self._pool = pool

    async def look(self) -> Found:
        """Count them."""
        if await self._deployment.domain_info() is None:
            return Found(False, f"{COPIES} volumes, when the storage domain is there")
        copies = await reader(self._deployment).copies()
        return Found(len(copies) >= COPIES, f"{len(copies)} of {COPIES} volumes")

    async def do(self, say: Say) -> str:
        """Make those that are missing."""
        await self._pool.enter(say)
        result = await writer(self._deployment).create(COPIES)
        if result.refusal is not None:
            raise SetupRefused(result.refusal.sentence)
        return f"{len(result.created)} volumes made"


class StoreDefinition:
    """All copies hold the engine VM's OVF."""

    name, title = "definition", "store the engine VM's OVF"

    def __init__(self, deployment: Deployment, pool: Pool, document: Document) -> None:
        """`document` gives the OVF, with the disk's UUIDs as they are now."""
        self._deployment = deployment
        self._pool = pool
        self._document = document

    async def look(self) -> Found:
        """Raises SetupRefused where the store has other VMs' OVFs and not this one's."""
        deployment = self._deployment
        if await deployment.domain_info() is None:
            return Found(False, f"VM {deployment.vm_uuid}")
        verdict = await writer(deployment).verify()
        good = [copy for copy in verdict.copies if copy.is_good and copy.document is not None]
        if len(good) < max(COPIES, len(verdict.copies)) or not verdict.agree:
            return Found(False, f"VM {deployment.vm_uuid} in {len(good)} of {COPIES} copies")
        document = good[0].document
        assert document is not None
        try:
            vm = parse_ovf(document, where="the OVF_STORE", expect_uuid=deployment.vm_uuid)
        except BadInput as error:
            raise SetupRefused(f"the OVF_STORE holds something else: {error}") from None
        other = _differences(vm, parse_ovf(await self._document(), where="the answers"))
        left = f"; not as answered now, and left as it is: {', '.join(other)}" if other else ""
        return Found(True, f"VM {vm.uuid} ({vm.name}) in {len(good)} copies{left}")

    async def do(self, say: Say) -> str:
        """Put it."""
        await self._pool.enter(say)
        result = await writer(self._deployment).put(
            await self._document(), None, "ha-agent deploy"
        )
        if result.refusal is not None:
            raise SetupRefused(result.refusal.sentence)
        if not result.copies:
            raise SetupFailed("; ".join(result.problems) or "no copy was written")
        return f"OVF {result.identity[:12]} in {len(result.copies)} copies"


def _differences(there: VmDefinition, wanted: VmDefinition) -> list[str]:
    """Return what a person would see that differs; the engine may have changed it since."""
    looks = (
        ("name", lambda vm: vm.name),
        ("memory", lambda vm: vm.memory_mib),
        ("processors", lambda vm: vm.sockets * vm.cores_per_socket * vm.threads_per_core),
        ("network cards", lambda vm: [(nic.network, nic.mac) for nic in vm.nics]),
    )
    return [name for name, look in looks if look(there) != look(wanted)]


def reader(deployment: Deployment) -> StoreReader:
    """Return a reader of the domain's store."""
    return StoreReader(
        deployment.vdsm,
        deployment.lane,
        vm_uuid=deployment.vm_uuid,
        domain_uuid=deployment.domain_uuid,
        read_deadline_seconds=_READ_SECONDS,
    )


def writer(deployment: Deployment) -> StoreWriter:
    """Return a writer of the domain's store."""
    return StoreWriter(
        deployment.vdsm,
        deployment.lane,
        reader(deployment),
        host_id=deployment.host_id,
        clock=deployment.clock,
    )
