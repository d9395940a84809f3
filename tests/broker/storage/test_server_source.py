# SPDX-License-Identifier: Apache-2.0
"""Which storage server it is, by our own keys and by the predecessor's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.storage.domain_connect import WantedVolume
from ha_agent.broker.storage.server_source import load_server, wanted_of
from ha_agent.config.storage import StorageConfig
from ha_agent.errors import BadInput
from ha_agent.vdsm.client.storage_server import DomainType

SD = "22222222-2222-4222-8222-222222222222"
IMAGE = "33333333-3333-4333-8333-333333333332"
VOLUME = "33333333-3333-4333-8333-333333333331"
LEASE_IMAGE = "33333333-3333-4333-8333-333333333334"
LEASE_VOLUME = "33333333-3333-4333-8333-333333333333"
OF_VDSM = Path("/run/vdsm/storage") / SD
LOCKFILE = ("lockfile", Path("/x.sanlock"))
SAME = f"""\
sdUUID={SD}
metadata_image_UUID={IMAGE}
metadata_volume_UUID={VOLUME}
"""


def storage(folder: Path, **more: Any) -> StorageConfig:
    values = {
        "hosted_engine_conf": folder / "he.conf", "domain_path": Path("/rhev") / SD, **more
    }  # fmt: skip
    return StorageConfig(domain_uuid=SD, status_image=IMAGE, status_volume=VOLUME, **values)


def written(folder: Path, text: str, **more: Any) -> StorageConfig:
    (folder / "he.conf").write_text(SAME + text)
    return storage(folder, **more)


def test_our_own_keys_go_first(tmp_path: Path) -> None:
    config = written(tmp_path, "domainType=nfs\nstorage=theirs:/e\n", connection="ours:/e")
    server = load_server(config, "lockfile")
    assert server is not None
    assert server.connections[0].fields["connection"] == "ours:/e"
    assert server.connections[0].fields["protocol_version"] == "4"


def test_a_password_is_the_files_first_line(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\r\nnot this\n")
    config = storage(
        tmp_path,
        domain_type="iscsi",
        connection="10.0.0.1, 10.0.0.2:3261",
        iscsi_target="iqn.a:b",
        iscsi_tpgt=3,
        iscsi_user="chap",
        iscsi_password_file=tmp_path / "password",
    )
    server = load_server(config, "sanlock")
    assert server is not None
    assert [one.fields["password"] for one in server.connections] == ["s3cret"] * 2
    assert server.connections[1].fields["tpgt"] == "3"
    (tmp_path / "password").write_text("\n")
    with pytest.raises(BadInput, match="password: has no password"):
        load_server(config, "sanlock")
    (tmp_path / "password").unlink()
    with pytest.raises(BadInput, match="password: is not there"):
        load_server(config, "sanlock")


def test_nothing_says_what_to_connect(tmp_path: Path) -> None:
    assert load_server(storage(tmp_path), "lockfile") is None
    assert load_server(storage(tmp_path, hosted_engine_conf=None), "lockfile") is None
    wanted = wanted_of(storage(tmp_path), *LOCKFILE)
    assert (wanted.server, wanted.fault) == (None, "")


def test_fibre_channel_needs_no_words(tmp_path: Path) -> None:
    server = load_server(storage(tmp_path, domain_type="fc"), "sanlock")
    assert server is not None
    assert server.domain_type is DomainType.FCP


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [
        ("nfs", "domainType=nfs\nnfs_version=auto\n", "4.2"),
        ("nfs", "domainType=nfs4\n", "4"),
        ("nfs", "domainType=nfs\nnfs_version=v4_1\n", "4.1"),
        ("nfs3", "domainType=nfs\n", "3"),
        ("nfs3", "domainType=nfs3\n", "3"),
    ],
)
def test_the_version_of_nfs_is_never_left_to_chance(
    tmp_path: Path, ours: str, theirs: str, version: str
) -> None:
    """With version 3 VDSM mounts without locks that others see."""
    config = written(tmp_path, f"{theirs}storage=h:/e\n", domain_type=ours, nfs_version="4.2")
    server = load_server(config, "sanlock")
    assert server is not None
    assert server.connections[0].fields["protocol_version"] == version


@pytest.mark.parametrize(
    ("text", "more", "why"),
    [
        ("domainType=nfs\nstorage=h:/e\nnfs_version=v3\n", {}, "nfs_version: NFS 3, but"),
        ("domainType=nfs3\nstorage=h:/e\n", {}, "domainType: nfs3, but"),
        ("domainType=iscsi\n", {}, "domainType: iscsi, but [storage] domain_type is nfs"),
        ("domainType=nfs4\nstorage=h:/e\n", {"domain_type": "nfs3"}, "domainType: nfs4, but"),
        ("domainType=nfs\nstorage=h:/e\n", {"domain_type": "cephfs"}, "domainType: nfs, but"),
        ("domainType=nfs\nstorage=h:/e\nmnt_options=soft,nolock\n", {}, "makes locks local"),
        ("domainType=nfs\nstorage=/e\n", {}, "is not server:/export"),
        ("nonsense\n", {}, "line 4: is not KEY=VALUE"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    tmp_path: Path, text: str, more: dict[str, Any], why: str
) -> None:
    config = written(tmp_path, text, **more)
    with pytest.raises(BadInput) as caught:
        load_server(config, "lockfile")
    assert why in str(caught.value)
    assert str(tmp_path / "he.conf") in str(caught.value)
    assert why in wanted_of(config, *LOCKFILE).fault


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((SD, SD.replace("2", "9")), "line 1: sdUUID: another domain"),
        ((VOLUME, VOLUME.replace("3", "9")), "line 3: metadata_volume_UUID: another volume"),
    ],
)
def test_a_file_about_another_domain(tmp_path: Path, change: tuple[str, str], why: str) -> None:
    (tmp_path / "he.conf").write_text(f"{SAME}domainType=nfs\nstorage=h:/e\n".replace(*change))
    with pytest.raises(BadInput, match=why):
        load_server(storage(tmp_path), "lockfile")


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    config = storage(tmp_path)
    (tmp_path / "he.conf").mkdir()
    with pytest.raises(BadInput, match=r"can't be read: Is a directory"):
        load_server(config, "lockfile")
    (tmp_path / "he.conf").rmdir()
    (tmp_path / "he.conf").write_bytes(b"\xff")
    with pytest.raises(BadInput, match="is not UTF-8 text"):
        load_server(config, "lockfile")
    (tmp_path / "he.conf").write_bytes(b"#" * 70000)
    with pytest.raises(BadInput, match="is longer than"):
        load_server(config, "lockfile")


@pytest.mark.parametrize(
    ("backend", "kind", "path", "has_one"),
    [
        ("sanlock", "iscsi", OF_VDSM / LEASE_IMAGE / LEASE_VOLUME, True),
        ("sanlock", "fc", OF_VDSM / LEASE_IMAGE / LEASE_VOLUME, True),
        ("lockfile", "iscsi", OF_VDSM / LEASE_IMAGE / LEASE_VOLUME, False),
        ("sanlock", "nfs3", OF_VDSM / LEASE_IMAGE / LEASE_VOLUME, False),
        ("sanlock", "iscsi", OF_VDSM.parent / IMAGE / LEASE_IMAGE / LEASE_VOLUME, False),
        ("sanlock", "iscsi", Path("/dev/he/lease"), False),
        ("sanlock", "iscsi", OF_VDSM / ".." / LEASE_VOLUME, False),
        ("sanlock", "iscsi", OF_VDSM / LEASE_IMAGE / LEASE_VOLUME / "x", False),
        ("sanlock", "iscsi", OF_VDSM / "ha_agent" / "x.sanlock", False),
    ],
)
def test_the_leases_own_volume(
    tmp_path: Path, backend: str, kind: str, path: Path, has_one: bool
) -> None:
    config = storage(tmp_path, domain_type=kind, domain_path=OF_VDSM)
    found = wanted_of(config, backend, path).lease
    assert found == (WantedVolume(LEASE_IMAGE, LEASE_VOLUME, str(path)) if has_one else None)
