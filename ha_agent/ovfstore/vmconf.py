# SPDX-License-Identifier: Apache-2.0
"""A VmDefinition to the text of /var/run/ovirt-hosted-engine-ha/vm.conf.

Nothing starts from this file any more: VDSM takes domain XML only. It is kept written because
VDSM's `hostedengine` hook reads `vmId=` from it at each start, to set the engine VM's on_reboot
and its set-up channel, and because old tools look into it (facts/ovf-and-volumes.md, 2.3 and 3).

The file is written so that every reader of it agrees on it: `vmId` first, no blanks, each key
once but `devices`. What its grammar (vmconf_grammar.py) can't carry is left out rather than
written wrong: a name with blanks or `#`, a device's value with a comma or braces. Reading it back
(vmconf_read.py) gives what a vm.conf can say of the VM; reading and writing that again changes
nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Optional

from ha_agent.ovfstore.codes import (
    BLANK_UUID,
    BOOT_SEQUENCES,
    DiskInterface,
    DisplayType,
    NicModel,
)
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, Pairs, VmDefinition
from ha_agent.ovfstore.vmconf_grammar import SIZE_LIMIT_BYTES, Value, is_carried, nested_text
from ha_agent.ovfstore.vmconf_read import CUSTOM_PREFIX

_NIC_MODELS = {
    NicModel.RTL8139_PV: "rtl8139_pv",
    NicModel.RTL8139: "rtl8139",
    NicModel.E1000: "e1000",
    NicModel.PV: "pv",
    NicModel.SPAPR_VLAN: "spaprVlan",
    NicModel.PCI_PASSTHROUGH: "pciPassthrough",
    NicModel.E1000E: "e1000e",
}
_PINNED_CPU = re.compile(r"([0-9]{1,4})#([0-9^-]+)")
_CONTROLLER_PARAMETERS = ("index", "model", "ports")
# The rest of the file is far smaller than what this leaves of its limit.
_XML_LIMIT_CHARACTERS = SIZE_LIMIT_BYTES // 2


def vm_conf_text(vm: VmDefinition, domain_xml: Optional[str] = None) -> str:
    """Return the file's text: `key=value` lines, memory in MiB, `vmId` first.

    `domain_xml` goes into xmlBase64, where old tools look for it; one over 384 KiB is left out.
    """
    has_graphics = any(device.kind == "graphics" for device in vm.devices)
    lines: list[tuple[str, Optional[str]]] = [
        ("vmId", vm.uuid),
        ("memSize", str(vm.memory_mib)),
        ("maxMemSize", _number(vm.max_memory_mib, usual=0)),
        ("memGuaranteedSize", _number(vm.min_memory_mib)),
        ("vmName", vm.name),
        ("smp", str(vm.vcpus)),
        ("smpCoresPerSocket", _number(vm.cores_per_socket, usual=1)),
        ("smpThreadsPerCore", _number(vm.threads_per_core, usual=1)),
        ("maxVCpus", str(vm.max_vcpus)),
        ("cpuType", "hostPassthrough" if vm.uses_host_cpu else vm.cpu_model),
        ("emulatedMachine", vm.emulated_machine),
        ("display", _display(vm) if has_graphics else None),
        ("keyboardLayout", vm.vnc_keyboard_layout),
        ("boot", _boot(vm)),
        ("launchPaused", "true" if vm.starts_paused else None),
        ("kernel", vm.kernel_path),
        ("initrd", vm.initrd_path),
        ("kernelArgs", vm.kernel_arguments),
        ("cpuPinning", _cpu_pinning(vm.cpu_pinning)),
    ]
    # A reader takes the text `None` for no value: the predecessor wrote that.
    said = [(key, value) for key, value in lines if value and value != "None"]
    texts = [f"{key}={value}" for key, value in said if is_carried(value)]
    texts.extend(_devices(vm))
    texts.extend(_numa(vm.numa_nodes))
    for name, value in vm.custom_properties.items():
        if name and "=" not in name and is_carried(name) and is_carried(value):
            texts.append(f"{CUSTOM_PREFIX}{name}={value}")
    encoded = base64.b64encode((domain_xml or "").encode("utf-8")).decode("ascii")
    if 0 < len(encoded) <= _XML_LIMIT_CHARACTERS:
        texts.append(f"xmlBase64={encoded}")
    return "".join(text + "\n" for text in texts)


def _number(value: Optional[int], *, usual: Optional[int] = None) -> Optional[str]:
    return None if value == usual or value is None else str(value)


def _display(vm: VmDefinition) -> str:
    return "qxl" if vm.display_type is DisplayType.QXL else "vnc"


def _boot(vm: VmDefinition) -> Optional[str]:
    number = vm.boot_sequence
    if number is None or not 0 <= number < len(BOOT_SEQUENCES):
        return None
    return BOOT_SEQUENCES[number].lower()


def _cpu_pinning(text: Optional[str]) -> Optional[str]:
    """Return the pinning in braces; none when a set has a comma, which can't stand there."""
    pinned = [_PINNED_CPU.fullmatch(part) for part in text.split("_")] if text else []
    fields: dict[str, Value] = {found[1]: found[2] for found in pinned if found is not None}
    return nested_text(fields) if fields and len(fields) == len(pinned) else None


def _devices(vm: VmDefinition) -> Iterator[str]:
    places = {id(disk): index for index, disk in enumerate(vm.disks_in_boot_order())}
    for disk in vm.disks:
        # A line of a disk that does not say which one is a fault of the whole file, too.
        name = disk.volume_uuid or disk.lun_id or ""
        if id(disk) in places and name not in ("", "None") and is_carried(name, nested=True):
            yield f"devices={nested_text(_disk(disk, places[id(disk)]))}"
    for nic in vm.nics:
        if nic.is_plugged:
            yield f"devices={nested_text(_nic(nic))}"
    for device in vm.devices:
        # Without its type a device is a fault of the whole file.
        if device.is_plugged and device.kind and is_carried(device.kind, nested=True):
            yield f"devices={nested_text(_other(vm, device))}"


def _disk(disk: Disk, index: int) -> dict[str, Value]:
    fields: dict[str, Value] = {"index": str(index), "iface": disk.interface.bus}
    if disk.interface is DiskInterface.SPAPR_VSCSI:
        fields["iface"] = "spapr_vscsi"  # as the predecessor spells it; scsi is VirtIO_SCSI
    fields["format"] = "cow" if disk.volume_format == "COW" else "raw"
    if disk.volume_uuid is None:
        fields["GUID"] = disk.lun_id or ""
    else:
        fields["poolID"] = BLANK_UUID
        fields["volumeID"] = disk.volume_uuid
        fields["imageID"] = disk.image_uuid
        if disk.storage_domain_uuids:
            fields["domainID"] = disk.storage_domain_uuids[0]
    fields["deviceId"] = disk.image_uuid
    fields["readonly"] = _flag(disk.is_read_only)
    fields["optional"] = "false"
    if disk.passes_discard:
        fields["discard"] = "true"
    fields["device"] = "disk"
    # The engine VM's disks are leased, so VDSM calls them exclusive.
    fields["shared"] = "shared" if disk.is_shareable else "exclusive"
    fields["propagateErrors"] = "off"
    fields["type"] = "disk"
    _put_common(fields, disk.device_alias, disk.address, disk.spec_params, disk.custom_properties)
    if disk.boot_order:
        fields["bootOrder"] = str(disk.boot_order)
    return fields


def _nic(nic: Nic) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "nicModel": _NIC_MODELS[nic.model],
        "macAddr": nic.mac or "",
        "linkActive": _flag(nic.is_linked),
        "network": nic.network or "",
        "deviceId": nic.device_uuid,
        "device": nic.device,
        "type": "interface",
    }
    _put_common(fields, nic.device_alias, nic.address, nic.spec_params, nic.custom_properties)
    if nic.boot_order:
        fields["bootOrder"] = str(nic.boot_order)
    return fields


def _other(vm: VmDefinition, device: Device) -> dict[str, Value]:
    fields: dict[str, Value] = {"device": device.device, "type": device.kind}
    parameters = device.spec_params
    if device.kind == "controller":
        names = list(_CONTROLLER_PARAMETERS)
        if device.device == "virtio-scsi":
            fields.update({"device": "scsi", "model": "virtio-scsi"})
            names.remove("model")
        outside = {name: value for name, value in parameters if name in names and value}
        fields.update(outside)
        parameters = tuple(pair for pair in parameters if pair[0] not in outside)
    elif device.kind == "disk" and device.device == "cdrom":
        fields.update({"iface": "sata" if vm.is_q35 else "ide", "path": "", "shared": "false"})
    elif device.kind == "rng":
        fields["model"] = "virtio"
    if device.device_uuid:
        fields["deviceId"] = device.device_uuid
    if device.is_read_only:
        fields["readonly"] = "true"
    _put_common(fields, device.device_alias, device.address, parameters, device.custom_properties)
    if device.boot_order:
        fields["bootOrder"] = str(device.boot_order)
    return fields


def _put_common(
    fields: dict[str, Value], alias: str, address: Pairs, parameters: Pairs, custom: Pairs
) -> None:
    """Add what devices have in common; an address with a part that can't be carried is none."""
    if alias:
        fields["alias"] = alias
    if address and all(is_carried(text, nested=True) for pair in address for text in pair):
        fields["address"] = dict(address)
    fields["specParams"] = _tree(parameters)
    if custom:
        fields["custom"] = dict(custom)


def _tree(parameters: Pairs) -> dict[str, Value]:
    """Return nested fields of parameters whose names are paths with slashes."""
    root: dict[str, Value] = {}
    for path, value in parameters:
        *groups, name = path.split("/")
        at = root
        for group in groups:
            found = at.setdefault(group, {})
            if not isinstance(found, dict):
                break
            at = found
        else:
            at.setdefault(name, value)
    return root


def _numa(cells: tuple[NumaNode, ...]) -> Iterator[str]:
    """Yield a line for each guest NUMA node; none when one's CPUs are not one range of its own."""
    ranges = [(cell, cell.cpus[0], cell.cpus[-1]) for cell in cells if cell.cpus]
    whole = all(cell.cpus == tuple(range(first, last + 1)) for cell, first, last in ranges)
    all_cpus = [cpu for cell in cells for cpu in cell.cpus]
    if len(ranges) < len(cells) or not whole or len(set(all_cpus)) < len(all_cpus):
        return
    for cell, first, last in ranges:
        fields: dict[str, Value] = {
            "nodeIndex": str(cell.index),
            "cpus": str(first) if first == last else f"{first}-{last}",
            "memory": str(cell.memory_mib),
        }
        yield f"guestNumaNodes={nested_text(fields)}"


def _flag(value: bool) -> str:
    return "true" if value else "false"
