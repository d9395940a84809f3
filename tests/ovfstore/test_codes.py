# SPDX-License-Identifier: Apache-2.0
"""The engine's numbers: the ones that went wrong before, and that each has its libvirt name."""

from __future__ import annotations

from ha_agent.ovfstore.codes import (
    DRIVER_TYPES,
    NIC_MODEL_NAMES,
    TARGET_STEMS,
    BiosType,
    DiskInterface,
    DisplayType,
    NicModel,
    Origin,
)


def test_nic_models_of_the_engine() -> None:
    assert [model.libvirt_model for model in NicModel] == [
        "virtio",
        "rtl8139",
        "e1000",
        "virtio",
        "spapr-vlan",
        "virtio",
        "e1000e",
    ]
    assert [model.value for model in NicModel] == list(range(7))
    assert set(NIC_MODEL_NAMES.values()) == set(NicModel)
    assert all(name == name.lower() for name in NIC_MODEL_NAMES)


def test_disk_buses_are_libvirts_and_have_names() -> None:
    assert DiskInterface("VirtIO_SCSI").bus == "scsi"  # the predecessor wrote virtio_scsi
    assert DiskInterface("SPAPR_VSCSI").bus == "scsi"
    assert {interface.bus for interface in DiskInterface} == set(TARGET_STEMS)
    assert DRIVER_TYPES["COW"] == "qcow2"


def test_bios_types_are_the_enum_minus_one() -> None:
    assert [(int(bios), bios.is_q35, bios.is_uefi) for bios in BiosType] == [
        (0, False, False),
        (1, True, False),
        (2, True, True),
        (3, True, True),
    ]


def test_display_types_and_origins() -> None:
    assert [display.video_model for display in DisplayType] == [
        "cirrus",
        "qxl",
        "vga",
        "bochs",
        "none",
    ]
    assert [int(origin) for origin in Origin if origin.is_hosted_engine] == [5, 6]
