# SPDX-License-Identifier: Apache-2.0
"""Disks, direct LUNs and CD-ROM drives of a built domain."""

from __future__ import annotations

import pytest

from ha_agent.ovfstore.codes import DiskInterface
from tests.ovfstore.built_domain import DOMAIN, I440FX, VM, attribute, built, disks, notes
from tests.ovfstore.vm_variants import VARIANTS, disk, lun, small


def test_disks_come_in_boot_order_with_the_right_targets() -> None:
    """The predecessor gave every disk index 0, and put those that don't boot first."""
    root = built()
    found = disks(root)
    assert list(found) == ["vda", "sda", "sdb"]
    boot = found["vda"]
    assert attribute(boot, "target", "bus") == "virtio"
    assert attribute(boot, "boot", "order") == "1"
    assert boot.findtext("serial") == "d2000000-0000-4000-8000-000000000001"
    assert attribute(found["sda"], "target", "bus") == "scsi"
    assert found["sda"].find("boot") is None
    assert attribute(root, "devices/interface/boot", "order") == "2"


def test_of_a_snapshot_chain_the_leaf_is_the_disk() -> None:
    """The predecessor made a disk of each volume of the chain."""
    boot = disks(built())["vda"]
    assert attribute(boot, "source", "file") == (
        f"/rhev/data-center/00000000-0000-0000-0000-000000000000/{DOMAIN}/images"
        "/d2000000-0000-4000-8000-000000000001/d2000000-0000-4000-8000-00000000000b"
    )
    assert attribute(boot, "driver", "type") == "qcow2"


@pytest.mark.parametrize(
    ("interface", "target", "bus"),
    [
        (DiskInterface.VIRTIO, "vda", "virtio"),
        (DiskInterface.VIRTIO_SCSI, "sda", "scsi"),
        (DiskInterface.SPAPR_VSCSI, "sda", "scsi"),
        (DiskInterface.SATA, "sda", "sata"),
        (DiskInterface.IDE, "sda", "sata"),
    ],
)
def test_interfaces(interface: DiskInterface, target: str, bus: str) -> None:
    (name, element), *_ = disks(built(small(disks=(disk(1, interface=interface),)))).items()
    assert (name, attribute(element, "target", "bus")) == (target, bus)


def test_a_direct_lun() -> None:
    """The predecessor dropped them."""
    element = disks(built())["sdb"]
    assert element.get("type") == "block"
    assert attribute(element, "source", "dev") == "/dev/mapper/36001405000000000000000000000000a"
    assert attribute(element, "driver", "io") == "native"
    assert attribute(element, "driver", "type") == "raw"


def test_a_lun_with_reservations_is_passed_through() -> None:
    root = built(VARIANTS["luns"])
    (passed,) = disks(root, "lun").values()
    assert attribute(passed, "source/reservations", "managed") == "yes"
    assert passed.find("serial") is None
    assert list(disks(root)) == ["sda", "vda", "vdb"]
    assert "LUN '../sda' can't be a device" in notes(VARIANTS["luns"])
    # Virtio has no reservations.
    assert disks(built(small(disks=(disk(1), lun(1, uses_scsi_reservation=True)))), "lun") == {}


def test_flags() -> None:
    root = built(VARIANTS["disk flags"])
    found = disks(root)
    assert attribute(found["vda"], "driver", "discard") == "unmap"
    assert attribute(found["vdb"], "driver", "discard") is None
    assert found["vdb"].find("readonly") is not None
    assert found["sda"].find("readonly") is None
    assert "disk sda is writable: sata has no read-only disks" in notes(VARIANTS["disk flags"])
    # libvirt shares raw disks only.
    assert found["vdb"].find("shareable") is None
    assert found["sda"].find("shareable") is not None
    assert "disk vdb is not shareable" in notes(VARIANTS["disk flags"])
    seclabel = found["vda"].find("source/seclabel")
    assert seclabel is not None
    assert dict(seclabel.items()) == {"model": "dac", "relabel": "no"}


def test_io_threads_in_turn_or_as_pinned() -> None:
    vm = VARIANTS["disk flags"]
    threads = [attribute(item, "driver", "iothread") for item in disks(built(vm)).values()]
    assert threads == ["1", "2", None, "2"]  # SATA has none; the last is pinned
    assert attribute(disks(built(small()))["vda"], "driver", "iothread") is None


def test_cache() -> None:
    caches = [
        attribute(item, "driver", "cache")
        for item in disks(built(VARIANTS["disk flags"])).values()
    ]
    assert caches == ["writeback", "writeback", "none", "writeback"]
    odd = small(user_properties=(("viodiskcache", "lots"),))
    assert attribute(disks(built(odd))["vda"], "driver", "cache") == "none"
    assert "viodiskcache 'lots' is no way to cache" in notes(odd)


def test_the_cdrom_is_sata_on_q35_and_ide_on_i440fx() -> None:
    """The predecessor's was IDE on any machine, which a q35 machine has not."""
    assert {
        name: attribute(item, "target", "bus") for name, item in disks(built(), "cdrom").items()
    } == {"sdc": "sata"}
    assert list(disks(built(I440FX), "cdrom")) == ["hdc"]
    assert attribute(disks(built(I440FX), "cdrom")["hdc"], "address", "bus") == "1"
    assert "CD-ROM sdc does not fit" in notes(VM)


def test_an_empty_cdrom_has_a_source_without_file() -> None:
    source = disks(built(), "cdrom")["sdc"].find("source")
    assert source is not None
    assert source.get("file") is None
