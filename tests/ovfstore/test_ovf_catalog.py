# SPDX-License-Identifier: Apache-2.0
"""Each sentence of the catalogue is about a place that really is used, or ignored, somewhere."""

from __future__ import annotations

import pathlib
import re

import pytest

from ha_agent.ovfstore.ovf_catalog import IGNORED, USED
from ha_agent.ovfstore.ovf_explain import explain_ovf

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
OVF = (DATA / "engine_vm.ovf").read_text(encoding="utf-8")
# Every place that the engine, of any version, is known to write and that OVF has not.
MORE = (DATA / "engine_vm_more.txt").read_text(encoding="utf-8")

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
    return [full, old, unparented]


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
