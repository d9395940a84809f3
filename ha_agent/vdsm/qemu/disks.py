# SPDX-License-Identifier: Apache-2.0
"""The disks and CD-ROMs of a VM's command line, and what they are attached to. Pure.

qemu/arguments.py owns the decisions and their reasons.
"""

from __future__ import annotations

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.model import Device, Disk, DriveAddress
from ha_agent.vdsm.qemu.layout import Layout
from ha_agent.vdsm.qemu.placement import (
    DOMAIN_XML,
    Placement,
    QemuBinary,
    UnsupportedDevice,
    blockdev,
    escape,
)

_ERROR_POLICIES = {"stop": "stop", "report": "report", "ignore": "ignore", "enospace": "enospc"}
_AHCI_PORTS = 6


class DiskArguments:
    """Adds disks to the layout; `io_threads` is how many the VM has."""

    def __init__(
        self, layout: Layout, qemu: QemuBinary, placement: Placement, io_threads: int
    ) -> None:
        self._layout = layout
        self._qemu = qemu
        self._placement = placement
        self._io_threads = io_threads

    def add_scsi(self, device: Device) -> None:
        """Add a virtio-scsi controller."""
        queues = device.options.get("queues", 0)
        model = "virtio-scsi-pci"
        if queues:
            model += f",num_queues={queues}"
        model += self._io_thread(device.options.get("iothread", 0), "a SCSI controller")
        self._layout.once(f"scsi{device.index or 0}", model, device.address)

    def add_sata(self, device: Device) -> None:
        """Add a SATA controller; the first of a q35 machine is built in."""
        if device.index or not self._layout.is_q35:
            self._layout.once(f"ahci{device.index or 0}", "ich9-ahci", device.address)

    def add(self, number: int, disk: Disk) -> None:
        """Add the VM's `number`-th disk. Raises UnsupportedDevice, BadInput."""
        path = self._placement.disk_paths.get(disk.target, disk.path)
        if disk.device == "lun":
            # It wants a real SCSI device, and its reservations qemu-pr-helper's service.
            raise UnsupportedDevice(f"disk {disk.target} of kind 'lun' is not supported")
        if disk.device not in ("disk", "cdrom"):
            raise UnsupportedDevice(f"disk {disk.target} of kind {disk.device!r} is not supported")
        if disk.has_reservations:
            raise UnsupportedDevice(f"disk {disk.target}: SCSI reservations are not supported")
        if disk.is_optional and disk.target in self._placement.missing_disks:
            self._layout.notes.append(f"disk {disk.target}: {path} is not there, it stays empty")
            path = None
        if path is None and disk.device == "disk":
            raise BadInput(f"disk {disk.target} has no source", where=DOMAIN_XML)
        device = f"{self._model(disk)},id={disk.target}"
        arguments: list[str] = []
        if path is not None:
            arguments = self._image(f"node{number}", path, disk)
            device += f",drive=node{number}"
        if disk.serial:
            # As libvirt does: ATA and virtio-blk have room for 20 characters.
            serial = disk.serial if disk.bus == "scsi" else disk.serial[:20]
            device += f",serial={escape(serial)}"
        if disk.shareable and disk.device == "disk":
            device += ",share-rw=on"
        policy = _ERROR_POLICIES.get(disk.error_policy)
        if disk.device == "disk" and policy:
            device += f",werror={policy},rerror={'report' if policy == 'enospc' else policy}"
        device += self._layout.boot_index(disk.device, disk.boot_order)
        self._layout.place([*arguments, "-device", device], disk.address)

    def _model(self, disk: Disk) -> str:
        kind = "cd" if disk.device == "cdrom" else "hd"
        is_q35 = self._layout.is_q35
        at = disk.drive or _usual_place(disk, is_q35)
        if disk.bus == "virtio" and kind == "hd":
            return "virtio-blk-pci" + self._io_thread(disk.io_thread, f"disk {disk.target}")
        if disk.bus == "scsi":
            name = f"scsi{disk.drive.controller if disk.drive else 0}"
            self._layout.once(name, "virtio-scsi-pci")
            place = f",channel={at.bus},scsi-id={at.target},lun={at.unit}" if disk.drive else ""
            return f"scsi-{kind},bus={name}.0{place}"
        if disk.bus == "sata" or (disk.bus == "ide" and is_q35):
            # q35 has an AHCI controller built in, whose ports are named like IDE ones.
            if at.unit >= _AHCI_PORTS:
                raise UnsupportedDevice(f"disk {disk.target}: SATA has no port {at.unit}")
            if is_q35 and not at.controller:
                return f"ide-{kind},bus=ide.{at.unit}"
            name = f"ahci{at.controller}"
            self._layout.once(name, "ich9-ahci")
            return f"ide-{kind},bus={name}.{at.unit}"
        if disk.bus == "ide":
            return f"ide-{kind},bus=ide.{at.bus},unit={at.unit}"
        raise UnsupportedDevice(f"disk {disk.target} on bus {disk.bus!r} is not supported")

    def _io_thread(self, number: int, what: str) -> str:
        if not number:
            return ""
        if number > self._io_threads:
            raise BadInput(f"{what} has I/O thread {number}, which is not there", where=DOMAIN_XML)
        return f",iothread=iothread{number}"

    def _image(self, node: str, path: str, disk: Disk) -> list[str]:
        if disk.format not in ("raw", "qcow2"):
            raise UnsupportedDevice(f"disk {disk.target}: format {disk.format!r} is not supported")
        direct = disk.cache in ("none", "directsync")
        if direct and disk.target in self._placement.no_direct_io:
            direct = False
            self._layout.notes.append(
                f"disk {disk.target}: its storage has no direct I/O, cached instead"
            )
        shared = {
            "cache": {"direct": direct, "no-flush": disk.cache == "unsafe"},
            "discard": "unmap" if disk.discard == "unmap" else "ignore",
            "read-only": disk.read_only or disk.device == "cdrom",
        }
        image = {
            "driver": "host_device" if path.startswith("/dev/") else "file",
            "filename": path,
            "locking": "on",
            "aio": "native" if disk.io == "native" and direct else "threads",
            **shared,
        }
        return blockdev({"driver": disk.format, "node-name": node, **shared, "file": image})


def _usual_place(disk: Disk, is_q35: bool) -> DriveAddress:
    """Return where a disk without an address is by its name, as libvirt counts."""
    index = _index(disk.target)
    if disk.bus == "ide" and not is_q35:
        return DriveAddress(0, index // 2 % 2, 0, index % 2)
    return DriveAddress(index // _AHCI_PORTS, 0, 0, index % _AHCI_PORTS)


def _index(target: str) -> int:
    """Return the number of a disk's name: 0 for sda, 26 for sdaa."""
    index = 0
    for letter in target[2:]:
        index = index * 26 + ord(letter) - ord("a") + 1
    return max(0, index - 1)
