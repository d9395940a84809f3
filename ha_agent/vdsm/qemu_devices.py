# SPDX-License-Identifier: Apache-2.0
"""The -device, -blockdev, -netdev and -chardev part of a VM's command line. Pure.

qemu_args.py owns the decisions and their reasons; this is the table of devices.
"""

from __future__ import annotations

from typing import Callable, Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain_model import Device, Disk, Domain, Nic, PciAddress
from ha_agent.vdsm.placement import (
    DOMAIN_XML,
    Placement,
    QemuBinary,
    UnsupportedDevice,
    blockdev,
    escape,
)

_NIC_MODELS = {
    "virtio": "virtio-net-pci",
    "e1000": "e1000",
    "e1000e": "e1000e",
    "rtl8139": "rtl8139",
}
_VIDEO_MODELS = {
    "vga": "VGA",
    "cirrus": "cirrus-vga",
    "qxl": "qxl-vga",
    "bochs": "bochs-display",
    "virtio": "virtio-vga",
}
_USB_CONTROLLERS = {
    "usb-piix3-uhci": "piix3-usb-uhci",
    "usb-qemu-xhci": "qemu-xhci",
    "usb-nec-xhci": "nec-usb-xhci",
    "usb-ich9-ehci1": "ich9-usb-ehci1",
    "usb": "piix3-usb-uhci",
}
# Part of the machine itself, or made when a device needs them.
_BUILT_IN_CONTROLLERS = {
    "ide",
    "sata",
    "fdc",
    "usb-none",
    "pci-pci-root",
    "pci-pcie-root",
    "pci-dmi-to-pci-bridge",
    "pci-pcie-to-pci-bridge",
    "pci-pci-bridge",
}
_COMFORT_DEVICES = {
    "sound", "audio", "redirdev", "smartcard", "memory", "parallel", "emulator", "shmem", "hub",
    "panic", "iommu", "vsock",
}  # fmt: skip
_WATCHDOG_ACTIONS = {"reset", "poweroff", "pause", "none", "shutdown"}
_ERROR_POLICIES = {"stop": "stop", "report": "report", "ignore": "ignore", "enospace": "enospc"}
_BOOT_CLASSES = {"disk": "hd", "cdrom": "cdrom", "network": "network"}
_ROOT_PORT = "pci-pcie-root-port"


class DeviceArguments:
    """Collects the arguments of one VM's devices; `arguments()` returns them in a safe order."""

    def __init__(self, domain: Domain, qemu: QemuBinary, placement: Placement, is_q35: bool):
        self.notes: list[str] = []
        self._domain = domain
        self._qemu = qemu
        self._placement = placement
        self._is_q35 = is_q35
        # By the bus of the PCI address; None holds what has no address.
        self._groups: dict[Optional[int], list[str]] = {0: [], None: []}
        self._ports: dict[int, Optional[PciAddress]] = {}
        self._made: set[str] = set()
        self._boot_seen: set[str] = set()
        self._serial_consoles = 0
        self._virtual_ports = 0
        self._add: dict[str, Callable[[Device], None]] = {
            "controller": self._controller,
            "console": self._console,
            "serial": self._console,
            "channel": self._channel,
            "video": self._video,
            "rng": self._rng,
            "memballoon": self._balloon,
            "watchdog": self._watchdog,
            "input": self._input,
            "graphics": self._graphics,
        }

    def collect(self) -> None:
        """Take all devices of the definition. Raises UnsupportedDevice, BadInput."""
        # Controllers first: a channel or a disk needs to know whether its own is there.
        devices = sorted(self._domain.devices, key=lambda device: device.tag != "controller")
        for device in devices:
            if device.tag in _COMFORT_DEVICES:
                self.notes.append(f"device <{device.tag}> is left out")
            elif device.tag in self._add:
                self._add[device.tag](device)
            else:
                kind = f" {device.kind}" if device.kind else ""
                raise UnsupportedDevice(f"device <{device.tag}>{kind} is not supported")
        for number, disk in enumerate(self._domain.disks):
            self._disk(number, disk)
        for number, nic in enumerate(self._domain.nics):
            self._nic(number, nic)

    def arguments(self) -> list[str]:
        """Return what was collected: addressed devices first, each bus before its devices."""
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

    def _place(self, arguments: list[str], address: Optional[PciAddress] = None) -> None:
        """Queue arguments whose last one is a -device's; `address` is added to that one."""
        if address is not None and address.bus and not self._is_q35:
            self.notes.append(f"PCI address on bus {address.bus} of a pc machine is not kept")
            address = None
        if address is None:
            self._groups[None] += arguments
            return
        root = "pcie.0" if self._is_q35 else "pci.0"
        bus = f"pci.{address.bus}" if address.bus else root
        placed = f"{arguments[-1]},bus={bus}{_slot(address)}"
        self._groups.setdefault(address.bus, []).extend([*arguments[:-1], placed])

    def _once(self, name: str, device: str, address: Optional[PciAddress] = None) -> None:
        if name not in self._made:
            self._made.add(name)
            self._place(["-device", f"{device},id={name}"], address)

    def _boot_index(self, kind: str, order: Optional[int]) -> str:
        """Return ",bootindex=N": the device's own order, or its class's place in <os><boot>."""
        classes = self._domain.boot_devices
        if order is None and _BOOT_CLASSES[kind] in classes and kind not in self._boot_seen:
            self._boot_seen.add(kind)
            order = classes.index(_BOOT_CLASSES[kind]) + 1
        return f",bootindex={order}" if order else ""

    # Disks

    def _disk(self, number: int, disk: Disk) -> None:
        path = self._placement.disk_paths.get(disk.target, disk.path)
        if disk.device not in ("disk", "cdrom"):
            raise UnsupportedDevice(f"disk {disk.target} of kind {disk.device!r} is not supported")
        if path is None and disk.device == "disk":
            raise BadInput(f"disk {disk.target} has no source", where=DOMAIN_XML)
        device = f"{self._disk_model(disk)},id={disk.target}"
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
        device += self._boot_index(disk.device, disk.boot_order)
        self._place([*arguments, "-device", device], disk.address)

    def _disk_model(self, disk: Disk) -> str:
        kind = "cd" if disk.device == "cdrom" else "hd"
        unit = ord(disk.target[-1]) - ord("a")
        if disk.bus == "virtio" and kind == "hd":
            return "virtio-blk-pci"
        if disk.bus == "scsi":
            self._once("scsi0", "virtio-scsi-pci")
            return f"scsi-{kind},bus=scsi0.0"
        if disk.bus == "sata" or (disk.bus == "ide" and self._is_q35):
            # q35 has an AHCI controller built in, whose ports are named like IDE ones.
            if self._is_q35:
                return f"ide-{kind},bus=ide.{unit % 6}"
            self._once("ahci0", "ich9-ahci")
            return f"ide-{kind},bus=ahci0.{unit % 6}"
        if disk.bus == "ide":
            return f"ide-{kind},bus=ide.{unit // 2 % 2},unit={unit % 2}"
        raise UnsupportedDevice(f"disk {disk.target} on bus {disk.bus!r} is not supported")

    def _image(self, node: str, path: str, disk: Disk) -> list[str]:
        if disk.format not in ("raw", "qcow2"):
            raise UnsupportedDevice(f"disk {disk.target}: format {disk.format!r} is not supported")
        direct = disk.cache in ("none", "directsync")
        if direct and disk.target in self._placement.no_direct_io:
            direct = False
            self.notes.append(f"disk {disk.target}: its storage has no direct I/O, cached instead")
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

    # Network

    def _nic(self, number: int, nic: Nic) -> None:
        model = _NIC_MODELS.get(nic.model)
        if model is None or model not in self._qemu.devices:
            raise UnsupportedDevice(f"network card model {nic.model!r} is not supported")
        device = f"{model},id=nic{number}"
        arguments: list[str] = []
        if not nic.network:
            self.notes.append(f"network card {number} is on no network")
        elif not nic.link_up:
            # To the guest a card without a backend is one whose cable is not plugged in.
            self.notes.append(f"network card {number} has its link down")
        else:
            arguments = ["-netdev", self._backend(number, nic.network)]
            device += f",netdev=net{number}"
        if nic.mac:
            device += f",mac={nic.mac}"
        device += self._boot_index("network", nic.boot_order)
        self._place([*arguments, "-device", device], nic.address)

    def _backend(self, number: int, network: str) -> str:
        networks = self._placement.networks
        # VDSM names the libvirt network of bridge X "vdsm-X".
        value = networks.get(network) or networks.get(network[len("vdsm-") :])
        if not value:
            known = ", ".join(sorted(networks)) or "none"
            raise UnsupportedDevice(
                f"network {network!r} is not among this host's networks ({known})"
            )
        kind, comma, options = value.partition(",")
        return f"{kind},id=net{number}{comma}{options}"

    # Controllers, consoles and the rest

    def _controller(self, device: Device) -> None:
        if device.kind == _ROOT_PORT and device.index and self._is_q35:
            self._ports[device.index] = device.address
        elif device.kind in _USB_CONTROLLERS:
            self._once("usb", _USB_CONTROLLERS[device.kind], device.address)
        elif device.kind == "virtio-serial":
            self._once("virtio-serial0", "virtio-serial-pci", device.address)
        elif device.kind == "scsi-virtio-scsi":
            self._once(f"scsi{device.index or 0}", "virtio-scsi-pci", device.address)
        elif device.kind not in _BUILT_IN_CONTROLLERS and device.kind != _ROOT_PORT:
            self.notes.append(f"controller {device.kind} is left out")

    def _console(self, device: Device) -> None:
        """Add the text console. libvirt's first <console> of type serial is its <serial>."""
        if device.kind == "virtio":
            self._once("virtio-serial0", "virtio-serial-pci")
            model = "virtconsole,bus=virtio-serial0.0"
        else:
            self._serial_consoles += 1
            model = "isa-serial"
        if "console" in self._made or self._serial_consoles > 1:
            return
        self._made.add("console")
        folder = escape(str(self._placement.run_dir))
        chardev = (
            f"socket,id=console,path={folder}/console.sock,server=on,wait=off,"
            f"logfile={folder}/console.log,logappend=on"
        )
        self._place(["-chardev", chardev, "-device", f"{model},chardev=console"])

    def _channel(self, device: Device) -> None:
        if (
            device.kind != "virtio"
            or not device.name
            or device.name.startswith("com.redhat.spice")
        ):
            self.notes.append(f"channel {device.name or device.kind} is left out")
            return
        self._once("virtio-serial0", "virtio-serial-pci")
        number = self._virtual_ports
        self._virtual_ports += 1
        folder = escape(str(self._placement.run_dir))
        socket = f"path={folder}/channel{number}.sock,server=on,wait=off"
        port = f"virtserialport,bus=virtio-serial0.0,name={escape(device.name)}"
        self._place(
            [
                *("-chardev", f"socket,id=channel{number},{socket}"),
                *("-device", f"{port},chardev=channel{number}"),
            ]
        )

    def _video(self, device: Device) -> None:
        model = _VIDEO_MODELS.get(device.kind)
        if device.kind == "none" or "video" in self._made:
            return
        if model is None or model not in self._qemu.devices:
            self.notes.append(f"video {device.kind} is not in this QEMU, VGA is used")
            model = "VGA"
        self._once("video", model, device.address)

    def _rng(self, device: Device) -> None:
        source = device.name if device.name.startswith("/dev/") else "/dev/urandom"
        if source == "/dev/hwrng":
            self.notes.append("rng: /dev/urandom is used instead of /dev/hwrng")
            source = "/dev/urandom"
        number = sum(name.startswith("rng") for name in self._made)
        self._made.add(f"rng{number}")
        backend = f"rng-random,id=rngsource{number},filename={escape(source)}"
        model = f"virtio-rng-pci,id=rng{number},rng=rngsource{number}"
        self._place(["-object", backend, "-device", model], device.address)

    def _balloon(self, device: Device) -> None:
        if device.kind != "none":
            self._once("balloon0", "virtio-balloon-pci", device.address)

    def _watchdog(self, device: Device) -> None:
        if device.kind not in ("i6300esb", "ib700"):
            self.notes.append(f"watchdog {device.kind} is left out")
            return
        action = device.action if device.action in _WATCHDOG_ACTIONS else "reset"
        self._place(
            ["-action", f"watchdog={action}", "-device", f"{device.kind},id=watchdog0"],
            device.address if device.kind == "i6300esb" else None,
        )

    def _input(self, device: Device) -> None:
        if device.kind == "tablet" and self._made & {"usb"}:
            self._place(["-device", "usb-tablet,bus=usb.0"])
        elif device.kind not in ("mouse", "keyboard"):
            self.notes.append(f"input {device.kind} is left out")

    def _graphics(self, device: Device) -> None:
        if device.kind != "vnc":
            self.notes.append(f"graphics {device.kind} is left out")


def _slot(address: PciAddress) -> str:
    flag = ",multifunction=on" if address.multifunction else ""
    return f",addr=0x{address.slot:x}.0x{address.function:x}{flag}"
