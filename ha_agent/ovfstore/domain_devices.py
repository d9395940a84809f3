# SPDX-License-Identifier: Apache-2.0
"""The `<devices>` of a domain made from the OVF: one function for each kind of device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import (
    BLANK_UUID,
    DRIVER_TYPES,
    DUMMY_BRIDGE,
    DisplayType,
    NicModel,
)
from ha_agent.ovfstore.domain_parts import PlacedDisk, Plan, add
from ha_agent.ovfstore.engine_xml import VNC_PASSWORD, VNC_PASSWORD_VALID_TO, add_lease
from ha_agent.ovfstore.model import Device, Nic

_CHANNELS = ("ovirt-guest-agent.0", "org.qemu.guest_agent.0")
_RNG_DEVICES = {"urandom": "/dev/urandom", "random": "/dev/random", "hwrng": "/dev/hwrng"}
_VIRTIO_SERIAL_PORTS = "16"


def build(plan: Plan, devices: etree._Element, display_network: Optional[str]) -> None:
    """Write all devices of the plan's VM, the lease at last."""
    vm = plan.vm
    if vm.graphics:
        add(devices, "input", type="tablet", bus="usb")
    for name in _CHANNELS:
        channel = add(devices, "channel", type="unix")
        add(channel, "target", type="virtio", name=name)
        path = f"/var/lib/libvirt/qemu/channels/{vm.uuid}.{name}"
        add(channel, "source", mode="bind", path=path)
    _controllers(plan, devices)
    _graphics(plan, devices, display_network)
    _simple_devices(plan, devices)
    for nic in vm.nics:
        if nic.is_plugged:
            _nic(plan, devices, nic)
    _cdroms(plan, devices)
    for disk in plan.disks:
        _disk(plan, devices, disk)
    engine_disk = plan.engine_disk
    if engine_disk.disk.volume_uuid is not None:
        add_lease(devices, engine_disk.disk.volume_uuid, engine_disk.storage_domain_uuid)


def _controllers(plan: Plan, devices: etree._Element) -> None:
    counts: dict[str, int] = {}
    for device in plan.vm.controllers:
        kind, model = device.device, device.spec("model")
        if kind == "virtio-scsi":
            kind, model = "scsi", "virtio-scsi"
        if kind == "ide" and plan.vm.is_q35:
            plan.note("the IDE controller is left out: a q35 machine has none")
            continue
        number = counts.get(kind, 1 if kind == "pci" else 0)
        index = device.spec("index") or ""
        if not (index.isascii() and index.isdigit() and len(index) <= 4):
            index = str(number)
        counts[kind] = max(number, int(index)) + 1
        element = add(devices, "controller", type=kind, index=index)
        if model:
            element.set("model", model)
        if kind == "virtio-serial":
            element.set("ports", device.spec("ports") or _VIRTIO_SERIAL_PORTS)
        plan.put_address(element, device.address, "pci", f"the {kind} controller {index}")
    if any(disk.bus == "scsi" for disk in plan.disks) and "scsi" not in counts:
        add(devices, "controller", type="scsi", index="0", model="virtio-scsi")


def _graphics(plan: Plan, devices: etree._Element, display_network: Optional[str]) -> None:
    vm = plan.vm
    if not vm.graphics:
        return
    networks = [nic.network for nic in vm.nics if nic.network]
    network = display_network or (networks[0] if networks else "ovirtmgmt")
    if any(device.device == "spice" for device in vm.graphics):
        # QEMU of Enterprise Linux 9 has no SPICE; an engine with a VNC console beats none.
        plan.note("the console is VNC, not SPICE")
    graphics = add(
        devices,
        "graphics",
        type="vnc",
        port="-1",
        autoport="yes",
        passwd=VNC_PASSWORD,
        passwdValidTo=VNC_PASSWORD_VALID_TO,
        keymap=vm.vnc_keyboard_layout or "en-us",
    )
    add(graphics, "listen", type="network", network=f"vdsm-{network}")
    default = vm.display_type
    if default is None or default is DisplayType.NONE:
        default = DisplayType.VGA
    videos = vm.videos or (Device("", 20, "video", default.video_model),)
    for video in videos:
        model = video.device
        if model == "qxl":
            model = "vga"
            plan.note("the video card is vga, not qxl, which belongs to SPICE")
        element = add(devices, "video")
        attributes = {"type": model, "heads": "1"}
        vram_kib = video.spec("vram")
        if vram_kib and vram_kib.isdigit() and model != "cirrus":
            attributes["vram"] = vram_kib
        add(element, "model", **attributes)
        plan.put_address(element, video.address, "pci", "the video card")


def _rng(plan: Plan, devices: etree._Element, device: Device) -> None:
    rng = add(devices, "rng", model="virtio")
    if device.spec("bytes"):
        rate = add(rng, "rate", bytes=device.spec("bytes") or "")
        if device.spec("period"):
            rate.set("period", device.spec("period") or "")
    source = device.spec("source") or "urandom"
    add(rng, "backend", _RNG_DEVICES.get(source, "/dev/urandom"), model="random")
    plan.put_address(rng, device.address, "pci", "the random number generator")


def _console(plan: Plan, devices: etree._Element, device: Device) -> None:
    console = add(devices, "console", type="pty")
    kind = "serial" if device.spec("consoleType") == "serial" else "virtio"
    add(console, "target", type=kind, port="0")
    _alias(console, device.device_uuid)
    if device.address:
        plan.note("the console's address is left to libvirt")


def _balloon(plan: Plan, devices: etree._Element, device: Device) -> None:
    balloon = add(devices, "memballoon", model=device.spec("model") or "virtio")
    add(balloon, "stats", period="5")
    plan.put_address(balloon, device.address, "pci", "the memory balloon")


def _tpm(plan: Plan, devices: etree._Element, _device: Device) -> None:
    if not plan.vm.bios_type.is_uefi:
        plan.note("the TPM is left out: it needs UEFI")
        return
    tpm = add(devices, "tpm", model="tpm-crb")
    add(tpm, "backend", type="emulator", version="2.0")
    plan.note("the TPM starts empty: its data is not in the OVF")


_BUILDERS: dict[str, Callable[[Plan, etree._Element, Device], None]] = {
    "rng": _rng,
    "console": _console,
    "balloon": _balloon,
    "tpm": _tpm,
}
# Kinds written elsewhere in this module; channels always are the two that VDSM talks through.
_ELSEWHERE = ("controller", "graphics", "video", "channel")


def _simple_devices(plan: Plan, devices: etree._Element) -> None:
    has_balloon = False
    for device in plan.vm.devices:
        if not device.is_plugged or device in plan.vm.cdroms or device.kind in _ELSEWHERE:
            continue
        builder = _BUILDERS.get(device.kind)
        if builder is None:
            plan.note(f"device {device.kind} {device.device} is not built from the OVF")
            continue
        if device.kind == "balloon" and not plan.vm.has_balloon:
            continue
        has_balloon = has_balloon or device.kind == "balloon"
        builder(plan, devices, device)
    if not has_balloon:
        # libvirt would add one by itself.
        add(devices, "memballoon", model="none")


def _nic(plan: Plan, devices: etree._Element, nic: Nic) -> None:
    interface = add(devices, "interface", type="bridge")
    if nic.mac:
        add(interface, "mac", address=nic.mac)
    else:
        plan.note(f"NIC {nic.name} has no MAC address in the OVF: libvirt makes one at each start")
    if nic.model is NicModel.PCI_PASSTHROUGH:
        plan.note(f"NIC {nic.name} is a virtio NIC, not a passed-through device of one host")
    add(interface, "model", type=nic.model.libvirt_model)
    add(interface, "source", bridge=nic.network or DUMMY_BRIDGE)
    is_up = nic.is_linked and nic.network is not None
    add(interface, "link", state="up" if is_up else "down")
    plan.put_boot(interface, nic)
    _alias(interface, nic.device_uuid)
    plan.put_address(interface, nic.address, "pci", f"NIC {nic.name}")


def _cdroms(plan: Plan, devices: etree._Element) -> None:
    for cdrom in plan.cdroms:
        element = add(devices, "disk", type="file", device="cdrom", snapshot="no")
        add(element, "driver", name="qemu", type="raw", error_policy="report")
        # VDSM needs the element even for an empty drive; libvirt wants no empty file in it.
        add(element, "source", startupPolicy="optional")
        add(element, "target", dev=cdrom.target, bus=cdrom.bus)
        add(element, "readonly")
        plan.put_boot(element, cdrom)
        _alias(element, cdrom.device.device_uuid)
        plan.put_address(element, cdrom.device.address, cdrom.bus, f"the CD-ROM {cdrom.target}")


def _disk(plan: Plan, devices: etree._Element, placed: PlacedDisk) -> None:
    """Write a disk; VDSM replaces path and type by what preparing the image gives it."""
    disk = placed.disk
    is_lun = disk.volume_uuid is None
    kind = "block" if is_lun else "file"
    element = add(devices, "disk", type=kind, device="disk", snapshot="no")
    driver = add(
        element,
        "driver",
        name="qemu",
        type="raw" if is_lun else DRIVER_TYPES[disk.volume_format],
        cache="none",
        error_policy="stop",
        io="native" if is_lun else "threads",
    )
    if disk.passes_discard:
        driver.set("discard", "unmap")
    if is_lun:
        add(element, "source", dev=f"/dev/mapper/{disk.lun_id}")
    else:
        path = f"/rhev/data-center/{BLANK_UUID}/{placed.storage_domain_uuid}/images"
        add(element, "source", file=f"{path}/{disk.image_uuid}/{disk.volume_uuid}")
    add(element, "target", dev=placed.target, bus=placed.bus)
    if disk.is_read_only:
        add(element, "readonly")
    if disk.is_shareable and placed is not plan.engine_disk:
        add(element, "shareable")
    plan.put_boot(element, placed)
    _alias(element, disk.image_uuid)
    plan.put_address(element, disk.address, placed.bus, f"disk {placed.target}")
    add(element, "serial", disk.image_uuid)


def _alias(parent: etree._Element, device_uuid: str) -> None:
    """Name a device as the engine does: by `ua-` and its uuid."""
    if device_uuid:
        add(parent, "alias", name=f"ua-{device_uuid}")
