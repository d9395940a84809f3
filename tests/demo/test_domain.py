# SPDX-License-Identifier: Apache-2.0
"""The demo's domain as the parts that will use it see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.domain import DemoDomain, make_domain
from demo.guest import GuestImage
from ha_agent.broker.lease.rules import decode
from ha_agent.ovfstore.locate import StoreCopy, order_copies
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.tar_volume import read_member
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.vdsm import file_domain


@pytest.fixture
def domain(tmp_path: Path) -> DemoDomain:
    disk = tmp_path / "guest"
    disk.write_bytes(b"boot" * 1024)
    parent = tmp_path / "storage"
    parent.mkdir()
    made = make_domain(parent, GuestImage(disk, 4096, "", ""))
    assert [path.name for path in parent.iterdir()] == [made.uuid]
    return made


def copies(domain: DemoDomain) -> list[tuple[Path, StoreCopy]]:
    found = []
    for image in file_domain.list_images(domain.path):
        for volume in file_domain.list_volumes(domain.path, image):
            path = file_domain.find_volume(domain.path, image, volume)
            description = file_domain.read_volume_metadata(path)["DESCRIPTION"]
            if "OVF_STORE" in description:
                found.append((path, StoreCopy(image, volume, description)))
    return found


def test_both_copies_of_the_store_are_usable_and_define_the_vm(domain: DemoDomain) -> None:
    found = copies(domain)
    assert len(found) == 2
    ranked = order_copies([copy for _, copy in found], storage_domain_uuid=domain.uuid)
    assert [copy.reason for copy in ranked if not copy.usable] == []
    for path, copy in found:
        data = path.read_bytes()[: 1 << 20]

        def read_at(offset: int, length_bytes: int, data: bytes = data) -> bytes:
            return data[offset : offset + length_bytes]

        size_bytes = json.loads(copy.description)["Size"]
        ovf = read_member(read_at, size_bytes, f"{domain.vm_uuid}.ovf", where=str(path))
        vm = parse_ovf(ovf, where="test", expect_uuid=domain.vm_uuid)
        made = domain_xml(vm, storage_domain_uuid=domain.uuid)
        assert domain.boot_disk.name in made.xml
        assert domain.vm_uuid in made.xml


def test_the_boot_disk_is_the_guest(domain: DemoDomain) -> None:
    assert domain.boot_disk.read_bytes() == b"boot" * 1024


def test_the_lock_file_is_free_and_the_status_volume_empty(domain: DemoDomain) -> None:
    assert decode(domain.lease.read_bytes()[:4096], "lease").state == "free"
    volume = file_domain.find_volume(domain.path, domain.status_image, domain.status_volume)
    assert volume.stat().st_size >= 65 * 4096
    assert not any(volume.read_bytes()[: 65 * 4096])
