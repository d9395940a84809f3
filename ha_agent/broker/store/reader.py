# SPDX-License-Identifier: Apache-2.0
"""Reading the OVF_STORE through VDSM and a storage worker: which copies there are, and one copy.

It neither chooses a definition nor writes. Paths are not kept, since on the host that is SPM each
update of the engine takes the prepared path away (facts/ovf-and-volumes.md, 1.3). Which volumes
are copies is kept: on a domain with many disks finding them takes VDSM hundreds of calls.

    copies()         every volume of the domain is asked about
    known_copies()   the copies found then, a call each; all again when one of them is no copy now

An OVF_STORE volume is one of VDSM's disk type OVFS; of a domain from before that type, one whose
description is the engine's JSON with "Disk Description":"OVF_STORE". A volume that VDSM can't
tell about is a problem of its own and hides no other.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.can_do import OWN_DISK_TYPES
from ha_agent.broker.storage.domain_volumes import Pair, ask_volumes
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ovfstore.approval import parse_approval
from ha_agent.ovfstore.locate import OVF_STORE, RankedCopy, StoreCopy
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.verbs import Vdsm

log = logging.getLogger(__name__)

OVFS = "OVFS"
"""VDSM's disk type of an OVF_STORE volume."""


@dataclass(frozen=True)
class StoredOvf:
    """The engine VM's OVF as one copy holds it, and the approval stored beside it, if any."""

    copy: StoreCopy
    document: bytes
    approval: Optional[bytes]
    last_updated: str


class _Found:
    """What VDSM told of the volumes that it was asked about; `untold` as in domain_volumes.py."""

    def __init__(self, untold: Mapping[Pair, str]) -> None:
        self.copies: list[StoreCopy] = []
        self.own: dict[Pair, str] = {}
        self.untold = untold

    def is_untold(self, image_id: str, volume_id: str) -> bool:
        """Tell whether a volume is one of `untold`, or in an image that is."""
        return (image_id, volume_id) in self.untold or (image_id, "") in self.untold


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
        self._own: dict[tuple[str, str], str] = {}
        self._untold: tuple[tuple[str, str], ...] = ()

    @property
    def own_volumes(self) -> dict[str, str]:
        """The images and volumes that the hosted engine keeps its own things in, and what."""
        return {uuid: kept for pair, kept in self._own.items() for uuid in pair}

    async def copies(self) -> tuple[StoreCopy, ...]:
        """Return all OVF_STORE volumes of the domain, in the order of their ids.

        `problems` says afterwards which volumes VDSM could not tell about, a sentence each;
        `listed` and `own_volumes` have what was found, and of what VDSM could not tell about now,
        what was found there before.
        Raises EnvironmentFault when VDSM does not answer, or when such problems may hide all of
        the copies.
        """
        images = await self._vdsm.domain_images(self.domain_uuid)
        found = await self._look_at(images, ())
        copies = self._told(found)
        kept = {pair: what for pair, what in self._own.items() if found.is_untold(*pair)}
        self._own = {**kept, **found.own}
        self._note(found)
        return copies

    async def known_copies(self) -> tuple[StoreCopy, ...]:
        """Return the copies as `copies` does, but ask less.

        That is: about the copies that it has found, and about what VDSM could not tell about.
        When there is no copy, or one is gone or no copy any more, this is `copies`.
        """
        known = [(copy.image_uuid, copy.volume_uuid) for copy in self.listed or ()]
        images = [image for image, volume in self._untold if not volume]
        pairs = [*known, *((image, volume) for image, volume in self._untold if volume)]
        found = await self._look_at(images, dict.fromkeys(pairs))
        there = {(copy.image_uuid, copy.volume_uuid) for copy in found.copies}
        if not known or any(pair not in there and not found.is_untold(*pair) for pair in known):
            return await self.copies()
        copies = self._told(found)
        self._own.update(found.own)
        self._note(found)
        return copies

    async def _look_at(self, images: Iterable[str], pairs: Iterable[tuple[str, str]]) -> _Found:
        """Ask about all volumes of images, and about further pairs of image and volume."""
        told = await ask_volumes(self._vdsm, self.domain_uuid, images, pairs)
        found = _Found(told.untold)
        for (image_id, volume_id), info in told.infos.items():
            if _is_store(info):
                found.copies.append(StoreCopy(image_id, volume_id, info.description))
            elif info.disk_type in OWN_DISK_TYPES:
                found.own[image_id, volume_id] = OWN_DISK_TYPES[info.disk_type]
        return found

    def _told(self, found: _Found) -> tuple[StoreCopy, ...]:
        self.problems = tuple(found.untold.values())
        if self.problems and not found.copies:
            raise EnvironmentFault(
                f"no OVF_STORE found on storage domain {self.domain_uuid}, but VDSM could not"
                f" tell about all of its volumes: {'; '.join(self.problems)}"
            )
        return _in_order(found.copies)

    def _note(self, found: _Found) -> None:
        self._untold = tuple(found.untold)
        before = self.listed or ()
        kept = (copy for copy in before if found.is_untold(copy.image_uuid, copy.volume_uuid))
        self.listed = _in_order((*found.copies, *kept))

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


def _in_order(copies: Iterable[StoreCopy]) -> tuple[StoreCopy, ...]:
    return tuple(sorted(copies, key=lambda copy: copy.volume_uuid))


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
    A put writes it directly before the OVF: it counts there and behind the OVF, not elsewhere.
    """
    return f"{vm_uuid}.ovf", f"{vm_uuid}.ovf.approval"


def approved_codes(stored: StoredOvf, identity: str) -> tuple[str, ...]:
    """Return the codes that are approved beside the OVF, for that very document."""
    if stored.approval is None:
        return ()
    try:
        approval = parse_approval(
            stored.approval, where=f"the approval in volume {stored.copy.volume_uuid}"
        )
    except BadInput as fault:
        log.warning("definition: %s", fault)
        return ()
    return approval.codes if approval.identity == identity else ()
