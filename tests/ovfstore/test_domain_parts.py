# SPDX-License-Identifier: Apache-2.0
"""Decisions for a whole domain: disk names, boot order, addresses, storage domains."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.ovfstore.codes import DiskInterface
from ha_agent.ovfstore.model import Disk
from tests.ovfstore.built_domain import DOMAIN, I440FX, VM, attribute, built, disks, notes
from tests.ovfstore.vm_variants import CDROM, VARIANTS, disk, lun, nic, small


def test_a_disk_without_domain_is_on_the_hosted_engines() -> None:
    disk = Disk("d1000000-0000-4000-8000-000000000001", "d1000000-0000-4000-8000-00000000000a")
    root = built(dataclasses.replace(VM, disks=(disk,)))
    assert root.findtext("devices/lease/lockspace") == DOMAIN
    assert "no disk boots in the OVF: vda does" in notes(dataclasses.replace(VM, disks=(disk,)))


def test_a_disk_never_takes_the_cdroms_name() -> None:
    image = [
        Disk(
            f"d{n}000000-0000-4000-8000-000000000001",
            f"d{n}000000-0000-4000-8000-00000000000a",
            interface=DiskInterface.SATA,
        )
        for n in range(1, 6)
    ]
    root = built(dataclasses.replace(VM, disks=tuple(image)))
    assert list(disks(root)) == ["sda", "sdb", "sdd", "sde", "sdf"]


def test_an_ide_disk_on_q35_becomes_sata() -> None:
    changed = tuple(dataclasses.replace(disk, interface=DiskInterface.IDE) for disk in VM.disks)
    vm = dataclasses.replace(VM, disks=changed)
    assert attribute(disks(built(vm))["sda"], "target", "bus") == "sata"
    assert "is SATA, not IDE" in notes(vm)
    ide = built(dataclasses.replace(I440FX, disks=changed))
    assert list(disks(ide)) == ["hda", "hdb", "hdd"]


def test_boot_orders_have_no_duplicates() -> None:
    changed = tuple(dataclasses.replace(disk, boot_order=7) for disk in VM.disks)
    root = built(dataclasses.replace(VM, disks=changed))
    orders = [element.get("order") for element in root.iter("boot")]
    assert sorted(orders, key=str) == ["1", "2", "3", "4"]


def test_many_disks_get_two_letters() -> None:
    image = tuple(
        Disk(f"d0000000-0000-4000-8000-{n:012}", f"d1000000-0000-4000-8000-{n:012}")
        for n in range(30)
    )
    names = list(disks(built(dataclasses.replace(VM, disks=image))))
    assert names[25:] == ["vdz", "vdaa", "vdab", "vdac", "vdad"]


def test_the_machine() -> None:
    named = small(emulated_machine="pc-q35-rhel9.6.0")
    assert attribute(built(named), "os/type", "machine") == "pc-q35-rhel9.6.0"
    assert attribute(built(small(emulated_machine="null")), "os/type", "machine") == "q35"
    assert "machine 'null' is left out" in notes(small(emulated_machine="null"))
    # UEFI of the hosts needs SMM, which i440fx has not.
    vm = VARIANTS["uefi on i440fx"]
    assert attribute(built(vm), "os/type", "machine") == "q35"
    assert "the machine is q35, not pc-i440fx-7.2" in notes(vm)


def test_boot_orders_of_disks_nics_and_cdroms() -> None:
    vm = small(
        disks=(disk(1, boot_order=3), lun(1, boot_order=1), disk(2)),
        nics=(nic(1, boot_order=2), nic(2)),
        devices=(dataclasses.replace(CDROM, boot_order=9),),
    )
    root = built(vm)
    assert {name: item.findtext("serial") for name, item in disks(root).items()} == {
        "vda": lun(1).image_uuid,
        "vdb": disk(1).image_uuid,
        "vdc": disk(2).image_uuid,
    }
    orders = {item.getparent().tag: item.get("order") for item in root.iter("boot")}  # type: ignore[union-attr]
    assert orders["interface"] == "2"
    assert attribute(disks(root)["vdb"], "boot", "order") == "3"
    assert attribute(disks(root, "cdrom")["sdc"], "boot", "order") == "4"
    # Of those with a volume, the one that comes first is leased.
    assert root.findtext("devices/lease/key") == disk(1).volume_uuid


def test_a_disk_on_another_domain_is_said() -> None:
    other = "5d000000-0000-4000-8000-00000000000f"
    vm = small(disks=(disk(1, storage_domain_uuids=(other,)),))
    assert built(vm).findtext("devices/lease/lockspace") == other
    assert f"is on domain {other}, not on {DOMAIN}" in notes(vm)
    both = small(disks=(disk(1, storage_domain_uuids=(other, DOMAIN)),))
    assert built(both).findtext("devices/lease/lockspace") == DOMAIN


@pytest.mark.parametrize(
    ("sequence", "tags"),
    [
        (None, ["disk"]),
        (0, ["disk"]),
        (1, ["cdrom", "disk"]),
        (2, ["interface", "interface", "disk"]),
        (7, ["interface", "interface", "disk", "cdrom"]),
        (9, ["disk", "cdrom"]),
        (14, ["interface", "interface", "cdrom", "disk"]),
        (99, ["disk"]),
    ],
)
def test_the_boot_sequence_counts_where_no_device_has_an_order(
    sequence: int, tags: list[str]
) -> None:
    vm = small(
        disks=(disk(1, is_boot=True), disk(2)),
        nics=(nic(1), nic(2)),
        devices=(CDROM,),
        boot_sequence=sequence,
    )
    found = {}
    for item in built(vm).iterfind("devices/*"):
        boot = item.find("boot")
        if boot is not None:
            found[int(boot.get("order") or "")] = item.get("device", item.tag)
    assert [found[order] for order in sorted(found)] == tags
    assert "no device has a boot order in the OVF" in notes(vm)
