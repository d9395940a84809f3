# SPDX-License-Identifier: Apache-2.0
"""For the tests of the store: a storage domain in a folder, and hosts that VDSM serves there.

Volumes are files; descriptions, pool and tasks are in memory. A host's VDSM answers JSON-RPC
verbs in the real shapes, and its storage lane runs the real worker operations on the files. Each
call that changes something is a step at which a host can be killed.
"""

from __future__ import annotations

import dataclasses
import functools
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, cast

from demo.domain import engine_vm
from ha_agent.broker.storage import worker as storage_worker
from ha_agent.broker.storage.lane import StorageFault, StorageLane
from ha_agent.broker.store.claim import Clock
from ha_agent.broker.store.reader import StoreReader
from ha_agent.broker.store.writer import StoreWriter, WriterDeadlines
from ha_agent.clock import SystemClock
from ha_agent.instant import Instant, WallTime
from ha_agent.ovfstore.locate import format_description, java_date_text
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.tar_volume import build_archive
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed

DOMAIN, VM = (str(uuid.UUID(int=number)) for number in (1, 2))
FIRST, SECOND, THIRD = (str(uuid.UUID(int=number)) for number in (20, 21, 22))
POOL = str(uuid.UUID(int=99))
CAPACITY_BYTES = 1 << 20
CLOCK = SystemClock()
GRACE_SECONDS = 90.0
_BLOCK_BYTES = 4096


@dataclass
class Volume:
    """One volume; its image has the same number, plus 10."""

    path: Path
    description: str
    disk_type: str = "OVFS"
    capacity_bytes: int = CAPACITY_BYTES


class Killed(BaseException):
    """The process of this host has ended here."""


@dataclass
class World:
    """The storage. `pool` is the domain's pool, of which `spm_id` is the SPM's host id."""

    folder: Path
    volumes: dict[str, Volume] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    domain_type: str = "NFS"
    is_connected: bool = True
    read_only: set[str] = field(default_factory=set)
    task_looks: int = 2
    task_error: int = 0
    pool: str = ""
    spm_id: int = -1
    description_limit_chars: int = 210

    def add(self, volume: str, description: str, data: bytes = b"", **fields: Any) -> Volume:
        path = self.folder / volume
        path.write_bytes(data)
        made = self.volumes[volume] = Volume(path, description, **fields)
        with path.open("r+b") as file:
            file.truncate(max(made.capacity_bytes, len(data)))
        return made

    def write(
        self, volume: str, ovf: bytes, *, at: float = 0.0, others: int = 0, vm: str = VM
    ) -> None:
        """Put a whole archive there as the engine does, dated `at` seconds from now."""
        wall = CLOCK.wall() + at
        text = java_date_text(wall)
        vms = [(vm, ovf)] + [(str(uuid.UUID(int=n)), b"<o/>") for n in range(1000, 1000 + others)]
        data = build_archive(DOMAIN, vms, last_updated_text=text, written_at=wall)
        self.add(volume, good(text, len(data)), data)


@functools.cache  # its network card has a new UUID each time
def ovf_of(memory_mib: int) -> bytes:
    """Return an OVF of the engine VM."""
    vm = dataclasses.replace(
        engine_vm(DOMAIN, FIRST, SECOND, VM), memory_mib=memory_mib, engine_xml=None
    )
    return build_ovf(vm)


def good(text: str, size_bytes: int) -> str:
    """Return the description of a whole copy."""
    return format_description(
        storage_domain_uuid=DOMAIN, updated=True, last_updated_text=text, size_bytes=size_bytes
    )


def unfinished(text: Optional[str]) -> str:
    """Return the description of a copy that is being written, or never was."""
    return format_description(storage_domain_uuid=DOMAIN, updated=False, last_updated_text=text)


class JumpingClock:
    """A clock on which sleeping takes no time; `slept` tells for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> Instant:
        return Instant(sum(self.slept))

    def wall(self) -> WallTime:
        return CLOCK.wall()

    async def sleep(self, duration_seconds: float) -> None:
        self.slept.append(duration_seconds)


class Host:
    """A host's VDSM (a client.Caller) and storage lane.

    `kill_at` is the number of the step that it does not survive; `kill` says what becomes of the
    step: "before" it is nothing, "after" all of it, "torn" the first half of the blocks, and
    "torn end" the other half.
    """

    def __init__(
        self, world: World, *, host_id: int = 1, kill_at: int = -1, kill: str = "before"
    ) -> None:
        self.world = world
        self.host_id = host_id
        self.steps: list[str] = []
        self.calls: list[tuple[str, Mapping[str, Any]]] = []
        self.tasks: dict[str, int] = {}
        self.on_step: Callable[[str], None] = lambda step: None
        self.pause: Callable[[], Awaitable[None]] = _no_pause
        self.hanging_workers = 0
        self.has_locks = True
        self._kill_at = kill_at
        self._kill = kill

    def reader(self) -> StoreReader:
        return StoreReader(
            Vdsm(self), self.lane(), vm_uuid=VM, domain_uuid=DOMAIN, read_deadline_seconds=5
        )

    def writer(self, clock: Optional[Clock] = None) -> StoreWriter:
        self.clock = clock or JumpingClock()
        return StoreWriter(
            Vdsm(self),
            self.lane(),
            self.reader(),
            host_id=self.host_id,
            clock=self.clock,
            deadlines=WriterDeadlines(grace_seconds=GRACE_SECONDS),
        )

    def lane(self) -> StorageLane:
        return cast(StorageLane, _Lane(self))

    async def call(
        self, method: str, params: Mapping[str, Any], *, deadline_seconds: Optional[float] = None
    ) -> Any:
        """Answer a verb, as client.Caller."""
        assert deadline_seconds is not None
        await self.pause()
        self.calls.append((method, params))
        answer = getattr(self, f"_{method.partition('.')[2]}")
        return answer(**params)

    def step(self, name: str, take_effect: Callable[[], Any]) -> Any:
        """Do what changes something, unless this is where the host dies."""
        self.on_step(name)
        number = len(self.steps)
        self.steps.append(name)
        if number != self._kill_at:
            return take_effect()
        if self._kill != "before":
            take_effect()
        raise Killed(name)

    def write(self, path: Path, name: str, take_effect: Callable[[], Any]) -> Any:
        """Do a write to a volume, of which a part may reach it."""
        if len(self.steps) != self._kill_at or not self._kill.startswith("torn"):
            return self.step(name, take_effect)
        old = path.read_bytes()
        take_effect()
        new = path.read_bytes().ljust(len(old), b"\0")
        changed = [
            at
            for at in range(0, len(new), _BLOCK_BYTES)
            if new[at : at + _BLOCK_BYTES] != old[at : at + _BLOCK_BYTES]
        ]
        half = (len(changed) + 1) // 2
        kept = changed[:half] if self._kill == "torn" else changed[half:]
        mixed = bytearray(old.ljust(len(new), b"\0"))
        for at in kept:
            mixed[at : at + _BLOCK_BYTES] = new[at : at + _BLOCK_BYTES]
        path.write_bytes(mixed)
        raise Killed(name)

    # The verbs. Parameter names are VDSM's.

    def _getInfo(self, storagedomainID: str, **volume: str) -> dict[str, Any]:
        assert storagedomainID == DOMAIN
        if not volume:
            return {
                "uuid": DOMAIN,
                "type": self.world.domain_type,
                "pool": [self.world.pool or BLANK],
            }
        found = self._volume(volume["volumeID"], volume["imageID"])
        if volume["volumeID"] in self.world.unreadable:
            raise VdsmCallFailed("Volume.getInfo", 200, "metadata is damaged")
        return {
            "uuid": volume["volumeID"],
            "image": volume["imageID"],
            "description": found.description,
            "disktype": found.disk_type,
            "capacity": str(found.capacity_bytes),
            "apparentsize": str(found.path.stat().st_size),
            "format": "RAW",
        }

    def _getImages(self, storagedomainID: str) -> list[str]:
        assert storagedomainID == DOMAIN
        return [image_of(volume) for volume in self.world.volumes]

    def _getVolumes(self, imageID: str, **_domain: str) -> list[str]:
        return [volume for volume in self.world.volumes if image_of(volume) == imageID]

    def _prepare(self, volumeID: str, imageID: str, **_domain: str) -> dict[str, str]:
        return {"path": str(self._volume(volumeID, imageID).path)}

    def _getSpmStatus(self, storagepoolID: str) -> dict[str, Any]:
        if storagepoolID != self.world.pool or not self.world.is_connected:
            raise VdsmCallFailed("StoragePool.getSpmStatus", 309, "not connected")
        is_spm = self.world.spm_id == self.host_id
        return {
            "spmStatus": "SPM" if is_spm else "Free",
            "spmId": self.world.spm_id,
            "spmLver": 1,
        }

    def _setDescription(
        self, storagepoolID: str, volumeID: str, imageID: str, description: str, **_domain: str
    ) -> bool:
        self._check_pool("Volume.setDescription", storagepoolID)
        volume = self._volume(volumeID, imageID)

        def take_effect() -> bool:
            volume.description = description[: self.world.description_limit_chars]
            return True

        return cast(bool, self.step(f"describe {volumeID[-2:]}", take_effect))

    def _create(
        self, storagepoolID: str, volumeID: str, imageID: str, size: str, **fields: Any
    ) -> str:
        self._check_pool("Volume.create", storagepoolID)
        assert (fields["volFormat"], fields["srcVolUUID"]) == (5, BLANK)

        def take_effect() -> str:
            self.world.add(
                volumeID,
                fields["desc"],
                disk_type=fields["diskType"],
                capacity_bytes=int(size),
            )
            _IMAGES[volumeID] = imageID
            task = str(uuid.uuid4())
            self.tasks[task] = self.world.task_looks
            return task

        return cast(str, self.step("create", take_effect))

    def _getStatus(self, taskID: str) -> dict[str, Any]:
        self.tasks[taskID] -= 1
        running, code = self.tasks[taskID] > 0, self.world.task_error
        return {
            "taskState": "running" if running else "finished",
            "taskResult": "" if running else "cleanSuccess" if code else "success",
            "code": 0 if running else code,
            "message": "",
            "taskID": taskID,
        }

    def _clear(self, taskID: str) -> bool:
        del self.tasks[taskID]
        return True

    def _check_pool(self, verb: str, pool: str) -> None:
        if pool != (self.world.pool or BLANK):
            raise VdsmCallFailed(verb, 309, "Unknown pool id, pool not connected")
        if self.world.pool and self.world.spm_id != self.host_id:
            raise VdsmCallFailed(verb, 654, "Not SPM")

    def _volume(self, volume: str, image: str) -> Volume:
        if image != image_of(volume) or volume not in self.world.volumes:
            raise VdsmCallFailed("a verb", 201, "Volume does not exist")
        return self.world.volumes[volume]


async def _no_pause() -> None:
    """Be served at once."""


BLANK = "00000000-0000-0000-0000-000000000000"
_IMAGES: dict[str, str] = {}


def image_of(volume: str) -> str:
    """Return the image of a volume."""
    return _IMAGES.get(volume) or str(uuid.UUID(int=uuid.UUID(volume).int + 10))


class _Lane:
    """Runs worker operations here and now, with storage_lane's errors."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def stats(self) -> dict[str, Any]:
        return {"abandoned_alive": self._host.hanging_workers}

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        assert deadline_seconds > 0
        await self._host.pause()
        is_write = operation in ("change_members", "write_archive")
        volume = Path(args["path"]).name
        if volume in self._host.world.failing and not is_write:
            raise StorageFault("EIO", operation, args["path"], "Input/output error")
        if is_write and volume in self._host.world.read_only:
            raise StorageFault("EROFS", operation, args["path"], "Read-only file system")

        def run() -> Any:
            if is_write:
                self._host.world.failing.discard(volume)  # a bad sector is replaced so
            try:
                answer = storage_worker.OPERATIONS[operation](**args)
                # Every file system of a test has locks: their absence is played.
                return answer if self._host.has_locks else {**answer, "locked": False}
            except OSError as error:
                raise StorageFault("EIO", operation, args["path"], str(error)) from error

        if is_write:
            return self._host.write(Path(args["path"]), operation, run)
        return run()
