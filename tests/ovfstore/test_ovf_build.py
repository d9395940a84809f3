# SPDX-License-Identifier: Apache-2.0
"""The OVF writer: parse(build(vm)) == vm, for any vm and for every sample."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from hypothesis import given
from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import OVF_NAMESPACE, XSI_NAMESPACE
from ha_agent.ovfstore.model import Device, Disk, VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_fields import local_name
from ha_agent.ovfstore.ovf_parse import parse_ovf
from tests.ovfstore.definitions import WHOLE_VALUES, definitions

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
SAMPLES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "ovf"
SAMPLE_NAMES = sorted(path.name for path in SAMPLES.glob("*.ovf")) if SAMPLES.exists() else ["-"]
VM = parse_ovf(DATA.read_bytes(), where="F")


def sample(name: str) -> bytes:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("no sample data beside this checkout")
    return path.read_bytes()


def paths(element: etree._Element, above: str = "") -> set[str]:
    """Return where a document has elements and attributes: names with their parents'."""
    name = local_name(element)
    if name == "Section":
        name = f"Section[{element.get(f'{{{XSI_NAMESPACE}}}type', '')}]"
    if name == "Item":
        kinds = [child.text for child in element if local_name(child) == "ResourceType"]
        name = f"Item[{kinds[0]}]"
    here = f"{above}/{name}" if above else name
    found = {here} | {f"{here}@{etree.QName(str(full)).localname}" for full in element.attrib}
    for child in element:
        found |= paths(child, here)
    return found


@WHOLE_VALUES
@given(definitions())
def test_what_is_built_parses_to_the_same_vm(vm: VmDefinition) -> None:
    assert parse_ovf(build_ovf(vm), where="built") == vm


def test_our_own_document_survives() -> None:
    assert parse_ovf(build_ovf(VM), where="built", expect_uuid=VM.uuid) == VM


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_samples_survive(name: str) -> None:
    vm = parse_ovf(sample(name), where=name)
    assert parse_ovf(build_ovf(vm), where="built") == vm


@pytest.mark.parametrize("name", [name for name in SAMPLE_NAMES if name[:2] in ("he", "vm")])
def test_todays_engine_finds_all_that_it_wrote_in_its_order(name: str) -> None:
    data = sample(name)
    before, after = etree.fromstring(data), etree.fromstring(build_ovf(parse_ovf(data, where="F")))
    assert paths(before) - paths(after) == set()
    content, again = before.find("Content"), after.find("Content")
    assert content is not None
    assert again is not None
    assert [child.tag for child in again] == [child.tag for child in content]
    texts = [(item.tag, item.text) for item in content if not len(item)]
    assert [(item.tag, item.text) for item in again if not len(item)] == texts


@pytest.mark.parametrize("name", [name for name in SAMPLE_NAMES if name[:2] not in ("he", "vm")])
def test_old_documents_keep_all_that_they_say(name: str) -> None:
    data = sample(name)
    before, after = etree.fromstring(data), etree.fromstring(build_ovf(parse_ovf(data, where="F")))
    assert {path for path in paths(before) - paths(after) if "NetworkSection" not in path} == set()


def test_the_dialect_is_the_engines() -> None:
    data = build_ovf(VM)
    assert data.startswith(b'<?xml version="1.0" encoding="UTF-8"?><ovf:Envelope ')
    assert b"/>" not in data.replace(b'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1/"', b"")
    assert b"\n" not in data
    assert b'ovf:version="4.5.6"' in data
    assert b"<rasd:ResourceSubType>6</rasd:ResourceSubType>" in data


def attribute(element: etree._Element, name: str) -> str:
    value = element.get(f"{{{OVF_NAMESPACE}}}{name}")
    assert value is not None, name
    return value


@WHOLE_VALUES
@given(definitions())
def test_what_the_engines_reader_cannot_do_without_is_there(vm: VmDefinition) -> None:
    """Each access here is one that OvfReader and OvfOvirtReader make without asking first."""
    root = etree.fromstring(build_ovf(vm))
    rasd = root.nsmap["rasd"]
    assert f"{{{OVF_NAMESPACE}}}version" in root.attrib
    ids = set()
    for file in root.iterfind("References/File"):
        ids.add(attribute(file, "id"))
        attribute(file, "href")
        if attribute(file, "disk_storage_type") != "LUN":
            attribute(file, "description")
    for disk in root.iterfind("Section/Disk"):
        assert attribute(disk, "diskId") in ids
        if f"{{{OVF_NAMESPACE}}}lun_id" not in disk.attrib:
            attribute(disk, "size")
            attribute(disk, "actual_size")
    kinds = [
        section.get(f"{{{XSI_NAMESPACE}}}type") for section in root.iterfind("Content/Section")
    ]
    assert None not in kinds
    assert not root.findall("Content/Section/Section")
    assert ("ovf:NumaNodeSection_Type" in kinds) == bool(vm.numa_nodes)
    for item in root.iterfind("Content/Section/Item"):
        kind = item.findtext(f"{{{rasd}}}ResourceType")
        needed = {
            "17": ["InstanceId", "HostResource", "Parent"],
            "10": ["InstanceId", "Connection"],
            "20": ["VirtualQuantity"],
        }
        for name in needed.get(kind or "", []):
            assert item.find(f"{{{rasd}}}{name}") is not None
        assert item.findtext(f"{{{rasd}}}InstanceId") != ""
    for snapshot in root.iterfind("Content/Section/Snapshot"):
        attribute(snapshot, "id")
        for name in ("Type", "Description", "CreationDate"):
            assert snapshot.find(name) is not None
    for item in root.iterfind("Content/Section/VmExternalDataItem"):
        assert item.get("kind") in ("tpm", "nvram")


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"user_properties": (("a", "b;c"),)}, "Content/UserDefinedProperties"),
    ({"user_properties": (("a=b", "c"),)}, "vm.user_properties[0][0]"),
    ({"predefined_properties": (("", "c"),)}, "PredefinedProperties"),
    ({"name": "a\x00b"}, "vm.name"),
    ({"name": "   "}, "Content/Name"),
    ({"description": "\x1b[2J"}, "vm.description"),
    ({"description": "\ud800"}, "vm.description"),
    ({"cpu_model": " Nehalem"}, "vm.cpu_model"),
    ({"engine_xml": ""}, "vm.engine_xml"),
    ({"memory_mib": 0}, "Item/VirtualQuantity"),
    ({"virtio_scsi_queues": -5}, "vm.virtio_scsi_queues"),
    ({"extra_fields": (("Origin", "3"),)}, "vm.origin"),
    ({"extra_fields": (("not a name", ""),)}, "not a name"),
    ({"max_vcpus": 1}, "vm.max_vcpus"),
    ({"devices": (Device("", 20, "video", "vga"),)}, "vm.devices[0].monitors"),
    ({"disks": (Disk("d1000000-0000-4000-8000-000000000001"),)}, "vm.disks[0].lun_id"),
    ({"disks": (*VM.disks, VM.disks[0])}, "vm.disks"),
]


@pytest.mark.parametrize(("change", "expected"), REFUSED)
def test_what_cannot_be_written_is_refused_by_name(
    change: dict[str, object], expected: str
) -> None:
    with pytest.raises(BadInput) as caught:
        build_ovf(dataclasses.replace(VM, **change))  # type: ignore[arg-type]
    assert expected in str(caught.value)


def test_names_that_people_give_survive() -> None:
    for name in ('it\'s "quoted"', "#1", " blanks  inside ", "äß漢字", "🚀👩\u200d🚀", "<&>]]>"):
        vm = dataclasses.replace(VM, name=name, description=name)
        assert parse_ovf(build_ovf(vm), where="built").name == name
