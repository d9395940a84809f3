# SPDX-License-Identifier: Apache-2.0
"""The hardware of an OVF: chains of volumes, LUNs, NICs, other devices, NUMA nodes."""

from __future__ import annotations

import pathlib

import pytest

from ha_agent.ovfstore.codes import DiskInterface, NicModel
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.xml_input import OvfError

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
OVF = (DATA / "engine_vm.ovf").read_text(encoding="utf-8")


def test_a_snapshot_chain_is_one_disk_its_leaf() -> None:
    data, boot, lun = parse_ovf(OVF.encode(), where="F").disks
    assert boot.volume_uuid == "d2000000-0000-4000-8000-00000000000b"
    assert (boot.volume_format, boot.boot_order, boot.is_boot) == ("COW", 1, True)
    assert boot.storage_domain_uuids == ("5d000000-0000-4000-8000-000000000001",)
    assert dict(boot.address)["bus"] == "0x06"
    assert (data.interface, data.boot_order) == (DiskInterface.VIRTIO_SCSI, 0)
    assert (data.size_gib, data.file_size_bytes) == (5, 1048576)
    assert (lun.lun_id, lun.volume_uuid) == ("36001405000000000000000000000000a", None)


def test_without_parents_the_active_snapshot_is_the_leaf() -> None:
    text = OVF.replace(
        'ovf:parentRef="d2000000-0000-4000-8000-000000000001/d2000000-0000-4000-8000-00000000000a"',
        'ovf:parentRef=""',
    ).replace("<rasd:Parent>d2000000-0000-4000-8000-00000000000a</rasd:Parent>", "")
    boot = parse_ovf(text.encode(), where="F").disks[1]
    assert boot.volume_uuid == "d2000000-0000-4000-8000-00000000000b"
    with pytest.raises(OvfError, match="not clear which one the VM runs on"):
        parse_ovf(text.replace("ACTIVE", "REGULAR").encode(), where="F")


def test_nics() -> None:
    first, second = parse_ovf(OVF.encode(), where="F").nics
    assert (first.model, first.network, first.mac) == (
        NicModel.E1000E,
        "ovirtmgmt",
        "52:54:00:00:00:01",
    )
    assert (first.profile, first.speed_mbit, first.boot_order) == ("mgmt profile", 10000, 2)
    assert (second.model, second.network, second.mac) == (NicModel.E1000, None, None)


def test_devices_and_numa() -> None:
    vm = parse_ovf(OVF.encode(), where="F")
    assert [device.device for device in vm.graphics] == ["vnc"]
    assert vm.videos[0].spec("vram") == "16384"
    assert [device.device for device in vm.controllers] == ["virtio-scsi"]
    assert vm.rngs[0].spec("source") == "random"
    assert len(vm.cdroms) == len(vm.consoles) == 1
    assert ("nested/inner", "1") in vm.devices[-1].spec_params
    assert [(node.index, node.cpus, node.memory_mib) for node in vm.numa_nodes] == [
        (0, (0, 1, 2, 3), 1024),
        (1, (4, 5, 6, 7), 1024),
    ]


def test_a_disk_element_that_stands_twice_is_no_chain() -> None:
    """Found by fuzzing: the second one of a volume was taken for an older volume."""
    data = (pathlib.Path(__file__).parents[1] / "data" / "engine_vm.ovf").read_bytes()
    first = data.index(b"<Disk ")
    element = data[first : data.index(b"/>", first) + 2]
    vm = parse_ovf(data.replace(element, element + element), where="F")
    once = parse_ovf(data, where="F")
    assert vm == once
    assert any("a second one of" in note for note in vm.notes)
