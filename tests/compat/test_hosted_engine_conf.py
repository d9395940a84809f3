# SPDX-License-Identifier: Apache-2.0
"""The predecessor's file: what it says of the storage, and how it may be wrong."""

from __future__ import annotations

import pytest

from ha_agent.compat.hosted_engine_conf import parse, server_of
from ha_agent.errors import BadInput
from ha_agent.vdsm.client.storage_server import DEFAULT_CONNECTION_ID, DomainType

# As the set-up writes it (facts/ovf-and-volumes.md, 4.1).
NFS = """\
fqdn=engine.example.org
vm_disk_id=11111111-1111-4111-8111-111111111111
vm_disk_vol_id=11111111-1111-4111-8111-111111111112
vmid=11111111-1111-4111-8111-111111111113
storage=server.example.org:/export/engine
nfs_version=auto
mnt_options=
conf=/var/run/ovirt-hosted-engine-ha/vm.conf
host_id=1
console=vnc
domainType=nfs
spUUID=00000000-0000-0000-0000-000000000000
sdUUID=22222222-2222-4222-8222-222222222222
connectionUUID=e29cf818-5ee5-46e1-85c1-8aeefa33e95d
vdsm_use_ssl=true
gateway=192.168.1.1
bridge=ovirtmgmt
metadata_volume_UUID=33333333-3333-4333-8333-333333333331
metadata_image_UUID=33333333-3333-4333-8333-333333333332
lockspace_volume_UUID=44444444-4444-4444-8444-444444444441
lockspace_image_UUID=44444444-4444-4444-8444-444444444442
conf_volume_UUID=55555555-5555-4555-8555-555555555551
conf_image_UUID=55555555-5555-4555-8555-555555555552

# The following are used only for iSCSI storage
iqn=
portal=
user=
password=
port=
"""
ISCSI = """\
domainType=iscsi
storage=10.0.0.1,10.0.1.1
port=3260,3261
iqn=iqn.2003-01.org.example:engine
portal=1
user=chap
password=p=a's "s'
"""


def test_an_nfs_domain() -> None:
    conf = parse(NFS, "he.conf")
    assert conf.uuid("sdUUID") == "22222222-2222-4222-8222-222222222222"
    assert conf.uuid("spUUID").endswith("000")
    assert conf.volumes()["metadata"] == (
        "33333333-3333-4333-8333-333333333332",
        "33333333-3333-4333-8333-333333333331",
    )
    assert conf.volumes()["vm_disk"][1].endswith("112")
    assert set(conf.volumes()) == {"metadata", "lockspace", "conf", "vm_disk"}
    server = server_of(conf, "4.2")
    assert server.domain_type is DomainType.NFS
    assert server.connections[0].fields == {
        "id": DEFAULT_CONNECTION_ID,
        "connection": "server.example.org:/export/engine",
        "protocol_version": "4.2",
    }


@pytest.mark.parametrize(
    ("kind", "word", "sent"),
    [
        ("nfs", "", "4.2"),
        ("nfs", "auto", "4.2"),
        ("nfs", "v3", "3"),
        ("nfs", "v4_1", "4.1"),
        ("nfs", "4.0", "4.0"),
        ("nfs3", "auto", "3"),
        ("nfs4", "", "4"),
        ("nfs4", "v4_2", "4.2"),
    ],
)
def test_versions_of_nfs(kind: str, word: str, sent: str) -> None:
    text = f"domainType={kind}\nnfs_version={word}\nstorage=s:/e\nmnt_options=soft\n"
    fields = server_of(parse(text, "f"), "4.2").connections[0].fields
    assert (fields["protocol_version"], fields["mnt_options"]) == (sent, "soft")


def test_an_iscsi_target_with_two_portals() -> None:
    conf = parse(ISCSI, "f")
    first, second = server_of(conf, "4").connections
    assert first.fields == {
        "id": DEFAULT_CONNECTION_ID,
        "connection": "10.0.0.1",
        "port": "3260",
        "iqn": "iqn.2003-01.org.example:engine",
        "tpgt": "1",
        "user": "chap",
        "password": "p=a's \"s'",
    }
    assert (second.fields["connection"], second.fields["port"]) == ("10.0.1.1", "3261")
    assert "p=a" not in repr(conf) + repr(server_of(conf, "4"))
    assert conf.volumes() == {}


def test_gluster_and_fibre_channel() -> None:
    gluster = "domainType=glusterfs\nstorage=g1:/e\nmnt_options=backup-volfile-servers=g2:g3\n"
    fields = server_of(parse(gluster, "f"), "4").connections[0].fields
    assert fields["mnt_options"] == "backup-volfile-servers=g2:g3"
    connection_id = "66666666-6666-4666-8666-666666666666"
    fc = server_of(parse(f"domainType=fc\nconnectionUUID={connection_id}\nstorage=\n", "f"), "4")
    assert (fc.domain_type, fc.connections[0].fields) == (DomainType.FCP, {"id": connection_id})


def test_no_value_and_none_are_the_same() -> None:
    text = "domainType=iscsi\nstorage=a\niqn=iqn.a:b\nuser=None\npassword=\nportal=None\nport=\n"
    fields = server_of(parse(text, "f"), "4").connections[0].fields
    assert sorted(fields) == ["connection", "id", "iqn", "port"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("domainType=nfs\npassword s3cret\n", "f, line 2: is not KEY=VALUE"),
        ("domainType =nfs\n", "f, line 1: is not KEY=VALUE"),
        ("a=1\n\na=2\n", "f, line 3: a: is there already, in line 1"),
        ("password=s3cret\x07\n", "f, line 1: is not KEY=VALUE"),
        ("storage=a:/b\n", "f: domainType: is missing"),
        ("domainType=\nstorage=a:/b\n", "f, line 1: domainType: is missing"),
        ("domainType=cifs\n", "f, line 1: domainType: 'cifs' is none of nfs, "),
        ("domainType=nfs\n", "f: storage: is missing"),
        ("#\ndomainType=nfs\nstorage=/e\n", "f, line 3: storage: storage: '/e' is not server:/ex"),
        ("domainType=nfs\nstorage=a:/b\nnfs_version=v5\n", "f, line 3: nfs_version: 'v5' is no"),
        ("domainType=nfs3\nstorage=a:/b\nnfs_version=v4\n", "line 3: nfs_version: 'v4', but dom"),
        ("domainType=iscsi\nstorage=a\n", "f: iqn: is missing"),
        ("domainType=iscsi\nstorage=a\niqn=x\n", "f, line 2: storage: iqn: 'x' is no iSCSI name"),
        ("domainType=iscsi\nstorage=a\niqn=iqn.a\nportal=x\n", "f, line 4: portal: is no target"),
        ("domainType=iscsi\nstorage=a,b,c\nport=1,2\niqn=iqn.a\n", "3 portals, but 2 ports"),
        ("domainType=iscsi\nstorage=a\niqn=iqn.a\nuser=u\n", "needs both a user and a password"),
        ("domainType=fc\nconnectionUUID=7\n", "f, line 2: connectionUUID: '7' is no UUID"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        server_of(parse(text, "f"), "4")
    assert why in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_image_without_its_volume() -> None:
    conf = parse("conf_image_UUID=55555555-5555-4555-8555-555555555552\n", "f")
    with pytest.raises(BadInput, match="f: conf_volume_UUID: is missing"):
        conf.volumes()
