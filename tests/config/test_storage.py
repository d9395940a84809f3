# SPDX-License-Identifier: Apache-2.0
"""[storage]: what it makes of its keys, and which of them don't go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ha_agent.config.layers import Config, ConfigError, load
from ha_agent.config.storage import StorageConfig, server_of
from ha_agent.vdsm.client.storage_server import DomainType
from tests.small_config import NOWHERE, write_config

SD = "00000000-0000-4000-8000-000000000002"
IMAGE = "00000000-0000-4000-8000-000000000003"
VOLUME = "00000000-0000-4000-8000-000000000004"


def section(**more: Any) -> StorageConfig:
    folder = "/run/vdsm/storage" if more.get("domain_type") in ("iscsi", "fc") else "/rhev"
    return StorageConfig(SD, Path(folder) / SD, IMAGE, VOLUME, **more)


def loaded(folder: Path, keys: str, backend: str = "lockfile") -> Config:
    path = write_config(folder, f"[lease]\nbackend = {backend}\n")
    text = path.read_text().replace("domain_type = localfs\n", keys)
    path.write_text(text)
    return load([path], NOWHERE)


def faults(folder: Path, keys: str, backend: str = "lockfile") -> Sequence[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, keys, backend)
    return [str(fault) for fault in caught.value.faults]


def test_where_the_status_volume_is() -> None:
    assert section().status_path == Path(f"/rhev/{SD}/images/{IMAGE}/{VOLUME}")
    # As Image.prepare has it without a pool (facts/vdsm.md, 2).
    for kind in ("iscsi", "fc"):
        path = section(domain_type=kind).status_path
        assert path == Path(f"/run/vdsm/storage/{SD}/{IMAGE}/{VOLUME}")


@pytest.mark.parametrize(
    ("more", "kind", "sent"),
    [
        ({"connection": "h:/e"}, DomainType.NFS, {"protocol_version": "4"}),
        (
            {"connection": "h:/e", "nfs_version": "4.1", "mount_options": "soft"},
            DomainType.NFS,
            {"protocol_version": "4.1", "mnt_options": "soft"},
        ),
        (
            {"domain_type": "nfs3", "connection": "h:/e"},
            DomainType.NFS,
            {"protocol_version": "3"},
        ),
        (
            {"domain_type": "glusterfs", "connection": "h:/v"},
            DomainType.GLUSTERFS,
            {"vfs_type": "glusterfs"},
        ),
        (
            {"domain_type": "cephfs", "connection": "m:/"},
            DomainType.POSIXFS,
            {"vfs_type": "ceph"},
        ),
        (
            {"domain_type": "posixfs", "connection": "h:/e", "vfs_type": "nfs4"},
            DomainType.POSIXFS,
            {"vfs_type": "nfs4"},
        ),
        ({"domain_type": "localfs", "connection": "/srv"}, DomainType.LOCALFS, {}),
        ({"domain_type": "fc"}, DomainType.FCP, {}),
        (
            {"domain_type": "iscsi", "connection": "10.0.0.1:7", "iscsi_target": "iqn.a:b"},
            DomainType.ISCSI,
            {"iqn": "iqn.a:b", "port": "7"},
        ),
    ],
)
def test_what_vdsm_is_sent(more: dict[str, Any], kind: DomainType, sent: dict[str, str]) -> None:
    connection_id = "66666666-6666-4666-8666-666666666666"
    server = server_of(section(connection_uuid=connection_id, **more), "")
    assert server is not None
    assert server.domain_type is kind
    assert {"id": connection_id, **sent}.items() <= server.connections[0].fields.items()


def test_without_a_connection_nothing_is_connected() -> None:
    assert server_of(section(), "") is None


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("domain_type = nfs\nconnection = /export\n", "connection must be server:/export"),
        ("domain_type = posixfs\nconnection = h:/e\n", "and vfs_type its type"),
        ("domain_type = localfs\nconnection = srv\n", "a directory for localfs"),
        ("domain_type = nfs\nmount_options = soft,nolock\n", "seen on this host only"),
        ("domain_type = nfs\nmount_options = local_lock=all\n", "seen on this host only"),
        ("domain_type = nfs\nmount_options = nfsvers=3\n", "seen on this host only"),
        ("domain_type = nfs\nnfs_version = auto\n", "expected one of 4, 4.0, 4.1, 4.2"),
        ("domain_type = nfs\niscsi_user = chap\n", "CHAP needs both"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, keys: str, why: str) -> None:
    assert any(why in fault for fault in faults(tmp_path, keys)), faults(tmp_path, keys)


def test_local_locks_are_borne_where_sanlock_has_the_leases(tmp_path: Path) -> None:
    keys = "domain_type = nfs3\nmount_options = nolock\n"
    assert loaded(tmp_path, keys, "sanlock").storage.mount_options == "nolock"
