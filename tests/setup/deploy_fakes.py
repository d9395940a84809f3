# SPDX-License-Identifier: Apache-2.0
"""For the tests of deploy's steps: a VDSM in memory, a lane without a process, a deployment."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, cast

from ha_agent.broker.storage.lane import StorageFault, StorageLane
from ha_agent.broker.storage.worker import OPERATIONS
from ha_agent.setup.answers import Answers, Given, check
from ha_agent.setup.deploy.deploy import storage_server_of
from ha_agent.setup.deploy.deployment import Choices, Deployment
from ha_agent.setup.journal import Journal, open_journal
from ha_agent.setup.own_host import OwnFiles
from ha_agent.vdsm.client.answers import (
    HostCapabilities,
    HostStats,
    SpmStatus,
    StorageDomainInfo,
    TaskStatus,
    VolumeInfo,
)
from ha_agent.vdsm.client.answers_connect import ConnectionStatus, DomainSpace
from ha_agent.vdsm.client.storage_server import StorageServer
from ha_agent.vdsm.client.verbs import NO_POOL
from ha_agent.vdsm.client.verbs_setup import SetupVdsm
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from ha_agent.vdsm.vm_status import VmStats
from tests.fakes import FakeClock

DOMAIN = "11111111-1111-4111-8111-111111111111"
VM = "44444444-4444-4444-8444-444444444444"
GIB = 1 << 30


class FakeVdsm:
    """Volumes are sparse files in `folder`; with `wants_pool` it writes for an SPM only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wants_pool = False
        self.domains: dict[str, StorageDomainInfo] = {}
        self.found: dict[tuple[str, str], VolumeInfo] = {}
        self.status_code = 0
        self.free_bytes = 100 * GIB
        self.task = TaskStatus("finished", "success", 0, "")
        self.exists_code: Optional[int] = None
        self.vm: Optional[VmStats] = None
        self.memory_free_mib = 65536
        self.networks: Optional[dict[str, bool]] = {"ovirtmgmt": True}
        self.calls: list[str] = []
        self.pool = ""
        self.is_spm = False
        self.connected: list[str] = []

    def add_domain(
        self, uuid: str = DOMAIN, *, remote: str = "", pools: tuple[str, ...] = ()
    ) -> None:
        self.domains[uuid] = StorageDomainInfo(
            uuid, "LOCALFS", "hosted_storage", "Regular", pools, 5, 512, 1 << 20, remote
        )

    async def domain_info(self, uuid: str) -> StorageDomainInfo:
        if uuid not in self.domains:
            raise VdsmCallFailed("StorageDomain.getInfo", VdsmCode.DOMAIN_DOES_NOT_EXIST, uuid)
        return self.domains[uuid]

    async def storage_domains(self) -> list[str]:
        return list(self.domains)

    async def domain_space(self, uuid: str) -> DomainSpace:
        await self.domain_info(uuid)
        return DomainSpace(100 * GIB, self.free_bytes)

    async def connect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]:
        self.calls.append("connect")
        return [ConnectionStatus(one.id, self.status_code) for one in server.connections]

    async def disconnect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]:
        self.calls.append("disconnect")
        return [ConnectionStatus(one.id, 0) for one in server.connections]

    async def create_domain(self, uuid: str, kind: object, arguments: str, name: str) -> None:
        del kind, name
        self.calls.append(f"create_domain {uuid}")
        if uuid in self.domains:
            raise VdsmCallFailed("StorageDomain.create", 365, uuid)
        self.add_domain(uuid, remote=arguments)

    async def block_devices(self, kind: object) -> list[object]:
        del kind
        return []

    async def create_volume_group(self, name: str, luns: Sequence[str], *, force: bool) -> str:
        self.calls.append(f"vg {name} {','.join(luns)} {force}")
        return "vg-uuid"

    # Volumes.

    def add_volume(self, role: str, image: str, volume: str, description: str, size: int) -> Path:
        self.found[image, volume] = VolumeInfo(
            volume, image, description, "RAW", "LEGAL", size, size, size, 1, role
        )
        path = self.folder / volume
        with path.open("ab") as file:
            file.truncate(size)
        return path

    async def volume_info(self, domain: str, image: str, volume: str) -> Optional[VolumeInfo]:
        await self.domain_info(domain)
        return self.found.get((image, volume))

    async def domain_images(self, domain: str) -> list[str]:
        await self.domain_info(domain)
        return [image for image, _ in self.found]

    async def image_volumes(self, domain: str, image: str) -> list[str]:
        del domain
        return [volume for each, volume in self.found if each == image]

    async def prepare_image(
        self, domain: str, image: str, volume: str, *, pool_id: str = NO_POOL
    ) -> str:
        del domain, image, pool_id
        return str(self.folder / volume)

    def _may_write(self, pool_id: str) -> None:
        if self.wants_pool and not (self.is_spm and pool_id == self.pool):
            raise VdsmCallFailed("Volume", VdsmCode.POOL_NOT_CONNECTED, "no pool")

    async def create_volume(
        self, domain: str, image: str, volume: str, *, size_bytes: int, disk_type: str,
        description: str, allocation: object, pool_id: str,
    ) -> str:  # fmt: skip
        del domain, allocation
        self._may_write(pool_id)
        if self.exists_code is not None:
            raise VdsmCallFailed("Volume.create", self.exists_code, volume)
        if self.task.has_succeeded:
            self.add_volume(disk_type, image, volume, description, size_bytes)
        return "task"

    async def task_status(self, task: str) -> TaskStatus:
        del task
        return self.task

    async def clear_task(self, task: str) -> None:
        del task

    async def set_volume_description(
        self, domain: str, image: str, volume: str, text: str, *, pool_id: str = NO_POOL
    ) -> None:
        del domain
        self._may_write(pool_id)
        if (image, volume) not in self.found:
            raise VdsmCallFailed("Volume", VdsmCode.IMAGE_PATH_ERROR, volume)
        self.found[image, volume] = dataclasses.replace(
            self.found[image, volume], description=text
        )

    # The pool.

    async def connected_pools(self) -> list[str]:
        return self.connected

    async def create_pool(self, pool: str, name: str, master: str, domain: str) -> None:
        del name
        self.calls.append("create_pool")
        self.pool = pool
        for uuid in (master, domain):
            self.domains[uuid] = dataclasses.replace(self.domains[uuid], pool_ids=(pool,))

    async def connect_pool(self, pool: str, host_id: int, master: str, domain: str) -> None:
        del host_id, master, domain
        self.calls.append("connect_pool")
        self.connected = [pool]

    async def spm_status(self, pool: str) -> Optional[SpmStatus]:
        del pool
        return SpmStatus("SPM" if self.is_spm else "Free", 1)

    async def start_spm(self, pool: str) -> str:
        assert self.connected == [pool]
        self.calls.append("start_spm")
        self.is_spm = True
        return "task"

    async def activate_domain(self, domain: str, pool: str) -> None:
        assert self.is_spm
        assert domain in self.domains
        assert pool == self.pool

    async def detach_domain(self, domain: str, pool: str, master: str) -> None:
        assert (self.is_spm, pool) == (True, self.pool)
        assert master in self.domains
        self.calls.append("detach")
        self.domains[domain] = dataclasses.replace(self.domains[domain], pool_ids=())

    async def destroy_pool(self, pool: str, host_id: int) -> None:
        del host_id
        assert pool == self.pool
        self.calls.append("destroy_pool")
        self.pool, self.is_spm, self.connected = "", False, []

    async def format_domain(self, domain: str) -> None:
        self.calls.append("format")
        if self.domains.pop(domain, None) is None:
            raise VdsmCallFailed("format", VdsmCode.DOMAIN_DOES_NOT_EXIST, domain)

    # The host.

    async def host_stats(self) -> HostStats:
        return HostStats(self.memory_free_mib, 0.1, 99.0, self.networks, 0)

    async def host_capabilities(self) -> HostCapabilities:
        return HostCapabilities(65536, 16, frozenset({"q35", "pc"}), "", frozenset())

    async def vm_stats(self, vm: str) -> Optional[VmStats]:
        del vm
        return self.vm


class DirectLane:
    """The worker's operations, here and now."""

    def stats(self) -> dict[str, Any]:
        return {"abandoned_alive": 0}

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        del deadline_seconds
        try:
            return OPERATIONS[operation](**args)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "fault")
            raise StorageFault(name, operation, str(args.get("path")), str(error)) from error


def make_answers(tmp_path: Path, **changes: str) -> Answers:
    texts = {
        "storage_type": "localfs",
        "storage_connection": str(tmp_path / "share"),
        "engine_fqdn": "127.0.0.1",
        "disk_image_file": str(tmp_path / "image"),
        "domain_uuid": DOMAIN,
        "vm_uuid": VM,
        **changes,
    }
    return check({name: Given(text, "test") for name, text in texts.items() if text != "-"})


def make_journal(tmp_path: Path, verb: str = "deploy") -> Journal:
    return open_journal(tmp_path / "state", verb, "test")


def make_deployment(
    tmp_path: Path, journal: Journal, vdsm: FakeVdsm, **changes: str
) -> Deployment:
    answers = make_answers(tmp_path, **changes)
    (tmp_path / "share" / DOMAIN).mkdir(parents=True, exist_ok=True)
    choices = Choices(journal, write=True)
    return Deployment(
        answers,
        choices,
        storage_server_of(answers),
        VM,
        tmp_path / "etc/ovirt-hosted-engine/hosted-engine.conf",
        "host1",
        OwnFiles(tmp_path, [], {}),
        vdsm=cast("SetupVdsm", vdsm),
        lane=cast("StorageLane", DirectLane()),
        threads=StorageThreads(),
        clock=FakeClock(),
        pool_id=lambda: choices.known("pool") or None,
    )


def say(text: str) -> None:
    """Nobody looks."""
    del text
