# SPDX-License-Identifier: Apache-2.0
"""The -device, -blockdev, -netdev and -chardev part of a VM's command line. Pure.

qemu/arguments.py owns the decisions and their reasons; this is the table of devices.
"""

from __future__ import annotations

from typing import Callable

from ha_agent.vdsm.domain.model import Device, Domain, Nic
from ha_agent.vdsm.qemu.disks import DiskArguments
from ha_agent.vdsm.qemu.layout import Layout
from ha_agent.vdsm.qemu.placement import (
    Placement,
    QemuBinary,
    UnsupportedDevice,
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
    "iommu", "vsock",
}  # fmt: skip
# A dump would be libvirt's to take; the guest is reset behind it.
_WATCHDOG_ACTIONS = {
    **{name: name for name in ("reset", "poweroff", "pause", "none", "shutdown")},
    "inject-nmi": "inject-nmi",
}
_RNG_PERIOD_MS = 1000  # libvirt's default
_VRAM_MIB = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_BALLOONS = {
    "virtio-transitional": "virtio-balloon-pci-transitional",
    "virtio-non-transitional": "virtio-balloon-pci-non-transitional",
}
_TPM_MODELS = ("tpm-crb", "tpm-tis")
_ROOT_PORT = "pci-pcie-root-port"


class DeviceArguments:
    """Collects the arguments of one VM's devices. Their order is qemu/layout.py's."""

    def __init__(self, domain: Domain, qemu: QemuBinary, placement: Placement, is_q35: bool):
        self._domain = domain
        self._qemu = qemu
        self._placement = placement
        self._layout = Layout(domain, is_q35)
        self._disks = DiskArguments(self._layout, qemu, placement, domain.tuning.io_threads)
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
            "panic": self._panic,
            "tpm": self._tpm,
        }

    @property
    def notes(self) -> list[str]:
        """What differs from the definition."""
        return self._layout.notes

    def collect(self) -> list[str]:
        """Return the arguments of all devices. Raises UnsupportedDevice, BadInput."""
        # Controllers first: a channel or a disk needs to know whether its own is there.
        devices = sorted(self._domain.devices, key=lambda device: device.tag != "controller")
        for device in devices:
            if device.tag in _COMFORT_DEVICES:
                self.notes.append(f"device <{device.tag}> {device.kind}".rstrip() + " is left out")
            elif device.tag in self._add:
                self._add[device.tag](device)
            else:
                kind = f" {device.kind}" if device.kind else ""
                raise UnsupportedDevice(f"device <{device.tag}>{kind} is not supported")
        for number, disk in enumerate(self._domain.disks):
            self._disks.add(number, disk)
        for number, nic in enumerate(self._domain.nics):
            self._nic(number, nic)
        return self._layout.arguments()

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
        if nic.queues > 1:
            self.notes.append(f"network card {number} has one queue, not {nic.queues}")
        if nic.mac:
            device += f",mac={nic.mac}"
        device += self._layout.boot_index("network", nic.boot_order)
        self._layout.place([*arguments, "-device", device], nic.address)

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
        if device.kind == _ROOT_PORT and device.index and self._layout.is_q35:
            self._layout.add_port(device.index, device.address)
        elif device.kind in _USB_CONTROLLERS:
            model, ports = _USB_CONTROLLERS[device.kind], device.options.get("ports", 0)
            if ports and "xhci" in model:
                model += f",p2={ports},p3={ports}"
            self._layout.once("usb", model, device.address)
        elif device.kind == "virtio-serial":
            ports = device.options.get("ports", 0)
            model = "virtio-serial-pci" + (f",max_ports={ports}" if ports else "")
            self._layout.once("virtio-serial0", model, device.address)
        elif device.kind == "scsi-virtio-scsi":
            self._disks.add_scsi(device)
        elif device.kind == "sata":
            self._disks.add_sata(device)
        elif device.kind not in _BUILT_IN_CONTROLLERS and device.kind != _ROOT_PORT:
            self.notes.append(f"controller {device.kind} is left out")

    def _console(self, device: Device) -> None:
        """Add the text console. libvirt's first <console> of type serial is its <serial>."""
        if device.kind == "virtio":
            self._layout.once("virtio-serial0", "virtio-serial-pci")
            model = "virtconsole,bus=virtio-serial0.0"
        else:
            self._serial_consoles += 1
            model = "isa-serial"
        if "console" in self._layout.made or self._serial_consoles > 1:
            return
        self._layout.made.add("console")
        folder = escape(str(self._placement.run_dir))
        chardev = (
            f"socket,id=console,path={folder}/console.sock,server=on,wait=off,"
            f"logfile={folder}/console.log,logappend=on"
        )
        self._layout.place(["-chardev", chardev, "-device", f"{model},chardev=console"])

    def _channel(self, device: Device) -> None:
        if (
            device.kind != "virtio"
            or not device.name
            or device.name.startswith("com.redhat.spice")
        ):
            self.notes.append(f"channel {device.name or device.kind} is left out")
            return
        self._layout.once("virtio-serial0", "virtio-serial-pci")
        number = self._virtual_ports
        self._virtual_ports += 1
        folder = escape(str(self._placement.run_dir))
        socket = f"path={folder}/channel{number}.sock,server=on,wait=off"
        port = f"virtserialport,bus=virtio-serial0.0,name={escape(device.name)}"
        self._layout.place(
            [
                *("-chardev", f"socket,id=channel{number},{socket}"),
                *("-device", f"{port},chardev=channel{number}"),
            ]
        )

    def _video(self, device: Device) -> None:
        model = _VIDEO_MODELS.get(device.kind)
        if device.kind == "none" or "video" in self._layout.made:
            return
        if model is None or model not in self._qemu.devices:
            self.notes.append(f"video {device.kind} is not in this QEMU, VGA is used")
            model = "VGA"
        vram_mib, rest = divmod(device.options.get("vram", 0), 1024)
        if not rest and model == "VGA" and vram_mib in _VRAM_MIB:
            model += f",vgamem_mb={vram_mib}"
        elif device.options.get("vram"):
            self.notes.append(f"video {device.kind}: QEMU's own amount of memory is used")
        self._layout.once("video", model, device.address)

    def _rng(self, device: Device) -> None:
        if device.kind != "virtio":
            self.notes.append(f"rng {device.kind} is not supported, virtio is used")
        source = device.name if device.name.startswith("/dev/") else "/dev/urandom"
        if source == "/dev/hwrng":
            self.notes.append("rng: /dev/urandom is used instead of /dev/hwrng")
            source = "/dev/urandom"
        number = sum(name.startswith("rng") for name in self._layout.made)
        self._layout.made.add(f"rng{number}")
        backend = f"rng-random,id=rngsource{number},filename={escape(source)}"
        model = f"virtio-rng-pci,id=rng{number},rng=rngsource{number}"
        if device.options.get("bytes"):
            model += f",max-bytes={device.options['bytes']}"
            model += f",period={device.options.get('period', _RNG_PERIOD_MS)}"
        self._layout.place(["-object", backend, "-device", model], device.address)

    def _balloon(self, device: Device) -> None:
        if device.kind != "none":
            model = _BALLOONS.get(device.kind, "virtio-balloon-pci")
            self._layout.once("balloon0", model, device.address)

    def _watchdog(self, device: Device) -> None:
        if device.kind not in ("i6300esb", "ib700"):
            self.notes.append(f"watchdog {device.kind} is left out")
            return
        action = _WATCHDOG_ACTIONS.get(device.action or "reset", "")
        if not action:
            self.notes.append(f"watchdog action {device.action} is not QEMU's, reset is used")
            action = "reset"
        self._layout.place(
            ["-action", f"watchdog={action}", "-device", f"{device.kind},id=watchdog0"],
            device.address if device.kind == "i6300esb" else None,
        )

    def _input(self, device: Device) -> None:
        if device.kind == "tablet" and device.name == "usb" and "usb" in self._layout.made:
            self._layout.place(["-device", "usb-tablet,bus=usb.0"])
        elif device.kind not in ("mouse", "keyboard"):
            self.notes.append(f"input {device.kind} {device.name} is left out")

    def _panic(self, device: Device) -> None:
        if device.kind in ("", "isa") and "pvpanic" in self._qemu.devices:
            self._layout.once("panic0", "pvpanic")
        else:
            self.notes.append(f"panic device {device.kind} is left out")

    def _tpm(self, device: Device) -> None:
        if device.kind not in _TPM_MODELS or device.name not in ("emulator", "emulator 2.0"):
            raise UnsupportedDevice(f"device <tpm> {device.kind} {device.name} is not supported")
        if device.kind not in self._qemu.devices:
            raise UnsupportedDevice(f"device <tpm> {device.kind} is not in this QEMU")
        if not self._placement.tpm_socket:
            raise UnsupportedDevice(f"device <tpm> {device.kind} needs swtpm, not installed here")
        socket = escape(self._placement.tpm_socket)
        self._layout.place(
            [
                *("-chardev", f"socket,id=chrtpm,path={socket}"),
                *("-tpmdev", "emulator,id=tpm0,chardev=chrtpm"),
                *("-device", f"{device.kind},tpmdev=tpm0,id=tpm0-device"),
            ]
        )

    def _graphics(self, device: Device) -> None:
        if device.kind != "vnc":
            self.notes.append(f"graphics {device.kind} is left out")
