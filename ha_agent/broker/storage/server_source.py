# SPDX-License-Identifier: Apache-2.0
"""Which storage server the domain is on: from [storage], or from the predecessor's file.

Small local files are read here, once, when the broker starts. Nothing is connected here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from ha_agent.bounded_file import read_bounded
from ha_agent.broker.storage.domain_connect import Wanted, WantedVolume
from ha_agent.compat import hosted_engine_conf
from ha_agent.config.legacy import read_text
from ha_agent.config.storage import (
    StorageConfig,
    block_volume_at,
    locks_are_shared,
    server_of,
)
from ha_agent.errors import BadInput
from ha_agent.vdsm.client.storage_server import StorageServer

_MAX_PASSWORD_BYTES = 1024
# [storage] domain_type, and what the predecessor calls it.
_THEIR_TYPES = {
    "nfs": ("nfs", "nfs4"),
    "nfs3": ("nfs", "nfs3"),
    "glusterfs": ("glusterfs",),
    "iscsi": ("iscsi",),
    "fc": ("fc",),
}


def wanted_of(config: StorageConfig, lease_backend: str, sanlock_path: Path) -> Wanted:
    """Return what the configuration wants to be there, and what is wrong with it, if anything."""
    server, fault = None, ""
    try:
        server = load_server(config, lease_backend)
    except BadInput as error:
        fault = f"it is not known how to connect the storage: {error}"
    return Wanted(
        domain_uuid=config.domain_uuid,
        status_image=config.status_image,
        status_volume=config.status_volume,
        status_path=str(config.status_path),
        is_block=config.is_block,
        server=server,
        fault=fault,
        lease=lease_volume(config, lease_backend, sanlock_path),
    )


def lease_volume(
    config: StorageConfig, lease_backend: str, sanlock_path: Path
) -> Optional[WantedVolume]:
    """Return the volume of a block domain that the lease has for itself, None where it has none:
    VDSM alone makes it readable, while any other device is the system's."""
    if lease_backend != "sanlock" or not config.is_block:
        return None
    pair = block_volume_at(config.domain_path, sanlock_path)
    return WantedVolume(*pair, str(sanlock_path)) if pair else None


def load_server(config: StorageConfig, lease_backend: str) -> Optional[StorageServer]:
    """Return what is to be connected; None where nothing says it.

    Raises BadInput for files that can't be used, or that are about other storage.
    """
    if config.connection or config.domain_type == "fc":
        password = ""
        if config.iscsi_password_file is not None:
            try:
                text = _read(config.iscsi_password_file)
            except FileNotFoundError:
                raise BadInput("is not there", where=str(config.iscsi_password_file)) from None
            password = text.partition("\n")[0].rstrip("\r")
            if not password:
                raise BadInput("has no password", where=str(config.iscsi_password_file))
        return server_of(config, password)
    path = config.hosted_engine_conf
    if path is None:
        return None
    try:
        found = read_text(path)
    except PermissionError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from error
    if found is None:
        return None
    conf = hosted_engine_conf.parse(found, str(path))
    _check(conf, config)
    server = hosted_engine_conf.server_of(conf, config.nfs_default_version)
    version = server.connections[0].fields.get("protocol_version")
    if version is not None and (version == "3") != (config.domain_type == "nfs3"):
        told = f"NFS {version}, but [storage] domain_type is {config.domain_type}"
        raise conf.fault("nfs_version", told)
    if not locks_are_shared(lease_backend, conf.values.get("mnt_options", "")):
        told = "makes locks local, which the lease back end lockfile can't bear"
        raise conf.fault("mnt_options", told)
    return server


def _check(conf: hosted_engine_conf.HostedEngineConf, config: StorageConfig) -> None:
    """Raise BadInput unless the file is about the same domain and volume."""
    if conf.uuid("sdUUID") != config.domain_uuid:
        raise conf.fault("sdUUID", f"another domain than [storage] has, {config.domain_uuid}")
    if conf.domain_type not in _THEIR_TYPES.get(config.domain_type, ()):
        told = f"{conf.domain_type}, but [storage] domain_type is {config.domain_type}"
        raise conf.fault("domainType", told)
    ours = (config.status_image, config.status_volume)
    if conf.volumes().get("metadata", ours) != ours:
        told = "another volume than [storage] status_image and status_volume"
        raise conf.fault("metadata_volume_UUID", told)


def _read(path: Path) -> str:
    try:
        data = read_bounded(path, _MAX_PASSWORD_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("is not UTF-8 text", where=str(path)) from None
