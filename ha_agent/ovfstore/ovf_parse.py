# SPDX-License-Identifier: Apache-2.0
"""An OVF document as the engine writes it to a VmDefinition.

It must not guess: what a start needs and the document lacks is an error that names file,
element and line; what it merely leaves out is the model's default. A value that can't be read
and that no start needs, or that a start from EngineXml does not need, stops nothing: the text
is kept, and `notes` or `unreadable` of the definition say so (ovf_reading.Bad).

Always needed: VM UUID, name, memory, number of CPUs, each disk's image and volume. Needed only
without EngineXml: firmware, CPU flags, a NIC's model, a disk's bus, format and place, boot
orders, what is plugged, custom properties, NUMA. Everything else is never needed.

The document (facts/ovf-and-volumes.md, section 2.1; only the root and attributes are in the
ovf namespace, in one of two spellings):

    ovf:Envelope ovf:version
      References/File*
      NetworkSection
      Section DiskSection / Disk*
      Content
        Name, Origin, ... EngineXml              simple elements
        Section OperatingSystemSection ovf:id    the VM's uuid
        Section VirtualHardwareSection / Item*
        Section SnapshotsSection, NumaNodeSection, ... (the engine: beside the hardware;
                                                 some documents: nested in it)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import OVF_NAMESPACES, ResourceType
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode, VmDefinition
from ha_agent.ovfstore.ovf_fields import Fields
from ha_agent.ovfstore.ovf_general import (
    active_snapshot,
    read_external_data,
    read_general,
    read_guest_applications,
    read_names,
    read_snapshots,
    read_users,
)
from ha_agent.ovfstore.ovf_items import read_device, read_disks, read_nic, read_numa_node
from ha_agent.ovfstore.ovf_reading import Bad, Reading, is_second, local_name, section_kind
from ha_agent.ovfstore.xml_input import OvfError, line_of, parse_xml

_SECTIONS = frozenset(
    {
        "AffinityGroupsSection",
        "AffinityLabelsSection",
        "DiskSection",
        "NetworkSection",
        "NumaNodeSection",
        "OperatingSystemSection",
        "SnapshotsSection",
        "UserDomainsSection",
        "VirtualHardwareSection",
        "VmExternalDataSection",
    }
)
# No start needs them; of a chain whose volumes don't tell the leaf, the snapshots do.
_KEPT_SECTIONS = frozenset(
    {
        "AffinityGroupsSection",
        "AffinityLabelsSection",
        "NetworkSection",
        "SnapshotsSection",
        "UserDomainsSection",
        "VmExternalDataSection",
    }
)
_MIB_OF_UNIT = {"MegaBytes": 1, "GigaBytes": 1024}
# What the engine numbers or says once more; no reader needs it.
_CAPTIONS = ("Caption", "Description", "InstanceId")
# Far above any host; a bound keeps arithmetic and output honest.
_VCPU_LIMIT = 4096
_MEMORY_LIMIT_MIB = 1 << 30
# A document may be written to have any number of faults; a reader wants the first ones.
_NOTES_LIMIT = 100


def parse_ovf(data: bytes, *, where: str, expect_uuid: Optional[str] = None) -> VmDefinition:
    """Return the VM that an OVF document defines.

    `where` names the file or volume in errors. With `expect_uuid` a document of another VM is
    refused. Raises OvfError (a BadInput) with element and line.
    """
    return read_ovf(parse_xml(data, where=where), where=where, expect_uuid=expect_uuid)[0]


def read_ovf(
    root: etree._Element, *, where: str, expect_uuid: Optional[str] = None
) -> tuple[VmDefinition, Reading]:
    """Return the VM of a parsed document, and the record of what was read for it."""
    name = etree.QName(root)
    if name.localname != "Envelope" or name.namespace not in OVF_NAMESPACES:
        raise OvfError(f"not an OVF: the root element is {root.tag!r}", where=where)
    reading = Reading(where)
    envelope = Fields(root, reading)
    content = envelope.sub("Content")
    if content is None:
        raise envelope.bad("no Content element; only the engine's own dialect of OVF is read")
    content.derive("@id", "@type")
    reading.has_engine_xml = content.text("EngineXml") is not None
    sections = _sections(envelope, content)
    uuid = _vm_uuid(content, sections.get("OperatingSystemSection"))
    if expect_uuid is not None and uuid != expect_uuid.lower():
        raise content.bad(f"the OVF is of VM {uuid}, not of {expect_uuid}")
    hardware = sections.get("VirtualHardwareSection")
    if hardware is None:
        raise content.bad("no VirtualHardwareSection")
    vm = _definition(envelope, content, sections, hardware, uuid)
    notes = [*reading.notes, *islice(_unknown(root, reading), _NOTES_LIMIT)]
    if notes or reading.unreadable:
        vm = replace(
            vm,
            notes=tuple(notes[:_NOTES_LIMIT]),
            unreadable=tuple(reading.unreadable[:_NOTES_LIMIT]),
        )
    return vm, reading


def _unknown(root: etree._Element, reading: Reading) -> Iterator[str]:
    """Yield a note for each element that is neither used nor kept, without its children."""
    passed: set[etree._Element] = set()
    for element in root.iter():
        if element.getparent() in passed:
            passed.add(element)
        elif not reading.is_read((element, "")):
            passed.add(element)
            what = "not understood, and not kept"
            if is_second(element, reading):
                if not len(element) and not (element.text or "").strip():
                    continue
                what = "a second one; the first counts"
            yield str(
                OvfError(
                    f"{local_name(element)}: {what}",
                    where=reading.where,
                    offset=line_of(element),
                    unit="line",
                )
            )


def _sections(envelope: Fields, content: Fields) -> dict[str, Fields]:
    """Return sections by kind, from all the places where they occur; the first one counts."""
    sections: dict[str, Fields] = {}
    for parent in (envelope, content):
        for child in parent.element:
            kind = section_kind(child)
            if kind in _SECTIONS and kind not in sections:
                sections[kind] = _section(envelope, child, kind)
    hardware = sections.get("VirtualHardwareSection")
    for child in () if hardware is None else hardware.element:
        kind = section_kind(child)
        if kind in _SECTIONS and kind not in sections:
            sections[kind] = _section(envelope, child, kind)
    for section in sections.values():
        section.attribute("type")
        section.derive("Info", "@required")
    networks = sections.get("NetworkSection")
    if networks is not None:
        networks.derive("Network")
    return sections


def _section(envelope: Fields, element: etree._Element, kind: str) -> Fields:
    return Fields(element, envelope.reading, is_keeping=kind in _KEPT_SECTIONS)


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
    hardware.derive("Info", "System")
    in_order = [(_resource_type(item), item) for item in hardware.all("Item")]
    items: dict[int, list[Fields]] = {}
    for resource_type, item in in_order:
        items.setdefault(resource_type, []).append(item)
    memory_mib = _memory_mib(hardware, items)
    sockets, cores, threads, max_vcpus = _cpus(hardware, items)
    nics, devices = _nics_and_devices(in_order)
    vm = VmDefinition(
        uuid=uuid,
        name=name,
        memory_mib=memory_mib,
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        max_vcpus=max_vcpus,
        os_type=sections["OperatingSystemSection"].keeping.text("Description") or "other",
        usb_policy=_usb_policy(items.get(ResourceType.USB, [])),
        disks=_disks(envelope, sections, items),
        nics=nics,
        devices=devices,
        numa_nodes=_numa_nodes(sections.get("NumaNodeSection")),
        engine_xml=content.text("EngineXml"),
        ovf_version=envelope.keeping.attribute("version") or None,
        external_data=read_external_data(sections.get("VmExternalDataSection")),
        users=read_users(sections.get("UserDomainsSection")),
        affinity_groups=read_names(sections.get("AffinityGroupsSection"), "AffinityGroup"),
        affinity_labels=read_names(sections.get("AffinityLabelsSection"), "AffinityLabel"),
        guest_applications=read_guest_applications(content),
        snapshots=read_snapshots(sections.get("SnapshotsSection")),
    )
    return read_general(content, vm)


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
    item.derive(*_CAPTIONS)
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
    # Documents of before 2.2 have the quantity alone (engine: OvfReader.readCpuItem).
    sockets = item.count("num_of_sockets", lowest=1) or item.count("VirtualQuantity", lowest=1)
    if sockets is None:
        raise item.bad("CPUs without num_of_sockets")
    item.derive(*_CAPTIONS, "VirtualQuantity")
    # Engines before 4.0 write neither threads nor a maximum: both then mean "no more than this".
    cores = item.count("cpu_per_socket", lowest=1) or 1
    threads = item.count("threads_per_cpu", lowest=1) or 1
    vcpus = sockets * cores * threads
    max_vcpus = item.count("max_num_of_vcpus", lowest=1) or vcpus
    if max(vcpus, max_vcpus) > _VCPU_LIMIT:
        raise item.bad(f"{max(vcpus, max_vcpus)} virtual CPUs is out of range")
    return sockets, cores, threads, max(vcpus, max_vcpus)


def _usb_policy(items: list[Fields]) -> Optional[str]:
    for item in items:
        item.derive(*_CAPTIONS)
    return items[0].keeping.text("UsbPolicy") if items else None


def _disks(
    envelope: Fields,
    sections: dict[str, Fields],
    items: dict[int, list[Fields]],
) -> tuple[Disk, ...]:
    references, section = envelope.sub("References"), sections.get("DiskSection")
    history = sections.get("SnapshotsSection")
    return read_disks(
        [] if section is None else section.all("Disk"),
        [] if references is None else references.all("File"),
        items.get(ResourceType.DISK, []),
        lambda: None if history is None else active_snapshot(envelope.of(history.element)),
    )


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


def _numa_nodes(section: Optional[Fields]) -> tuple[NumaNode, ...]:
    if section is None:
        return ()
    nothing: tuple[NumaNode, ...] = ()

    def read() -> tuple[NumaNode, ...]:
        nodes = [read_numa_node(node) for node in section.all("NumaNode")]
        return tuple(sorted(nodes, key=lambda node: node.index))

    return section.attempt("NumaNode", Bad.DOUBT, nothing, read)
