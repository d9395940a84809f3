# SPDX-License-Identifier: Apache-2.0
"""What must be decided once for a whole domain: disk targets, boot order, PCI addresses, notes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import TARGET_STEMS
from ha_agent.ovfstore.model import Device, Disk, Nic, Pairs, VmDefinition
from ha_agent.ovfstore.xml_input import OvfError

# The engine keeps the third place of a bus for the CD-ROM: hdc or sdc.
_CDROM_INDEX = 2
_DRIVE_KEYS = ("type", "controller", "bus", "target", "unit")


def add(
    parent: etree._Element, tag: str, text: Optional[str] = None, **attributes: str
) -> etree._Element:
    """Append a child with text and attributes, and return it."""
    element = etree.SubElement(parent, tag, attributes)
    if text is not None:
        element.text = text
    return element


@dataclass(frozen=True, eq=False)
class PlacedDisk:
    """A disk with the name, bus and storage domain that it has in the domain XML."""

    disk: Disk
    bus: str
    target: str
    storage_domain_uuid: str


@dataclass(frozen=True, eq=False)
class PlacedCdrom:
    """A CD-ROM drive with its name and bus."""

    device: Device
    bus: str
    target: str


class Plan:
    """Decisions about one VM's domain, made before any XML is written; collects notes.

    Raises OvfError when the VM has no image disk: there would be nothing to lease.
    """

    def __init__(self, vm: VmDefinition, storage_domain_uuid: str) -> None:
        self.vm = vm
        self.notes: list[str] = []
        self._extra = dict(vm.extra_fields)
        self._used_targets: set[str] = set()
        self._used_addresses: set[tuple[str, ...]] = set()
        # A CD-ROM has its fixed place, so it chooses before the disks do.
        bus = "sata" if vm.is_q35 else "ide"
        self.cdroms = [
            PlacedCdrom(device, bus, self._target(bus, _CDROM_INDEX)) for device in vm.cdroms
        ]
        self.disks = [self._place(disk, storage_domain_uuid) for disk in vm.disks_in_boot_order()]
        images = [item for item in self.disks if item.disk.volume_uuid is not None]
        writable = [item for item in images if not item.disk.is_shareable]
        if not images:
            raise OvfError(f"VM {vm.uuid} has no image disk to take a lease on: it can't start")
        self.engine_disk = (writable or images)[0]
        self._boot_orders = self._decide_boot_orders()

    def note(self, sentence: str) -> None:
        """Keep a sentence about what was changed or left out."""
        self.notes.append(sentence)

    def extra(self, name: str) -> Optional[str]:
        """Return a simple element of Content that the model does not interpret."""
        return self._extra.get(name) or None

    def put_boot(self, parent: etree._Element, item: object) -> None:
        """Write the `<boot order>` of a disk, CD-ROM or NIC, when it has one."""
        order = self._boot_orders.get(id(item))
        if order is not None:
            add(parent, "boot", order=str(order))

    def put_address(self, parent: etree._Element, address: Pairs, bus: str, what: str) -> None:
        """Write an `<address>` when it is possible on this machine and not taken.

        `bus` is pci, virtio (which is PCI as well), ide, sata or scsi. The OVF's addresses come
        from the last run, maybe on another machine type; libvirt finds one where none is given.
        """
        if not address:
            return
        kind = "pci" if bus in ("pci", "virtio") else "drive"
        values = dict(address)
        place = (kind, *(values.get(key, "") for key in _place_keys(kind)))
        if values.get("type") != kind or not self._is_possible(values, kind, bus):
            self.note(f"the address of {what} does not fit this machine and is left to libvirt")
        elif place in self._used_addresses:
            self.note(f"the address of {what} is taken twice and is left to libvirt")
        else:
            self._used_addresses.add(place)
            add(parent, "address", **values)

    def _is_possible(self, values: dict[str, str], kind: str, bus: str) -> bool:
        try:
            numbers = {key: int(values.get(key, "0"), 0) for key in _place_keys(kind)}
        except ValueError:
            return False
        if any(number < 0 for number in numbers.values()):
            return False
        if kind == "drive":
            allowed = set(values) <= set(_DRIVE_KEYS)
            limits = {"ide": (1, 1), "sata": (0, 5), "scsi": (0, 255)}
            bus_limit, unit_limit = limits.get(bus, (0, 0))
            return allowed and numbers["bus"] <= bus_limit and numbers["unit"] <= unit_limit
        allowed = set(values) <= {"type", *_place_keys("pci"), "multifunction"}
        if self.vm.is_q35:
            # Behind a root port there is one slot, 0; on the root bus slot 0 is the host bridge.
            slot_fits = (numbers["slot"] > 0) == (numbers["bus"] == 0)
        else:
            slot_fits = numbers["bus"] == 0 and numbers["slot"] > 0
        return allowed and slot_fits and numbers["slot"] < 32 and numbers["function"] < 8

    def _target(self, bus: str, first_index: int = 0) -> str:
        stem = TARGET_STEMS[bus]
        index = first_index
        while (name := stem + _letters(index)) in self._used_targets:
            index += 1
        self._used_targets.add(name)
        return name

    def _place(self, disk: Disk, storage_domain_uuid: str) -> PlacedDisk:
        bus = disk.interface.bus
        if bus == "ide" and self.vm.is_q35:
            bus = "sata"
            self.note(f"disk {disk.image_uuid} is SATA, not IDE: a q35 machine has no IDE")
        domains = disk.storage_domain_uuids
        domain = storage_domain_uuid
        if domains and storage_domain_uuid not in domains:
            domain = domains[0]
            self.note(
                f"disk {disk.image_uuid} is on domain {domain}, not on {storage_domain_uuid}"
            )
        return PlacedDisk(disk, bus, self._target(bus), domain)

    def _decide_boot_orders(self) -> dict[int, int]:
        """Return orders from 1 without gaps or duplicates, as libvirt wants them."""
        bootable: list[tuple[int, object]] = [
            (item.disk.boot_order, item) for item in self.disks if item.disk.boot_order
        ]
        has_disk = bool(bootable)
        bootable += [(cd.device.boot_order, cd) for cd in self.cdroms if cd.device.boot_order]
        nics: list[Nic] = [nic for nic in self.vm.nics if nic.is_plugged and nic.boot_order]
        bootable += [(nic.boot_order, nic) for nic in nics]
        bootable.sort(key=lambda pair: pair[0])
        if not has_disk:
            bootable.append((0, self.engine_disk))
            self.note(f"no disk has a boot order in the OVF: {self.engine_disk.target} boots")
        return {id(item): order for order, (_, item) in enumerate(bootable, start=1)}


def _place_keys(kind: str) -> tuple[str, ...]:
    if kind == "pci":
        return ("domain", "bus", "slot", "function")
    return ("controller", "bus", "target", "unit")


def _letters(index: int) -> str:
    """Return a, b, ..., z, aa, ab, ... as Linux names its disks."""
    name = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        name = chr(ord("a") + letter) + name
    return name
