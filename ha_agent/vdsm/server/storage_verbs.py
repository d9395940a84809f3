# SPDX-License-Identifier: Apache-2.0
"""The storage verbs of the embedded VDSM, for file domains in configured directories.

It mounts nothing: a storage server is connected when its directory is there, or when the system
has mounted it already. Whatever touches storage runs in a thread with a deadline.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

from ha_agent.errors import HaAgentError
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCode
from ha_agent.vdsm.refusal import Refusal
from ha_agent.vdsm.server.refused_verbs import ISCSI_NODE_ERROR, STORAGE_TYPE_ERROR

log = logging.getLogger(__name__)
T = TypeVar("T")

_ISCSI = 3
_LOCALFS = 4
_FILE_TYPES = {1, _LOCALFS, 6, 7}  # NFS, LOCALFS, POSIXFS, GLUSTERFS (vdsm's storage/sd.py)


class StorageVerbs:
    """`paths` are storage domains, or directories that hold storage domains."""

    def __init__(
        self, paths: tuple[Path, ...], threads: StorageThreads, deadline_seconds: float
    ) -> None:
        self._configured = paths
        self._connected: dict[str, Path] = {}
        self._threads = threads
        self._deadline_seconds = deadline_seconds

    def paths(self) -> tuple[Path, ...]:
        """Return where to look for domains: configured paths, then connected ones."""
        return (*self._configured, *self._connected.values())

    def connected(self) -> frozenset[str]:
        """Return what was connected, as it was named."""
        return frozenset(self._connected)

    async def run(self, what: str, call: Callable[[], T]) -> T:
        """Run a call in a thread, with the deadline, and give its errors VDSM's codes."""
        try:
            return await self._threads.run(what, self._deadline_seconds, call)
        except Refusal:
            raise
        except file_domain.NoSuchVolume as error:
            raise Refusal(
                VdsmCode.VOLUME_DOES_NOT_EXIST, f"Volume does not exist: {(str(error),)!r}"
            ) from error
        except file_domain.NoSuchImage as error:
            raise Refusal(
                VdsmCode.IMAGE_PATH_ERROR,
                f"Image path does not exist or cannot be accessed/created: {(str(error),)!r}",
            ) from error
        except file_domain.NoSuchDomain as error:
            raise Refusal(
                VdsmCode.DOMAIN_DOES_NOT_EXIST, f"Storage domain does not exist: {(str(error),)!r}"
            ) from error
        except (HaAgentError, OSError) as error:
            raise Refusal(
                VdsmCode.DOMAIN_ACCESS_ERROR, f"Error accessing a storage domain: {error}"
            ) from error

    async def prepare_image(
        self, pool: str, domain: str, image: str, volume: str, _allow_illegal: Optional[bool]
    ) -> dict[str, str]:
        """Image.prepare: a file volume is reached where it is."""
        del pool

        def find() -> str:
            path = file_domain.find_domain(self.paths(), domain)
            return str(file_domain.find_volume(path, image, volume))

        return {"path": await self.run("Image.prepare", find)}

    async def tear_down_image(
        self, pool: str, domain: str, image: str, _volume: Optional[str]
    ) -> None:
        """Image.teardown: there is nothing to undo."""
        del pool

        def find() -> None:
            file_domain.find_image(file_domain.find_domain(self.paths(), domain), image)

        await self.run("Image.teardown", find)

    async def domain_info(self, domain: str) -> dict[str, Any]:
        """StorageDomain.getInfo."""

        def read() -> dict[str, Any]:
            path = file_domain.find_domain(self.paths(), domain)
            values = file_domain.read_domain_metadata(path)
            return {
                "uuid": domain,
                "type": values.get("TYPE", "LOCALFS"),
                "class": values.get("CLASS", "Data"),
                "name": values.get("DESCRIPTION", ""),
                "role": values.get("ROLE", "Regular"),
                "pool": [pool] if (pool := values.get("POOL_UUID", "")) else [],
                "version": values.get("VERSION", "5"),
                "block_size": int(values.get("BLOCK_SIZE", "512")),
                "alignment": int(values.get("ALIGNMENT", "1048576")),
                "remotePath": values.get("REMOTE_PATH", str(path.parent)),
            }

        return await self.run("StorageDomain.getInfo", read)

    async def domain_stats(self, domain: str) -> dict[str, Any]:
        """StorageDomain.getStats: bytes as text."""

        def read() -> dict[str, Any]:
            size = os.statvfs(file_domain.find_domain(self.paths(), domain))
            return {
                "disktotal": str(size.f_blocks * size.f_frsize),
                "diskfree": str(size.f_bavail * size.f_frsize),
                "mdasize": 0,
                "mdafree": 0,
                "mdavalid": True,
                "mdathreshold": True,
            }

        return await self.run("StorageDomain.getStats", read)

    async def validate(self, domain: str) -> None:
        """StorageDomain.validate: its metadata can be read."""

        def read() -> None:
            file_domain.read_domain_metadata(file_domain.find_domain(self.paths(), domain))

        await self.run("StorageDomain.validate", read)

    async def images(self, domain: str) -> list[str]:
        """StorageDomain.getImages."""

        def read() -> list[str]:
            return file_domain.list_images(file_domain.find_domain(self.paths(), domain))

        return await self.run("StorageDomain.getImages", read)

    async def volumes(self, domain: str, _pool: str, image: str) -> list[str]:
        """StorageDomain.getVolumes."""

        def read() -> list[str]:
            return file_domain.list_volumes(file_domain.find_domain(self.paths(), domain), image)

        return await self.run("StorageDomain.getVolumes", read)

    async def image_volumes(self, image: str, pool: str, domain: str) -> list[str]:
        """Image.getVolumes, the same in another order of arguments."""
        return await self.volumes(domain, pool, image)

    async def volume_info(self, volume: str, pool: str, domain: str, image: str) -> dict[str, Any]:
        """Volume.getInfo: sizes and ctime as text, in bytes and seconds."""

        def read() -> dict[str, Any]:
            path = file_domain.find_volume(
                file_domain.find_domain(self.paths(), domain), image, volume
            )
            values = file_domain.read_volume_metadata(path)
            stat = path.stat()
            return {
                "uuid": volume,
                "domain": domain,
                "image": image,
                "pool": "" if pool == file_domain.BLANK_UUID else pool,
                "parent": values["PUUID"],
                "description": values["DESCRIPTION"],
                "capacity": values["CAP"],
                "truesize": str(stat.st_blocks * 512),
                "apparentsize": str(stat.st_size),
                "ctime": values["CTIME"],
                "mtime": "0",
                "voltype": values["VOLTYPE"],
                "type": values["TYPE"],
                "format": values["FORMAT"],
                "disktype": values["DISKTYPE"],
                "legality": values["LEGALITY"],
                "generation": int(values["GEN"]) if values["GEN"].isdecimal() else 0,
                "sequence": 0,
                "status": "OK",
                "children": [],
                "lease": {"path": f"{path}.lease", "offset": 0, "owners": [], "version": None},
            }

        return await self.run("Volume.getInfo", read)

    async def domains(self) -> list[str]:
        """Host.getStorageDomains."""

        def read() -> list[str]:
            found = set()
            for path in self.paths():
                names = [path.name, *(os.listdir(path) if path.is_dir() else [])]
                for name in filter(file_domain.is_uuid, names):
                    try:
                        file_domain.find_domain((path,), name)
                    except file_domain.NoSuchDomain:
                        continue
                    found.add(name)
            return sorted(found)

        return await self.run("Host.getStorageDomains", read)

    async def connect_servers(
        self, _pool: str, kind: object, connections: list[Any]
    ) -> list[dict[str, Any]]:
        """StoragePool.connectStorageServer: one status for each connection, 0 is good."""
        kind = _domain_type(kind, connections)
        if kind not in _FILE_TYPES:
            status = ISCSI_NODE_ERROR if kind == _ISCSI else STORAGE_TYPE_ERROR
            log.warning("storage of domain type %d can't be used by this VDSM, only files", kind)
            return [{"id": _fields(each).get("id", ""), "status": status} for each in connections]
        answer = []
        for connection in connections:
            fields = _fields(connection)
            source = str(fields.get("connection", ""))
            where = await self.run("connection", functools.partial(mounted_at, kind, source))
            if where is None:
                log.warning("storage server %s is not mounted on this host", source)
                status = VdsmCode.MOUNT_ERROR
                answer.append({"id": fields.get("id", ""), "status": int(status)})
                continue
            self._connected[source] = where
            answer.append({"id": fields.get("id", ""), "status": 0})
        return answer

    async def disconnect_servers(
        self, _pool: str, kind: object, connections: list[Any]
    ) -> list[dict[str, Any]]:
        """StoragePool.disconnectStorageServer: nothing is unmounted."""
        _domain_type(kind, connections)
        answer = []
        for connection in connections:
            fields = _fields(connection)
            self._connected.pop(str(fields.get("connection", "")), None)
            answer.append({"id": fields.get("id", ""), "status": 0})
        return answer


def _domain_type(kind: object, connections: list[Any]) -> int:
    """Return a domain type that is a number, as it must be; a name is 451 in VDSM, too."""
    if not connections:
        raise Refusal(VdsmCode.INVALID_PARAMETER, "Invalid parameter: connectionParams is empty")
    if not isinstance(kind, int) or isinstance(kind, bool):
        raise Refusal(
            VdsmCode.STORAGE_CONNECTION_ERROR,
            f"Error storage server connection: domain type {str(kind)[:40]!r} is no number",
        )
    return kind


def _fields(connection: object) -> Mapping[str, Any]:
    return connection if isinstance(connection, Mapping) else {}


def mounted_at(kind: int, source: str) -> Optional[Path]:
    """Return the directory that a storage server's content is seen in, None when nowhere."""
    if kind == _LOCALFS:
        path = Path(source)
        return path if path.is_absolute() and path.is_dir() else None
    if kind not in _FILE_TYPES or not source:
        return None
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = [field.encode().decode("unicode_escape") for field in line.split()[:2]]
        if fields[0].rstrip("/") == source.rstrip("/"):
            return Path(fields[1])
    return None
