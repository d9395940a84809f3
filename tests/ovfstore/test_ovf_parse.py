# SPDX-License-Identifier: Apache-2.0
"""The engine's OVF to a VmDefinition: our own document in full, and ways to spoil it."""

from __future__ import annotations

import pathlib

import pytest

from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import BiosType, DisplayType, Origin
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.xml_input import OvfError

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"
OVF = (DATA / "engine_vm.ovf").read_text(encoding="utf-8")
UUID = "11111111-2222-4333-8444-555555555555"
MEMORY = "<rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:VirtualQuantity>2048<"
SPOILED = [
    (f'ovf:id="{UUID}" ovf:required', "ovf:required", "no VM UUID"),
    (f'ovf:id="{UUID}" ovf:required', 'ovf:id="HostedEngine" ovf:required', "not a UUID"),
    ("ovf:OperatingSystemSection_Type", "ovf:Other_Type", "no OperatingSystemSection"),
    ("ovf:VirtualHardwareSection_Type", "ovf:Other_Type", "no VirtualHardwareSection"),
    ("<Name>Engine's", "<Title>Engine's", "not well-formed"),
    ('Engine\'s "own" VM #1 äß漢</Name>', " </Name>", "no VM name"),
    ("Content", "VirtualSystem", "no Content"),
    (MEMORY, MEMORY.replace("2048", "-1"), "less than 1"),
    (MEMORY, MEMORY.replace("2048", "2 GB"), "not a number"),
    (MEMORY, MEMORY.replace("2048", "9" * 18), "out of range"),
    (MEMORY, MEMORY.replace("2048", "9" * 30), "not a number"),
    (MEMORY, MEMORY.replace("2048", ""), "without VirtualQuantity"),
    (MEMORY, MEMORY.replace("MegaBytes", "Pages"), "no known unit"),
    ("<rasd:ResourceType>10<", "<rasd:ResourceType>4<", "3 Items of type 4"),
    ("<rasd:ResourceType>4<", "<rasd:ResourceType>0<", "0 Items of type 4"),
    ("<rasd:ResourceType>4<", "<rasd:ResourceType><", "without ResourceType"),
    ("num_of_sockets>2<", "num_of_sockets>0<", "less than 1"),
    ("num_of_sockets>2<", "num_of_sockets>99999<", "out of range"),
    ("<BiosType>3<", "<BiosType>9<", "9 is no known BiosType"),
    ("hugepages=2048;", "hugepages;", "not name=value"),
    ("ResourceSubType>6<", "ResourceSubType>7<", "7 is no known NicModel"),
    ("ResourceSubType>E1000<", "ResourceSubType>tulip<", "no known NIC type"),
    ('disk-interface="VirtIO"', 'disk-interface="Floppy"', "no known disk interface"),
    ('volume-format="COW"', 'volume-format="VMDK"', "no known format"),
    ("StorageId>5d000000-0000", "StorageId>5d-0000", "not a UUID"),
    ("<Index>1<", "<Index><", "without Index"),
]
NOTED = [
    ("<Origin>6<", "<Origin>six<", "not a number"),
    ("DeleteProtected>true<", "DeleteProtected>maybe<", "neither true nor false"),
    ("{type=pci, slot=0x00, bus=0x02", "type=pci, slot=0x00, bus=0x02", "not an address"),
    ("{type=pci, slot=0x00, bus=0x02", "{pci, slot=0x00, bus=0x02", "not name=value"),
    ('ovf:size="51"', 'ovf:size="-51"', "less than 0"),
]


def changed(old: str, new: str) -> bytes:
    assert old in OVF
    return OVF.replace(old, new).encode("utf-8")


def test_general_fields() -> None:
    vm = parse_ovf(OVF.encode(), where="F", expect_uuid=UUID.upper())
    assert vm.uuid == UUID
    assert vm.name == 'Engine\'s "own" VM #1 äß漢'
    assert (vm.memory_mib, vm.max_memory_mib, vm.min_memory_mib) == (2048, 8192, 1024)
    assert (vm.sockets, vm.cores_per_socket, vm.threads_per_core) == (2, 2, 2)
    assert (vm.vcpus, vm.max_vcpus) == (8, 17)
    assert vm.cpu_model == "Nehalem,+ibpb,-hle"
    assert (vm.emulated_machine, vm.bios_type) == ("pc-q35-rhel9.6.0", BiosType.Q35_SECURE_BOOT)
    assert (vm.display_type, vm.origin) == (DisplayType.VGA, Origin.MANAGED_HOSTED_ENGINE)
    assert vm.origin is not None
    assert vm.origin.is_hosted_engine
    assert vm.custom_properties == {"hugepages": "2048", "sap_agent": "true"}
    assert (vm.ovf_version, vm.compat_version, vm.os_type) == ("4.5.6", "4.7", "rhel_9x64")
    assert vm.is_delete_protected
    assert vm.engine_xml is None
    assert ("Generation", "3") in vm.extra_fields


def test_both_spellings_of_the_namespace() -> None:
    other = OVF.replace("envelope/1/", "envelope/1")
    assert parse_ovf(other.encode(), where="F") == parse_ovf(OVF.encode(), where="F")
    with pytest.raises(OvfError, match="not an OVF"):
        parse_ovf(OVF.replace("envelope/1/", "envelope/2").encode(), where="F")


def test_another_vms_ovf_is_refused() -> None:
    with pytest.raises(BadInput, match=f"is of VM {UUID}, not of 9999") as caught:
        parse_ovf(OVF.encode(), where="store of c1", expect_uuid="9999")
    assert str(caught.value).startswith("store of c1, line ")


@pytest.mark.parametrize(("old", "new", "expected"), SPOILED)
def test_spoiled_documents_say_what_and_where(old: str, new: str, expected: str) -> None:
    with pytest.raises(OvfError, match=expected) as caught:
        parse_ovf(changed(old, new), where="F")
    assert str(caught.value).startswith("F")


def test_an_error_names_element_and_line() -> None:
    with pytest.raises(OvfError) as caught:
        parse_ovf(changed("<BiosType>3<", "<BiosType>six<"), where="F")
    line = OVF[: OVF.index("<BiosType>")].count("\n") + 1
    assert str(caught.value) == f"F, line {line}: Content/BiosType: 'six' is not a number"


@pytest.mark.parametrize(("old", "new", "expected"), NOTED)
def test_what_no_start_needs_is_noted_and_kept(old: str, new: str, expected: str) -> None:
    vm = parse_ovf(changed(old, new), where="F")
    assert len(vm.notes) >= 1
    assert all(expected in note for note in vm.notes)
    assert vm.unreadable == ()
    again = parse_ovf(build_ovf(vm), where="built")
    assert again == vm
    assert len(again.notes) == len(vm.notes)


def test_what_old_engines_leave_out_has_defaults() -> None:
    text = OVF
    for part in (
        "<rasd:threads_per_cpu>2</rasd:threads_per_cpu>",
        "<rasd:max_num_of_vcpus>17</rasd:max_num_of_vcpus>",
        "<rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits>",
        "<BiosType>3</BiosType>",
        "<DefaultDisplayType>2</DefaultDisplayType>",
        ' ovf:version="4.5.6"',
    ):
        assert part in text
        text = text.replace(part, "")
    vm = parse_ovf(text.encode(), where="F")
    assert (vm.threads_per_core, vm.max_vcpus) == (1, 4)
    assert vm.bios_type is BiosType.I440FX_SEA_BIOS
    assert vm.display_type is None
    assert vm.ovf_version is None


def test_every_truncation_is_refused() -> None:
    data = OVF.rstrip().encode()
    for length in range(0, len(data), 37):
        with pytest.raises(OvfError):
            parse_ovf(data[:length], where="F")


@pytest.mark.parametrize(
    "name",
    sorted(path.name for path in SAMPLES.glob("*.ovf")) if SAMPLES.exists() else ["(none)"],
)
def test_samples_parse(name: str) -> None:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    vm = parse_ovf(path.read_bytes(), where=name)
    assert vm.memory_mib >= 1024
    assert vm.disks
    assert (vm.engine_xml is not None) == ("EngineXml>" in path.read_text(encoding="utf-8"))


def test_threads_count_as_the_predecessor_never_counted_them() -> None:
    path = SAMPLES / "he06_threads2.ovf"
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    assert parse_ovf(path.read_bytes(), where="x").vcpus == 16
