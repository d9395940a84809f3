# SPDX-License-Identifier: Apache-2.0
"""What must be decided once for a whole domain: machine, drives, boot order; and its notes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import BOOT_SEQUENCES, TARGET_STEMS
from ha_agent.ovfstore.domain_addresses import Addresses, Drive
from ha_agent.ovfstore.model import Device, Disk, Nic, VmDefinition
from ha_agent.ovfstore.ovf_fields import UUID
from ha_agent.ovfstore.xml_input import OvfError

# The engine keeps the third place of a bus for the CD-ROM: hdc or sdc.
_CDROM_INDEX = 2
_IDE_DRIVES = 4
# QEMU's names of machines for x86-64, as upstream and Enterprise Linux have them.
_MACHINE = re.compile(r"(pc|q35|rhel)[A-Za-z0-9_.-]*", re.ASCII)
# A LUN's id is a file name in /dev/mapper.
_LUN_ID = re.compile(r"[A-Za-z0-9_+:-][A-Za-z0-9_.+:-]*", re.ASCII)


def add(
    parent: etree._Element, tag: str, text: Optional[str] = None, **attributes: str
) -> etree._Element:
    """Append a child with text and attributes, and return it."""
    element = etree.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = text
    return element


def whole_number(text: Optional[str], lowest: int, highest: int) -> Optional[int]:
    """Return a decimal number within bounds, or None."""
    if not text or not (text.isascii() and text.isdigit() and len(text) <= 18):
        return None
    number = int(text)
    return number if lowest <= number <= highest else None


@dataclass(frozen=True, eq=False)
class PlacedDisk:
    """A disk with the name, bus, place and storage domain that it has in the domain XML."""

    disk: Disk
    bus: str
    target: str
    storage_domain_uuid: str
    drive_address: dict[str, str]


@dataclass(frozen=True, eq=False)
class PlacedCdrom:
    """A CD-ROM drive with its name, bus and place."""

    device: Device
    bus: str
    target: str
    drive_address: dict[str, str]


class Plan:
    """Decisions about one VM's domain, made before any XML is written; collects notes.

    `engine_disk` is the image disk that the VM boots from: it is exclusive, and its volume is
    leased. Raises OvfError when the VM has no image disk: there would be nothing to lease.
    """

    def __init__(self, vm: VmDefinition, storage_domain_uuid: str) -> None:
        self.vm = vm
        self.notes: list[str] = []
        self.machine, self.is_q35 = self._decide_machine()
        self.addresses = Addresses(vm, self.is_q35, self.notes)
        self._aliases: set[str] = set()
        self._used_targets: set[str] = set()
        self.scsi_controllers = _scsi_controllers(vm) or {0: None}
        self._place_drives(storage_domain_uuid)
        images = [item for item in self.disks if item.disk.volume_uuid is not None]
        if not images:
            raise OvfError(f"VM {vm.uuid} has no image disk to take a lease on: it can't start")
        self.engine_disk = images[0]
        if self.engine_disk.disk.is_shareable:
            self.note(f"disk {self.engine_disk.target} is exclusive, not shareable: it is leased")
        for placed in self.disks:
            if placed is self.engine_disk:
                continue
            if placed.disk.is_shareable and not self.is_shared(placed):
                self.note(f"disk {placed.target} is not shareable: libvirt shares raw disks only")
        self._boot_orders = self._decide_boot_orders()

    def note(self, sentence: str) -> None:
        """Keep a sentence about what was changed or left out."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def is_shared(self, placed: PlacedDisk) -> bool:
        """Tell whether other VMs may have the disk, too; the engine disk is never shared."""
        return (
            placed.disk.is_shareable
            and placed is not self.engine_disk
            and placed.disk.volume_format != "COW"
        )

    def put_boot(self, parent: etree._Element, item: object) -> None:
        """Write the `<boot order>` of a disk, CD-ROM or NIC, when it has one."""
        order = self._boot_orders.get(id(item))
        if order is not None:
            add(parent, "boot", order=str(order))

    def put_alias(self, parent: etree._Element, device_uuid: str) -> None:
        """Name a device as the engine does, by `ua-` and its uuid; libvirt wants it once."""
        device_uuid = device_uuid.lower()
        if UUID.fullmatch(device_uuid) and device_uuid not in self._aliases:
            self._aliases.add(device_uuid)
            add(parent, "alias", name=f"ua-{device_uuid}")

    def _decide_machine(self) -> tuple[str, bool]:
        vm = self.vm
        machine = vm.emulated_machine
        if machine and not _MACHINE.fullmatch(machine):
            self.note(f"machine {machine!r} is left out: it is none of x86-64")
            machine = None
        is_q35 = "q35" in machine if machine else vm.bios_type.is_q35
        if vm.bios_type.is_uefi and not is_q35:
            # OVMF of Enterprise Linux needs SMM, which i440fx has not.
            self.note(f"the machine is q35, not {machine}, which has no UEFI with SMM")
            machine, is_q35 = None, True
        # Without a name libvirt takes its newest machine of that kind: the right chip set.
        return machine or ("q35" if is_q35 else "pc"), is_q35

    def _target(self, bus: str, first_index: int = 0) -> str:
        stem = TARGET_STEMS[bus]
        index = first_index
        while (name := stem + _letters(index)) in self._used_targets:
            index += 1
        self._used_targets.add(name)
        return name

    def _place_drives(self, storage_domain_uuid: str) -> None:
        """Give CD-ROMs and disks, in boot order, their names and places."""
        vm = self.vm
        drives: list[Drive] = []
        ide_drives = 0

        def drive(bus: str, first_index: int, address: tuple[tuple[str, str], ...]) -> Drive:
            target = self._target(bus, first_index)
            what = f"the CD-ROM {target}" if first_index else f"disk {target}"
            return Drive(bus, _index(target), address, what)

        # A CD-ROM has its fixed place, so it chooses before the disks do.
        for cdrom in vm.cdroms:
            bus = "sata" if self.is_q35 or ide_drives == _IDE_DRIVES else "ide"
            ide_drives += bus == "ide"
            drives.append(drive(bus, _CDROM_INDEX, cdrom.address))
        disks = [disk for disk in vm.disks_in_boot_order() if self._is_usable(disk)]
        for disk in disks:
            bus = disk.interface.bus
            if bus == "ide" and (self.is_q35 or ide_drives == _IDE_DRIVES):
                bus = "sata"
                reason = "a q35 machine has no IDE" if self.is_q35 else "IDE has four places"
                self.note(f"disk {disk.image_uuid} is SATA, not IDE: {reason}")
            ide_drives += bus == "ide"
            drives.append(drive(bus, 0, disk.address))
        places = self.addresses.place_drives(drives, self.scsi_controllers)
        names = [drive.what.rpartition(" ")[2] for drive in drives]
        placed = list(zip(drives, names, places))
        cdroms = len(vm.cdroms)
        self.cdroms = [
            PlacedCdrom(device, item.bus, name, place)
            for device, (item, name, place) in zip(vm.cdroms, placed)
        ]
        self.disks = [
            PlacedDisk(disk, item.bus, name, self._domain_of(disk, storage_domain_uuid), place)
            for disk, (item, name, place) in zip(disks, placed[cdroms:])
        ]

    def _is_usable(self, disk: Disk) -> bool:
        if disk.volume_uuid is not None or _LUN_ID.fullmatch(disk.lun_id or ""):
            return True
        self.note(f"disk {disk.image_uuid} is left out: LUN {disk.lun_id!r} can't be a device")
        return False

    def _domain_of(self, disk: Disk, storage_domain_uuid: str) -> str:
        domains = disk.storage_domain_uuids
        if disk.volume_uuid is None or not domains or storage_domain_uuid in domains:
            return storage_domain_uuid
        self.note(
            f"disk {disk.image_uuid} is on domain {domains[0]}, not on {storage_domain_uuid}"
        )
        return domains[0]

    def _decide_boot_orders(self) -> dict[int, int]:
        """Return orders from 1 without gaps or duplicates, as libvirt wants them."""
        bootable: list[tuple[int, object]] = [
            (item.disk.boot_order, item) for item in self.disks if item.disk.boot_order
        ]
        has_disk = bool(bootable)
        bootable += [(cd.device.boot_order, cd) for cd in self.cdroms if cd.device.boot_order]
        nics: list[Nic] = [nic for nic in self.vm.nics if nic.is_plugged]
        bootable += [(nic.boot_order, nic) for nic in nics if nic.boot_order]
        bootable.sort(key=lambda pair: pair[0])
        if not bootable:
            kinds: dict[str, list[object]] = {
                "C": [self.engine_disk],
                "D": list(self.cdroms[:1]),
                "N": list(nics),
            }
            number = self.vm.boot_sequence or 0
            sequence = BOOT_SEQUENCES[number] if 0 <= number < len(BOOT_SEQUENCES) else "C"
            bootable = [(0, item) for kind in sequence for item in kinds[kind]]
            has_disk = "C" in sequence
            self.note(
                f"no device has a boot order in the OVF: its boot sequence {sequence} counts"
            )
        if not has_disk:
            bootable.append((0, self.engine_disk))
            self.note(f"no disk boots in the OVF: {self.engine_disk.target} does after all others")
        return {id(item): order for order, (_, item) in enumerate(bootable, start=1)}


def _scsi_controllers(vm: VmDefinition) -> dict[int, Optional[Device]]:
    """Return the virtio-scsi controllers by index, in order; the engine counts them itself."""
    found = [item for item in vm.controllers if item.device in ("virtio-scsi", "scsi")]
    return dict(enumerate(found))


def _letters(index: int) -> str:
    """Return a, b, ..., z, aa, ab, ... as Linux names its disks."""
    name = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        name = chr(ord("a") + letter) + name
    return name


def _index(target: str) -> int:
    """Return the number of a disk's name: 0 for sda, 26 for sdaa."""
    index = 0
    for letter in target[2:]:
        index = index * 26 + ord(letter) - ord("a") + 1
    return index - 1
