# SPDX-License-Identifier: Apache-2.0
"""The order and the buses of a VM's -device arguments. Pure.

Devices with an address come before those without, so that QEMU can't give a taken slot away, and
each bus before what is on it.
"""

from __future__ import annotations

from typing import Optional

from ha_agent.vdsm.domain.model import Domain, PciAddress

_BOOT_CLASSES = {"disk": "hd", "cdrom": "cdrom", "network": "network"}


class Layout:
    """Collects arguments; `arguments()` returns them in a safe order. `notes` are for people."""

    def __init__(self, domain: Domain, is_q35: bool) -> None:
        self.notes: list[str] = []
        self.is_q35 = is_q35
        self.made: set[str] = set()
        # By the bus of the PCI address; None holds what has no address.
        self._groups: dict[Optional[int], list[str]] = {0: [], None: []}
        self._ports: dict[int, Optional[PciAddress]] = {}
        self._boot_classes = domain.boot_devices
        self._boot_seen: set[str] = set()

    def arguments(self) -> list[str]:
        """Return what was collected."""
        ports: list[str] = []
        late_ports: list[str] = []
        for bus in sorted({*self._ports, *(bus for bus in self._groups if bus)}):
            address = self._ports.get(bus)
            port = f"pcie-root-port,id=pci.{bus},bus=pcie.0,chassis={bus},port={bus}"
            if address is None:
                late_ports += ["-device", port]
            else:
                ports += ["-device", port + _slot(address)]
        behind = [part for bus in sorted(filter(None, self._groups)) for part in self._groups[bus]]
        return [*ports, *self._groups[0], *late_ports, *behind, *self._groups[None]]

    def add_port(self, bus: int, address: Optional[PciAddress]) -> None:
        """Add the root port of a bus."""
        self._ports[bus] = address

    def place(self, arguments: list[str], address: Optional[PciAddress] = None) -> None:
        """Queue arguments whose last one is a -device's; `address` is added to that one."""
        if address is not None and address.bus and not self.is_q35:
            self.notes.append(f"PCI address on bus {address.bus} of a pc machine is not kept")
            address = None
        if address is None:
            self._groups[None] += arguments
            return
        root = "pcie.0" if self.is_q35 else "pci.0"
        bus = f"pci.{address.bus}" if address.bus else root
        placed = f"{arguments[-1]},bus={bus}{_slot(address)}"
        self._groups.setdefault(address.bus, []).extend([*arguments[:-1], placed])

    def once(self, name: str, device: str, address: Optional[PciAddress] = None) -> None:
        """Queue a device with this id, unless it is there."""
        if name not in self.made:
            self.made.add(name)
            self.place(["-device", f"{device},id={name}"], address)

    def boot_index(self, kind: str, order: Optional[int]) -> str:
        """Return ",bootindex=N": the device's own order, or its class's place in <os><boot>."""
        name = _BOOT_CLASSES[kind]
        if order is None and name in self._boot_classes and kind not in self._boot_seen:
            self._boot_seen.add(kind)
            order = self._boot_classes.index(name) + 1
        return f",bootindex={order}" if order else ""


def _slot(address: PciAddress) -> str:
    flag = ",multifunction=on" if address.multifunction else ""
    return f",addr=0x{address.slot:x}.0x{address.function:x}{flag}"
