# SPDX-License-Identifier: Apache-2.0
"""Section [storage] of ha-agent.conf, and its rules: the domain, and how it is connected.

Apart from config/schema.py for its length only. Values, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from ha_agent.config.kinds import (
    DEADLINE,
    OPTIONAL_NAME,
    OPTIONAL_PATH,
    OPTIONAL_TEXT,
    PATH,
    UUID,
    Kind,
    choice,
    whole,
)
from ha_agent.errors import BadInput
from ha_agent.vdsm.client import storage_server
from ha_agent.vdsm.client.storage_server import DEFAULT_CONNECTION_ID, NFS_VERSIONS, StorageServer

# The file domains that VDSM knows, then the block domains. VDSM itself says "nfs" for any
# version; "nfs3" is how an administrator says that the mount is version 3.
FILE_DOMAIN_TYPES = ("nfs", "nfs3", "glusterfs", "cephfs", "posixfs", "localfs")
BLOCK_DOMAIN_TYPES = ("iscsi", "fc")
# With these nfs(5) and mount(8) keep locks on the host that takes them.
_LOCAL_LOCK_OPTIONS = (
    "nolock", "local_lock=all", "local_lock=posix", "vers=2", "vers=3", "nfsvers=2", "nfsvers=3",
)  # fmt: skip


def _of(kind: Kind) -> Mapping[str, Any]:
    return {"kind": kind, "derived": ""}


_TPGT = whole(1, 65535)
_OPTIONAL_TPGT = Kind(
    f"{_TPGT.expected}, or nothing",
    lambda text: _TPGT.parse(text) if text else None,
    lambda value: "" if value is None else str(value),
)


@dataclass(frozen=True)
class StorageConfig:
    """[storage]: the hosted engine's storage domain and what is kept on it."""

    domain_uuid: str = field(metadata=_of(UUID))
    domain_path: Path = field(metadata=_of(PATH))
    status_image: str = field(metadata=_of(UUID))
    status_volume: str = field(metadata=_of(UUID))
    domain_type: str = field(
        default="nfs", metadata=_of(choice(*FILE_DOMAIN_TYPES, *BLOCK_DOMAIN_TYPES))
    )
    connection: str = field(default="", metadata=_of(OPTIONAL_TEXT))
    connection_uuid: str = field(default=DEFAULT_CONNECTION_ID, metadata=_of(UUID))
    hosted_engine_conf: Optional[Path] = field(
        default=Path("/etc/ovirt-hosted-engine/hosted-engine.conf"), metadata=_of(OPTIONAL_PATH)
    )
    nfs_version: str = field(default="4", metadata=_of(choice(*NFS_VERSIONS[1:])))
    mount_options: str = field(default="", metadata=_of(OPTIONAL_TEXT))
    vfs_type: str = field(default="", metadata=_of(OPTIONAL_NAME))
    iscsi_target: str = field(default="", metadata=_of(OPTIONAL_TEXT))
    iscsi_tpgt: Optional[int] = field(default=None, metadata=_of(_OPTIONAL_TPGT))
    iscsi_user: str = field(default="", metadata=_of(OPTIONAL_TEXT))
    iscsi_password_file: Optional[Path] = field(default=None, metadata=_of(OPTIONAL_PATH))
    max_hosts: int = field(default=64, metadata=_of(whole(1, 2000)))
    io_deadline_seconds: float = field(default=5.0, metadata=_of(DEADLINE))
    ovf_deadline_seconds: float = field(default=20.0, metadata=_of(DEADLINE))
    max_abandoned_workers: int = field(default=8, metadata=_of(whole(1, 64)))

    @property
    def is_block(self) -> bool:
        """Whether the domain's volumes are block devices."""
        return self.domain_type in BLOCK_DOMAIN_TYPES

    @property
    def status_path(self) -> Path:
        """Where the volume with the status blocks is."""
        # VDSM shows the prepared volumes of a block domain without the folder "images":
        # /run/vdsm/storage/<domain>/<image>/<volume> (facts/vdsm.md, 2: Image.prepare).
        folder = self.domain_path if self.is_block else self.domain_path / "images"
        return folder / self.status_image / self.status_volume

    @property
    def nfs_default_version(self) -> str:
        """The version of NFS that `domain_type` stands for."""
        return NFS_VERSIONS[0] if self.domain_type == "nfs3" else self.nfs_version


def block_volume_at(domain_path: Path, path: Path) -> Optional[tuple[str, str]]:
    """Return image and volume of the block domain's volume that VDSM shows at `path`, None where
    it can be none. The form is that of StorageConfig.status_path."""
    image, volume = path.parent.name, path.name
    try:
        UUID.parse(image)
        UUID.parse(volume)
    except ValueError:
        return None
    return (image, volume) if path.parent.parent == domain_path else None


def server_of(config: StorageConfig, password: str) -> Optional[StorageServer]:
    """Return what the section itself says to connect; None for nothing. Raises BadInput."""
    kind, source, options = config.domain_type, config.connection, config.mount_options
    common = {"connection_id": config.connection_uuid}
    if kind == "fc":
        return storage_server.fc(**common)
    if not source:
        return None
    if kind in ("nfs", "nfs3"):
        return storage_server.nfs(source, config.nfs_default_version, options, **common)
    if kind == "glusterfs":
        return storage_server.glusterfs(source, options, **common)
    if kind in ("posixfs", "cephfs"):
        vfs_type = config.vfs_type or ("ceph" if kind == "cephfs" else "")
        return storage_server.posixfs(source, vfs_type, options, **common)
    if kind == "localfs":
        return storage_server.localfs(source, **common)
    return storage_server.iscsi(
        storage_server.parse_portals(source),
        config.iscsi_target,
        tpgt=config.iscsi_tpgt,
        user=config.iscsi_user,
        password=password,
        **common,
    )


def locks_are_shared(backend: str, options: str) -> bool:
    """Tell whether a lock file works on a mount with these options."""
    given = options.split(",")
    return backend != "lockfile" or not any(option in given for option in _LOCAL_LOCK_OPTIONS)


def connection_fits(domain_type: str, connection: str, target: str, vfs_type: str) -> bool:
    """Tell whether `connection`, if any, is one of a storage domain of that type."""
    probe = StorageConfig(
        "", Path("/"), "", "", domain_type, connection, iscsi_target=target, vfs_type=vfs_type
    )
    try:
        server_of(probe, "")
    except BadInput:
        return False
    return True
