# SPDX-License-Identifier: Apache-2.0
"""The configuration volume of the hosted engine: five files that all hosts share.

The predecessor's set-up made it, and its tools read and write it (facts/ovf-and-volumes.md, 4.2).
Here it is found through VDSM; a storage worker does the rest (conf_volume_ops.py). Nothing is
kept in memory: it is asked for seldom, by people and by set-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional

from ha_agent.broker.storage.domain_volumes import ask_volumes
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.ovfstore.conf_volume import FILE_NAMES
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.verbs import Vdsm

DISK_TYPE = "HECI"
# What the predecessor's upgrade from 3.5 calls the volume, before VDSM had disk types.
OLD_DESCRIPTION = "HostedEngineConfigurationImage"
_LOCK_WAIT_SECONDS = 2.0
# Each time another host has got its change through: of N hosts that change at once, the last one
# tries N times.
_TRIES = 20


@dataclass(frozen=True)
class SharedFiles:
    """What the volume holds. `notes` are sentences on missing and unknown files, and on a write
    that was cut off, whose files these are then; `identity` names this state."""

    volume_uuid: str
    files: dict[str, bytes]
    notes: tuple[str, ...]
    identity: str


class SharedConfig:
    """The configuration volume on one storage domain."""

    def __init__(
        self, vdsm: Vdsm, lane: StorageLane, *, domain_uuid: str, deadline_seconds: float
    ) -> None:
        """`deadline_seconds` is for one worker operation."""
        self._vdsm = vdsm
        self._lane = lane
        self._domain_uuid = domain_uuid
        self._deadline_seconds = deadline_seconds

    async def read(self) -> SharedFiles:
        """Return all files. Raises BadInput when the volume is damaged, EnvironmentFault when
        there is none or when VDSM or storage fails."""
        return await self._read(await self._find())

    async def put(self, name: str, content: bytes) -> SharedFiles:
        """Replace one file, and return what is there then; other hosts may write meanwhile.

        Raises as `read`, and BadInput for another name than the five or when the files don't
        fit. After an error the old files or the new ones are there, whole.
        """
        if name not in FILE_NAMES:
            raise BadInput(f"{name!r:.60} is none of {', '.join(FILE_NAMES)}")
        return await self.change(name, lambda _old: content)

    async def change(self, name: str, edit: Callable[[Optional[bytes]], bytes]) -> SharedFiles:
        """Replace one file by what `edit` makes of it, and return what is there then.

        One operation to all hosts: when another one writes between our look and our write, this
        begins anew from what that one wrote. `edit` gets None where there is no such file, may be
        called several times, and may raise what its caller expects: nothing is written then.
        Raises otherwise as `put`.
        """
        volume = await self._find()
        for _ in range(_TRIES):
            found = await self._read(volume)
            content = edit(found.files.get(name))
            if found.files.get(name) == content:
                return found
            answer = await self._lane.call(
                "write_conf_volume",
                self._deadline_seconds,
                path=await self._prepare(volume),
                files={**found.files, name: content},
                expected=found.identity,
                lock_wait_seconds=_LOCK_WAIT_SECONDS,
            )
            if answer["done"]:
                return await self._read(volume)
        raise EnvironmentFault(f"{name}: others change the configuration volume all the time")

    async def _read(self, volume: VolumeInfo) -> SharedFiles:
        answer: dict[str, Any] = await self._lane.call(
            "read_conf_volume", self._deadline_seconds, path=await self._prepare(volume)
        )
        notes = [str(note) for note in answer["notes"]]
        if answer["pending"]:
            notes.append("a write was cut off: these are the files that it was writing")
        files = {str(name): bytes(content) for name, content in answer["files"].items()}
        return SharedFiles(volume.volume_id, files, tuple(notes), str(answer["identity"]))

    async def _prepare(self, volume: VolumeInfo) -> str:
        return await self._vdsm.prepare_image(self._domain_uuid, volume.image_id, volume.volume_id)

    async def _find(self) -> VolumeInfo:
        """Return the one configuration volume. Raises EnvironmentFault for none or several."""
        images = await self._vdsm.domain_images(self._domain_uuid)
        told = await ask_volumes(self._vdsm, self._domain_uuid, images)
        found = [info for info in told.infos.values() if _is_configuration(info)]
        if len(found) == 1:
            return found[0]
        what = "no configuration volume" if not found else f"{len(found)} configuration volumes"
        untold = "".join(f"; VDSM could not tell about {why}" for why in told.untold.values())
        raise EnvironmentFault(f"storage domain {self._domain_uuid} has {what}{untold}")


def _is_configuration(info: VolumeInfo) -> bool:
    return info.disk_type == DISK_TYPE or info.description == OLD_DESCRIPTION
