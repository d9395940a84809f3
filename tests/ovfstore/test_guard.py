# SPDX-License-Identifier: Apache-2.0
"""The guard: what saws off the branch is refused, and what the engine does each day is not."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha_agent.errors import BadInput
from ha_agent.ovfstore import guard
from ha_agent.ovfstore.codes import BiosType, DiskInterface, NicModel
from ha_agent.ovfstore.domain_build import build_domain_xml
from ha_agent.ovfstore.guard import GuardFacts, HostCapacity, Refusal, domain_disks, judge
from ha_agent.ovfstore.model import Disk, Nic, VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import DomainXml, domain_xml
from tests.ovfstore.built_domain import DATA, DOMAIN, VM

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"
BOOT_DISK = "d2000000-0000-4000-8000-000000000001"
DATA_DISK = "d1000000-0000-4000-8000-000000000001"
OTHER_DOMAIN = "5d000000-0000-4000-8000-000000000002"
OTHER_VM = "99999999-2222-4333-8444-555555555555"
SMALL = HostCapacity(1, "small", memory_mib=4096, cpu_threads=16)
BIG = HostCapacity(2, "big", memory_mib=8192, cpu_threads=32)
SILENT = HostCapacity(3, "silent")
FACTS = GuardFacts(DOMAIN, VM.uuid, hosts=(SMALL, BIG), machines=frozenset({"pc-q35-rhel9.6.0"}))
LEASE = re.compile(r"<lease>.*?</lease>")
NEVER_FORCED = {"bad_domain_xml", "other_vm", "no_vm_lease"}


def by_engine(vm: VmDefinition) -> VmDefinition:
    """The same VM as a newer engine writes it: with the domain XML in its OVF."""
    return dataclasses.replace(vm, engine_xml=build_domain_xml(vm, storage_domain_uuid=DOMAIN)[0])


def change(vm: VmDefinition = VM, **values: Any) -> VmDefinition:
    return dataclasses.replace(vm, **values)


def change_disk(image_uuid: str, vm: VmDefinition = VM, **values: Any) -> VmDefinition:
    disks = [
        dataclasses.replace(disk, **values) if disk.image_uuid == image_uuid else disk
        for disk in vm.disks
    ]
    return change(vm, disks=tuple(disks))


def change_nics(vm: VmDefinition = VM, **values: Any) -> VmDefinition:
    return change(vm, nics=tuple(dataclasses.replace(nic, **values) for nic in vm.nics))


def without_disk(image_uuid: str, vm: VmDefinition = VM) -> VmDefinition:
    return change(vm, disks=tuple(disk for disk in vm.disks if disk.image_uuid != image_uuid))


def refusals(
    new: VmDefinition, current: Optional[VmDefinition] = None, facts: GuardFacts = FACTS
) -> tuple[Refusal, ...]:
    return judge(new, domain_xml(new, storage_domain_uuid=DOMAIN), current, facts)


def codes(
    new: VmDefinition, current: Optional[VmDefinition] = None, facts: GuardFacts = FACTS
) -> list[str]:
    """The codes; the same whether the domain XML is the engine's or made from the OVF."""
    found = refusals(new, current, facts)
    old = None if current is None else by_engine(current)
    assert refusals(by_engine(new), old, facts) == found
    assert all(refusal.may_force is (refusal.code not in NEVER_FORCED) for refusal in found)
    assert all(re.search(r"\b" + refusal.code + r"\b", guard.__doc__ or "") for refusal in found)
    return [refusal.code for refusal in found]


NEW_NIC = Nic("a1000000-0000-4000-8000-000000000003", "nic3", NicModel.PV, "storage", mac="x")
NEW_DISK = Disk(
    "d4000000-0000-4000-8000-000000000001",
    "d4000000-0000-4000-8000-00000000000a",
    storage_domain_uuids=(OTHER_DOMAIN,),
    interface=DiskInterface.VIRTIO_SCSI,
)
LEGITIMATE = {
    "nothing": VM,
    "memory edited": change(memory_mib=6144, max_memory_mib=24576, min_memory_mib=4096),
    "less memory": change(memory_mib=1024),
    "CPUs hot plugged": change(sockets=4, max_vcpus=64),
    "CPU topology": change(sockets=1, cores_per_socket=4, threads_per_core=1),
    "renamed and described": change(name="engine-2", description="moved"),
    "NIC added": change(nics=(*VM.nics, NEW_NIC)),
    "NIC updated": change_nics(profile="p", model=NicModel.PV, mac="52:54:00:00:00:77"),
    "one of two NICs removed": change(nics=VM.nics[:1]),
    "spare NIC deactivated": change(
        nics=(VM.nics[0], dataclasses.replace(VM.nics[1], is_plugged=False))
    ),
    "network renamed": change_nics(network="mgmt"),
    "disk hot plugged": change(disks=(*VM.disks, NEW_DISK)),
    "disk hot plugged, first in the document": change(disks=(NEW_DISK, *VM.disks)),
    "other disk detached": without_disk(DATA_DISK),
    "other disk deactivated": change_disk(DATA_DISK, is_plugged=False),
    "other disk moved": change_disk(DATA_DISK, storage_domain_uuids=(DOMAIN,)),
    "boot disk grown and renamed": change_disk(BOOT_DISK, size_gib=80, alias="bigger"),
    "boot disk snapshot": change_disk(
        BOOT_DISK, volume_uuid="d2000000-0000-4000-8000-00000000000c", volume_format="COW"
    ),
    "boot disk on another bus": change_disk(BOOT_DISK, interface=DiskInterface.VIRTIO_SCSI),
    "boot sequence: CD first": change_disk(BOOT_DISK, boot_order=2),
    "boot sequence: network only": change_disk(BOOT_DISK, boot_order=0),
    "cluster compatibility": change(
        compat_version="4.8", cpu_model="Cascadelake-Server-noTSX", custom_compat_version=None
    ),
    "console and video": change(display_type=None, devices=()),
    "headless": change(devices=()),
    "secure boot off": change(bios_type=BiosType.Q35_OVMF),
    "delete protection on": change(is_delete_protected=True),
    "pinning, NUMA, properties": change(
        cpu_pinning="0#0", numa_nodes=(), predefined_properties=(), user_properties=()
    ),
    "next engine version": change(ovf_version="4.5.9", extra_fields=()),
}


@pytest.mark.parametrize("name", LEGITIMATE)
def test_what_the_engine_does_each_day_goes_through(name: str) -> None:
    assert codes(LEGITIMATE[name], VM) == []


REFUSED = {
    "boot_disk_gone": without_disk(BOOT_DISK),
    "boot_disk_changed": change_disk(
        DATA_DISK, boot_order=1, vm=change_disk(BOOT_DISK, boot_order=2)
    ),
    "boot_disk_moved": change_disk(BOOT_DISK, storage_domain_uuids=(OTHER_DOMAIN,)),
    "firmware_changed": change(bios_type=BiosType.Q35_SEA_BIOS),
    "no_nic": change(nics=()),
    "memory_beyond_hosts": change(memory_mib=8193, max_memory_mib=None),
    "cpus_beyond_hosts": change(sockets=33, cores_per_socket=1, threads_per_core=1, max_vcpus=33),
    "unknown_machine_type": change(emulated_machine="pc-q35-rhel10.9.0"),
    "delete_protection_off": change(is_delete_protected=False),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_saws_off_the_branch_is_refused(code: str) -> None:
    assert codes(REFUSED[code], VM) == [code]


@pytest.mark.parametrize("code", REFUSED)
def test_what_was_accepted_once_is_not_refused_again(code: str) -> None:
    edited = change(REFUSED[code], description="an edit of something else")
    assert codes(edited, REFUSED[code]) == []


def test_the_tables_of_this_test_and_of_the_guard_are_one() -> None:
    table = (guard.__doc__ or "").partition("code ")[2]
    documented = set(re.findall(r"^    ([a-z_]+) {1,}\w", table, re.MULTILINE))
    assert documented == NEVER_FORCED | set(REFUSED) | {"vm_lease_removed"}


@pytest.mark.parametrize(
    ("vm", "expected"),
    [
        (VM, []),
        (REFUSED["boot_disk_gone"], ["boot_disk_moved"]),
        (REFUSED["boot_disk_changed"], ["boot_disk_moved"]),
        (REFUSED["boot_disk_moved"], ["boot_disk_moved"]),
        (REFUSED["no_nic"], ["no_nic"]),
        (REFUSED["memory_beyond_hosts"], ["memory_beyond_hosts"]),
        (REFUSED["cpus_beyond_hosts"], ["cpus_beyond_hosts"]),
        (REFUSED["unknown_machine_type"], ["unknown_machine_type"]),
        (REFUSED["firmware_changed"], []),
        (REFUSED["delete_protection_off"], []),
    ],
)
def test_without_a_current_definition(vm: VmDefinition, expected: list[str]) -> None:
    assert codes(vm, None) == expected


def test_several_refusals_come_together_and_name_what_and_where() -> None:
    found = refusals(change(REFUSED["boot_disk_moved"], nics=(), memory_mib=9000), VM)
    assert [refusal.code for refusal in found] == [
        "boot_disk_moved", "no_nic", "memory_beyond_hosts",
    ]  # fmt: skip
    assert OTHER_DOMAIN in found[0].sentence
    assert DOMAIN in found[0].sentence
    assert found[2].sentence == (
        "it needs 9000 MiB of memory; no live host has more than 8192 MiB (big)"
    )


# Disks and firmware as they stand in the engine's domain XML -------------------------------


def engine_domain(*disks: tuple[str, Optional[int]], system: str = "") -> DomainXml:
    """A domain with these disks: image, and boot order."""
    devices, metadata = "", ""
    for number, (image, order) in enumerate(disks):
        boot = "" if order is None else f'<boot order="{order}"/>'
        devices += f'<disk device="disk"><target dev="vd{number}"/>{boot}</disk>'
        metadata += f'<ovirt-vm:device devtype="disk" name="vd{number}">'
        metadata += f"<imageID>{image}</imageID><volumeID>{image}</volumeID>" if image else ""
        metadata += f"<domainID>{DOMAIN}</domainID><shared>exclusive</shared></ovirt-vm:device>"
        devices += f"<lease><key>{image}</key><lockspace>{DOMAIN}</lockspace></lease>"
    return DomainXml(
        f'<domain xmlns:ovirt-vm="http://ovirt.org/vm/1.0"><uuid>{VM.uuid}</uuid>{system}<devices>'
        f'{devices}<interface type="user"/></devices>'
        f"<metadata><ovirt-vm:vm>{metadata}</ovirt-vm:vm></metadata></domain>",
        "engine_xml",
    )


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (engine_domain((BOOT_DISK, 1), (DATA_DISK, None)), []),
        (engine_domain((DATA_DISK, 2), (BOOT_DISK, 1)), []),
        (engine_domain((DATA_DISK, None), (BOOT_DISK, 1)), []),
        (engine_domain((DATA_DISK, None), (BOOT_DISK, None)), []),
        (engine_domain((DATA_DISK, 1), (BOOT_DISK, 2)), ["boot_disk_changed"]),
        (engine_domain((DATA_DISK, 1), (BOOT_DISK, None)), ["boot_disk_changed"]),
        (engine_domain((DATA_DISK, 1)), ["boot_disk_gone"]),
        (engine_domain(("", 1), (BOOT_DISK, 2)), []),
        (engine_domain(("", 1)), ["bad_domain_xml"]),
    ],
)
def test_which_disk_boots(domain: DomainXml, expected: list[str]) -> None:
    current = change(bios_type=BiosType.Q35_SEA_BIOS)
    assert [refusal.code for refusal in judge(VM, domain, current, FACTS)] == expected


def test_a_cdrom_is_no_disk() -> None:
    domain = engine_domain((DATA_DISK, 1), (BOOT_DISK, 2))
    cdrom = DomainXml(domain.xml.replace('device="disk"', 'device="cdrom"', 1), "engine_xml")
    current = change(bios_type=BiosType.Q35_SEA_BIOS)
    assert judge(VM, cdrom, current, FACTS) == ()
    assert [disk.image_uuid for disk in domain_disks(cdrom)] == [BOOT_DISK]


@pytest.mark.parametrize(
    "system", ['<os firmware="efi"/>', '<os><loader type="pflash">/x</loader></os>']
)
def test_firmware_as_libvirt_has_it(system: str) -> None:
    domain = engine_domain((BOOT_DISK, 1), system=system)
    assert judge(VM, domain, VM, FACTS) == ()
    bios = change(bios_type=BiosType.Q35_SEA_BIOS)
    (refusal,) = judge(VM, domain, bios, FACTS)
    assert (refusal.code, "UEFI, not BIOS" in refusal.sentence) == ("firmware_changed", True)


# NICs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [{"is_linked": False}, {"network": None}, {"is_plugged": False}]
)
def test_nics_that_reach_nobody_are_none(values: dict[str, Any]) -> None:
    assert codes(change_nics(**values), VM) == ["no_nic"]


@pytest.mark.parametrize(
    ("nic", "expected"),
    [
        ('<interface type="network"><source network="vdsm-x"/></interface>', []),
        ('<interface type="hostdev"><source><address type="pci"/></source></interface>', []),
        ('<interface type="bridge"><source bridge="b"/><link state="up"/></interface>', []),
        (
            '<interface type="bridge"><source bridge="b"/><link state="down"/></interface>',
            ["no_nic"],
        ),
        ('<interface type="bridge"><source bridge=";vdsmdummy;"/></interface>', ["no_nic"]),
        ('<interface type="bridge"/>', ["no_nic"]),
        ('<hostdev mode="subsystem"/>', ["no_nic"]),
    ],
)
def test_other_kinds_of_nic(nic: str, expected: list[str]) -> None:
    xml = build_domain_xml(change(nics=()), storage_domain_uuid=DOMAIN)[0]
    changed = DomainXml(xml.replace("</devices>", f"{nic}</devices>"), "engine_xml")
    assert [refusal.code for refusal in judge(VM, changed, VM, FACTS)] == expected


# Capacity --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ((), []),
        ((SMALL,), ["memory_beyond_hosts", "cpus_beyond_hosts"]),
        ((SMALL, BIG), []),
        ((SMALL, SILENT), []),
        ((SILENT,), []),
        ((HostCapacity(4, "half", memory_mib=4096),), ["memory_beyond_hosts"]),
        ((HostCapacity(4, "half", cpu_threads=31),), ["cpus_beyond_hosts"]),
    ],
)
def test_capacity_of_hosts(hosts: tuple[HostCapacity, ...], expected: list[str]) -> None:
    grown = change(memory_mib=8192, max_memory_mib=None, sockets=8, max_vcpus=32)
    assert codes(grown, VM, dataclasses.replace(FACTS, hosts=hosts)) == expected


def test_an_edit_gets_through_while_the_bigger_host_is_away() -> None:
    current = change(memory_mib=8192, max_memory_mib=None, sockets=8, max_vcpus=32)
    facts = dataclasses.replace(FACTS, hosts=(SMALL,))
    assert codes(change(current, nics=(*VM.nics, NEW_NIC)), current, facts) == []
    assert codes(change(current, memory_mib=8000), current, facts) == []
    assert codes(change(current, memory_mib=8193), current, facts) == ["memory_beyond_hosts"]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ('<memory unit="GiB">8</memory>', []),
        ('<memory unit="G">9</memory>', ["memory_beyond_hosts"]),
        ('<memory unit="MB">8589</memory>', []),
        ('<memory unit="b">8589934593</memory>', ["memory_beyond_hosts"]),
        (f"<memory>{'9' * 5000}</memory>", ["memory_beyond_hosts"]),
        (f"<memory>{'0' * 50}1</memory>", []),
        (f"<memory>{'0' * 50}8388609</memory>", ["memory_beyond_hosts"]),
        ("<memory>-1</memory>", []),
        ('<memory unit="acre">9999999999</memory>', []),
        ("<memory/>", []),
        ("", []),
    ],
)
def test_memory_as_libvirt_reads_it(memory: str, expected: list[str]) -> None:
    xml = build_domain_xml(VM, storage_domain_uuid=DOMAIN)[0]
    changed = DomainXml(re.sub(r"<memory>\d+</memory>", memory, xml), "engine_xml")
    assert [refusal.code for refusal in judge(VM, changed, VM, FACTS)] == expected


@pytest.mark.parametrize("machine", ["q35", "pc", "pc-q35-rhel9.6.0", None])
def test_known_machine_types(machine: Optional[str]) -> None:
    assert codes(change(emulated_machine=machine), None) == []
    unasked = dataclasses.replace(FACTS, machines=None)
    assert codes(REFUSED["unknown_machine_type"], VM, unasked) == []


# The VM's identity and its leases --------------------------------------------------------


def test_another_vm_is_never_accepted() -> None:
    other = change(uuid=OTHER_VM)
    for current in (None, VM, other):
        assert codes(other, current) == ["other_vm"]
    smuggled = domain_xml(other, storage_domain_uuid=DOMAIN)
    (refusal,) = judge(VM, smuggled, VM, FACTS)
    assert (refusal.code, refusal.may_force) == ("other_vm", False)
    assert OTHER_VM in refusal.sentence
    (refusal,) = judge(other, domain_xml(VM, storage_domain_uuid=DOMAIN), VM, FACTS)
    assert (refusal.code, refusal.may_force) == ("other_vm", False)


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (LEASE.pattern, ""),
        (r"<lockspace>[^<]*", "<lockspace>x"),
        (r"<key>[^<]*", f"<key>{VM.uuid}"),
        ("exclusive", "shared"),
        ("<ovirt-vm:shared>exclusive</ovirt-vm:shared>", ""),
    ],
)
def test_a_domain_without_exclusive_lease_is_never_accepted(
    pattern: str, replacement: str
) -> None:
    xml = build_domain_xml(VM, storage_domain_uuid=DOMAIN)[0]
    broken = re.sub(pattern, replacement, xml)
    assert broken != xml
    (refusal,) = judge(VM, DomainXml(broken, "engine_xml"), VM, FACTS)
    assert (refusal.code, refusal.may_force) == ("no_vm_lease", False)


def test_a_lease_that_was_repaired_is_fine() -> None:
    text = LEASE.sub("", by_engine(VM).engine_xml or "").replace("exclusive", "false")
    repaired = domain_xml(change(engine_xml=text), storage_domain_uuid=DOMAIN)
    assert any("repaired" in note for note in repaired.notes)
    assert judge(change(engine_xml=text), repaired, VM, FACTS) == ()


def parsed(content: str) -> VmDefinition:
    text = DATA.read_text(encoding="utf-8").replace("<Origin>", f"{content}<Origin>")
    return parse_ovf(text.encode(), where="F")


def test_the_vms_own_lease_must_stay() -> None:
    leased = parsed(f"<LeaseDomainId>{DOMAIN}</LeaseDomainId>")
    moved = parsed(f"<LeaseDomainId>{OTHER_DOMAIN}</LeaseDomainId>")
    assert codes(leased, VM) == codes(moved, leased) == codes(leased, None) == []
    assert codes(VM, leased) == codes(parsed("<LeaseDomainId/>"), leased) == ["vm_lease_removed"]


def test_the_vms_own_lease_in_the_engine_xml_counts() -> None:
    # The engine knows its place; one without could not be taken, and is repaired away.
    target = '<target path="/rhev/data-center/mnt/x/dom_md/xleases" offset="3145728"/>'
    lease = f"<lease><key>{VM.uuid}</key><lockspace>{DOMAIN}</lockspace>{target}</lease></devices>"
    leased = change(engine_xml=(by_engine(VM).engine_xml or "").replace("</devices>", lease))
    assert [refusal.code for refusal in refusals(by_engine(VM), leased)] == ["vm_lease_removed"]
    assert refusals(leased, leased) == ()


# What can't be read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "<domain>",
        "<network/>",
        "<domain/>",
        "<domain><devices/></domain>",
        '<!DOCTYPE x [<!ENTITY a "b">]><domain>&a;</domain>',
        "\ud800",
        "<domain><devices><disk><target dev='vda'/></disk></devices></domain>",
    ],
)
def test_a_domain_that_cannot_be_read_is_refused(xml: str) -> None:
    (refusal,) = judge(VM, DomainXml(xml, "ovf"), VM, FACTS)
    assert (refusal.code, refusal.may_force) == ("bad_domain_xml", False)


def test_a_current_definition_that_could_not_start_judges_nothing() -> None:
    diskless = change(disks=(), is_delete_protected=True)
    assert codes(change(is_delete_protected=False), None) == []
    assert refusals(change(is_delete_protected=False), diskless) == ()


PARTS = re.findall(r"<[^>]*>|[^<]+", build_domain_xml(VM, storage_domain_uuid=DOMAIN)[0])


@given(st.lists(st.tuples(st.integers(0, len(PARTS) - 1), st.sampled_from(PARTS)), max_size=4))
def test_any_domain_is_judged(edits: list[tuple[int, str]]) -> None:
    parts = list(PARTS)
    for position, part in edits:
        parts[position] = part
    for refusal in judge(VM, DomainXml("".join(parts), "ovf"), VM, FACTS):
        assert refusal.sentence


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.ovf")), ids=lambda path: str(path.stem))
def test_each_sample_follows_on_itself(path: pathlib.Path) -> None:
    try:
        vm = parse_ovf(path.read_bytes(), where=path.name)
        domain = domain_xml(vm, storage_domain_uuid=DOMAIN)
    except BadInput:
        pytest.skip("nothing that could start")
    assert judge(vm, domain, vm, GuardFacts(DOMAIN, vm.uuid)) == ()
