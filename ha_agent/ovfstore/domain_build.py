# SPDX-License-Identifier: Apache-2.0
"""Domain XML made from the OVF alone, for OVFs without a usable EngineXml.

It follows what the engine's LibvirtVmXmlBuilder writes for an engine VM
(facts/ovf-and-volumes.md, sections 1.5 and 2.2): placeholders that VDSM fills in (OS-NAME:,
HOST-SERIAL:, LEASE-PATH:), image paths below the blank pool, the ovirt-vm metadata from which
VDSM prepares the disks. What it writes, libvirt can start: what of the OVF it can't is changed
or left out, and said in a note. Two texts are not libvirt's but VDSM's, as from the engine: the
lease's placeholders, and the bridge of a NIC without network.

    domain_parts      machine, names, places, boot order: decided before anything is written
    domain_addresses  PCI addresses and places of drives
    domain_cpu        number, model, NUMA nodes, pinning     domain_metadata  what VDSM reads
    domain_devices    devices, with domain_controllers, domain_disks and domain_nics
"""

from __future__ import annotations

import re
from typing import Optional

from lxml import etree

from ha_agent.ovfstore import domain_cpu, domain_devices
from ha_agent.ovfstore.codes import TUNE_NAMESPACE, VM_NAMESPACE, BiosType, SerialNumberPolicy
from ha_agent.ovfstore.domain_metadata import put_metadata
from ha_agent.ovfstore.domain_parts import Plan, add, whole_number
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.xml_input import OvfError

MEMORY_SLOTS = 16
BOOT_MENU_MILLISECONDS = 30_000
_KIB_PER_MIB = 1024
_SECONDS_PER_HOUR = 3600
# Paths of edk2-ovmf on Enterprise Linux, as the engine writes them. Its build with secure boot
# needs SMM, whether the variables then enforce secure boot or not.
_LOADER = "/usr/share/OVMF/OVMF_CODE.secboot.fd"
_NVRAM_TEMPLATES = {
    BiosType.Q35_OVMF: "/usr/share/OVMF/OVMF_VARS.fd",
    BiosType.Q35_SECURE_BOOT: "/usr/share/OVMF/OVMF_VARS.secboot.fd",
}
_UTC_ZONES = (None, "Etc/GMT", "Etc/UTC", "GMT", "UTC", "GMT Standard Time")
# Etc/GMT+5 is five hours west of Greenwich, all year.
_FIXED_ZONE = re.compile(r"Etc/GMT([+-])([0-9]|1[0-4])", re.ASCII)
# The page sizes of x86-64, in KiB.
_PAGE_SIZES_KIB = (2048, 1048576)
_FAMILY_SINCE = (4, 4)


def build_domain_xml(
    vm: VmDefinition, *, storage_domain_uuid: str, display_network: Optional[str] = None
) -> tuple[str, tuple[str, ...]]:
    """Return domain XML and notes.

    Raises OvfError when `vm` has no image disk to lease, or a text that XML can't hold.
    """
    plan = Plan(vm, storage_domain_uuid)
    try:
        root = _domain(plan, display_network)
    except ValueError as error:
        # lxml refuses control characters, which no OVF can hold but a vm.conf can.
        raise OvfError(f"VM {vm.uuid} can't be written as XML: {error}") from error
    xml = etree.tostring(root, xml_declaration=True, encoding="UTF-8").decode("utf-8")
    return xml, tuple(plan.notes)


def _domain(plan: Plan, display_network: Optional[str]) -> etree._Element:
    vm = plan.vm
    root = etree.Element(
        "domain", {"type": "kvm"}, nsmap={"ovirt-tune": TUNE_NAMESPACE, "ovirt-vm": VM_NAMESPACE}
    )
    add(root, "name", _name(plan))
    add(root, "uuid", vm.uuid)
    _memory(plan, root)
    if vm.io_threads:
        add(root, "iothreads", str(vm.io_threads))
    max_vcpus = domain_cpu.max_vcpus(plan)
    add(root, "vcpu", str(max_vcpus), current=str(vm.vcpus))
    _sysinfo(plan, root)
    _clock(plan, root)
    features = add(root, "features")
    add(features, "acpi")
    if vm.bios_type.is_uefi:
        add(features, "smm", state="on")
    domain_cpu.put_cpu(plan, root, max_vcpus)
    is_pinned = domain_cpu.put_pinning(plan, root, max_vcpus)
    domain_devices.build(plan, add(root, "devices"), display_network)
    power = add(root, "pm")
    add(power, "suspend-to-disk", enabled="no")
    add(power, "suspend-to-mem", enabled="no")
    _os(plan, root)
    put_metadata(plan, root, is_pinned=is_pinned)
    return root


def _name(plan: Plan) -> str:
    """Return the VM's name; libvirt has none that is empty, or has a slash or a line's end."""
    name = plan.vm.name.replace("/", "_").replace("\n", " ").strip()
    if not name:
        name = plan.vm.uuid
    if name != plan.vm.name:
        plan.note(f"libvirt's name of the VM is {name!r}, not {plan.vm.name!r}")
    return name


def _memory(plan: Plan, root: etree._Element) -> None:
    vm = plan.vm
    memory_kib = vm.memory_mib * _KIB_PER_MIB
    add(root, "memory", str(memory_kib))
    add(root, "currentMemory", str(memory_kib))
    if domain_cpu.has_hotplug_memory(vm):
        maximum_kib = (vm.max_memory_mib or 0) * _KIB_PER_MIB
        add(root, "maxMemory", str(maximum_kib), slots=str(MEMORY_SLOTS))
    wanted = vm.custom_properties.get("hugepages")
    if not wanted or wanted == "0":
        return
    page_kib = whole_number(wanted, 1, _PAGE_SIZES_KIB[-1])
    sizes_kib = [memory_kib, *(node.memory_mib * _KIB_PER_MIB for node in vm.numa_nodes)]
    if page_kib not in _PAGE_SIZES_KIB:
        plan.note(f"hugepages are left out: {wanted!r} KiB is no size of a page")
    elif any(size_kib % page_kib for size_kib in sizes_kib):
        plan.note(f"hugepages are left out: the memory is not made of pages of {page_kib} KiB")
    else:
        pages = add(add(root, "memoryBacking"), "hugepages")
        add(pages, "page", size=str(page_kib))


def _sysinfo(plan: Plan, root: etree._Element) -> None:
    """Write what the guest reads of its maker; VDSM fills in what ends with a colon."""
    vm = plan.vm
    serial = "HOST-SERIAL:"
    if vm.serial_number_policy is SerialNumberPolicy.VM_ID:
        serial = vm.uuid
    elif vm.serial_number_policy is SerialNumberPolicy.CUSTOM:
        serial = vm.custom_serial_number or serial
    entries = [("manufacturer", "oVirt"), ("product", "OS-NAME:"), ("version", "OS-VERSION:")]
    version = (vm.compat_version or "").split(".")
    if all(part.isdigit() for part in version) and tuple(map(int, version)) >= _FAMILY_SINCE:
        entries.append(("family", "oVirt"))
    system = add(add(root, "sysinfo", type="smbios"), "system")
    for name, value in (*entries, ("serial", serial), ("uuid", vm.uuid)):
        add(system, "entry", value, name=name)


def _clock(plan: Plan, root: etree._Element) -> None:
    zone = plan.vm.time_zone
    fixed = _FIXED_ZONE.fullmatch(zone or "")
    seconds = 0
    if fixed:
        sign = -1 if fixed[1] == "+" else 1
        seconds = sign * int(fixed[2]) * _SECONDS_PER_HOUR
    elif zone not in _UTC_ZONES:
        # Elsewhere the offset depends on the date, which nothing here may look at.
        plan.note(f"the VM's clock starts in UTC, not in {zone}")
    clock = add(root, "clock", offset="variable", adjustment=str(seconds))
    add(clock, "timer", name="rtc", tickpolicy="catchup")
    add(clock, "timer", name="pit", tickpolicy="delay")
    add(clock, "timer", name="hpet", present="no")


def _os(plan: Plan, root: etree._Element) -> None:
    vm = plan.vm
    system = add(root, "os")
    add(system, "type", "hvm", arch="x86_64", machine=plan.machine)
    if vm.bios_type.is_uefi:
        _firmware(plan, system)
    _kernel(plan, system)
    if vm.has_boot_menu:
        add(system, "bootmenu", enable="yes", timeout=str(BOOT_MENU_MILLISECONDS))
    if not vm.bios_type.is_uefi and domain_devices.has_serial_console(vm):
        add(system, "bios", useserial="yes")
    add(system, "smbios", mode="sysinfo")


def _firmware(plan: Plan, system: etree._Element) -> None:
    vm = plan.vm
    secure = "yes" if vm.bios_type is BiosType.Q35_SECURE_BOOT else "no"
    add(system, "loader", _LOADER, readonly="yes", type="pflash", secure=secure)
    template = vm.custom_properties.get("nvram_template", "")
    if not template.startswith("/"):
        template = _NVRAM_TEMPLATES[vm.bios_type]
    add(system, "nvram", f"/var/lib/libvirt/qemu/nvram/{vm.uuid}.fd", template=template)
    has_variables = "nvram" in dict(vm.external_data)
    what = "not given to VDSM" if has_variables else "not in the OVF"
    plan.note(f"UEFI variables are {what}: the firmware starts from its template")


def _kernel(plan: Plan, system: etree._Element) -> None:
    """Write direct kernel boot from files of the host; those of ISO domains are not known here."""
    vm = plan.vm
    paths = [path for path in (vm.kernel_path, vm.initrd_path) if path]
    strange = [path for path in paths if not path.startswith("/") or "\n" in path]
    if strange or (paths and not vm.kernel_path):
        plan.note(f"the VM boots from its disk: kernel or initrd {paths[0]} is no file of a host")
        return
    if vm.kernel_path:
        add(system, "kernel", vm.kernel_path)
        if vm.initrd_path:
            add(system, "initrd", vm.initrd_path)
        if vm.kernel_arguments:
            add(system, "cmdline", vm.kernel_arguments)
