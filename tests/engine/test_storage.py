# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import pytest

from ha_agent.engine.storage import host_storage, same_connection
from ha_agent.engine.views import Connection
from ha_agent.errors import BadInput
from ha_agent.vdsm.client import storage_server as at
from ha_agent.vdsm.client.storage_server import DomainType, StorageServer


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (
            at.nfs("192.0.2.1:/exports/he", "4.1", "soft"),
            {
                "type": "nfs",
                "address": "192.0.2.1",
                "path": "/exports/he",
                "nfs_version": "v4_1",
                "mount_options": "soft",
            },
        ),
        (
            at.nfs("[fd00::1]:/exports/he", "3"),
            {
                "type": "nfs",
                "address": "[fd00::1]",
                "path": "/exports/he",
                "nfs_version": "v3",
            },
        ),
        (
            at.glusterfs("server:volume"),
            {"type": "glusterfs", "address": "server", "path": "volume", "vfs_type": "glusterfs"},
        ),
        (
            at.posixfs("mon1,mon2:/he", "ceph", "name=he"),
            {
                "type": "posixfs",
                "path": "mon1,mon2:/he",
                "vfs_type": "ceph",
                "mount_options": "name=he",
            },
        ),
        (at.localfs("/srv/he"), {"type": "localfs", "path": "/srv/he"}),
        (at.iscsi(at.parse_portals("192.0.2.9"), "iqn.2026-11.com.example:he"), {"type": "iscsi"}),
        (at.fc(), {"type": "fcp"}),
    ],
)
def test_each_kind(server: StorageServer, expected: dict[str, str]) -> None:
    assert host_storage(server) == expected


def test_no_password_goes_to_the_engine() -> None:
    server = at.iscsi(
        at.parse_portals("192.0.2.9"), "iqn.2026-11.com.example:he", user="u", password="p"
    )
    assert "p" not in host_storage(server).values()


def test_a_kind_that_the_engine_has_not() -> None:
    with pytest.raises(BadInput, match="CIFS is no type of storage"):
        host_storage(replace(at.localfs("/srv"), domain_type=DomainType.CIFS))


def test_a_connection_that_the_engine_keeps() -> None:
    storage = host_storage(at.nfs("192.0.2.1:/exports/he", "4"))
    mine = Connection("c-2", "nfs", "192.0.2.1", "/exports/he")
    others = (
        Connection("c-1", "nfs", "192.0.2.2", "/exports/he"),
        Connection("c-3", "posixfs", "192.0.2.1", "/exports/he"),
    )
    assert same_connection((*others, mine), storage) == mine
    assert same_connection(others, storage) is None
    assert same_connection((Connection("c", "fcp", "", ""),), host_storage(at.fc())) is None
