# SPDX-License-Identifier: Apache-2.0
"""A VmDefinition to an OVF document in the engine's own dialect.

The document has the engine's order of sections, its names, its namespaces, in one line, with
empty elements written open and closed, so that the engine's reader and old tools take it.
parse_ovf(build_ovf(vm)) gives `vm` again: what the model holds is written, and nothing is made
up but captions, which no reader uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import (
    BLANK_UUID,
    OVF_NAMESPACE,
    RASD_NAMESPACE,
    VSSD_NAMESPACE,
    XSI_NAMESPACE,
    ResourceType,
)
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, Pairs, VmDefinition

_NAMESPACES = {
    "ovf": OVF_NAMESPACE,
    "rasd": RASD_NAMESPACE,
    "vssd": VSSD_NAMESPACE,
    "xsi": XSI_NAMESPACE,
}
_DISK_FORMAT_URI = "http://www.vmware.com/specifications/vmdk.html#sparse"
_CAPTIONS = {
    ResourceType.CDROM: "CDROM",
    ResourceType.VIDEO: "Graphical Controller",
    ResourceType.GRAPHICS: "Graphical Framebuffer",
}


def build_ovf(vm: VmDefinition) -> bytes:
    """Return the document, UTF-8, with EngineXml when `vm` has one.

    Raises ValueError for what XML or the OVF can't carry: control characters, a `;` in a
    custom property.
    """
    root = etree.Element(f"{{{OVF_NAMESPACE}}}Envelope", nsmap=_NAMESPACES)
    if vm.ovf_version is not None:
        root.set(f"{{{OVF_NAMESPACE}}}version", vm.ovf_version)
    _references(root, vm)
    networks = _add(root, "NetworkSection")
    _add(networks, "Info", "List of networks")
    for network in sorted({nic.network for nic in vm.nics if nic.network}):
        _add(networks, "Network", attributes={"name": network})
    disks = _section(root, "DiskSection", "List of Virtual Disks")
    for disk in vm.disks:
        _disk_element(disks, disk)
    content = _add(root, "Content", attributes={"id": "out"})
    content.set(f"{{{XSI_NAMESPACE}}}type", "ovf:VirtualSystem_Type")
    _general(content, vm)
    system = _section(content, "OperatingSystemSection", "Guest Operating System")
    system.set(f"{{{OVF_NAMESPACE}}}id", vm.uuid)
    system.set(f"{{{OVF_NAMESPACE}}}required", "false")
    _add(system, "Description", vm.os_type)
    _hardware(content, vm)
    _snapshots(content, vm)
    for element in root.iter():
        # The engine writes <a></a>, never <a/>.
        if not len(element) and element.text is None:
            element.text = ""
    return b'<?xml version="1.0" encoding="UTF-8"?>' + etree.tostring(root, encoding="UTF-8")


def _add(
    parent: etree._Element,
    name: str,
    text: Optional[str] = None,
    *,
    namespace: Optional[str] = None,
    attributes: Optional[Mapping[str, str]] = None,
) -> etree._Element:
    """Append an element; `attributes` are in the ovf namespace, as all of the engine's are."""
    element = etree.SubElement(parent, f"{{{namespace}}}{name}" if namespace else name)
    if text is not None:
        element.text = text
    for key, value in (attributes or {}).items():
        element.set(f"{{{OVF_NAMESPACE}}}{key}", value)
    return element


def _rasd(parent: etree._Element, name: str, text: str) -> None:
    _add(parent, name, text, namespace=RASD_NAMESPACE)


def _section(parent: etree._Element, kind: str, info: Optional[str]) -> etree._Element:
    section = _add(parent, "Section")
    section.set(f"{{{XSI_NAMESPACE}}}type", f"ovf:{kind}_Type")
    if info is not None:
        _add(section, "Info", info)
    return section


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _file_ref(disk: Disk) -> str:
    if disk.volume_uuid is None:
        return disk.image_uuid
    return f"{disk.image_uuid}/{disk.volume_uuid}"


def _references(root: etree._Element, vm: VmDefinition) -> None:
    references = _add(root, "References")
    for disk in vm.disks:
        attributes = {"href": _file_ref(disk), "id": disk.volume_uuid or disk.image_uuid}
        if disk.file_size_bytes is not None:
            attributes["size"] = str(disk.file_size_bytes)
        attributes["description"] = ""
        attributes["disk_storage_type"] = "LUN" if disk.volume_uuid is None else "IMAGE"
        attributes["cinder_volume_type"] = ""
        _add(references, "File", attributes=attributes)


def _disk_element(section: etree._Element, disk: Disk) -> None:
    attributes = {"diskId": disk.volume_uuid or disk.image_uuid}
    if disk.volume_uuid is None:
        _put(attributes, "device_size", disk.size_gib)
        attributes["lun_id"] = disk.lun_id or ""
        attributes["plugged"] = _bool(disk.is_plugged)
    else:
        _put(attributes, "size", disk.size_gib)
        _put(attributes, "actual_size", disk.actual_size_gib)
        _put(attributes, "vm_snapshot_id", disk.snapshot_uuid)
        attributes["parentRef"] = ""
        attributes["format"] = _DISK_FORMAT_URI
        attributes["volume-format"] = disk.volume_format
        attributes["volume-type"] = disk.volume_type
    attributes.update(
        {
            "fileRef": _file_ref(disk),
            "disk-interface": disk.interface.value,
            "read-only": _bool(disk.is_read_only),
            "shareable": _bool(disk.is_shareable),
            "boot": _bool(disk.is_boot),
            "pass-discard": _bool(disk.passes_discard),
            "disk-alias": disk.alias,
            "disk-description": disk.description,
            "wipe-after-delete": _bool(disk.wipes_after_delete),
        }
    )
    _add(section, "Disk", attributes=attributes)


def _put(attributes: dict[str, str], name: str, value: object) -> None:
    if value is not None:
        attributes[name] = str(value)


def _general(content: etree._Element, vm: VmDefinition) -> None:
    """Write Content's simple elements; None is left out, as the engine does."""
    values: list[tuple[str, object]] = [
        ("Name", vm.name),
        ("Description", vm.description),
        *vm.extra_fields,
        ("DeleteProtected", _bool(vm.is_delete_protected)),
        ("NumOfIoThreads", vm.io_threads or None),
        ("TimeZone", vm.time_zone),
        ("default_boot_sequence", vm.boot_sequence),
        ("ClusterCompatibilityVersion", vm.compat_version),
        ("CustomCompatibilityVersion", vm.custom_compat_version),
        ("MinAllocatedMem", vm.min_memory_mib),
        ("IsRunAndPause", _bool(vm.starts_paused)),
        ("VncKeyboardLayout", vm.vnc_keyboard_layout),
        ("CustomEmulatedMachine", vm.emulated_machine),
        ("BiosType", vm.bios_type.value),
        ("CustomCpuName", vm.cpu_model),
        ("PredefinedProperties", _properties(vm.predefined_properties)),
        ("UserDefinedProperties", _properties(vm.user_properties)),
        ("MaxMemorySizeMb", vm.max_memory_mib),
        ("UseHostCpu", _bool(vm.uses_host_cpu)),
        ("BalloonEnabled", _bool(vm.has_balloon)),
        ("CpuPinning", vm.cpu_pinning),
        ("Origin", None if vm.origin is None else vm.origin.value),
        ("DefaultDisplayType", None if vm.display_type is None else vm.display_type.value),
        ("EngineXml", vm.engine_xml),
    ]
    for name, value in values:
        if value is not None:
            _add(content, name, str(value))


def _properties(pairs: Pairs) -> str:
    for key, value in pairs:
        if not key or "=" in key or ";" in key + value:
            raise ValueError(f"a custom property can't be written: {key!r}={value!r}")
    return ";".join(f"{key}={value}" for key, value in pairs)


def _hardware(content: etree._Element, vm: VmDefinition) -> None:
    hardware = _section(
        content, "VirtualHardwareSection", f"{vm.vcpus} CPU, {vm.memory_mib} Memory"
    )
    system = _add(hardware, "System")
    version = vm.ovf_version or ""
    _add(system, "VirtualSystemType", f"ENGINE {version}".strip(), namespace=VSSD_NAMESPACE)
    cpu = _item(hardware, f"{vm.vcpus} virtual cpu", "1", ResourceType.CPU)
    _rasd(cpu, "num_of_sockets", str(vm.sockets))
    _rasd(cpu, "cpu_per_socket", str(vm.cores_per_socket))
    _rasd(cpu, "threads_per_cpu", str(vm.threads_per_core))
    _rasd(cpu, "max_num_of_vcpus", str(vm.max_vcpus))
    _rasd(cpu, "VirtualQuantity", str(vm.vcpus))
    memory = _item(hardware, f"{vm.memory_mib} MB of memory", "2", ResourceType.MEMORY)
    _rasd(memory, "AllocationUnits", "MegaBytes")
    _rasd(memory, "VirtualQuantity", str(vm.memory_mib))
    for disk in vm.disks:
        if disk.volume_uuid is not None:
            _disk_item(hardware, disk)
    for nic in vm.nics:
        _nic_item(hardware, nic)
    if vm.usb_policy is not None:
        usb = _item(hardware, "USB Controller", "3", ResourceType.USB)
        _rasd(usb, "UsbPolicy", vm.usb_policy)
    for device in vm.devices:
        _device_item(hardware, device)
    if vm.numa_nodes:
        section = _section(hardware, "NumaNodeSection", None)
        for node in vm.numa_nodes:
            _numa_node(section, node)


def _item(
    hardware: etree._Element, caption: str, instance: str, resource_type: int
) -> etree._Element:
    item = _add(hardware, "Item")
    _rasd(item, "Caption", caption)
    _rasd(item, "InstanceId", instance)
    _rasd(item, "ResourceType", str(int(resource_type)))
    return item


def _finish_item(
    item: etree._Element,
    kind: str,
    device: str,
    address: Pairs,
    boot_order: int,
    *,
    is_plugged: bool,
    is_read_only: bool,
    alias: str,
) -> None:
    """Write the fields that every device of the engine has, in its order."""
    _add(item, "Type", kind)
    _add(item, "Device", device)
    pairs = ", ".join(f"{key}={value}" for key, value in address)
    _rasd(item, "Address", f"{{{pairs}}}" if pairs else "")
    _add(item, "BootOrder", str(boot_order))
    _add(item, "IsPlugged", _bool(is_plugged))
    _add(item, "IsReadOnly", _bool(is_read_only))
    _add(item, "Alias", alias)


def _disk_item(hardware: etree._Element, disk: Disk) -> None:
    item = _item(hardware, disk.alias, disk.volume_uuid or "", ResourceType.DISK)
    _rasd(item, "HostResource", _file_ref(disk))
    _rasd(item, "Parent", BLANK_UUID)
    _rasd(item, "Template", BLANK_UUID)
    _rasd(item, "ApplicationList", "")
    for domain in disk.storage_domain_uuids:
        _rasd(item, "StorageId", domain)
    if disk.storage_pool_uuid is not None:
        _rasd(item, "StoragePoolId", disk.storage_pool_uuid)
    _finish_item(
        item,
        "disk",
        "disk",
        disk.address,
        disk.boot_order,
        is_plugged=disk.is_plugged,
        is_read_only=disk.is_read_only,
        alias=disk.device_alias,
    )


def _nic_item(hardware: etree._Element, nic: Nic) -> None:
    caption = f"Ethernet adapter on {nic.network or '[No Network]'}"
    item = _item(hardware, caption, nic.device_uuid, ResourceType.NETWORK)
    _rasd(item, "OtherResourceType", nic.profile or "")
    _rasd(item, "ResourceSubType", str(nic.model.value))
    _rasd(item, "Connection", nic.network or "")
    _rasd(item, "Linked", _bool(nic.is_linked))
    _rasd(item, "Name", nic.name)
    _rasd(item, "ElementName", nic.name)
    _rasd(item, "MACAddress", nic.mac or "")
    if nic.speed_mbit is not None:
        _rasd(item, "speed", str(nic.speed_mbit))
    _finish_item(
        item,
        "interface",
        "bridge",
        nic.address,
        nic.boot_order,
        is_plugged=nic.is_plugged,
        is_read_only=False,
        alias=nic.device_alias,
    )


def _device_item(hardware: etree._Element, device: Device) -> None:
    known = device.resource_type in _CAPTIONS
    caption = _CAPTIONS[ResourceType(device.resource_type)] if known else device.device
    item = _item(hardware, caption, device.device_uuid, device.resource_type)
    if device.monitors is not None:
        _rasd(item, "VirtualQuantity", str(device.monitors))
    _finish_item(
        item,
        device.kind,
        device.device,
        device.address,
        device.boot_order,
        is_plugged=device.is_plugged,
        is_read_only=device.is_read_only,
        alias=device.device_alias,
    )
    if device.spec_params:
        params = _add(item, "SpecParams")
        for path, value in device.spec_params:
            _spec_param(params, path.split("/"), value)


def _spec_param(parent: etree._Element, names: list[str], value: str) -> None:
    for name in names[:-1]:
        found = [child for child in parent if child.tag == name]
        parent = found[-1] if found else _add(parent, name)
    _add(parent, names[-1], value)


def _numa_node(section: etree._Element, node: NumaNode) -> None:
    element = _add(section, "NumaNode")
    if node.node_uuid is not None:
        _add(element, "id", node.node_uuid)
    _add(element, "Index", str(node.index))
    _add(element, "cpuIdList", ",".join(str(cpu) for cpu in node.cpus))
    _add(element, "vdsNumaNodeList", ",".join(str(host) for host in node.host_nodes))
    _add(element, "MemTotal", str(node.memory_mib))
    if node.tune_mode is not None:
        _add(element, "NumaTuneMode", node.tune_mode)


def _snapshots(content: etree._Element, vm: VmDefinition) -> None:
    """Write the active snapshot that the disks name; the engine has always exactly one."""
    active = {disk.snapshot_uuid for disk in vm.disks if disk.snapshot_uuid is not None}
    if len(active) != 1:
        return
    section = _section(content, "SnapshotsSection", None)
    snapshot = _add(section, "Snapshot", attributes={"id": active.pop()})
    _add(snapshot, "Type", "ACTIVE")
    _add(snapshot, "Description", "Active VM")
