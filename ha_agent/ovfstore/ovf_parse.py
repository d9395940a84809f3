# SPDX-License-Identifier: Apache-2.0
"""An OVF document as the engine writes it to a VmDefinition.

It must not guess: what a start needs and the document lacks is an error that names file,
element and line; what it merely leaves out is the model's default.

The document (facts/ovf-and-volumes.md, section 2.1; only the root and attributes are in the
ovf namespace, in one of two spellings):

    ovf:Envelope ovf:version
      References/File*
      NetworkSection
      Section DiskSection / Disk*
      Content
        Name, Origin, ... EngineXml              simple elements
        Section OperatingSystemSection ovf:id    the VM's uuid
        Section VirtualHardwareSection / Item*   and, nested in it or beside it,
        Section NumaNodeSection, Section SnapshotsSection
"""

from __future__ import annotations

from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import OVF_NAMESPACES, BiosType, DisplayType, Origin, ResourceType
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, Pairs, VmDefinition
from ha_agent.ovfstore.ovf_fields import (
    Fields,
    local_name,
    pairs_of_properties,
    section_kind,
)
from ha_agent.ovfstore.ovf_items import read_device, read_disks, read_nic, read_numa_node
from ha_agent.ovfstore.xml_input import OvfError, parse_xml

# Simple elements of Content that become fields of the model; all others are `extra_fields`.
INTERPRETED = frozenset(
    {
        "Name",
        "Description",
        "Origin",
        "TimeZone",
        "DeleteProtected",
        "BalloonEnabled",
        "IsRunAndPause",
        "NumOfIoThreads",
        "default_boot_sequence",
        "ClusterCompatibilityVersion",
        "CustomCompatibilityVersion",
        "MinAllocatedMem",
        "MaxMemorySizeMb",
        "CustomEmulatedMachine",
        "BiosType",
        "CustomCpuName",
        "UseHostCpu",
        "DefaultDisplayType",
        "VncKeyboardLayout",
        "PredefinedProperties",
        "UserDefinedProperties",
        "CpuPinning",
        "EngineXml",
    }
)
_MIB_OF_UNIT = {"MegaBytes": 1, "GigaBytes": 1024}
# Far above any host; a bound keeps arithmetic and output honest.
_VCPU_LIMIT = 4096
_MEMORY_LIMIT_MIB = 1 << 30


def parse_ovf(data: bytes, *, where: str, expect_uuid: Optional[str] = None) -> VmDefinition:
    """Return the VM that an OVF document defines.

    `where` names the file or volume in errors. With `expect_uuid` a document of another VM is
    refused. Raises OvfError (a BadInput) with element and line.
    """
    root = parse_xml(data, where=where)
    name = etree.QName(root)
    if name.localname != "Envelope" or name.namespace not in OVF_NAMESPACES:
        raise OvfError(f"not an OVF: the root element is {root.tag!r}", where=where)
    envelope = Fields(root, where)
    content_element = envelope.child("Content")
    if content_element is None:
        raise envelope.bad("no Content element; only the engine's own dialect of OVF is read")
    content = Fields(content_element, where)
    sections = _sections(root, content_element, where)
    uuid = _vm_uuid(content, sections.get("OperatingSystemSection"))
    if expect_uuid is not None and uuid != expect_uuid.lower():
        raise content.bad(f"the OVF is of VM {uuid}, not of {expect_uuid}")
    hardware = sections.get("VirtualHardwareSection")
    if hardware is None:
        raise content.bad("no VirtualHardwareSection")
    return _definition(envelope, content, sections, hardware, uuid)


def _sections(root: etree._Element, content: etree._Element, where: str) -> dict[str, Fields]:
    """Return sections by kind, from all the places where they occur."""
    sections: dict[str, Fields] = {}
    hardware: Optional[etree._Element] = None
    for parent in (root, content):
        for child in parent:
            kind = section_kind(child)
            if kind.endswith("Section"):
                sections[kind] = Fields(child, where)
                if kind == "VirtualHardwareSection":
                    hardware = child
    if hardware is not None:
        for child in hardware:
            if local_name(child) == "Section":
                sections[section_kind(child)] = Fields(child, where)
    return sections


def _vm_uuid(content: Fields, system: Optional[Fields]) -> str:
    if system is None:
        raise content.bad("no OperatingSystemSection, so no VM UUID")
    uuid = system.attribute("id")
    if not uuid:
        raise system.bad("no VM UUID in OperatingSystemSection", "@id")
    return system.uuid_of(uuid, "@id")


def _definition(
    envelope: Fields,
    content: Fields,
    sections: dict[str, Fields],
    hardware: Fields,
    uuid: str,
) -> VmDefinition:
    name = content.raw("Name")
    if not name or not name.strip():
        raise content.bad("no VM name", "Name")
    in_order = [(_resource_type(item), item) for item in _children(hardware, "Item")]
    items: dict[int, list[Fields]] = {}
    for resource_type, item in in_order:
        items.setdefault(resource_type, []).append(item)
    memory_mib = _memory_mib(hardware, items)
    sockets, cores, threads, max_vcpus = _cpus(hardware, items)
    usb = items.get(ResourceType.USB, [])
    system = sections["OperatingSystemSection"]
    nics, devices = _nics_and_devices(in_order)
    numa = sections.get("NumaNodeSection")
    origin = content.code("Origin", Origin)
    return VmDefinition(
        uuid=uuid,
        name=name,
        memory_mib=memory_mib,
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        max_vcpus=max_vcpus,
        max_memory_mib=content.count("MaxMemorySizeMb"),
        min_memory_mib=content.count("MinAllocatedMem"),
        cpu_model=content.text("CustomCpuName"),
        uses_host_cpu=content.flag("UseHostCpu", False),
        emulated_machine=content.text("CustomEmulatedMachine"),
        bios_type=content.code("BiosType", BiosType) or BiosType.I440FX_SEA_BIOS,
        display_type=content.code("DefaultDisplayType", DisplayType),
        os_type=system.text("Description") or "other",
        origin=origin,
        description=content.raw("Description") or "",
        time_zone=content.text("TimeZone"),
        vnc_keyboard_layout=content.text("VncKeyboardLayout"),
        is_delete_protected=content.flag("DeleteProtected", False),
        has_balloon=content.flag("BalloonEnabled", True),
        starts_paused=content.flag("IsRunAndPause", False),
        io_threads=content.count("NumOfIoThreads") or 0,
        boot_sequence=content.count("default_boot_sequence"),
        usb_policy=usb[0].text("UsbPolicy") if usb else None,
        cpu_pinning=content.text("CpuPinning"),
        predefined_properties=pairs_of_properties(content, "PredefinedProperties"),
        user_properties=pairs_of_properties(content, "UserDefinedProperties"),
        disks=_disks(envelope, sections, items),
        nics=nics,
        devices=devices,
        numa_nodes=() if numa is None else _numa_nodes(numa),
        engine_xml=content.text("EngineXml"),
        ovf_version=envelope.attribute("version"),
        compat_version=content.text("ClusterCompatibilityVersion"),
        custom_compat_version=content.text("CustomCompatibilityVersion"),
        extra_fields=_extra_fields(content),
    )


def _children(fields: Optional[Fields], name: str) -> list[Fields]:
    if fields is None:
        return []
    return [Fields(child, fields.where) for child in fields.element if local_name(child) == name]


def _resource_type(item: Fields) -> int:
    value = item.number("ResourceType")
    if value is None:
        raise item.bad("an Item without ResourceType")
    return value


def _only(hardware: Fields, items: dict[int, list[Fields]], kind: ResourceType) -> Fields:
    found = items.get(kind, [])
    if len(found) != 1:
        raise hardware.bad(f"{len(found)} Items of type {kind.value} ({kind.name}), expected one")
    return found[0]


def _memory_mib(hardware: Fields, items: dict[int, list[Fields]]) -> int:
    item = _only(hardware, items, ResourceType.MEMORY)
    quantity = item.count("VirtualQuantity", lowest=1)
    if quantity is None:
        raise item.bad("memory without VirtualQuantity")
    unit = item.text("AllocationUnits") or "MegaBytes"
    if unit not in _MIB_OF_UNIT:
        raise item.bad(f"{unit[:40]!r} is no known unit of memory", "AllocationUnits")
    memory_mib = quantity * _MIB_OF_UNIT[unit]
    if memory_mib > _MEMORY_LIMIT_MIB:
        raise item.bad(f"{memory_mib} MiB of memory is out of range", "VirtualQuantity")
    return memory_mib


def _cpus(hardware: Fields, items: dict[int, list[Fields]]) -> tuple[int, int, int, int]:
    item = _only(hardware, items, ResourceType.CPU)
    sockets = item.count("num_of_sockets", lowest=1)
    if sockets is None:
        raise item.bad("CPUs without num_of_sockets")
    # Engines before 4.0 write neither threads nor a maximum: both then mean "no more than this".
    cores = item.count("cpu_per_socket", lowest=1) or 1
    threads = item.count("threads_per_cpu", lowest=1) or 1
    vcpus = sockets * cores * threads
    max_vcpus = item.count("max_num_of_vcpus", lowest=1) or vcpus
    if max(vcpus, max_vcpus) > _VCPU_LIMIT:
        raise item.bad(f"{max(vcpus, max_vcpus)} virtual CPUs is out of range")
    return sockets, cores, threads, max(vcpus, max_vcpus)


def _disks(
    envelope: Fields, sections: dict[str, Fields], items: dict[int, list[Fields]]
) -> tuple[Disk, ...]:
    references = envelope.child("References")
    files = [] if references is None else _children(Fields(references, envelope.where), "File")
    active = None
    for snapshot in _children(sections.get("SnapshotsSection"), "Snapshot"):
        if snapshot.text("Type") == "ACTIVE":
            active = (snapshot.attribute("id") or "").lower()
    elements = _children(sections.get("DiskSection"), "Disk")
    return read_disks(elements, files, items.get(ResourceType.DISK, []), active)


def _nics_and_devices(
    in_order: list[tuple[int, Fields]],
) -> tuple[tuple[Nic, ...], tuple[Device, ...]]:
    elsewhere = (ResourceType.CPU, ResourceType.MEMORY, ResourceType.DISK, ResourceType.USB)
    nics, devices = [], []
    for kind, item in in_order:
        if kind == ResourceType.NETWORK:
            nics.append(read_nic(item))
        elif kind not in elsewhere:
            devices.append(read_device(item, kind))
    return tuple(nics), tuple(devices)


def _numa_nodes(section: Fields) -> tuple[NumaNode, ...]:
    nodes = [read_numa_node(node) for node in _children(section, "NumaNode")]
    return tuple(sorted(nodes, key=lambda node: node.index))


def _extra_fields(content: Fields) -> Pairs:
    """Return the texts that nothing interprets, so that they can be shown and written again."""
    pairs = []
    for child in content.element:
        name = local_name(child)
        if name not in INTERPRETED and not len(child) and not name.endswith("Section"):
            pairs.append((name, child.text or ""))
    return tuple(pairs)
