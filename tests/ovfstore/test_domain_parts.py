# SPDX-License-Identifier: Apache-2.0
"""Decisions for a whole domain: disk names, boot order, addresses, storage domains."""

from __future__ import annotations

import dataclasses

from ha_agent.ovfstore.codes import DiskInterface
from ha_agent.ovfstore.model import Disk
from tests.ovfstore.built_domain import DOMAIN, I440FX, VM, attribute, built, disks, notes


def test_a_disk_without_domain_is_on_the_hosted_engines() -> None:
    disk = Disk("d1000000-0000-4000-8000-000000000001", "d1000000-0000-4000-8000-00000000000a")
    root = built(dataclasses.replace(VM, disks=(disk,)))
    assert root.findtext("devices/lease/lockspace") == DOMAIN
    assert "no disk has a boot order" in notes(dataclasses.replace(VM, disks=(disk,)))


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
    ide = built(dataclasses.replace(vm, emulated_machine="pc-i440fx-rhel7.6.0"))
    assert list(disks(ide)) == ["hda", "hdb", "hdd"]


def test_addresses_that_do_not_fit_are_left_to_libvirt() -> None:
    assert attribute(disks(built())["vda"], "address", "bus") == "0x06"
    assert disks(built(I440FX))["vda"].find("address") is None
    assert "disk vda does not fit" in notes(I440FX)
    twice = tuple(dataclasses.replace(nic, address=VM.nics[0].address) for nic in VM.nics)
    vm = dataclasses.replace(VM, nics=twice)
    assert "NIC nic2 is taken twice" in notes(vm)
    bent = dataclasses.replace(VM.nics[0], address=(("slot", "zero"), ("type", "pci")))
    assert "NIC nic1 does not fit" in notes(dataclasses.replace(VM, nics=(bent,)))


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
