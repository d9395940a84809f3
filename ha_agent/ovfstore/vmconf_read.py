# SPDX-License-Identifier: Apache-2.0
"""A vm.conf to a VmDefinition, for hosts that still have no OVF, and what it does not say.

A vm.conf is what the predecessor's set-up wrote before the engine knew its own VM. It has less
than an OVF: what had to be made up, and each field that nothing here uses, is told of in a
sentence (facts/ovf-and-volumes.md, end of section 3). What means something and can't be converted
is a BadInput. The machine decides what fits it: a CD-ROM drive or disk that is IDE becomes SATA
on a q35 machine, which has no IDE.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Optional

from ha_agent.ovfstore.codes import BOOT_SEQUENCES, BiosType, DisplayType, Origin, ResourceType
from ha_agent.ovfstore.model import Device, NumaNode, Pairs, VmDefinition
from ha_agent.ovfstore.vmconf_devices import DevicesRead, read_devices
from ha_agent.ovfstore.vmconf_fields import ConfFields
from ha_agent.ovfstore.vmconf_grammar import Value, VmConf, is_xml_text

DEFAULT_NAME = "HostedEngine"
CUSTOM_PREFIX = "custom_"
_DISPLAYS = {"vnc": DisplayType.VGA, "qxl": DisplayType.QXL, "qxlnc": DisplayType.QXL}
_VIDEO_DISPLAYS = {display.video_model: display for display in DisplayType}
# Before VDSM's version 3.0 a VM's interfaces were three lists; no hosted engine is that old.
_OLD_NIC_KEYS = ("nicModel", "macAddr", "network", "bridge")
_REPEATABLE_KEYS = ("devices", "drive", "guestNumaNodes", "cdrom", "hda", "hdb", "hdc", "hdd")
_CPU_LIMIT = 4096
_CPU_NUMBER = re.compile(r"[0-9]{1,4}")
_CPU_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
_HOST_CPUS = re.compile(r"[0-9^-]+")

_INVENTED = (
    "not in a vm.conf: cluster compatibility version, OVF version, template and dates are left"
    " out; OS type is taken as other_linux, Origin as 6 (managed hosted engine), delete"
    " protection as off"
)


def definition_from_vm_conf(
    conf: VmConf, *, storage_domain_uuid: Optional[str] = None, where: str
) -> tuple[VmDefinition, tuple[str, ...]]:
    """Return the definition, and sentences on what was made up, changed or not used.

    `storage_domain_uuid` is the hosted engine's domain, for disks whose line names none.
    `engine_xml` is what xmlBase64 holds; without it a start builds its domain XML from the
    fields. Raises BadInput with file, line and field for what can't be converted.
    """
    lines = {entry.key: entry.line for entry in conf.entries}
    values: dict[str, Value] = {
        entry.key: entry.value
        for entry in conf.entries
        if entry.key not in _REPEATABLE_KEYS and not entry.key.startswith(CUSTOM_PREFIX)
    }
    fields = ConfFields(values, what="", where=where, lines=lines)
    vm_uuid = fields.uuid("vmId")
    if vm_uuid is None:
        raise fields.bad("is missing, or has no value", "vmId")
    for key in _OLD_NIC_KEYS:
        if fields.text(key) is not None:
            raise fields.bad("a network interface outside of devices= can't be converted", key)
    machine = fields.text("emulatedMachine")
    is_q35 = machine is not None and "q35" in machine
    found = read_devices(conf, is_q35=is_q35, storage_domain_uuid=storage_domain_uuid, where=where)
    notes = found.notes
    bios_type = BiosType.Q35_SEA_BIOS if is_q35 else BiosType.I440FX_SEA_BIOS
    notes.append(f"BIOS type is taken as {bios_type.name}, from the machine type; UEFI is unknown")
    sockets, cores, threads, max_vcpus = _processors(fields, notes)
    memory_mib = fields.number("memSize", lowest=1)
    if memory_mib is None:
        raise fields.bad("is missing, or has no value", "memSize")
    display_type = _display(fields, found)
    vm = VmDefinition(
        uuid=vm_uuid,
        name=_name(fields, notes),
        memory_mib=memory_mib,
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        max_vcpus=max_vcpus,
        max_memory_mib=fields.number("maxMemSize", lowest=1),
        min_memory_mib=fields.number("memGuaranteedSize"),
        cpu_model=fields.text("cpuType"),
        emulated_machine=machine,
        bios_type=bios_type,
        display_type=display_type,
        origin=Origin.MANAGED_HOSTED_ENGINE,
        vnc_keyboard_layout=fields.text("keyboardLayout"),
        has_balloon=_has_balloon(found),
        starts_paused=fields.flag("launchPaused", False),
        boot_sequence=_boot_sequence(fields),
        cpu_pinning=_cpu_pinning(fields),
        user_properties=_custom_properties(conf, fields),
        disks=tuple(found.disks),
        nics=tuple(found.nics),
        devices=tuple(found.devices),
        numa_nodes=_numa(conf, where, notes),
        engine_xml=_domain_xml(fields, notes),
        kernel_path=fields.text("kernel"),
        initrd_path=fields.text("initrd"),
        kernel_arguments=fields.text("kernelArgs"),
    )
    notes.append(_INVENTED)
    if not any(device.kind == "balloon" for device in vm.devices):
        notes.append("there is no balloon device: the balloon is taken as on")
    notes.extend(f"not used: {text}" for text in fields.unused())
    return vm, tuple(notes)


def _name(fields: ConfFields, notes: list[str]) -> str:
    name = fields.text("vmName")
    if name is None:
        notes.append(f"vmName is missing: the VM is named {DEFAULT_NAME}")
        return DEFAULT_NAME
    return name


def _processors(fields: ConfFields, notes: list[str]) -> tuple[int, int, int, int]:
    """Return sockets, cores, threads, and the maximum of virtual CPUs."""
    vcpus = fields.number("smp", lowest=1)
    if vcpus is None:
        notes.append("smp is missing: the VM has 1 virtual CPU")
        vcpus = 1
    cores = fields.number("smpCoresPerSocket", lowest=1) or 1
    threads = fields.number("smpThreadsPerCore", lowest=1) or 1
    if vcpus % (cores * threads):
        raise fields.bad(f"{vcpus} is no multiple of {cores} cores by {threads} threads", "smp")
    maximum = fields.number("maxVCpus", lowest=1) or vcpus
    if maximum < vcpus:
        notes.append(f"maxVCpus is {vcpus} as smp, not {maximum}")
        maximum = vcpus
    return vcpus // (cores * threads), cores, threads, maximum


def _display(fields: ConfFields, found: DevicesRead) -> Optional[DisplayType]:
    """Return the display; a file that names one and has no device for it gets the device."""
    kinds = [device.kind for device in found.devices]
    name = fields.text("display")
    if name is not None:
        display = fields.choice("display", _DISPLAYS, DisplayType.VGA)
        if "graphics" not in kinds:
            device = "spice" if display is DisplayType.QXL else "vnc"
            found.devices.append(Device("", ResourceType.GRAPHICS, "graphics", device))
            found.notes.append(f"a graphics device {device} is added, from display={name}")
        return display
    if "graphics" not in kinds:
        return None
    video = next((item.device for item in found.devices if item.kind == "video"), "vga")
    display = _VIDEO_DISPLAYS.get(video, DisplayType.VGA)
    # `display` itself knows two; the same two are kept here.
    display = DisplayType.QXL if display is DisplayType.QXL else DisplayType.VGA
    found.notes.append(f"display is missing: taken as {display.name}")
    return display


def _has_balloon(found: DevicesRead) -> bool:
    balloons = [device for device in found.devices if device.kind == "balloon"]
    return not balloons or any(device.spec("model") != "none" for device in balloons)


def _boot_sequence(fields: ConfFields) -> Optional[int]:
    text = fields.text("boot")
    if text is None:
        return None
    sequence = text.upper()
    if sequence not in BOOT_SEQUENCES or text != text.lower():
        raise fields.bad(f"{text[:40]!r} is no known boot sequence", "boot")
    return BOOT_SEQUENCES.index(sequence)


def _cpu_pinning(fields: ConfFields) -> Optional[str]:
    parts = []
    for vcpu, cpus in fields.group("cpuPinning").items():
        is_text = isinstance(cpus, str) and _HOST_CPUS.fullmatch(cpus)
        if not is_text or _CPU_NUMBER.fullmatch(vcpu) is None:
            raise fields.bad(f"virtual CPU {vcpu[:20]!r} has no usable set of CPUs", "cpuPinning")
        parts.append(f"{vcpu}#{cpus}")
    return "_".join(parts) or None


def _custom_properties(conf: VmConf, fields: ConfFields) -> Pairs:
    pairs: dict[str, str] = {}
    for entry in conf.entries:
        if entry.key.startswith(CUSTOM_PREFIX) and isinstance(entry.value, str):
            name = entry.key[len(CUSTOM_PREFIX) :]
            fields.check_property(name, entry.value)
            pairs[name] = entry.value
    return tuple(pairs.items())


def _numa(conf: VmConf, where: str, notes: list[str]) -> tuple[NumaNode, ...]:
    cells = []
    used: set[int] = set()
    for entry in conf.all("guestNumaNodes"):
        value: Mapping[str, Value] = {} if isinstance(entry.value, str) else entry.value
        fields = ConfFields(value, what="guestNumaNodes", where=where, line=entry.line)
        index, memory_mib = fields.number("nodeIndex"), fields.number("memory", lowest=1)
        cpus = _CPU_RANGE.fullmatch(fields.text("cpus") or "")
        if index is None or memory_mib is None or cpus is None:
            raise fields.bad("nodeIndex, memory (MiB) and cpus (a number or a range) are needed")
        first, last = int(cpus[1]), int(cpus[2] or cpus[1])
        if not first <= last < _CPU_LIMIT:
            raise fields.bad(f"{cpus[0]} is no range of CPUs below {_CPU_LIMIT}", "cpus")
        here = range(first, last + 1)
        if not used.isdisjoint(here):
            raise fields.bad(f"a virtual CPU of {cpus[0]} is in another line as well", "cpus")
        used.update(here)
        cells.append(NumaNode(index, tuple(here), memory_mib))
        notes.extend(f"line {entry.line}: not used: {text}" for text in fields.unused())
    return tuple(cells)


def _domain_xml(fields: ConfFields, notes: list[str]) -> Optional[str]:
    encoded = fields.text("xmlBase64")
    if encoded is None:
        notes.append("there is no xmlBase64: a start builds the domain XML from the fields here")
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise fields.bad(f"is not base64 of UTF-8 text: {error}", "xmlBase64") from None
    if not is_xml_text(text):
        raise fields.bad("holds a character that XML does not allow", "xmlBase64")
    return text
