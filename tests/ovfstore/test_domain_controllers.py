# SPDX-License-Identifier: Apache-2.0
"""Controllers of a built domain."""

from __future__ import annotations

import dataclasses

import pytest

from ha_agent.ovfstore.codes import DiskInterface
from ha_agent.ovfstore.model import Device, VmDefinition
from tests.ovfstore.built_domain import built, notes
from tests.ovfstore.vm_variants import (
    SMALL,
    VARIANTS,
    VNC,
    device,
    disk,
    drive,
    pci,
    small,
    small_pc,
)

SCSI_DISK = disk(1, interface=DiskInterface.VIRTIO_SCSI)


def controllers(vm: VmDefinition, kind: str) -> list[tuple[str, str]]:
    """Return index and model of the controllers of a kind."""
    return [
        (item.get("index") or "", item.get("model") or "")
        for item in built(vm).findall("devices/controller")
        if item.get("type") == kind
    ]


def test_scsi_is_virtio_scsi() -> None:
    """The predecessor wrote `virtio_scsi`, and VDSM then named the disks hdX."""
    assert controllers(small(disks=(SCSI_DISK,)), "scsi") == [("0", "virtio-scsi")]
    assert controllers(SMALL, "scsi") == []
    two = VARIANTS["drive addresses"]
    assert controllers(two, "scsi") == [("0", "virtio-scsi"), ("1", "virtio-scsi")]


@pytest.mark.parametrize(
    ("queues", "number_of_disks", "written"),
    [(0, 1, None), (3, 1, "3"), (-1, 1, "1"), (-1, 2, "2"), (-1, 8, "2"), (-1, 0, None)],
)
def test_scsi_queues(queues: int, number_of_disks: int, written: str) -> None:
    scsi = tuple(
        disk(n, interface=DiskInterface.VIRTIO_SCSI) for n in range(2, number_of_disks + 2)
    )
    vm = small(
        disks=(disk(1, boot_order=1), *scsi),
        devices=(device(1, "controller", "virtio-scsi"),),
        virtio_scsi_queues=queues,
    )
    driver = built(vm).find("devices/controller/driver")
    assert (None if driver is None else driver.get("queues")) == written


def test_the_io_thread_of_a_scsi_controller() -> None:
    driver = built(VARIANTS["drive addresses"]).findall("devices/controller/driver")
    assert [item.get("iothread") for item in driver] == [None, "1"]


def test_usb_controllers() -> None:
    assert controllers(VARIANTS["usb 2"], "usb") == [("0", "ich9-ehci1"), ("0", "ich9-uhci1")]
    lonely = small(devices=(device(1, "controller", "usb", index="0", model="ich9-uhci1"),))
    assert controllers(lonely, "usb") == []
    assert "it is a companion of ich9-ehci1" in notes(lonely)
    xhci = built(VARIANTS["xhci"]).find("devices/controller")
    assert xhci is not None
    assert (xhci.get("model"), xhci.get("ports")) == ("qemu-xhci", "8")


def test_without_usb_there_is_no_usb_device() -> None:
    vm = VARIANTS["no usb"]
    assert controllers(vm, "usb") == [("0", "none")]
    assert built(vm).find("devices/input") is None
    more = dataclasses.replace(vm, devices=(*vm.devices, device(9, "controller", "usb")))
    assert controllers(more, "usb") == [("0", "none")]
    assert "the usb controller is left out: the VM is without USB" in notes(more)
    assert built(small(devices=(VNC,))).find("devices/input") is not None


def test_pci_controllers() -> None:
    vm = VARIANTS["pci addresses"]
    assert controllers(vm, "pci") == [
        ("0", "pcie-root"),
        ("1", "pcie-root-port"),
        ("2", "pcie-root-port"),
    ]
    said = notes(vm)
    assert "the pci controller 1 is left out: there can be one" in said
    assert "pci-root is not of this machine" in said
    assert "the ide controller is left out: a q35 machine has no IDE" in said
    assert "the fdc controller is left out: no such kind" in said


@pytest.mark.parametrize(
    ("address", "is_kept"),
    [(pci(0, bus=1), True), (pci(4), False), (pci(0, bus=3), False), ((), False)],
)
def test_a_bridge_is_where_libvirt_puts_it_or_left_to_it(
    address: tuple[tuple[str, str], ...], is_kept: bool
) -> None:
    bridge = device(2, "controller", "pci", address, index="2", model="pcie-to-pci-bridge")
    port = device(1, "controller", "pci", pci(2), index="1", model="pcie-root-port")
    vm = small(devices=(bridge, port))
    assert (("2", "pcie-to-pci-bridge") in controllers(vm, "pci")) == is_kept
    assert ("is left to libvirt" in notes(vm)) == (not is_kept)


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (device(1, "controller", "ide", pci(1, function=1), index="0"), True),
        (device(1, "controller", "ide", pci(5), index="0"), False),
        (device(1, "controller", "usb", pci(1, function=2), model="piix3-uhci"), True),
        (device(1, "controller", "usb", pci(7)), False),
        (device(1, "controller", "usb", pci(7), model="qemu-xhci"), True),
        (device(1, "controller", "sata", pci(7)), True),
    ],
)
def test_the_machines_own_controllers_have_their_place(found: Device, kept: bool) -> None:
    vm = small_pc(devices=(found,))
    assert (built(vm).find("devices/controller/address") is not None) == kept
    assert ("does not fit" in notes(vm)) == (not kept)


def test_models_and_indices_that_are_none() -> None:
    vm = small_pc(
        devices=(
            device(1, "controller", "virtio-serial", index="x", ports="99"),
            device(2, "controller", "usb", model="uhci 4"),
            device(3, "controller", "ide", index="3"),
        )
    )
    assert controllers(vm, "virtio-serial") == [("0", "")]
    serial = built(vm).find("devices/controller")
    assert serial is not None
    assert serial.get("ports") == "16"
    assert "no such model, 'uhci 4'" in notes(vm)
    assert "the ide controller 3 is left out" in notes(vm)


def test_a_drives_controller_is_one_that_is_there() -> None:
    """libvirt would add one of another model, for which the guest may have no driver."""
    vm = small(disks=(dataclasses.replace(SCSI_DISK, address=drive(0, controller=3)),))
    assert controllers(vm, "scsi") == [("0", "virtio-scsi")]
    assert "does not fit this machine" in notes(vm)
