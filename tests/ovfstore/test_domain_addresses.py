# SPDX-License-Identifier: Apache-2.0
"""Addresses of a built domain: kept where they can be, and no place given twice."""

from __future__ import annotations

from typing import Optional

from hypothesis import given, settings

from ha_agent.ovfstore.codes import DiskInterface
from ha_agent.ovfstore.model import VmDefinition
from tests.ovfstore.built_domain import I440FX, VM, attribute, built, disks, notes
from tests.ovfstore.vm_variants import VARIANTS, disk, drive, nic, pci, small, small_pc, vms

Place = tuple[Optional[str], ...]


def drive_places(vm: VmDefinition) -> list[Place]:
    """Return bus and place of each drive, as (bus, controller, bus, unit)."""
    found: list[Place] = []
    for item in built(vm).findall("devices/disk"):
        address = item.find("address")
        if address is not None and address.get("type") == "drive":
            place = [address.get(key) for key in ("controller", "bus", "unit")]
            found.append((attribute(item, "target", "bus"), *place))
    return found


@settings(max_examples=40)
@given(vms())
def test_no_place_is_given_twice(vm: VmDefinition) -> None:
    """libvirt gives places by the names, and its driver does not notice two drives in one."""
    places = drive_places(vm)
    assert len(places) == len(set(places))
    on_pci = [
        tuple(int(address.get(key) or "0", 0) for key in ("bus", "slot", "function"))
        for address in built(vm).iterfind("devices/*/address")
        if address.get("type") == "pci"
    ]
    assert len(on_pci) == len(set(on_pci))


@settings(max_examples=40)
@given(vms())
def test_every_drive_has_a_place(vm: VmDefinition) -> None:
    on_drives = [
        item
        for item in built(vm).findall("devices/disk")
        if attribute(item, "target", "bus") in ("ide", "sata", "scsi")
    ]
    assert len(drive_places(vm)) == len(on_drives)


def test_drive_addresses_are_kept_where_there_is_such_a_place() -> None:
    vm = VARIANTS["drive addresses"]
    assert drive_places(vm) == [
        ("sata", "0", "0", "2"),  # the CD-ROM comes before the disk that wants its place
        ("scsi", "0", "0", "1"),
        ("scsi", "1", "0", "0"),
        ("scsi", "0", "0", "3"),
        ("scsi", "0", "0", "4"),
        ("sata", "0", "0", "5"),
    ]
    said = notes(vm)
    assert "the address of disk sdd is taken twice" in said
    assert "the address of disk sde does not fit this machine" in said
    assert "the address of disk sdf is taken twice" in said


def test_a_cdrom_has_the_third_place_of_its_bus() -> None:
    cdrom = VARIANTS["all buses on q35"]
    assert ("sata", "0", "0", "2") in drive_places(cdrom)
    assert drive_places(VARIANTS["all buses on i440fx"])[0] == ("ide", "0", "1", "0")


def test_what_ide_has_no_place_for_is_sata() -> None:
    vm = VARIANTS["ide is full"]
    assert sorted(disks(built(vm))) == ["hda", "hdb", "sda", "sdb", "sdc", "sdd"]
    assert "is SATA, not IDE: IDE has four places" in notes(vm)


def test_the_second_controller_of_sata() -> None:
    places = drive_places(VARIANTS["many sata"])
    assert {place[1] for place in places} == {"0", "1"}


def test_pci_addresses_that_fit_are_kept() -> None:
    root = built()
    assert attribute(disks(root)["vda"], "address", "bus") == "0x06"
    # The root port that the disk is behind is not in the OVF.
    ports = [
        item.get("index")
        for item in root.findall("devices/controller")
        if item.get("model") == "pcie-root-port"
    ]
    assert ports == ["2", "6"]
    assert disks(built(I440FX))["vda"].find("address") is None
    assert "disk vda does not fit" in notes(I440FX)


def test_pci_addresses_that_do_not_fit_are_left_to_libvirt() -> None:
    vm = VARIANTS["pci addresses"]
    said = notes(vm)
    assert "NIC nic2 is taken twice" in said
    for name in ("nic3", "nic4", "nic5", "nic6", "nic7"):
        assert f"the address of NIC {name} does not fit" in said
    kept = [nic.find("address") is not None for nic in built(vm).findall("devices/interface")]
    assert kept == [True, False, False, False, False, False, False]
    pc = [item.find("address") is not None for item in built(PC_NICS).findall("devices/interface")]
    assert pc == [True, False, False]


PC_NICS = small_pc(nics=VARIANTS["pc addresses"].nics)


def test_functions_exist_only_behind_a_first_one() -> None:
    first = nic(1, address=pci(3, multifunction="on"))
    second = nic(2, address=pci(3, function=1))
    root = built(small(nics=(first, second)))
    found = [item.find("address") is not None for item in root.findall("devices/interface")]
    assert found == [True, True]
    alone = small(nics=(nic(1, address=pci(3)), second))
    assert "the address of NIC nic2 does not fit" in notes(alone)
    assert "the address of NIC nic1" not in notes(alone)


def test_strange_addresses() -> None:
    for address in (
        (("type", "usb"),),
        (("type", "pci"), ("slot", "3"), ("uid", "1")),
        (("type", "pci"), ("slot", "-3")),
        (("type", "pci"), ("slot", "٣")),
        (("type", "pci"), ("slot", "3"), ("multifunction", "maybe")),
        (("type", "pci"), ("slot", "3"), ("domain", "1")),
        (("type", "pci"), ("slot", "9" * 5000)),
        pci(32),
        pci(3, function=8),
        drive(0),
    ):
        vm = small(nics=(nic(1, address=address),))
        assert built(vm).find("devices/interface/address") is None
        assert "the address of NIC nic1 does not fit" in notes(vm)
    bad = disk(1, interface=DiskInterface.SATA, address=(("type", "drive"), ("unit", "x")))
    assert drive_places(small(disks=(bad,))) == [("sata", "0", "0", "0")]


def test_a_cdroms_ide_address_on_q35_is_not_kept() -> None:
    assert "the address of the CD-ROM sdc does not fit this machine" in notes(VM)
