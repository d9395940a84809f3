# SPDX-License-Identifier: Apache-2.0
"""Reading the OVF_STORE through VDSM and a storage worker: which copies there are, and one copy.

It neither chooses a definition nor writes. Everything is asked anew each time: paths are not
kept, since on the host that is SPM each update of the engine takes the prepared path away
(facts/ovf-and-volumes.md, 1.3).

An OVF_STORE volume is one of VDSM's disk type OVFS; of a domain from before that type, one whose
description is the engine's JSON with "Disk Description":"OVF_STORE". A volume that VDSM can't
tell about is a problem of its own and hides no other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.can_do import OWN_DISK_TYPES
from ha_agent.broker.storage_lane import StorageLane
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ovfstore.locate import OVF_STORE, RankedCopy, StoreCopy
from ha_agent.vdsm.answers import VolumeInfo
from ha_agent.vdsm.errors import VdsmBadAnswer, VdsmCallFailed
from ha_agent.vdsm.verbs import Vdsm

OVFS = "OVFS"
"""VDSM's disk type of an OVF_STORE volume."""


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
        self.problems: tuple[str, ...] = ()
        self.listed: Optional[tuple[StoreCopy, ...]] = None
        self.own_volumes: dict[str, str] = {}

    async def copies(self) -> tuple[StoreCopy, ...]:
        """Return all OVF_STORE volumes of the domain, in the order of their ids.

        `problems` says afterwards which volumes VDSM could not tell about, a sentence each,
        `listed` what was returned last, and `own_volumes` which images and volumes the hosted
        engine keeps its own things in, and what.
        Raises EnvironmentFault when VDSM does not answer, or when such problems may hide all of
        the copies.
        """
        copies: list[StoreCopy] = []
        problems: list[str] = []
        own_volumes = {}
        for image_id in await self._vdsm.domain_images(self.domain_uuid):
            try:
                volumes = await self._vdsm.image_volumes(self.domain_uuid, image_id)
            except (VdsmCallFailed, VdsmBadAnswer) as error:
                problems.append(f"image {image_id}: {error}")
                continue
            for volume_id in volumes:
                try:
                    info = await self._vdsm.volume_info(self.domain_uuid, image_id, volume_id)
                except (VdsmCallFailed, VdsmBadAnswer) as error:
                    problems.append(f"volume {volume_id}: {error}")
                    continue
                if info is not None and _is_store(info):
                    copies.append(StoreCopy(image_id, volume_id, info.description))
                elif info is not None and info.disk_type in OWN_DISK_TYPES:
                    kept = OWN_DISK_TYPES[info.disk_type]
                    own_volumes.update({image_id: kept, volume_id: kept})
        self.problems = tuple(problems)
        if problems and not copies:
            raise EnvironmentFault(
                f"no OVF_STORE found on storage domain {self.domain_uuid}, but VDSM could not"
                f" tell about all of its volumes: {'; '.join(problems)}"
            )
        self.own_volumes = own_volumes
        self.listed = tuple(sorted(copies, key=lambda copy: copy.volume_uuid))
        return self.listed

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


def _is_store(info: VolumeInfo) -> bool:
    if info.disk_type == OVFS:
        return True
    # A user's disk may be called OVF_STORE something: its description has other keys.
    try:
        value = json.loads(info.description)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("Disk Description") == OVF_STORE


def member_names(vm_uuid: str) -> tuple[str, str]:
    """Return the names of a VM's OVF in the archive, and of the approval beside it.

    The engine reads `*.ovf` only, so the second is ours alone; it drops it with its next update.
    """
    return f"{vm_uuid}.ovf", f"{vm_uuid}.ovf.approval"
