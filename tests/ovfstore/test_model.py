# SPDX-License-Identifier: Apache-2.0
"""What a VmDefinition derives from its values."""

from __future__ import annotations

import dataclasses

from ha_agent.ovfstore.codes import BiosType
from ha_agent.ovfstore.model import Device, Disk, VmDefinition

VM = VmDefinition(
    uuid="11111111-2222-4333-8444-555555555555",
    name="engine",
    memory_mib=1024,
    sockets=2,
    cores_per_socket=3,
    threads_per_core=2,
    max_vcpus=48,
)


def test_threads_count() -> None:
    assert VM.vcpus == 12


def test_the_machines_name_decides_on_the_chip_set() -> None:
    q35 = dataclasses.replace(VM, emulated_machine="pc-q35-rhel9.6.0")
    assert q35.is_q35
    assert not dataclasses.replace(q35, emulated_machine="pc-i440fx-2.6").is_q35
    assert not VM.is_q35
    assert dataclasses.replace(VM, bios_type=BiosType.Q35_OVMF).is_q35


def test_disks_in_boot_order() -> None:
    disks = (
        Disk("other"),
        Disk("flagged", is_boot=True),
        Disk("second", boot_order=2),
        Disk("unplugged", boot_order=1, is_plugged=False),
        Disk("first", boot_order=1),
    )
    vm = dataclasses.replace(VM, disks=disks)
    order = [disk.image_uuid for disk in vm.disks_in_boot_order()]
    assert order == ["first", "second", "flagged", "other"]


def test_devices_by_kind_without_unplugged_ones() -> None:
    vm = dataclasses.replace(
        VM,
        devices=(
            Device("1", 26, "graphics", "vnc"),
            Device("2", 26, "graphics", "spice", is_plugged=False),
            Device("3", 15, "disk", "cdrom", spec_params=(("path", ""),)),
            Device("4", 15, "disk", "floppy"),
            Device("5", 0, "controller", "usb"),
        ),
    )
    assert [device.device_uuid for device in vm.graphics] == ["1"]
    assert [device.device_uuid for device in vm.cdroms] == ["3"]
    assert [device.device_uuid for device in vm.controllers] == ["5"]
    assert (vm.videos, vm.consoles, vm.rngs) == ((), (), ())
    assert (vm.cdroms[0].spec("path"), vm.cdroms[0].spec("other")) == ("", None)


def test_user_properties_win_over_predefined_ones() -> None:
    vm = dataclasses.replace(
        VM, predefined_properties=(("a", "1"), ("b", "2")), user_properties=(("a", "3"),)
    )
    assert vm.custom_properties == {"a": "3", "b": "2"}
