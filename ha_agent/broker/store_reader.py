# SPDX-License-Identifier: Apache-2.0
"""Reading the OVF_STORE through VDSM and a storage worker: which copies there are, and one copy.

It neither chooses a definition nor writes. Everything is asked anew each time: paths are not
kept, since on the host that is SPM each update of the engine takes the prepared path away
(facts/ovf-and-volumes.md, 1.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.storage_lane import StorageLane
from ha_agent.errors import BadInput
from ha_agent.ovfstore.locate import OVF_STORE, RankedCopy, StoreCopy
from ha_agent.vdsm.verbs import Vdsm


@dataclass(frozen=True)
class StoredOvf:
    """The engine VM's OVF as one copy holds it, and the approval stored beside it, if any."""

    copy: StoreCopy
    document: bytes
    approval: Optional[bytes]
    last_updated: str


class StoreReader:
    """The OVF_STORE of one storage domain, for one VM."""

    def __init__(
        self,
        vdsm: Vdsm,
        lane: StorageLane,
        *,
        vm_uuid: str,
        domain_uuid: str,
        read_deadline_seconds: float,
    ) -> None:
        self._vdsm = vdsm
        self._lane = lane
        self.vm_uuid = vm_uuid
        self.domain_uuid = domain_uuid
        self._read_deadline_seconds = read_deadline_seconds

    async def copies(self) -> tuple[StoreCopy, ...]:
        """Return all OVF_STORE volumes of the domain, by their descriptions.

        Raises EnvironmentFault when VDSM does not tell.
        """
        copies = []
        for image_id in await self._vdsm.domain_images(self.domain_uuid):
            for volume_id in await self._vdsm.image_volumes(self.domain_uuid, image_id):
                info = await self._vdsm.volume_info(self.domain_uuid, image_id, volume_id)
                if info is not None and OVF_STORE in info.description:
                    copies.append(StoreCopy(image_id, volume_id, info.description))
        return tuple(sorted(copies, key=lambda copy: copy.volume_uuid))

    async def read(self, ranked: RankedCopy) -> StoredOvf:
        """Return the VM's OVF out of a usable copy.

        Raises EnvironmentFault when VDSM or storage fails, and BadInput when the archive is
        damaged, has no such VM, or was written while we read.
        """
        copy, description = ranked.copy, ranked.description
        assert description is not None  # a usable copy has one
        path = await self._vdsm.prepare_image(self.domain_uuid, copy.image_uuid, copy.volume_uuid)
        name, approval_name = member_names(self.vm_uuid)
        answer = await self._lane.call(
            "read_members",
            self._read_deadline_seconds,
            path=path,
            size_bytes=description.size_bytes,
            names=[name, approval_name],
        )
        info = await self._vdsm.volume_info(self.domain_uuid, copy.image_uuid, copy.volume_uuid)
        if info is None or info.description != copy.description:
            raise BadInput("it was written while we read it", where=f"volume {copy.volume_uuid}")
        members = answer["members"]
        if name not in members:
            raise BadInput(f"no member {name!r} in the archive", where=path)
        approval = members.get(approval_name)
        return StoredOvf(
            copy,
            bytes(members[name]),
            None if approval is None else bytes(approval),
            description.last_updated_text or "",
        )


def member_names(vm_uuid: str) -> tuple[str, str]:
    """Return the names of a VM's OVF in the archive, and of the approval beside it.

    The engine reads `*.ovf` only, so the second is ours alone; it drops it with its next update.
    """
    return f"{vm_uuid}.ovf", f"{vm_uuid}.ovf.approval"
