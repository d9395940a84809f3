# SPDX-License-Identifier: Apache-2.0
"""Where a cluster's shared configuration is got from: its storage domain, through VDSM or mounted.

    VdsmSource      VDSM connects the storage server and finds the domain; the daemons do the same
                    later on
    FolderSource    a file domain that the system mounts: its folder, or the folder that it is in

Both give the files of the configuration volume (HECI), and where the domain and its other volumes
are. Nothing is written here, but that VDSM connects the storage and prepares images. Storage is
touched by a storage worker only, and every call has a deadline: EnvironmentFault.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol

from ha_agent.broker.lease.storage import Lane
from ha_agent.broker.storage.domain_volumes import ask_volumes
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.store.shared_config import DISK_TYPE, OLD_DESCRIPTION, SharedConfig
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.storage_server import StorageServer
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed

READ_SECONDS = 30.0
_SHOWN = 5


@dataclass(frozen=True)
class SharedConfiguration:
    """The configuration volume's files, and the domain it is on. `domain_path` is the folder of a
    file domain that is mounted here, None where only VDSM knows."""

    domain_uuid: str
    domain_path: Optional[Path]
    volume: str
    files: Mapping[str, bytes]
    notes: tuple[str, ...]


class ClusterSource(Protocol):
    """A cluster's storage."""

    @property
    def subject(self) -> str:
        """Name the storage, for people and the journal."""
        ...

    async def look(self) -> Found:
        """Tell whether the storage is there. Raises EnvironmentFault, SetupRefused."""
        ...

    async def connect(self, say: Say, /) -> str:
        """Bring it there and say so. Raises EnvironmentFault, SetupFailed."""
        ...

    async def read(self) -> SharedConfiguration:
        """Read the configuration. Raises EnvironmentFault, BadInput (damaged), SetupRefused."""
        ...

    async def volume_path(self, image: str, volume: str) -> str:
        """Make a volume of the domain readable and return its path. Raises EnvironmentFault."""
        ...


class FolderSource:
    """A file domain that is mounted by the system."""

    def __init__(self, lane: Lane, path: Path, *, domain_uuid: str = "") -> None:
        self._lane = lane
        self._path = path
        self._wanted = domain_uuid
        self._domain: Optional[Path] = None

    @property
    def subject(self) -> str:
        """The folder."""
        return str(self._path)

    async def look(self) -> Found:
        """It is there or it is not: mounting it is the system's."""
        found = await self._find()
        return Found(True, f"storage domain {found.name} in {found.parent}")

    async def connect(self, _say: Say) -> str:
        """Nothing is to be connected."""
        raise SetupFailed(f"{self._path} is not there: have the system mount it")

    async def read(self) -> SharedConfiguration:
        """Read the configuration volume."""
        domain = await self._find()
        answer = await self._lane.call(
            "find_folder_volumes",
            READ_SECONDS,
            path=str(domain),
            disk_type=DISK_TYPE,
            description=OLD_DESCRIPTION,
        )
        told = answer["domains"][domain.name]
        if len(told["volumes"]) != 1:
            what = "no" if not told["volumes"] else str(len(told["volumes"]))
            untold = "".join(f"; {why}" for why in told["untold"])
            raise SetupRefused(f"{domain}: {what} configuration volumes{untold}")
        path = told["volumes"][0][2]
        files = await self._lane.call("read_conf_volume", READ_SECONDS, path=path)
        return SharedConfiguration(
            domain.name,
            domain,
            path,
            {str(name): bytes(data) for name, data in files["files"].items()},
            tuple(str(note) for note in files["notes"]),
        )

    async def volume_path(self, image: str, volume: str) -> str:
        """As the protocol says."""
        return str((await self._find()) / "images" / image / volume)

    async def _find(self) -> Path:
        """Return the domain's folder; of several the one with a configuration volume."""
        if self._domain is not None:
            return self._domain
        answer = await self._lane.call(
            "find_folder_volumes",
            READ_SECONDS,
            path=str(self._path),
            disk_type=DISK_TYPE,
            description=OLD_DESCRIPTION,
        )
        domains: dict[str, dict[str, object]] = answer["domains"]
        if self._wanted and self._wanted not in domains:
            raise SetupRefused(f"{self._path} has {_list(domains)}, not {self._wanted}")
        fitting = [uuid for uuid, told in domains.items() if told["volumes"]]
        if self._wanted:
            fitting = [self._wanted]
        if len(fitting) != 1:
            why = "several have" if fitting else "none has"
            raise SetupRefused(
                f"{self._path}: of its storage domains, {_list(fitting or domains)},"
                f" {why} a configuration volume of a hosted engine"
            )
        self._domain = Path(str(domains[fitting[0]]["path"]))
        return self._domain


class VdsmSource:
    """A domain that VDSM connects."""

    def __init__(
        self,
        vdsm: Vdsm,
        lane: StorageLane,
        server: Optional[StorageServer],
        *,
        domain_uuid: str = "",
    ) -> None:
        """`server` None: the system has connected it. `domain_uuid` "": the one domain that has a
        configuration volume."""
        self._vdsm = vdsm
        self._lane = lane
        self._server = server
        self._domain_uuid = domain_uuid

    @property
    def subject(self) -> str:
        """The connections' names."""
        names = [one.name for one in self._server.connections] if self._server else []
        return ", ".join(names) or f"storage domain {self._domain_uuid}"

    async def look(self) -> Found:
        """Ask VDSM whether it sees the domain."""
        if self._domain_uuid:
            try:
                await self._vdsm.domain_space(self._domain_uuid)
            except VdsmCallFailed as error:
                return Found(False, f"storage domain {self._domain_uuid} is not there: {error}")
            return Found(True, f"VDSM sees storage domain {self._domain_uuid}")
        if await self._fitting():
            return Found(True, f"VDSM sees storage domain {self._domain_uuid}")
        return Found(False, "VDSM sees no storage domain with a configuration volume")

    async def connect(self, say: Say) -> str:
        """Have VDSM connect the storage server."""
        server = self._server
        if server is None:
            raise SetupFailed("it is not known how to connect the storage: no answers tell it")
        statuses = await self._vdsm.connect_storage_server(server)
        bad = [f"{server.name_of(one.connection_id)}: {one.why}" for one in statuses if one.code]
        if bad and len(bad) == len(server.connections):
            raise SetupFailed("; ".join(bad))
        for one in bad:
            say(f"not connected: {one}")  # the other portals will do
        if server.domain_type.is_block:
            await self._vdsm.block_devices(server.domain_type)
        return f"{self.subject} is connected"

    async def read(self) -> SharedConfiguration:
        """Find the domain, and read its configuration volume."""
        if not self._domain_uuid and not await self._fitting():
            raise SetupRefused("VDSM sees no storage domain with a configuration volume")
        found = await self._config(self._domain_uuid).read()
        return SharedConfiguration(
            self._domain_uuid, None, found.volume_uuid, found.files, found.notes
        )

    async def volume_path(self, image: str, volume: str) -> str:
        """As the protocol says."""
        return await self._vdsm.prepare_image(self._domain_uuid, image, volume)

    def _config(self, domain_uuid: str) -> SharedConfig:
        return SharedConfig(
            self._vdsm, self._lane, domain_uuid=domain_uuid, deadline_seconds=READ_SECONDS
        )

    async def _fitting(self) -> bool:
        """Look for the one domain that has a configuration volume."""
        fitting = []
        for uuid in await self._vdsm.storage_domains():
            images = await self._vdsm.domain_images(uuid)
            told = await ask_volumes(self._vdsm, uuid, images)
            if any(is_configuration(info) for info in told.infos.values()):
                fitting.append(uuid)
        if len(fitting) > 1:
            raise SetupRefused(
                f"several storage domains have a configuration volume, {_list(fitting)}: say which"
                " one is meant"
            )
        if fitting:
            self._domain_uuid = fitting[0]
        return bool(fitting)


def is_configuration(info: VolumeInfo) -> bool:
    """Whether a volume is a hosted engine's configuration volume."""
    return info.disk_type == DISK_TYPE or info.description == OLD_DESCRIPTION


def _list(uuids: Iterable[str]) -> str:
    found = sorted(uuids)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
