# SPDX-License-Identifier: Apache-2.0
"""The `<devices>` of a domain made from the OVF, and those of its kinds that need few words.

What needs SPICE is left out, because QEMU of Enterprise Linux 9 has none; so is what belongs to
one host (passed-through devices), because the engine VM starts on any.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import DisplayType
from ha_agent.ovfstore.domain_controllers import (
    has_usb,
    put_controllers,
    put_missing_ports,
)
from ha_agent.ovfstore.domain_disks import put_cdroms, put_disks
from ha_agent.ovfstore.domain_nics import bridge_of, put_nics
from ha_agent.ovfstore.domain_parts import Plan, add, whole_number
from ha_agent.ovfstore.engine_xml import VNC_PASSWORD, VNC_PASSWORD_VALID_TO, add_lease
from ha_agent.ovfstore.model import Device, VmDefinition

_CHANNELS = ("ovirt-guest-agent.0", "org.qemu.guest_agent.0")
_MANAGEMENT_NETWORK = "ovirtmgmt"
_KEYMAP = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_RNG_DEVICES = {"urandom": "/dev/urandom", "random": "/dev/random", "hwrng": "/dev/hwrng"}
_VIDEO_MODELS = ("vga", "cirrus", "bochs", "virtio")
_SOUND_MODELS = ("ich6", "ich9")
_WATCHDOG_ACTIONS = ("reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi")
_BALLOON_MODELS = ("virtio", "virtio-transitional", "virtio-non-transitional")
_MOST = 2**32 - 1
_LEAST_VRAM_KIB = 1024


def build(plan: Plan, devices: etree._Element, display_network: Optional[str]) -> None:
    """Write all devices of the plan's VM, the leases at last."""
    vm = plan.vm
    if vm.graphics and has_usb(vm):
        add(devices, "input", type="tablet", bus="usb")
    for name in _CHANNELS:
        channel = add(devices, "channel", type="unix")
        add(channel, "target", type="virtio", name=name)
        path = f"/var/lib/libvirt/qemu/channels/{vm.uuid}.{name}"
        add(channel, "source", mode="bind", path=path)
    put_controllers(plan, devices)
    _graphics(plan, devices, display_network)
    _videos(plan, devices)
    _simple_devices(plan, devices)
    put_nics(plan, devices)
    put_cdroms(plan, devices)
    put_disks(plan, devices)
    put_missing_ports(plan, devices)
    engine_disk = plan.engine_disk
    add_lease(devices, engine_disk.disk.volume_uuid or "", engine_disk.storage_domain_uuid)
    if vm.lease_domain_uuid:
        # Its path and offset are in the engine's database; VDSM fills in those of volumes only.
        plan.note("the VM's own lease is left out: where it is, is not in the OVF; its boot disk's"
                  " lease is taken")  # fmt: skip


def has_serial_console(vm: VmDefinition) -> bool:
    """Tell whether the VM's text console is a serial port."""
    return any(console.spec("consoleType") == "serial" for console in vm.consoles[:1])


def _graphics(plan: Plan, devices: etree._Element, display_network: Optional[str]) -> None:
    vm = plan.vm
    if not vm.graphics:
        return
    bridges = [bridge_of(nic) for nic in vm.nics if nic.is_plugged and bridge_of(nic)]
    network = display_network or (bridges[0] if bridges else _MANAGEMENT_NETWORK)
    if any(device.device == "spice" for device in vm.graphics):
        # An engine with a VNC console beats none.
        plan.note("the console is VNC, not SPICE")
    keymap = vm.vnc_keyboard_layout or "en-us"
    if not _KEYMAP.fullmatch(keymap):
        plan.note(f"the keyboard of the console is en-us: {keymap!r} is none")
        keymap = "en-us"
    graphics = add(
        devices,
        "graphics",
        type="vnc",
        port="-1",
        autoport="yes",
        passwd=VNC_PASSWORD,
        passwdValidTo=VNC_PASSWORD_VALID_TO,
        keymap=keymap,
    )
    add(graphics, "listen", type="network", network=f"vdsm-{network}")


def _videos(plan: Plan, devices: etree._Element) -> None:
    """Write the first video card: only one can be the console's, and SPICE alone has more."""
    vm = plan.vm
    videos = vm.videos
    if not videos and vm.graphics:
        default = vm.display_type
        if default is None or default is DisplayType.NONE:
            default = DisplayType.VGA
        videos = (Device("", 20, "video", default.video_model),)
    for video in videos[1:]:
        plan.note(f"video card {video.device} is left out: there is one already")
    for video in videos[:1]:
        model = video.device
        if model == "qxl":
            model = "vga"
            plan.note("the video card is vga, not qxl, which belongs to SPICE")
        elif model not in _VIDEO_MODELS:
            plan.note(f"the video card is vga, not {model or 'nameless'}")
            model = "vga"
        element = add(devices, "video")
        attributes = {"type": model, "heads": "1"}
        vram_kib = whole_number(video.spec("vram"), _LEAST_VRAM_KIB, _MOST)
        if vram_kib is not None and model in ("vga", "bochs"):
            attributes["vram"] = str(vram_kib)
        add(element, "model", **attributes)
        plan.put_alias(element, video.device_uuid)
        plan.addresses.put_pci(element, video.address, "the video card")


def _rng(plan: Plan, devices: etree._Element, device: Device) -> None:
    rng = add(devices, "rng", model="virtio")
    rate_bytes = whole_number(device.spec("bytes"), 1, _MOST)
    if rate_bytes is not None:
        rate = add(rng, "rate", bytes=str(rate_bytes))
        period = whole_number(device.spec("period"), 1, _MOST)
        if period is not None:
            rate.set("period", str(period))
    source = device.spec("source") or "urandom"
    if source not in _RNG_DEVICES:
        plan.note(f"the random number generator reads urandom, not {source!r}")
    add(rng, "backend", _RNG_DEVICES.get(source, "/dev/urandom"), model="random")
    plan.put_alias(rng, device.device_uuid)
    plan.addresses.put_pci(rng, device.address, "the random number generator")


def _console(plan: Plan, devices: etree._Element, device: Device) -> None:
    if (device.spec("enableSocket") or "").lower() == "true":
        console = add(devices, "console", type="unix")
        path = f"/var/run/ovirt-vmconsole-console/{plan.vm.uuid}.sock"
        add(console, "source", mode="bind", path=path)
    else:
        console = add(devices, "console", type="pty")
    kind = "serial" if device.spec("consoleType") == "serial" else "virtio"
    add(console, "target", type=kind, port="0")
    plan.put_alias(console, device.device_uuid)
    if device.address:
        plan.note("the console's address is left to libvirt")


def _balloon(plan: Plan, devices: etree._Element, device: Device) -> None:
    model = device.spec("model") or "virtio"
    if model not in _BALLOON_MODELS:
        plan.note(f"the memory balloon is a virtio one, not {model!r}")
        model = "virtio"
    balloon = add(devices, "memballoon", model=model)
    add(balloon, "stats", period="5")
    plan.put_alias(balloon, device.device_uuid)
    plan.addresses.put_pci(balloon, device.address, "the memory balloon")


def _tpm(plan: Plan, devices: etree._Element, device: Device) -> None:
    if not plan.vm.bios_type.is_uefi:
        plan.note("the TPM is left out: it needs UEFI")
        return
    tpm = add(devices, "tpm", model="tpm-crb")
    add(tpm, "backend", type="emulator", version="2.0")
    plan.put_alias(tpm, device.device_uuid)
    has_data = "tpm" in dict(plan.vm.external_data)
    reason = "VDSM is not given the data in the OVF" if has_data else "its data is not in the OVF"
    plan.note(f"the TPM starts empty: {reason}")


def _watchdog(plan: Plan, devices: etree._Element, device: Device) -> None:
    model = device.spec("model") or device.device or "i6300esb"
    if model != "i6300esb" and (model != "ib700" or plan.is_q35):
        plan.note(f"watchdog {model!r} is left out: this machine has none of that model")
        return
    action = device.spec("action") or "none"
    if action not in _WATCHDOG_ACTIONS:
        plan.note(f"the watchdog does nothing: {action!r} is no action")
        action = "none"
    watchdog = add(devices, "watchdog", model=model, action=action)
    plan.put_alias(watchdog, device.device_uuid)
    if model == "i6300esb":
        plan.addresses.put_pci(watchdog, device.address, "the watchdog")


def _sound(plan: Plan, devices: etree._Element, device: Device) -> None:
    if device.device not in _SOUND_MODELS:
        plan.note(f"sound card {device.device!r} is left out: QEMU of the hosts has ich6 and ich9")
        return
    sound = add(devices, "sound", model=device.device)
    plan.put_alias(sound, device.device_uuid)
    plan.addresses.put_pci(sound, device.address, "the sound card")


_BUILDERS: dict[str, Callable[[Plan, etree._Element, Device], None]] = {
    "rng": _rng,
    "console": _console,
    "balloon": _balloon,
    "tpm": _tpm,
    "watchdog": _watchdog,
    "sound": _sound,
}
# What libvirt takes once.
_SINGLE = ("console", "balloon", "tpm", "watchdog")
# Kinds written elsewhere; channels always are the two that VDSM talks through.
_ELSEWHERE = ("controller", "graphics", "video", "channel")
_REASONS = {
    "smartcard": "it needs SPICE",
    "redir": "it needs SPICE",
    "redirdev": "it needs SPICE",
    "hostdev": "it belongs to one host, and the engine VM starts on any",
    "mdev": "it belongs to one host, and the engine VM starts on any",
    "memory": "its memory is in the VM's",
}


def _simple_devices(plan: Plan, devices: etree._Element) -> None:
    vm = plan.vm
    seen = set()
    for device in vm.devices:
        if not device.is_plugged or device.kind in _ELSEWHERE:
            continue
        if device.kind == "disk" and device.device == "cdrom":
            continue
        builder = _BUILDERS.get(device.kind)
        what = f"device {device.kind} {device.device}".rstrip()
        if builder is None:
            plan.note(f"{what} is left out: {_REASONS.get(device.kind, 'no such kind is built')}")
        elif device.kind in _SINGLE and device.kind in seen:
            plan.note(f"{what} is left out: there is one already")
        else:
            seen.add(device.kind)
            builder(plan, devices, device)
    if vm.has_smartcard and "smartcard" not in {device.kind for device in vm.devices}:
        plan.note("the smartcard is left out: it needs SPICE")
    if "balloon" not in seen:
        # libvirt would add one by itself.
        add(devices, "memballoon", model="none")
