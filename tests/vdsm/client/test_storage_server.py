# SPDX-License-Identifier: Apache-2.0
"""Connection objects, as vdsm's storage/storageServer.py takes them."""

from __future__ import annotations

import pytest

from ha_agent.errors import BadInput
from ha_agent.vdsm.client.storage_server import (
    DEFAULT_CONNECTION_ID,
    DomainType,
    Portal,
    StorageServer,
    fc,
    glusterfs,
    iscsi,
    localfs,
    nfs,
    parse_portals,
    posixfs,
)

IQN = "iqn.2003-01.org.example:engine"
TWO = (Portal("10.0.0.1"), Portal("10.0.1.1", 3261))


@pytest.mark.parametrize(
    ("server", "kind", "fields"),
    [
        (
            nfs("host:/export", "4.1"),
            1,
            {"connection": "host:/export", "protocol_version": "4.1"},
        ),
        (
            nfs("[fd00::1]:/export", "3", "soft,timeo=600"),
            1,
            {
                "connection": "[fd00::1]:/export",
                "protocol_version": "3",
                "mnt_options": "soft,timeo=600",
            },
        ),
        (
            glusterfs("g1:/engine", "backup-volfile-servers=g2:g3"),
            7,
            {
                "connection": "g1:/engine",
                "vfs_type": "glusterfs",
                "mnt_options": "backup-volfile-servers=g2:g3",
            },
        ),
        (
            posixfs("m1,m2:/engine", "ceph", "name=admin"),
            6,
            {"connection": "m1,m2:/engine", "vfs_type": "ceph", "mnt_options": "name=admin"},
        ),
        (localfs("/srv/engine/"), 4, {"connection": "/srv/engine"}),
        (fc(), 2, {}),
    ],
)
def test_one_connection(server: StorageServer, kind: int, fields: dict[str, str]) -> None:
    assert server.domain_type == kind
    [connection] = server.connections
    assert connection.fields == {"id": DEFAULT_CONNECTION_ID, **fields}
    assert server.name_of(DEFAULT_CONNECTION_ID) == connection.name


def test_every_portal_is_a_connection_that_can_be_told_from_the_others() -> None:
    server = iscsi((*TWO, TWO[0]), IQN, tpgt=2, user="chap", password="s3cret")
    first, second = server.connections
    common = {"iqn": IQN, "tpgt": "2", "user": "chap", "password": "s3cret"}
    assert first.fields == {
        "id": DEFAULT_CONNECTION_ID, "connection": "10.0.0.1", "port": "3260", **common
    }  # fmt: skip
    assert second.fields["port"] == "3261"
    assert first.id != second.id
    assert second.id == iscsi(TWO, IQN).connections[1].id  # the same in each life
    assert server.name_of(second.id) == "portal 10.0.1.1:3261"
    assert server.name_of("other") == "other"


def test_a_password_is_not_shown() -> None:
    server = iscsi(TWO, IQN, user="chap", password="s3cret")
    assert "s3cret" not in repr(server) + str(server)
    assert "user" not in iscsi(TWO, IQN).connections[0].fields


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("host:/export/", "host:/export"),
        ("host://a//b/", "host:/a/b"),
        ("host:/", "host:/"),
    ],
)
def test_an_export_is_written_in_one_way_only(given: str, sent: str) -> None:
    """VDSM makes the mount point from the text; another text is another mount."""
    assert nfs(given, "4").connections[0].fields["connection"] == sent


@pytest.mark.parametrize(
    ("text", "ports", "portals"),
    [
        ("10.0.0.1", "", (Portal("10.0.0.1", 3260),)),
        ("10.0.0.1:3261, san.a", "", (Portal("10.0.0.1", 3261), Portal("san.a"))),
        ("[fd00::1]:3262,fd00::2,[fd00::3]", "",
         (Portal("fd00::1", 3262), Portal("fd00::2"), Portal("fd00::3"))),
        ("10.0.0.1,10.0.0.2", "3260,3261", (Portal("10.0.0.1"), Portal("10.0.0.2", 3261))),
        ("10.0.0.1,10.0.0.2", "3265", (Portal("10.0.0.1", 3265), Portal("10.0.0.2", 3265))),
    ],
)  # fmt: skip
def test_portals(text: str, ports: str, portals: tuple[Portal, ...]) -> None:
    assert parse_portals(text, ports) == portals


def test_a_portal_with_an_ipv6_address_is_written_with_brackets() -> None:
    assert str(Portal("fd00::1")) == "[fd00::1]:3260"
    assert parse_portals(str(Portal("fd00::1", 7))) == (Portal("fd00::1", 7),)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: nfs("host:/e", "auto"), "NFS version: 'auto' is none of 3, 4"),
        (lambda: nfs("host:/e", "4_1"), "'4_1' is none of"),
        (lambda: nfs("/export", "4"), "is not server:/export"),
        (lambda: nfs("host:export", "4"), "is not server:/export"),
        (lambda: nfs("host:/e", "4", "a b"), "mount options: has blanks"),
        (lambda: nfs("ho st:/e", "4"), "storage: 'ho st:/e' has blanks"),
        (lambda: glusterfs("engine"), "is not server:/volume"),
        (lambda: posixfs("h:/e", ""), "vfs_type: '' is no type"),
        (lambda: localfs("srv"), "no absolute path"),
        (lambda: iscsi((), IQN), "no portal"),
        (lambda: iscsi(TWO, "engine"), "'engine' is no iSCSI name"),
        (lambda: iscsi(TWO, IQN, user="chap"), "both a user and a password"),
        (lambda: iscsi(TWO, IQN, connection_id="x"), "'x' is no UUID"),
        (lambda: parse_portals("10.0.0.1:0"), "'0' is no port"),
        (lambda: parse_portals("a b"), "is not ADDRESS or ADDRESS:PORT"),
        (lambda: parse_portals(""), "is not ADDRESS"),
        (lambda: parse_portals("a,b,c", "1,2"), "3 portals, but 2 ports"),
    ],
)
def test_what_can_not_be_is_named(make: object, why: str) -> None:
    assert callable(make)
    with pytest.raises(BadInput, match=why):
        make()


def test_what_is_block_storage() -> None:
    assert [kind for kind in DomainType if kind.is_block] == [DomainType.FCP, DomainType.ISCSI]
