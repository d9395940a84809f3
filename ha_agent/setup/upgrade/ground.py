# SPDX-License-Identifier: Apache-2.0
"""What the steps of an upgrade stand on: this host's facts, VDSM, storage, systemd, a clock.

The facts are those from before the upgrade: once a backup is in force they come from it, so that
a re-run after a kill converts the same vm.conf and not what the first run made of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Protocol, Union

from ha_agent.broker.storage.domain_volumes import ask_volumes
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.store.claim import Access, Clock, StoreClaims, StoreRefusal
from ha_agent.broker.store.reader import StoreReader
from ha_agent.broker.store.shared_config import DISK_TYPE, OLD_DESCRIPTION
from ha_agent.broker.store.writer import StoreWriter, WriterDeadlines
from ha_agent.compat.hosted_engine_conf import HostedEngineConf
from ha_agent.errors import BadInput, DeadlineExceeded, EnvironmentFault
from ha_agent.ovfstore import conf_volume
from ha_agent.setup.journal import Journal
from ha_agent.setup.services import Services
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.setup.upgrade import predecessor_host as host
from ha_agent.setup.upgrade.backup import Backup
from ha_agent.setup.upgrade.predecessor_host import HostKind
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.verbs import Allocation, Vdsm

_SLOT_BYTES = 4096
_TASK_POLL_SECONDS = 0.2
_ARCHIVE_SLOTS = range(conf_volume.ARCHIVE_BYTES // _SLOT_BYTES)
_RECORD_SLOTS = range(
    conf_volume.RECORD_OFFSET // _SLOT_BYTES,
    (conf_volume.RECORD_OFFSET + conf_volume.RECORD_BYTES) // _SLOT_BYTES,
)

_VOLUME_KEYS = {
    "metadata": ("metadata_image_UUID", "metadata_volume_UUID"),
    "lockspace": ("lockspace_image_UUID", "lockspace_volume_UUID"),
    "conf": ("conf_image_UUID", "conf_volume_UUID"),
    "vm_disk": ("vm_disk_id", "vm_disk_vol_id"),
}

Pair = tuple[str, str]


@dataclass(frozen=True)
class HostFacts:
    """What the host's files said before the upgrade. Pairs are image and volume."""

    conf: HostedEngineConf
    era: HostKind
    vm_uuid: str
    domain_uuid: str
    host_id: int
    volumes: Mapping[str, Pair]
    files: Mapping[str, bytes]

    @property
    def subject(self) -> str:
        """What the journal calls this upgrade."""
        return f"host {self.host_id} of engine VM {self.vm_uuid}"


class Watch(Protocol):
    """Asks whether our daemons are at work on this host."""

    async def look(self) -> tuple[bool, str]:
        """Return whether the agent watches the engine VM, and a sentence. Raises nothing."""
        ...


@dataclass(frozen=True)
class Ground:
    """The host and its surroundings. `root` is where the host's files are, `setup_dir` our own
    folder; `domain_path` where the storage domain is; `backup` the one in force, if any."""

    root: Path
    setup_dir: Path
    domain_path: Path
    host_name: str
    facts: HostFacts
    vdsm: Vdsm
    lane: StorageLane
    services: Services
    watch: Watch
    clock: Clock
    journal: Journal
    accepted: tuple[str, ...] = ()
    io_seconds: float = 10.0
    deadlines: WriterDeadlines = field(default_factory=WriterDeadlines)

    def writer(self) -> StoreWriter:
        """Return the OVF_STORE's writer, for the engine VM's OVF; make it in the loop."""
        reader = StoreReader(
            self.vdsm,
            self.lane,
            vm_uuid=self.facts.vm_uuid,
            domain_uuid=self.facts.domain_uuid,
            read_deadline_seconds=self.deadlines.read_seconds,
        )
        return StoreWriter(
            self.vdsm,
            self.lane,
            reader,
            host_id=self.facts.host_id,
            clock=self.clock,
            deadlines=self.deadlines,
        )

    async def access(self) -> Access:
        """Return how VDSM lets this host make volumes. Raises SetupRefused where it does not."""
        found: Union[Access, StoreRefusal] = await StoreClaims(
            self.vdsm,
            domain_uuid=self.facts.domain_uuid,
            host_id=self.facts.host_id,
            clock=self.clock,
            settle_seconds=self.deadlines.settle_seconds,
            grace_seconds=self.deadlines.grace_seconds,
            engine_grace_seconds=self.deadlines.engine_grace_seconds,
        ).access()
        if isinstance(found, StoreRefusal):
            raise SetupRefused(found.sentence)
        return found

    async def volume(self, pair: Pair) -> Optional[VolumeInfo]:
        """Return what VDSM tells of a volume, None when it is not there."""
        return await self.vdsm.volume_info(self.facts.domain_uuid, *pair)

    async def volumes(self) -> list[VolumeInfo]:
        """Return all volumes of the domain. Raises EnvironmentFault when one can't be told of."""
        domain = self.facts.domain_uuid
        told = await ask_volumes(self.vdsm, domain, await self.vdsm.domain_images(domain))
        if told.untold:
            raise EnvironmentFault(f"VDSM could not tell about {'; '.join(told.untold.values())}")
        return list(told.infos.values())

    async def conf_volume(self) -> Optional[Pair]:
        """Return the cluster's configuration volume, None when there is none yet.

        The one that hosted-engine.conf names; else the one on the domain. Raises SetupRefused
        where the named one is not there, or several are.
        """
        domain = self.facts.domain_uuid
        named = self.facts.volumes.get("conf")
        if named is not None:
            if await self.volume(named) is None:
                raise SetupRefused(
                    f"{self.facts.conf.where} names configuration volume {named[1]}, which is not"
                    f" on storage domain {domain}"
                )
            return named
        found = [
            info
            for info in await self.volumes()
            if info.disk_type == DISK_TYPE or info.description == OLD_DESCRIPTION
        ]
        if len(found) > 1:
            names = ", ".join(info.volume_id for info in found)
            raise SetupRefused(
                f"storage domain {domain} has several configuration volumes: {names}"
            )
        return (found[0].image_id, found[0].volume_id) if found else None

    async def conf_archive(self, pair: Pair) -> bytes:
        """Return the archive in the configuration volume, zeros for one never written."""
        path = await self.path_of(pair)
        archive = await self._slots(path, _ARCHIVE_SLOTS, must=True)
        record = await self._slots(path, _RECORD_SLOTS, must=False)
        return conf_volume.current_archive(archive, record)[0]

    async def path_of(self, pair: Pair) -> str:
        """Prepare a volume and return its path."""
        return await self.vdsm.prepare_image(self.facts.domain_uuid, *pair)

    async def slot(self, pair: Pair, number: int) -> bytes:
        """Return one 4096-byte slot of a volume. Raises EnvironmentFault."""
        return await self._slots(await self.path_of(pair), range(number, number + 1), must=True)

    async def _slots(self, path: str, numbers: range, *, must: bool) -> bytes:
        answer: dict[str, Any] = await self.lane.call(
            "read_slots", self.io_seconds, path=path, slots=list(numbers)
        )
        parts = []
        for entry in answer["slots"]:
            if "error" in entry:
                # Old tools cut the volume behind the archive: then there is no record.
                if must:
                    raise EnvironmentFault(f"{path}: {entry['error'].get('message', '')}")
                return b""
            parts.append(bytes(entry["data"]))
        return b"".join(parts)

    async def make_volume(
        self, name: str, *, size_bytes: int, disk_type: str, description: str
    ) -> Pair:
        """Make a raw, preallocated volume; a re-run goes on with the ids of the first run.

        `name` is for the journal. Raises SetupRefused, SetupFailed, EnvironmentFault.
        """
        access = await self.access()
        image = self.journal.choose(f"{name}_image", _new_uuid)
        volume = self.journal.choose(f"{name}_volume", _new_uuid)
        if await self.volume((image, volume)) is None:
            # One of this name may have been here before, and was removed by hand.
            self.journal.note(f"{name}_zeroed", "")
            task = await self.vdsm.create_volume(
                self.facts.domain_uuid,
                image,
                volume,
                size_bytes=size_bytes,
                disk_type=disk_type,
                description=description,
                allocation=Allocation.PREALLOCATED,
                pool_id=access.pool_id,
            )
            await self._wait_for(task, f"volume {volume}")
        return image, volume

    async def describe(self, pair: Pair, description: str) -> None:
        """Give a volume its final description. Raises SetupRefused, EnvironmentFault."""
        access = await self.access()
        await self.vdsm.set_volume_description(
            self.facts.domain_uuid, *pair, description, pool_id=access.pool_id
        )

    def is_half_made(self, name: str, pair: Pair) -> bool:
        """Tell whether a volume is one of this upgrade's that is not known to be zeroed."""
        ours = self.journal.get(f"{name}_volume") == pair[1]
        return ours and not self.journal.get(f"{name}_zeroed")

    async def zero(self, name: str, pair: Pair, slots: int) -> None:
        """Zero the beginning of a volume that was just made: a block device has old data.

        Whoever calls it has looked that nobody has written there since.
        """
        path = await self.path_of(pair)
        for slot in range(slots):
            await self.lane.call(
                "write_slot", self.io_seconds, path=path, slot=slot, data=bytes(_SLOT_BYTES)
            )
        self.journal.note(f"{name}_zeroed", "yes")

    async def _wait_for(self, task: str, what: str) -> None:
        seconds = self.deadlines.task_seconds
        ends_at = self.clock.now() + seconds
        status = await self.vdsm.task_status(task)
        while not status.has_ended:
            if self.clock.now() >= ends_at:
                raise DeadlineExceeded(f"{what}: VDSM's task {task}", seconds)
            await self.clock.sleep(_TASK_POLL_SECONDS)
            status = await self.vdsm.task_status(task)
        await self.vdsm.clear_task(task)
        if not status.has_succeeded:
            raise SetupFailed(f"{what}: {status.message} (code {status.code})")


def read_facts(root: Path, backup: Optional[Backup]) -> HostFacts:
    """Return what this host was before the upgrade: from the backup in force, else its files.

    Raises SetupRefused when it is no hosted-engine host; BadInput with file and line.
    """
    if backup is None:
        files = host.read_files(root)
    else:
        kept = ((name, backup.file(name)) for name in host.FILES)
        files = {name: data for name, data in kept if data is not None}
    where = str((root if backup is None else backup.folder) / host.HOSTED_ENGINE_CONF)
    data = files.get(host.HOSTED_ENGINE_CONF)
    if data is None:
        raise SetupRefused(f"there is no {where}: this is no hosted-engine host")
    conf = host.parse_conf(data, where)
    # Not conf.volumes(): 3.5 had the image of the VM's disk there and not its volume.
    pairs = {
        name: (conf.uuid(keys[0]), conf.uuid(keys[1]))
        for name, keys in _VOLUME_KEYS.items()
        if all(key in conf.values for key in keys)
    }
    if "metadata" not in pairs:
        raise BadInput("metadata_volume_UUID or metadata_image_UUID is missing", where=where)
    return HostFacts(
        conf=conf,
        era=host.era_of(conf),
        vm_uuid=conf.uuid("vmid"),
        domain_uuid=conf.uuid("sdUUID"),
        host_id=host.host_id_of(conf),
        volumes=pairs,
        files=files,
    )


def _new_uuid() -> str:
    return str(uuid.uuid4())
