# SPDX-License-Identifier: Apache-2.0
"""Each sentence of the catalogue is about a place that really is used, or ignored, somewhere."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator

import pytest
from lxml import etree

from ha_agent.ovfstore.guard import GuardFacts, judge
from ha_agent.ovfstore.ovf_catalog import IGNORED, USED
from ha_agent.ovfstore.ovf_explain import explain_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.ovfstore.xml_input import OvfError

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
OVF = (DATA / "engine_vm.ovf").read_text(encoding="utf-8")
# Every place that the engine, of any version, is known to write and that OVF has not.
MORE = (DATA / "engine_vm_more.txt").read_text(encoding="utf-8")

CURRENT = parse_ovf(OVF.encode(), where="F")
DOMAIN = "5d000000-0000-4000-8000-000000000001"
# The rows of facts/ovf-and-volumes.md, section 2.2, by the places that they name.
TABLE = (
    "Content/Name", "OperatingSystemSection/@id", "OperatingSystemSection/Description",
    "Item[3]/num_of_sockets", "Item[3]/cpu_per_socket", "Item[3]/threads_per_cpu",
    "Item[3]/max_num_of_vcpus", "Item[3]/VirtualQuantity", "Item[4]/VirtualQuantity",
    "Item[4]/AllocationUnits", "Content/MaxMemorySizeMb", "Content/MinAllocatedMem",
    "Content/CustomCpuName", "Content/UseHostCpu", "Content/CustomEmulatedMachine",
    "Content/BiosType", "Content/DefaultDisplayType", "Item/BootOrder",
    "Content/default_boot_sequence", "References/File", "DiskSection/Disk/@diskId",
    "DiskSection/Disk/@fileRef", "DiskSection/Disk/@size", "DiskSection/Disk/@actual_size",
    "DiskSection/Disk/@volume-format", "DiskSection/Disk/@volume-type",
    "DiskSection/Disk/@disk-interface", "DiskSection/Disk/@boot", "DiskSection/Disk/@read-only",
    "DiskSection/Disk/@shareable", "DiskSection/Disk/@pass-discard",
    "DiskSection/Disk/@wipe-after-delete", "DiskSection/Disk/@incremental-backup",
    "DiskSection/Disk/@disk-alias", "Item[17]/StorageId", "DiskSection/Disk/@lun_id",
    "DiskSection/Disk/Connection", "Item[10]/ResourceSubType", "Item[10]/Connection",
    "Item[10]/Linked", "Item[10]/MACAddress", "Item[10]/Name", "Item[10]/OtherResourceType",
    "Item[10]/speed", "Item[10]/CustomProperties", "Content/MultiQueuesEnabled", "Item/Device",
    "Item/VirtualQuantity", "Item/SpecParams", "Content/VncKeyboardLayout",
    "Item[23]/UsbPolicy", "VmExternalDataSection/VmExternalDataItem/@kind",
    "Content/PredefinedProperties", "Content/UserDefinedProperties", "Content/CpuPinning",
    "Content/CpuPinningPolicy", "NumaNodeSection/NumaNode/Index",
    "NumaNodeSection/NumaNode/cpuIdList", "NumaNodeSection/NumaNode/MemTotal",
    "NumaNodeSection/NumaNode/NumaTuneMode", "NumaNodeSection/NumaNode/vdsNumaNodeList",
    "Content/NumOfIoThreads", "Content/VirtioScsiMultiQueuesEnabled", "Content/TimeZone",
    "Content/SerialNumberPolicy", "Content/CustomSerialNumber", "Content/LeaseDomainId",
    "Content/MigrationSupport", "Content/DedicatedVmForVds", "Content/IsSmartcardEnabled",
    "Content/IsBootMenuEnabled", "Content/kernel_url", "Content/initrd_url",
    "Content/kernel_params", "Content/IsRunAndPause", "Content/ResumeBehavior",
    "Content/BalloonEnabled", "Content/Origin", "Content/EngineXml",
)  # fmt: skip


def documents() -> list[str]:
    """Return documents that hold, together, each place that the catalogue has."""
    parts = dict(re.findall(r"(?ms)^\[(\w+)\]\n(.*?)\n(?=\[|\Z)", MORE))
    full = OVF
    for mark, part in (
        ("<Origin>6", "content"),
        ("<rasd:ResourceType>10<", "nic"),
        ("<rasd:ResourceType>17<", "disk"),
        ("<rasd:ResourceType>20<", "video"),
        ("<rasd:ResourceType>3<", "cpu"),
        ("<rasd:ResourceType>4<", "memory"),
        ("<rasd:ResourceType>0<", "other"),
        ("<Type>ACTIVE", "snapshot"),
        ("<Index>1", "numa"),
        ("<Connection ovf", "connection"),
    ):
        assert mark in full
        full = full.replace(mark, parts[part] + mark, 1)
    full = full.replace('ovf:lun_id="', parts["lun"] + ' ovf:lun_id="', 1)
    full = full.replace('ovf:disk-alias="data"', parts["image"] + ' ovf:disk-alias="data"', 1)
    full = full.replace('ovf:size="1048576"', parts["file"] + ' ovf:size="1048576"', 1)
    old = OVF.replace("<rasd:num_of_sockets>2</rasd:num_of_sockets>", "")
    old = old.replace("<rasd:Parent>d2000000-0000-4000-8000-00000000000a</rasd:Parent>", "")
    unparented = re.sub('ovf:parentRef="d2[^"]*"', 'ovf:parentRef=""', old)
    unmarked = [text.replace("<Type>ACTIVE", "<Type>REGULAR") for text in (bare(), old)]
    return [full, old, unparented, *unmarked]


def bare() -> str:
    """Return a document whose devices leave to the simple elements what they can."""
    text = re.sub(r"<BootOrder>\d", "<BootOrder>0", OVF).replace('ovf:boot="true"', "")
    text = re.sub(r"<Item>(?:(?!</Item>).)*ResourceType>20<.*?</Item>", "", text)
    text = text.replace("<rasd:ResourceSubType>6<", "<rasd:ResourceSubType>3<")
    text = text.replace("<Origin>6", "<MultiQueuesEnabled>true</MultiQueuesEnabled><Origin>6")
    return text.replace("<Device>virtio-scsi<", "<Device>virtio-serial<")


def key(path: str) -> str:
    """Return the catalogue's key for a row's path."""
    parts = re.sub(r"Section\[(\w+)\]", r"\1", path.replace("rasd:ResourceType=", "")).split("/")
    starts = [
        number
        for number, part in enumerate(parts)
        if part.endswith("Section") or re.match(r"(Item\[|Content$|References$|Envelope$)", part)
    ]
    return "/".join(parts[starts[-1] :])


def covers(name: str, found: set[str]) -> bool:
    pattern = re.escape(name).replace(r"\*", ".+")
    pattern = pattern.replace("Item/", r"Item\[\d+\]/") if name.startswith("Item/") else pattern
    pattern = r"Item\[\d+\]" if name == "Item" else pattern
    pattern = r"\w+Section/@type" if name == "Section/@type" else pattern
    return any(re.fullmatch(pattern, one) for one in found)


def places(verdict: str) -> set[str]:
    rows = [row for text in documents() for row in explain_ovf(text.encode(), where="F")]
    assert [row for row in rows if row.verdict == "unknown"] == []
    return {key(row.path) for row in rows if row.verdict == verdict}


def test_each_use_is_a_use_that_is_made() -> None:
    found = places("used")
    assert [name for name in USED if not covers(name, found)] == []


def test_each_reason_is_about_a_place_that_is_ignored() -> None:
    found = places("ignored")
    assert [name for name in IGNORED if not covers(name, found)] == []


@pytest.mark.parametrize("place", TABLE)
def test_each_row_of_the_element_table_has_a_sentence(place: str) -> None:
    assert place in USED or place in IGNORED


# Their value can only be wrong, not another one: what is read then makes no sense.
STRUCTURE = re.compile(
    r"(Envelope|References(/File)?|Content|\w+Section(/@type|/Disk|/Snapshot|/NumaNode)?"
    r"|Item\[\d+\](/ResourceType|/SpecParams)?)"
)
# Of a chain that is not clear the VM is refused, rather than run on the wrong volume.
CHAIN = re.compile(r"Item\[17\]/Parent|DiskSection/Disk/@(parentRef|vm_snapshot_id)|Snapshots")
VALUES = (
    "true", "false", "0", "1", "2", "3", "5", "8192", "", "x", "hostdev", "LUN", "COW", "IDE",
    "bochs", "spice", "vnc", "a=b", "{type=pci, slot=0x0b, bus=0x00, domain=0x0000, function=0x0}",
    "{type=drive, controller=0, bus=0, target=0, unit=1}", "q35", "0#1", "Etc/GMT+5", "4.3",
    "GigaBytes", "AUTO_RESUME", "LEAVE_PAUSED", "pc-i440fx-rhel7.6.0", "serial", "urandom",
    "reset", "7f6e5d4c-3b2a-4190-8f7e-6d5c4b3a2910", "ACTIVE", "/boot/vmlinuz", "de",
)  # fmt: skip


@dataclasses.dataclass
class Value:
    """One value of a document: a text, or an attribute when `attribute` is not empty."""

    element: etree._Element
    attribute: str
    kind: str
    verdict: str

    @property
    def text(self) -> str:
        if self.attribute:
            return self.element.get(self.attribute) or ""
        return self.element.text or ""

    def set(self, text: str) -> None:
        if self.attribute:
            self.element.set(self.attribute, text)
        else:
            self.element.text = text


def values(root: etree._Element) -> Iterator[Value]:
    """Yield the values of a document, Items of type 0 told apart by their Type."""
    places = [
        (element, name)
        for element in root.iter()
        for name in ("", *(str(full) for full in element.attrib))
    ]
    for row, (element, name) in zip(explain_ovf(etree.tostring(root), where="F"), places):
        if name or not len(element):
            items = [item for item in element.iterancestors() if item.tag == "Item"]
            what = "".join(f" of {item.findtext('Type')}" for item in items[:1])
            yield Value(element, name, key(row.path) + what, row.verdict)


class Start:
    """What a document means for a start: the domain XML, and what the guard says of it."""

    def __init__(self, root: etree._Element) -> None:
        self.notes: tuple[str, ...] = ()
        try:
            vm = parse_ovf(etree.tostring(root), where="F")
            domain = domain_xml(vm, storage_domain_uuid=DOMAIN)
        except OvfError as error:
            self.meaning: object = type(error)
            return
        facts = GuardFacts(DOMAIN, CURRENT.uuid)
        self.meaning = (domain.xml, judge(vm, domain, CURRENT, facts))
        self.notes = domain.notes


def without_engine_xml(text: str) -> etree._Element:
    root = etree.fromstring(text.encode())
    for element in list(root.iter("EngineXml")):
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)
    return root


def test_what_is_used_changes_what_is_started_and_what_is_ignored_does_not() -> None:
    effective: set[str] = set()
    used: set[str] = set()
    wrong: set[str] = set()
    # The bare ones first: there each value counts, as nothing overrides it.
    for text in reversed(documents()):
        root = without_engine_xml(text)
        before = Start(root)
        found = list(values(root))
        ignored: set[str] = set()
        for value in found:
            if STRUCTURE.fullmatch(value.kind.partition(" of ")[0]):
                continue
            old = value.text
            if value.verdict == "used":
                used.add(value.kind)
                if value.kind in effective:
                    continue
                same = {other.text for other in found if other.kind == value.kind}
                candidates = [*sorted(same), *VALUES]
            else:
                candidates = [] if value.kind in ignored else ["x"]
                ignored.add(value.kind)
            for candidate in candidates:
                value.set(candidate)
                after = Start(root)
                if (
                    after.meaning is not OvfError or CHAIN.match(value.kind)
                ) and after.meaning != before.meaning:
                    effective.add(value.kind)
                    break
                if value.verdict == "used" and after.notes != before.notes:
                    # It is told, in a note, why the value makes no difference.
                    effective.add(value.kind)
                    break
                if value.verdict != "used" and after.meaning != before.meaning:
                    wrong.add(f"{value.kind}={candidate}")
            value.set(old)
            if value.verdict != "used" and value.kind in effective - used:
                wrong.add(value.kind)
    assert " ".join(sorted(used - effective)) == ""
    assert " ".join(sorted(wrong)) == ""
