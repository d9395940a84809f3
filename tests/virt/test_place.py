# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.virt.place import LeaseKind, Placed, VirtSettings, place_vm
from tests.loop_device import loop_device
from tests.vdsm.embedded import DOMAIN, IMAGE, VM, VOLUME, make_domain, make_xml

CAPABILITIES = (
    "<capabilities><guest><arch name='x86_64'><machine>pc</machine><domain type='qemu'/></arch>"
    "</guest></capabilities>"
)


def placed(domain: Path, xml: str, kind: LeaseKind = LeaseKind.IMAGE) -> Placed:
    return place_vm(xml, VM, VirtSettings((domain,), kind, "auto", {}, 1), CAPABILITIES)


def test_the_disk_is_found_by_its_ids(tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    made = placed(domain, make_xml())
    volume = domain / "images" / IMAGE / VOLUME
    assert made.disks == (str(volume),)
    assert f'file="{volume}"' in made.domain.xml
    assert not made.is_paused
    assert not made.leases


def test_sanlock_has_the_volumes_lease(tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    made = placed(domain, make_xml(), LeaseKind.SANLOCK)
    lease = f"{domain}/images/{IMAGE}/{VOLUME}.lease"
    assert made.leases == ((DOMAIN, VOLUME, lease, 0),)
    assert lease in made.domain.xml


def test_sanlock_without_a_lease_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no <lease>"):
        placed(make_domain(tmp_path), make_xml(lease=False), LeaseKind.SANLOCK)


def test_a_lease_of_another_volume_is_refused(tmp_path: Path) -> None:
    xml = make_xml().replace(f"<key>{VOLUME}", f"<key>{IMAGE}")
    with pytest.raises(BadInput, match="none of the VM's disks"):
        placed(make_domain(tmp_path), xml, LeaseKind.SANLOCK)


def test_a_disk_that_is_not_here_is_refused(tmp_path: Path) -> None:
    domain = make_domain(tmp_path)
    (domain / "images" / IMAGE / VOLUME).unlink()
    with pytest.raises(EnvironmentFault, match="no volume"):
        placed(domain, make_xml())


def test_a_shareable_disk_has_no_lock_and_is_refused(tmp_path: Path) -> None:
    xml = make_xml().replace("</disk>", "<shareable/></disk>")
    with pytest.raises(BadInput, match="shareable"):
        placed(make_domain(tmp_path), xml)


def test_a_cdrom_is_not_what_the_lock_is_proved_by(tmp_path: Path) -> None:
    iso = tmp_path / "x.iso"
    iso.write_bytes(b"")
    cdroms = (
        "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/>"
        f"<source file='{iso}'/><readonly/></disk>"
        "<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><source file=''/></disk>"
    )
    made = placed(make_domain(tmp_path), make_xml(devices=cdroms))
    assert len(made.disks) == 1
    assert str(iso) in made.domain.xml


def test_a_vm_that_the_engine_wants_paused_stays_so(tmp_path: Path) -> None:
    metadata = "<ovirt-vm:launchPaused>true</ovirt-vm:launchPaused>"
    assert placed(make_domain(tmp_path), make_xml(metadata=metadata)).is_paused


@pytest.mark.root
@pytest.mark.parametrize("device", ["disk", "lun"])
def test_a_block_device_can_only_be_kept_by_sanlock(tmp_path: Path, device: str) -> None:
    """QEMU's lock on it is there on each host, so that both would find it and run."""
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    with loop_device(image, 512) as path:
        xml = make_xml(
            devices=f"<disk type='block' device='{device}'><target dev='sdb' bus='scsi'/>"
            f"<source dev='{path}'/></disk>"
        )
        domain = make_domain(tmp_path)
        with pytest.raises(EnvironmentFault, match="block device"):
            placed(domain, xml)
        assert path in placed(domain, xml, LeaseKind.SANLOCK).disks
