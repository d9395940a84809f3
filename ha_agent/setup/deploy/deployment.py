# SPDX-License-Identifier: Apache-2.0
"""What the steps of one `ha-agent deploy` share: the answers, what was chosen, and the ports.

Volumes are known by their role, as VDSM's disk types name them:

    HEMD  128 MiB  the hosts' status blocks     HESD  1 GiB  the predecessor's lockspace
    HECI  1 GiB    the shared configuration     HEVD         the engine VM's disk

While a volume is being filled its description ends in MAKING: that it is finished stands on the
storage, not in the journal.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, TypeVar

from ha_agent.broker.storage.domain_volumes import ask_volumes
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.errors import EnvironmentFault
from ha_agent.ports import Clock
from ha_agent.setup.answers import Answers
from ha_agent.setup.journal import Journal
from ha_agent.setup.own_host import OwnFiles
from ha_agent.vdsm.client.answers import StorageDomainInfo, VolumeInfo
from ha_agent.vdsm.client.storage_server import DomainType, StorageServer
from ha_agent.vdsm.client.verbs_setup import SetupVdsm
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode

T = TypeVar("T")

STATUS, LOCKSPACE, CONFIGURATION, DISK = "HEMD", "HESD", "HECI", "HEVD"
MIB = 1024 * 1024
GIB = 1024 * MIB
MAKING = " (ha-agent deploy is making it)"
DESCRIPTIONS: Mapping[str, str] = {
    # The names by which older tools of the predecessor's find them.
    STATUS: "hosted-engine.metadata",
    LOCKSPACE: "hosted-engine.lockspace",
    CONFIGURATION: "HostedEngineConfigurationImage",
    DISK: "Hosted Engine Image",
}
SIZES: Mapping[str, int] = {STATUS: 128 * MIB, LOCKSPACE: GIB, CONFIGURATION: GIB}
FILE_SECONDS = 60.0
MOUNTS = Path("/proc/self/mounts")
VDSM_MOUNTS = Path("/rhev/data-center/mnt")
_ABSENT = (VdsmCode.DOMAIN_DOES_NOT_EXIST, VdsmCode.FILE_SYSTEM_NOT_MOUNTED)


def mounted_at(mounts: str, source: str) -> list[Path]:
    """Return where `source` is mounted, by the text of /proc/mounts; VDSM's place comes first."""
    places = []
    for line in mounts.splitlines():
        what, where = (
            re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
            for field in line.split(" ")[:2]
        )
        if what.rstrip("/") == source.rstrip("/"):
            places.append(Path(where))
    return sorted(places, key=lambda path: VDSM_MOUNTS not in path.parents)


class Choices:
    """UUIDs and the like: chosen once, noted before they are used, the same in every re-run."""

    def __init__(self, journal: Journal, *, write: bool) -> None:
        self._journal = journal
        self._write = write
        self._made: dict[str, str] = {}

    def get(self, key: str, make: Callable[[], str] = lambda: str(uuid.uuid4())) -> str:
        """Return what was chosen for `key`; what is chosen in a dry run is forgotten."""
        if key not in self._made:
            if self._write:
                self._made[key] = self._journal.choose(key, make)
            else:
                self._made[key] = self._journal.get(key) or make()
        return self._made[key]

    def known(self, key: str) -> str:
        """Return what was noted for `key`, "" where nothing was; nothing is chosen."""
        return self._made.get(key) or self._journal.get(key) or ""

    def renew(self, key: str) -> str:
        """Choose another UUID. Raises EnvironmentFault."""
        value = str(uuid.uuid4())
        self.replace(key, value)
        return value

    def replace(self, key: str, value: str) -> None:
        """Choose anew. Raises EnvironmentFault."""
        self._journal.note(key, value)
        self._made[key] = value


@dataclass(frozen=True)
class Subject:
    """What is set up. `server` is what is connected, `conf_path` this host's hosted-engine.conf,
    `files` its other configuration."""

    answers: Answers
    choices: Choices
    server: StorageServer
    vm_uuid: str
    conf_path: Path
    host_name: str
    files: OwnFiles

    @property
    def domain_uuid(self) -> str:
        """The storage domain's UUID, given or chosen."""
        return self.answers.text("domain_uuid") or self.choices.get("domain_uuid")

    @property
    def is_block(self) -> bool:
        """Whether volumes are block devices."""
        return self.server.domain_type.is_block

    @property
    def host_id(self) -> int:
        """The host id that was answered."""
        return self.answers.number("host_id")

    def image(self, role: str) -> str:
        """The image of a volume."""
        if role == DISK and self.answers.text("disk_image"):
            return self.answers.text("disk_image")
        return self.choices.get(f"{role}_image")

    def volume(self, role: str) -> str:
        """The volume's UUID."""
        if role == DISK and self.answers.text("disk_volume"):
            return self.answers.text("disk_volume")
        return self.choices.get(f"{role}_volume")


@dataclass(frozen=True)
class Deployment(Subject):
    """One deploy: the subject, and the ports. `pool_id` is the id of the set-up's own pool."""

    vdsm: SetupVdsm
    lane: StorageLane
    threads: StorageThreads
    clock: Clock
    pool_id: Callable[[], Optional[str]] = lambda: None

    async def domain_info(self) -> Optional[StorageDomainInfo]:
        """What VDSM says of the domain, None while it is not there. Raises EnvironmentFault."""
        try:
            return await self.vdsm.domain_info(self.domain_uuid)
        except VdsmCallFailed as error:
            if error.code in _ABSENT:
                return None
            raise

    async def info(self, role: str) -> Optional[VolumeInfo]:
        """What VDSM says of a volume, None while there is none or no domain."""
        try:
            return await self.vdsm.volume_info(
                self.domain_uuid, self.image(role), self.volume(role)
            )
        except VdsmCallFailed as error:
            if error.code in _ABSENT:
                return None
            raise

    async def is_finished(self, role: str) -> bool:
        """Whether a volume is there and filled."""
        info = await self.info(role)
        return info is not None and not info.description.endswith(MAKING)

    async def all_volumes(self) -> list[VolumeInfo]:
        """All volumes of the domain. Raises EnvironmentFault when VDSM can't tell about one."""
        images = await self.vdsm.domain_images(self.domain_uuid)
        told = await ask_volumes(self.vdsm, self.domain_uuid, images)
        if told.untold:
            raise EnvironmentFault("; ".join(told.untold.values()))
        return list(told.infos.values())

    async def path(self, role: str) -> str:
        """Prepare a volume and return where it is on this host. Raises EnvironmentFault."""
        return await self.vdsm.prepare_image(self.domain_uuid, self.image(role), self.volume(role))

    async def domain_path(self) -> Path:
        """Return where the domain is on this host, once its storage is connected.

        Raises EnvironmentFault when it is mounted nowhere.
        """
        if self.is_block:
            return Path("/run/vdsm/storage") / self.domain_uuid
        source = str(self.server.connections[0].fields["connection"])
        if self.server.domain_type is DomainType.LOCALFS:
            return Path(source) / self.domain_uuid
        text = await self.blocking("mounts", lambda: MOUNTS.read_text(encoding="utf-8"))
        places = mounted_at(text, source)
        if not places:
            raise EnvironmentFault(f"{source} is not mounted on this host")
        return places[0] / self.domain_uuid

    async def blocking(
        self, what: str, call: Callable[[], T], *, seconds: float = FILE_SECONDS
    ) -> T:
        """Run a call that may hang with the storage. Raises EnvironmentFault, BadInput."""

        def run() -> T:
            try:
                return call()
            except OSError as error:
                raise EnvironmentFault(f"{what}: {error.strerror or error}") from error

        return await self.threads.run(what, seconds, run)
