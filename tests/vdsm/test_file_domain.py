# SPDX-License-Identifier: Apache-2.0
"""A file storage domain's layout and metadata."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm import file_domain
from tests.vdsm.embedded import DOMAIN, IMAGE, VOLUME, make_domain

# As VDSM 4.5 wrote it for an OVF_STORE volume.
OVF_STORE_META = b"""CAP=134217728
CTIME=1766400000
DESCRIPTION={"Updated":true,"Size":20480,"Disk Description":"OVF_STORE","a":"b=c"}
DISKTYPE=OVFS
DOMAIN=11111111-1111-4111-8111-111111111111
FORMAT=RAW
GEN=0
IMAGE=22222222-2222-4222-8222-222222222222
LEGALITY=LEGAL
PUUID=00000000-0000-0000-0000-000000000000
TYPE=SPARSE
VOLTYPE=LEAF
EOF
"""


def test_volume_metadata_is_vdsms_to_the_byte() -> None:
    written = file_domain.format_volume_metadata(
        domain=DOMAIN,
        image=IMAGE,
        size_bytes=134217728,
        description='{"Updated":true,"Size":20480,"Disk Description":"OVF_STORE","a":"b=c"}',
        disktype="OVFS",
        created_at_seconds=1766400000,
    )
    assert written == OVF_STORE_META


def test_volume_metadata_is_read() -> None:
    values = file_domain.parse_volume_metadata(OVF_STORE_META, "here")
    assert values["DESCRIPTION"].endswith('"a":"b=c"}')
    assert (values["CAP"], values["DISKTYPE"]) == ("134217728", "OVFS")


def test_an_old_domains_size_is_in_blocks() -> None:
    old = OVF_STORE_META.replace(b"CAP=134217728", b"SIZE=262144").replace(b"GEN=0\n", b"")
    values = file_domain.parse_volume_metadata(old, "here")
    assert (values["CAP"], values["GEN"]) == ("134217728", "0")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no CAP, CTIME"),
        (b"CAP\n", "here, line 1: 'CAP' is not KEY=VALUE"),
        (OVF_STORE_META.replace(b"134217728", b"-1"), "CAP='-1' is no number"),
        (b"A=" + b"x" * 70000, "longer than"),
    ],
)
def test_bad_metadata_is_named(data: bytes, words: str) -> None:
    with pytest.raises(BadInput) as error:
        file_domain.parse_volume_metadata(data, "here")
    assert words in str(error.value)


@given(st.binary(max_size=300))
def test_garbage_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        file_domain.parse_volume_metadata(data, "here")


def test_a_domain_and_a_volume_are_made_and_found(tmp_path: Path) -> None:
    path = make_domain(tmp_path, b"boot" + bytes(508))
    assert file_domain.find_domain((tmp_path,), DOMAIN) == path
    assert file_domain.find_domain((path,), DOMAIN) == path
    assert file_domain.read_domain_metadata(path)["SDUUID"] == DOMAIN
    assert file_domain.list_images(path) == [IMAGE]
    assert file_domain.list_volumes(path, IMAGE) == [VOLUME]
    volume = file_domain.find_volume(path, IMAGE, VOLUME)
    assert volume.read_bytes() == b"boot" + bytes((1 << 20) - 4)
    assert file_domain.read_volume_metadata(volume)["IMAGE"] == IMAGE
    assert volume.with_name(f"{VOLUME}.lease").exists()
    assert not list(path.rglob("*.new"))


def test_nothing_is_made_twice_or_too_small(tmp_path: Path) -> None:
    path = make_domain(tmp_path)
    with pytest.raises(EnvironmentFault, match="File exists"):
        make_domain(tmp_path)
    other = "55555555-5555-4555-8555-555555555555"
    with pytest.raises(BadInput, match="longer than the volume"):
        file_domain.create_volume(
            path, IMAGE, other, 100, "", "DATA", created_at_seconds=1, source=tmp_path / "sector"
        )
    assert other not in file_domain.list_volumes(path, IMAGE)
    with pytest.raises(BadInput, match="DISKTYPE"):
        file_domain.create_volume(path, IMAGE, other, 1, "", "NONE", created_at_seconds=1)


def test_what_is_missing_is_told_apart(tmp_path: Path) -> None:
    path = make_domain(tmp_path)
    with pytest.raises(file_domain.NoSuchDomain):
        file_domain.find_domain((tmp_path,), VOLUME)
    with pytest.raises(file_domain.NoSuchImage):
        file_domain.list_volumes(path, "..")
    with pytest.raises(file_domain.NoSuchVolume):
        file_domain.find_volume(path, IMAGE, IMAGE)


def test_a_description_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = make_domain(tmp_path)
    volume = file_domain.find_volume(path, IMAGE, VOLUME)
    meta = volume.with_name(f"{VOLUME}.meta")
    before = meta.read_text()
    file_domain.write_description(volume, "a=b " + "x" * 300)
    assert meta.read_text() == before.replace("=disk\n", f"=a=b {'x' * 206}\n")
    assert meta.stat().st_mode & 0o777 == 0o660
    with pytest.raises(BadInput, match="line ends"):
        file_domain.write_description(volume, "a\nVOLTYPE=LEAF")
    assert sorted(file.name for file in volume.parent.iterdir()) == [
        VOLUME,
        f"{VOLUME}.lease",
        f"{VOLUME}.meta",
    ]


def test_a_preallocated_volume_has_its_space(tmp_path: Path) -> None:
    path = make_domain(tmp_path)
    other = "55555555-5555-4555-8555-555555555555"
    volume = file_domain.create_volume(
        path, IMAGE, other, 1 << 20, "", "OVFS", created_at_seconds=1, type="PREALLOCATED"
    )
    assert file_domain.read_volume_metadata(volume)["TYPE"] == "PREALLOCATED"
    assert volume.stat().st_blocks * 512 >= 1 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_is_the_domain_owners(tmp_path: Path) -> None:
    domain = file_domain.create_domain(tmp_path, DOMAIN, name="he", owner=(36, 36))
    volume = file_domain.create_volume(
        domain, IMAGE, VOLUME, 4096, "d", "DATA", created_at_seconds=1
    )
    file_domain.write_description(volume, "another")
    made = [domain, *domain.rglob("*")]
    assert len(made) > 8
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(36, 36)}
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()}
    # sanlock, of the same group, writes there, whatever our umask is.
    assert set(files.values()) == {0o660}, files
    assert tmp_path.stat().st_uid == 0
