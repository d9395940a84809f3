# SPDX-License-Identifier: Apache-2.0
"""What ovirt-hosted-engine-ha gets wrong of an OVF, or drops, a test each.

The list is facts/ovf-and-volumes.md: the last column of section 2.2, and section 7. That
program's names are in the tests' names, so that one can look them up.
"""

from __future__ import annotations

import dataclasses
import pathlib

import pytest

from ha_agent.ovfstore.codes import BiosType, DiskInterface, DisplayType, NicModel
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.xml_input import OvfError

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
OVF = DATA.read_text(encoding="utf-8")
VM = parse_ovf(OVF.encode(), where="F")
WITH_XML = ("<Origin>6<", "<EngineXml>&lt;domain/&gt;</EngineXml><Origin>6<")


def parsed(*changes: tuple[str, str]) -> VmDefinition:
    text = OVF
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_ovf(text.encode(), where="F")


def test_smp_counts_threads() -> None:
    assert (VM.sockets, VM.cores_per_socket, VM.threads_per_core, VM.vcpus) == (2, 2, 2, 8)


def test_mem_size_has_a_unit() -> None:
    assert parsed(("<rasd:AllocationUnits>MegaBytes", "<rasd:AllocationUnits>GigaBytes")) == (
        dataclasses.replace(VM, memory_mib=2048 * 1024)
    )


def test_vm_name_keeps_blanks_quotes_and_number_signs() -> None:
    assert VM.name == 'Engine\'s "own" VM #1 äß漢'


def test_a_disk_with_boot_order_0_does_not_come_first() -> None:
    data, boot, _ = VM.disks
    assert (data.boot_order, boot.boot_order) == (0, 1)
    assert VM.disks_in_boot_order()[0] is boot


def test_virtio_scsi_is_the_bus_scsi() -> None:
    assert VM.disks[0].interface.bus == "scsi"
    assert DiskInterface.SPAPR_VSCSI.bus == "scsi"


def test_snapshot_volumes_are_no_disks() -> None:
    assert [disk.volume_uuid for disk in VM.disks] == [
        "d1000000-0000-4000-8000-00000000000a",
        "d2000000-0000-4000-8000-00000000000b",
        None,
    ]
    older = VM.disks[1].older_volumes
    assert [volume.volume_uuid for volume in older] == [VM.disks[1].parent_uuid]


def test_a_direct_lun_is_not_dropped() -> None:
    lun = VM.disks[2]
    assert lun.lun_id == "36001405000000000000000000000000a"
    assert [(way.address, way.iqn, way.port) for way in lun.connections] == [
        ("192.0.2.1", "iqn.2020-01.example:t", "3260")
    ]


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("6", NicModel.E1000E),
        ("E1000", NicModel.E1000),
        ("rtl8139", NicModel.RTL8139),
        ("5", NicModel.PCI_PASSTHROUGH),
        ("", NicModel.PV),
    ],
)
def test_nic_models_by_number_and_by_name(text: str, model: NicModel) -> None:
    vm = parsed(("ResourceSubType>6<", f"ResourceSubType>{text}<"))
    assert vm.nics[0].model is model


def test_a_nic_model_of_tomorrow_stops_no_start_from_engine_xml() -> None:
    change = ("ResourceSubType>6<", "ResourceSubType>7<")
    vm = parsed(change, WITH_XML)
    assert vm.nics[0].model is NicModel.PV
    assert vm.nics[0].extra_fields == (("rasd:ResourceSubType", "7"),)
    assert len(vm.unreadable) == 1
    assert "7 is no known NicModel" in vm.unreadable[0]
    with pytest.raises(OvfError, match="7 is no known NicModel"):
        parsed(change)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<BiosType>3<", "<BiosType>9<"),
        ('disk-interface="VirtIO_SCSI"', 'disk-interface="NVMe"'),
        ('volume-format="COW"', 'volume-format="VMDK"'),
        ("hugepages=2048;", "hugepages;"),
        ("<BootOrder>2<", "<BootOrder>first<"),
        ("<Index>1<", "<Index><"),
        ("StorageId>5d000000-0000", "StorageId>5d-0000"),
    ],
)
def test_hardware_of_tomorrow_stops_no_start_from_engine_xml(old: str, new: str) -> None:
    assert len(parsed((old, new), WITH_XML).unreadable) >= 1
    with pytest.raises(OvfError):
        parse_ovf(OVF.replace(old, new).encode(), where="F")


@pytest.mark.parametrize("engine_xml", [(), (WITH_XML,)])
def test_an_older_volume_of_a_chain_stops_no_start(
    engine_xml: tuple[tuple[str, str], ...],
) -> None:
    vm = parsed(('disk-interface="VirtIO"', 'disk-interface="NVMe"'), *engine_xml)
    assert vm.unreadable == ()
    assert ["'NVMe' is no known disk interface" in note for note in vm.notes] == [True]


def test_a_nic_without_mac_is_not_dropped() -> None:
    assert [(nic.name, nic.mac) for nic in VM.nics] == [
        ("nic1", "52:54:00:00:00:01"),
        ("nic2", None),
    ]


def test_boot_orders_of_nics_count() -> None:
    assert [nic.boot_order for nic in VM.nics] == [2, 0]


def test_a_cdrom_keeps_its_own_place_and_id() -> None:
    cdrom = VM.cdroms[0]
    assert cdrom.device_uuid == "c1000000-0000-4000-8000-000000000001"
    assert dict(cdrom.address)["type"] == "drive"


@pytest.mark.parametrize(
    ("number", "display"), [("3", DisplayType.BOCHS), ("4", DisplayType.NONE)]
)
def test_bochs_and_headless(number: str, display: DisplayType) -> None:
    change = ("DefaultDisplayType>2<", f"DefaultDisplayType>{number}<")
    assert parsed(change).display_type is display


def test_no_display_type_at_all_is_none() -> None:
    assert parsed(("<DefaultDisplayType>2</DefaultDisplayType>", "")).display_type is None


def test_a_missing_vm_id_is_an_error_with_a_name() -> None:
    with pytest.raises(OvfError, match="no VM UUID in OperatingSystemSection"):
        parsed((' ovf:id="11111111-2222-4333-8444-555555555555" ovf:required', " ovf:required"))


def test_one_documents_namespace_does_not_colour_the_next() -> None:
    other = OVF.replace("envelope/1/", "envelope/1").replace(' ovf:version="4.5.6"', "")
    vm = parse_ovf(other.encode(), where="F")
    assert vm == dataclasses.replace(VM, ovf_version=None)
    assert parse_ovf(OVF.encode(), where="F") == VM


def test_nothing_becomes_the_text_none() -> None:
    assert VM.cpu_pinning is None
    assert "'None'" not in repr(VM)


def test_quotes_and_blanks_stay_in_devices() -> None:
    vm = parsed(("<rasd:Connection>ovirtmgmt<", '<rasd:Connection>it\'s a #1 "net"<'))
    assert vm.nics[0].network == 'it\'s a #1 "net"'


def test_addresses_keep_their_values() -> None:
    assert VM.nics[0].address == (
        ("bus", "0x02"),
        ("domain", "0x0000"),
        ("function", "0x0"),
        ("slot", "0x00"),
        ("type", "pci"),
    )


def test_of_two_addresses_the_one_that_says_something_counts() -> None:
    full = "<rasd:Address>{type=pci, slot=0x00, bus=0x02, domain=0x0000, function=0x0}"
    assert parsed((full, f"<rasd:Address/>{full}")) == VM
    assert parsed((full, f"{full}</rasd:Address><rasd:Address>")) == VM


def test_uefi_and_secure_boot_are_known() -> None:
    assert VM.bios_type is BiosType.Q35_SECURE_BOOT
    assert VM.bios_type.is_uefi


def test_balloon_sound_tpm_and_rng_are_kept_and_none_is_invented() -> None:
    kinds = [device.kind for device in VM.devices]
    assert {"balloon", "sound", "tpm", "rng", "console"} <= set(kinds)
    without = parsed(("<Type>rng</Type>", "<Type>x</Type>"), ("<Type>console", "<Type>x"))
    assert (without.rngs, without.consoles) == ((), ())


def test_properties_numa_and_limits_are_kept() -> None:
    assert VM.custom_properties["hugepages"] == "2048"
    assert [node.cpus for node in VM.numa_nodes] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert (VM.min_memory_mib, VM.max_memory_mib, VM.io_threads) == (1024, 8192, 1)


def test_broken_xml_is_bad_input_and_nothing_else() -> None:
    doubled = OVF + OVF
    with pytest.raises(OvfError, match="not well-formed"):
        parse_ovf(doubled.encode(), where="F")
