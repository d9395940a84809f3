# SPDX-License-Identifier: Apache-2.0
"""Domain XML made from the OVF alone, for OVFs without a usable EngineXml.

It follows what the engine's LibvirtVmXmlBuilder writes for an engine VM
(facts/ovf-and-volumes.md, sections 1.5 and 2.2): placeholders that VDSM fills in (OS-NAME:,
HOST-SERIAL:, LEASE-PATH:), image paths below the blank pool, the ovirt-vm metadata from which
VDSM prepares the disks. Devices are in domain_devices.py. Whatever of the OVF is changed or
left out here is said in a note.
"""

from __future__ import annotations

import re
from typing import Optional

from lxml import etree

from ha_agent.ovfstore import domain_devices
from ha_agent.ovfstore.codes import BLANK_UUID, TUNE_NAMESPACE, VM_NAMESPACE, BiosType
from ha_agent.ovfstore.domain_parts import Plan, add
from ha_agent.ovfstore.model import VmDefinition

MEMORY_SLOTS = 16
_KIB_PER_MIB = 1024
# Paths of edk2-ovmf on Enterprise Linux, as the engine writes them. Its build with secure boot
# needs SMM, whether the variables then enforce secure boot or not.
_LOADER = "/usr/share/OVMF/OVMF_CODE.secboot.fd"
_NVRAM_TEMPLATES = {
    BiosType.Q35_OVMF: "/usr/share/OVMF/OVMF_VARS.fd",
    BiosType.Q35_SECURE_BOOT: "/usr/share/OVMF/OVMF_VARS.secboot.fd",
}
_ELEMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_UTC_ZONES = (None, "Etc/GMT", "Etc/UTC", "GMT", "UTC", "GMT Standard Time")


def build_domain_xml(
    vm: VmDefinition, *, storage_domain_uuid: str, display_network: Optional[str] = None
) -> tuple[str, tuple[str, ...]]:
    """Return domain XML and notes. Raises OvfError when `vm` has no image disk to lease."""
    plan = Plan(vm, storage_domain_uuid)
    root = etree.Element(
        "domain", {"type": "kvm"}, nsmap={"ovirt-tune": TUNE_NAMESPACE, "ovirt-vm": VM_NAMESPACE}
    )
    add(root, "name", vm.name)
    add(root, "uuid", vm.uuid)
    max_vcpus = _max_vcpus(plan)
    _memory(plan, root)
    if vm.io_threads:
        add(root, "iothreads", str(vm.io_threads))
    add(root, "vcpu", str(max_vcpus), current=str(vm.vcpus))
    _sysinfo(plan, root)
    _clock(plan, root)
    features = add(root, "features")
    add(features, "acpi")
    if vm.bios_type.is_uefi:
        add(features, "smm", state="on")
    _cpu(plan, root, max_vcpus)
    if vm.cpu_pinning:
        plan.note("CpuPinning is not applied: the engine VM may start on any host")
    domain_devices.build(plan, add(root, "devices"), display_network)
    power = add(root, "pm")
    add(power, "suspend-to-disk", enabled="no")
    add(power, "suspend-to-mem", enabled="no")
    _os(plan, root)
    _metadata(plan, root)
    xml = etree.tostring(root, xml_declaration=True, encoding="UTF-8").decode("utf-8")
    return xml, tuple(plan.notes)


def _max_vcpus(plan: Plan) -> int:
    """Return the maximum, cut to whole sockets: libvirt wants sockets * cores * threads."""
    vm = plan.vm
    per_socket = vm.cores_per_socket * vm.threads_per_core
    whole = max(vm.max_vcpus, vm.vcpus) // per_socket * per_socket
    if whole != vm.max_vcpus:
        plan.note(f"maximum of virtual CPUs is {whole}, not {vm.max_vcpus}: whole sockets only")
    return whole


def _has_hotplug_memory(vm: VmDefinition) -> bool:
    return vm.max_memory_mib is not None and vm.max_memory_mib > vm.memory_mib


def _memory(plan: Plan, root: etree._Element) -> None:
    vm = plan.vm
    memory_kib = str(vm.memory_mib * _KIB_PER_MIB)
    add(root, "memory", memory_kib)
    add(root, "currentMemory", memory_kib)
    if _has_hotplug_memory(vm):
        maximum_kib = (vm.max_memory_mib or 0) * _KIB_PER_MIB
        add(root, "maxMemory", str(maximum_kib), slots=str(MEMORY_SLOTS))
    page_kib = vm.custom_properties.get("hugepages", "")
    if page_kib.isascii() and page_kib.isdigit() and int(page_kib) > 0:
        pages = add(add(root, "memoryBacking"), "hugepages")
        add(pages, "page", size=page_kib)


def _sysinfo(plan: Plan, root: etree._Element) -> None:
    system = add(add(root, "sysinfo", type="smbios"), "system")
    serial = plan.extra("CustomSerialNumber") or "HOST-SERIAL:"
    policy = plan.extra("SerialNumberPolicy")
    if policy == "1":
        serial = plan.vm.uuid
    elif policy != "2":
        serial = "HOST-SERIAL:"
    for name, value in (
        ("manufacturer", "oVirt"),
        ("product", "OS-NAME:"),
        ("version", "OS-VERSION:"),
        ("serial", serial),
        ("uuid", plan.vm.uuid),
    ):
        add(system, "entry", value, name=name)


def _clock(plan: Plan, root: etree._Element) -> None:
    clock = add(root, "clock", offset="variable", adjustment="0")
    add(clock, "timer", name="rtc", tickpolicy="catchup")
    add(clock, "timer", name="pit", tickpolicy="delay")
    add(clock, "timer", name="hpet", present="no")
    if plan.vm.time_zone not in _UTC_ZONES:
        # The offset depends on the date, which nothing here may look at.
        plan.note(f"the VM's clock starts in UTC, not in {plan.vm.time_zone}")


def _cpu(plan: Plan, root: etree._Element, max_vcpus: int) -> None:
    vm = plan.vm
    model, *flags = [part.strip() for part in (vm.cpu_model or "").split(",")]
    if vm.uses_host_cpu or model.lower() == "hostpassthrough":
        cpu = add(root, "cpu", mode="host-passthrough")
        flags = []
    elif model.lower() == "hostmodel":
        cpu = add(root, "cpu", mode="host-model")
        flags = []
    elif model:
        cpu = add(root, "cpu", match="exact")
        add(cpu, "model", model)
    else:
        cpu = add(root, "cpu")
        flags = []
    cores, threads = vm.cores_per_socket, vm.threads_per_core
    add(
        cpu,
        "topology",
        sockets=str(max_vcpus // (cores * threads)),
        cores=str(cores),
        threads=str(threads),
    )
    for flag in flags:
        if flag[:1] in ("+", "-") and len(flag) > 1:
            policy = "require" if flag[0] == "+" else "disable"
            add(cpu, "feature", name=flag[1:], policy=policy)
        elif flag:
            plan.note(f"CPU flag {flag!r} is neither +name nor -name and is left out")
    _numa(plan, cpu, max_vcpus)


def _numa(plan: Plan, cpu: etree._Element, max_vcpus: int) -> None:
    vm = plan.vm
    nodes = [(node.cpus, node.memory_mib) for node in vm.numa_nodes]
    if nodes and sum(memory_mib for _, memory_mib in nodes) != vm.memory_mib:
        plan.note("NUMA nodes are left out: their memory is not the VM's")
        nodes = []
    if not nodes and _has_hotplug_memory(vm):
        # libvirt: memory hot plug needs at least one NUMA node.
        nodes = [(tuple(range(max_vcpus)), vm.memory_mib)]
    if nodes:
        numa = add(cpu, "numa")
        for number, (cpus, memory_mib) in enumerate(nodes):
            add(
                numa,
                "cell",
                id=str(number),
                cpus=_ranges(cpus),
                memory=str(memory_mib * _KIB_PER_MIB),
            )


def _ranges(numbers: tuple[int, ...]) -> str:
    """Return `0-3,8` for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _os(plan: Plan, root: etree._Element) -> None:
    vm = plan.vm
    system = add(root, "os")
    # Without a name libvirt takes its newest machine of that kind: the right chip set at least.
    machine = vm.emulated_machine or ("q35" if vm.is_q35 else "pc")
    add(system, "type", "hvm", arch="x86_64", machine=machine)
    if vm.bios_type.is_uefi:
        secure = "yes" if vm.bios_type is BiosType.Q35_SECURE_BOOT else "no"
        add(system, "loader", _LOADER, readonly="yes", type="pflash", secure=secure)
        template = vm.custom_properties.get("nvram_template") or _NVRAM_TEMPLATES[vm.bios_type]
        path = f"/var/lib/libvirt/qemu/nvram/{vm.uuid}.fd"
        add(system, "nvram", path, template=template)
        plan.note("UEFI variables are not in the OVF: the firmware starts from its template")
        if not vm.is_q35:
            plan.note(f"UEFI on machine {machine}, which is not q35")
    elif any(console.spec("consoleType") == "serial" for console in vm.consoles):
        add(system, "bios", useserial="yes")
    add(system, "smbios", mode="sysinfo")


def _metadata(plan: Plan, root: etree._Element) -> None:
    vm = plan.vm
    metadata = add(root, "metadata")
    etree.SubElement(metadata, f"{{{TUNE_NAMESPACE}}}qos")
    block = etree.SubElement(metadata, f"{{{VM_NAMESPACE}}}vm")

    def put(parent: etree._Element, name: str, text: str, kind: str = "") -> None:
        element = etree.SubElement(parent, f"{{{VM_NAMESPACE}}}{name}")
        element.text = text
        if kind:
            element.set("type", kind)

    put(block, "minGuaranteedMemoryMb", str(vm.min_memory_mib or vm.memory_mib), "int")
    version = vm.custom_compat_version or vm.compat_version
    if version:
        put(block, "clusterVersion", version)
    put(block, "ballooningEnabled", "true" if vm.has_balloon else "false", "bool")
    custom = etree.SubElement(block, f"{{{VM_NAMESPACE}}}custom")
    for name, value in vm.custom_properties.items():
        if _ELEMENT_NAME.fullmatch(name):
            put(custom, name, value)
        else:
            plan.note(f"custom property {name!r} can't be an XML element and is left out")
    for disk in plan.disks:
        device = etree.SubElement(block, f"{{{VM_NAMESPACE}}}device")
        device.set("devtype", "disk")
        device.set("name", disk.target)
        if disk.disk.volume_uuid is None:
            put(device, "GUID", disk.disk.lun_id or "")
            continue
        put(device, "poolID", BLANK_UUID)
        put(device, "domainID", disk.storage_domain_uuid)
        put(device, "imageID", disk.disk.image_uuid)
        put(device, "volumeID", disk.disk.volume_uuid)
        if disk is plan.engine_disk or not disk.disk.is_shareable:
            put(device, "shared", "exclusive")
        else:
            put(device, "shared", "shared")
    # An automatic start must run: a paused VM holds no lease (facts/vdsm.md, section 3).
    put(block, "launchPaused", "false", "bool")
    put(block, "resumeBehavior", (plan.extra("ResumeBehavior") or "auto_resume").lower())
    if vm.starts_paused:
        plan.note("IsRunAndPause is not applied: a paused engine VM serves nobody")
