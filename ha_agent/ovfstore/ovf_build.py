# SPDX-License-Identifier: Apache-2.0
"""A VmDefinition to an OVF document in the engine's own dialect.

The document has the engine's order of sections, its names, its namespaces, in one line, with
empty elements written open and closed, so that the engine's reader and old tools take it. What
that reader can't do without is always there: the File of each disk, with its description, size
and actual_size of an image, Parent and HostResource of its Item, the CreationDate of a snapshot,
NUMA nodes and snapshots beside the hardware, not in it (engine: OvfReader, OvfOvirtReader).

parse_ovf(build_ovf(vm)) == vm: what the model holds is written, and nothing is made up but
captions and lists that no reader uses. build_ovf checks that each time: a field that an OVF
can't carry is refused by name and never written as something else.
"""

from __future__ import annotations

from typing import Optional

from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import OVF_NAMESPACE, ResourceType
from ha_agent.ovfstore.model import NumaNode, Snapshot, User, VmDefinition
from ha_agent.ovfstore.ovf_build_items import (
    device_item,
    disk_element,
    disk_items,
    file_element,
    nic_item,
)
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.ovf_write import (
    CONTENT_ORDER,
    NAMESPACES,
    add,
    empty_elements,
    first_difference,
    flag,
    in_order,
    properties,
    refuse_unwritable,
    section,
)

_BUILT = "the OVF just built"
_RANKS = {name: rank for rank, name in enumerate(CONTENT_ORDER)}
# Where, among the simple elements, the engine has sections: behind these.
_BEFORE_PEOPLE = _RANKS["ClusterName"]
_BEFORE_PLACEMENT = _RANKS["Downtime"]


def build_ovf(vm: VmDefinition) -> bytes:
    """Return the document, UTF-8, with EngineXml when `vm` has one.

    Raises BadInput that names the field for what XML or the OVF can't carry: control
    characters, a `;` in a custom property, blanks around a text that is read without them.
    """
    refuse_unwritable(vm, "vm")
    try:
        data = _document(vm)
    except ValueError as error:
        # lxml's, of names: an extra field's, or a spec parameter's.
        raise BadInput(f"can't be written in XML: {error}", where="vm") from None
    again = parse_ovf(data, where=_BUILT)
    different = first_difference(vm, again, "vm")
    if different is not None:
        raise BadInput("an OVF can't carry this value", where=different)
    return data


def _document(vm: VmDefinition) -> bytes:
    root = etree.Element(f"{{{OVF_NAMESPACE}}}Envelope", nsmap=NAMESPACES)
    # The engine's reader fails on a document without this attribute.
    root.set(f"{{{OVF_NAMESPACE}}}version", vm.ovf_version or "")
    references = add(root, "References")
    networks = add(root, "NetworkSection")
    add(networks, "Info", "List of networks")
    for network in dict.fromkeys(nic.network for nic in vm.nics if nic.network):
        add(networks, "Network", attributes={"name": network})
    disks = section(root, "DiskSection", "List of Virtual Disks")
    for disk in vm.disks:
        for volume in (*disk.older_volumes, disk):
            file_element(references, volume)
            disk_element(disks, volume)
    content = add(root, "Content", attributes={"id": "out", "xsi:type": "ovf:VirtualSystem_Type"})
    _general(content, vm)
    for application in vm.guest_applications:
        product = add(content, "ProductSection", attributes={"class": application})
        add(product, "Info", application)
        add(product, "Product", application)
        add(product, "Version", "")
    system = section(content, "OperatingSystemSection", "Guest Operating System")
    system.set(f"{{{OVF_NAMESPACE}}}id", vm.uuid)
    system.set(f"{{{OVF_NAMESPACE}}}required", "false")
    add(system, "Description", vm.os_type)
    _hardware(content, vm)
    if vm.snapshots:
        snapshots = section(content, "SnapshotsSection")
        for snapshot in vm.snapshots:
            _snapshot(snapshots, snapshot)
    if vm.numa_nodes:
        numa = section(content, "NumaNodeSection")
        for node in vm.numa_nodes:
            _numa_node(numa, node)
    for element in empty_elements(root):
        element.text = ""
    return b'<?xml version="1.0" encoding="UTF-8"?>' + etree.tostring(root, encoding="UTF-8")


def _general(content: etree._Element, vm: VmDefinition) -> None:
    """Write Content's simple elements, and the sections that the engine has among them."""
    values = [(name, text) for name, text in _values(vm) if text is not None]
    sections = [(_BEFORE_PEOPLE, _people), (_BEFORE_PLACEMENT, _placement)]
    for name, text in in_order(values, vm.extra_fields, CONTENT_ORDER):
        while sections and _RANKS.get(name, 0) > sections[0][0]:
            sections.pop(0)[1](content, vm)
        element = add(content, name, text)
        if name == "VirtioScsiMultiQueuesEnabled" and vm.virtio_scsi_queues > 0:
            element.set(f"{{{OVF_NAMESPACE}}}queues", str(vm.virtio_scsi_queues))
        elif name == "VmInit":
            element.text = None
            for key, value in vm.first_boot:
                element.set(f"{{{OVF_NAMESPACE}}}{key}", value)
    for _, write in sections:
        write(content, vm)


def _text(value: object) -> Optional[str]:
    return None if value is None else str(value)


def _values(vm: VmDefinition) -> list[tuple[str, Optional[str]]]:
    """Return the simple elements; None is left out, as by the engine, but for its empty ones."""
    return [
        ("Name", vm.name),
        ("Description", vm.description),
        ("DeleteProtected", flag(vm.is_delete_protected)),
        ("IsSmartcardEnabled", flag(vm.has_smartcard)),
        ("NumOfIoThreads", str(vm.io_threads)),
        ("TimeZone", vm.time_zone or ""),
        ("default_boot_sequence", _text(vm.boot_sequence)),
        ("initrd_url", vm.initrd_path),
        ("kernel_url", vm.kernel_path),
        ("kernel_params", vm.kernel_arguments),
        ("CustomCompatibilityVersion", vm.custom_compat_version),
        ("ClusterCompatibilityVersion", vm.compat_version),
        ("ResumeBehavior", None if vm.resume_behavior is None else vm.resume_behavior.value),
        ("VncKeyboardLayout", vm.vnc_keyboard_layout),
        ("MinAllocatedMem", _text(vm.min_memory_mib)),
        ("IsRunAndPause", flag(vm.starts_paused)),
        ("VmInit", "" if vm.first_boot else None),
        ("MigrationSupport", _code(vm.migration_support)),
        *(("DedicatedVmForVds", uuid) for uuid in vm.dedicated_host_uuids),
        ("SerialNumberPolicy", _code(vm.serial_number_policy)),
        ("CustomSerialNumber", vm.custom_serial_number),
        ("IsBootMenuEnabled", flag(vm.has_boot_menu)),
        ("CustomEmulatedMachine", vm.emulated_machine or ""),
        ("BiosType", _code(vm.bios_type)),
        ("CustomCpuName", vm.cpu_model or ""),
        ("PredefinedProperties", properties(vm.predefined_properties)),
        ("UserDefinedProperties", properties(vm.user_properties)),
        ("MaxMemorySizeMb", _text(vm.max_memory_mib)),
        ("LeaseDomainId", vm.lease_domain_uuid),
        ("MultiQueuesEnabled", flag(vm.has_multi_queues)),
        ("VirtioScsiMultiQueuesEnabled", flag(vm.virtio_scsi_queues != 0)),
        ("UseHostCpu", flag(vm.uses_host_cpu)),
        ("BalloonEnabled", flag(vm.has_balloon)),
        ("CpuPinningPolicy", _code(vm.cpu_pinning_policy)),
        ("Origin", _code(vm.origin)),
        ("DefaultDisplayType", _code(vm.display_type)),
        ("CpuPinning", vm.cpu_pinning),
        ("EngineXml", vm.engine_xml),
    ]


def _code(value: Optional[int]) -> Optional[str]:
    # An IntEnum's own str() is its name before Python 3.11.
    return None if value is None else str(int(value))


def _people(content: etree._Element, vm: VmDefinition) -> None:
    if vm.users:
        users = section(content, "UserDomainsSection")
        for user in vm.users:
            _user(users, user)
    if vm.external_data:
        external = section(content, "VmExternalDataSection")
        for kind, data in vm.external_data:
            item = add(external, "VmExternalDataItem")
            # The engine reads and writes this one attribute without a namespace.
            item.set("kind", kind)
            add(item, "VmExternalDataContent", data)


def _placement(content: etree._Element, vm: VmDefinition) -> None:
    for kind, names in (
        ("AffinityGroup", vm.affinity_groups),
        ("AffinityLabel", vm.affinity_labels),
    ):
        if names:
            groups = section(content, f"{kind}sSection")
            for name in names:
                add(groups, kind, attributes={"name": name})


def _user(parent: etree._Element, user: User) -> None:
    element = add(parent, "User")
    add(element, "UserDomain", user.name)
    roles = add(element, "UserRoles")
    for role in user.roles:
        add(roles, "RoleName", role)


def _numa_node(parent: etree._Element, node: NumaNode) -> None:
    element = add(parent, "NumaNode")
    if node.node_uuid is not None:
        add(element, "id", node.node_uuid)
    add(element, "Index", str(node.index))
    add(element, "cpuIdList", ",".join(str(cpu) for cpu in node.cpus))
    add(element, "vdsNumaNodeList", ",".join(str(host) for host in node.host_nodes))
    add(element, "MemTotal", str(node.memory_mib))
    if node.tune_mode is not None:
        add(element, "NumaTuneMode", node.tune_mode)


def _hardware(content: etree._Element, vm: VmDefinition) -> None:
    hardware = section(
        content, "VirtualHardwareSection", f"{vm.vcpus} CPU, {vm.memory_mib} Memory"
    )
    system = add(hardware, "System")
    add(system, "vssd:VirtualSystemType", f"ENGINE {vm.ovf_version or ''}".strip())
    cpu = add(hardware, "Item")
    memory = add(hardware, "Item")
    for item, values in (
        (
            cpu,
            (
                ("Caption", f"{vm.vcpus} virtual cpu"),
                ("Description", "Number of virtual CPU"),
                ("InstanceId", "1"),
                ("ResourceType", _code(ResourceType.CPU)),
                ("num_of_sockets", str(vm.sockets)),
                ("cpu_per_socket", str(vm.cores_per_socket)),
                ("threads_per_cpu", str(vm.threads_per_core)),
                ("max_num_of_vcpus", str(vm.max_vcpus)),
                ("VirtualQuantity", str(vm.vcpus)),
            ),
        ),
        (
            memory,
            (
                ("Caption", f"{vm.memory_mib} MB of memory"),
                ("Description", "Memory Size"),
                ("InstanceId", "2"),
                ("ResourceType", _code(ResourceType.MEMORY)),
                ("AllocationUnits", "MegaBytes"),
                ("VirtualQuantity", str(vm.memory_mib)),
            ),
        ),
    ):
        for name, text in values:
            add(item, f"rasd:{name}", text)
    for disk in vm.disks:
        disk_items(hardware, disk)
    for nic in vm.nics:
        nic_item(hardware, nic)
    if vm.usb_policy is not None:
        usb = add(hardware, "Item")
        add(usb, "rasd:Caption", "USB Controller")
        add(usb, "rasd:InstanceId", "3")
        add(usb, "rasd:ResourceType", _code(ResourceType.USB))
        add(usb, "rasd:UsbPolicy", vm.usb_policy)
    for device in vm.devices:
        device_item(hardware, device)


def _snapshot(parent: etree._Element, snapshot: Snapshot) -> None:
    element = add(parent, "Snapshot", attributes={"id": snapshot.uuid})
    values = [
        ("Type", snapshot.kind),
        ("Description", snapshot.description),
        # The engine's reader wants the element; an empty one is "not known".
        ("CreationDate", snapshot.created),
    ]
    order = [name for name, _ in values]
    for name, text in in_order(values, snapshot.extra_fields, order):
        add(element, name, text)
