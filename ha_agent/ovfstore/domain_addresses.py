# SPDX-License-Identifier: Apache-2.0
"""Which addresses of the OVF a built domain keeps, and the places of its drives.

The engine stores the addresses that libvirt once gave the devices. A guest names its network
cards after them, so they are kept wherever this machine has such a place and it is free; a PCI
address that can't be kept is left to libvirt. Places on IDE, SATA and SCSI are always written:
libvirt counts them by the disks' names alone, and would give one twice when others are fixed.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.model import Pairs, VmDefinition

_PCI_KEYS = ("domain", "bus", "slot", "function")
_DRIVE_KEYS = ("controller", "bus", "target", "unit")
# The engine gives a q35 machine as many root ports (engine: NumOfPciExpressPorts).
_ROOT_PORTS = 16
# Units of one controller; IDE counts them for each of its two buses.
_UNITS = {"ide": 2, "sata": 6, "scsi": 256}
# The machine's own devices sit at fixed functions of a slot, as (slot, function).
BUILT_IN_PLACES = {
    (False, "ide"): (1, 1),
    (False, "usb"): (1, 2),
    (True, "sata"): (0x1F, 2),
}
_SATA_CONTROLLERS = 4
_RESERVED_SLOTS = {False: (0, 1), True: (0, 0x1F)}


@dataclass(frozen=True)
class Drive:
    """A disk or CD-ROM that wants a place: `index` is that of its name, 0 for sda."""

    bus: str
    index: int
    address: Pairs
    what: str


class Addresses:
    """The places of one machine, each given once. `notes` collects what could not be kept."""

    def __init__(self, vm: VmDefinition, is_q35: bool, notes: list[str]) -> None:
        self._is_q35 = is_q35
        self._notes = notes
        self._used: set[tuple[int, ...]] = set()
        addresses = [disk.address for disk in vm.disks]
        addresses += [nic.address for nic in vm.nics]
        addresses += [device.address for device in vm.devices]
        shared = [
            _numbers(dict(address), _PCI_KEYS)
            for address in addresses
            if ("multifunction", "on") in address
        ]
        # Functions above 0 exist only where function 0 says that there are several.
        self._shared_slots = {place[:3] for place in shared if place and place[3] == 0}
        # Behind a root port there is one slot, 0; other bridges have slots from 1 on.
        self._ports: set[int] = set()
        self._bridges: set[int] = set()
        self._missing_ports: set[int] = set()

    @property
    def missing_ports(self) -> list[int]:
        """Root ports that addresses written so far are behind, and that nobody wrote."""
        return sorted(self._missing_ports - self._ports)

    def add_bus(self, index: int, *, is_root_port: bool) -> None:
        """Take note of a PCI controller that is written."""
        (self._ports if is_root_port else self._bridges).add(index)

    def put_pci(
        self,
        parent: etree._Element,
        address: Pairs,
        what: str,
        *,
        built_in: str = "",
        buses: Container[int] = range(256),
    ) -> bool:
        """Write a PCI `<address>` when this machine has that place and it is free; tell if so.

        `built_in` is the kind of a controller that may be the machine's own: ide, usb or sata.
        `buses` are those that it may be on: a bridge comes behind certain ones only.
        """
        if not address:
            return False
        values = dict(address)
        place = _numbers(values, _PCI_KEYS)
        own = BUILT_IN_PLACES.get((self._is_q35, built_in))
        fits = place is not None and values.get("type") == "pci"
        fits = fits and set(values) <= {"type", "multifunction", *_PCI_KEYS}
        fits = fits and values.get("multifunction", "on") in ("on", "off")
        if place is None or not fits or place[1] not in buses or not self._has(place, own):
            self._notes.append(
                f"the address of {what} does not fit this machine and is left to libvirt"
            )
        elif place in self._used:
            self._notes.append(f"the address of {what} is taken twice and is left to libvirt")
        else:
            self._used.add(place)
            parent.append(etree.Element("address", values))
            if place[1] and place[1] not in self._bridges:
                self._missing_ports.add(place[1])
            return True
        return False

    def _has(self, place: tuple[int, ...], own: Optional[tuple[int, int]]) -> bool:
        domain, bus, slot, function = place
        if own is not None:
            return domain == bus == 0 and (slot, function) == own
        if domain or slot > 31 or function > 7:
            return False
        if function and place[:3] not in self._shared_slots:
            return False
        if bus == 0:
            return slot not in _RESERVED_SLOTS[self._is_q35]
        if not self._is_q35:
            return False
        if bus in self._bridges:
            return slot > 0
        return slot == 0 and (bus in self._ports or bus <= _ROOT_PORTS)

    def place_drives(
        self, drives: Collection[Drive], scsi_controllers: Collection[int]
    ) -> list[dict[str, str]]:
        """Return an `<address>`'s attributes for each drive; {} where the bus has no place left.

        The OVF's address is kept when it is a place of that bus and not yet taken; the others
        get the place that their name stands for, or the next free one.
        """
        taken: set[tuple[str, int, int, int]] = set()
        kept: list[Optional[tuple[int, int, int]]] = []
        for drive in drives:
            kept.append(self._own_place(drive, scsi_controllers, taken))
        result: list[dict[str, str]] = []
        for drive, own in zip(drives, kept):
            place = own
            if place is None and drive.bus in _UNITS:
                for candidate in _candidates(drive, min(scsi_controllers, default=0)):
                    if (drive.bus, *candidate) not in taken:
                        taken.add((drive.bus, *candidate))
                        place = candidate
                        break
            if place is None:
                result.append({})
                continue
            controller, bus, unit = (str(number) for number in place)
            result.append(
                {
                    "type": "drive",
                    "controller": controller,
                    "bus": bus,
                    "target": "0",
                    "unit": unit,
                }
            )
        return result

    def _own_place(
        self,
        drive: Drive,
        scsi_controllers: Collection[int],
        taken: set[tuple[str, int, int, int]],
    ) -> Optional[tuple[int, int, int]]:
        if not drive.address or drive.bus not in _UNITS:
            return None
        values = dict(drive.address)
        numbers = _numbers(values, _DRIVE_KEYS)
        fits = (
            numbers is not None
            and values.get("type") == "drive"
            and set(values) <= {"type", *_DRIVE_KEYS}
            and _has_drive_place(drive.bus, numbers, scsi_controllers)
        )
        if numbers is None or not fits:
            self._notes.append(f"the address of {drive.what} does not fit this machine")
            return None
        place = (numbers[0], numbers[1], numbers[3])
        if (drive.bus, *place) in taken:
            self._notes.append(f"the address of {drive.what} is taken twice")
            return None
        taken.add((drive.bus, *place))
        return place


def _has_drive_place(
    bus: str, numbers: tuple[int, ...], scsi_controllers: Collection[int]
) -> bool:
    controller, bus_number, target, unit = numbers
    if target or unit >= _UNITS[bus]:
        return False
    if bus == "ide":
        return controller == 0 and bus_number < 2
    if bus == "sata":
        return controller < _SATA_CONTROLLERS and bus_number == 0
    return controller in scsi_controllers and bus_number == 0


def _candidates(drive: Drive, scsi_controller: int) -> Iterator[tuple[int, int, int]]:
    """Yield places of a drive's bus, as (controller, bus, unit): that of its name first."""
    units = _UNITS[drive.bus]
    if drive.bus == "ide":
        places = [(0, number // 2, number % 2) for number in range(4)]
    elif drive.bus == "sata":
        places = [
            (number // units, 0, number % units) for number in range(_SATA_CONTROLLERS * units)
        ]
    else:
        places = [(scsi_controller, 0, number) for number in range(units)]
    if drive.index < len(places):
        yield places[drive.index]
    yield from places


def _numbers(values: dict[str, str], keys: tuple[str, ...]) -> Optional[tuple[int, ...]]:
    """Return the numbers of an address, hexadecimal after 0x; absent ones are 0."""
    found = []
    for key in keys:
        text = values.get(key, "0")
        digits = text[2:] if text[:2] in ("0x", "0X") else text
        try:
            number = int(digits, 16 if digits is not text else 10)
        except ValueError:
            return None
        if not (digits.isascii() and digits.isalnum() and len(digits) <= 8):
            return None
        found.append(number)
    return tuple(found)
