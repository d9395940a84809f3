# SPDX-License-Identifier: Apache-2.0
"""Metadata of a built domain: what VDSM prepares the disks from."""

from __future__ import annotations

from lxml import etree

from ha_agent.ovfstore.codes import ResumeBehavior
from ha_agent.ovfstore.model import VmDefinition
from tests.ovfstore.built_domain import DOMAIN, VM, built, notes
from tests.ovfstore.vm_variants import VARIANTS, disk, nic, small

OVIRT = "{http://ovirt.org/vm/1.0}"


def block_of(vm: VmDefinition) -> etree._Element:
    block = built(vm).find(f"metadata/{OVIRT}vm")
    assert block is not None
    return block


def test_disks() -> None:
    devices = {item.get("name"): item for item in block_of(VM).findall(f"{OVIRT}device")}
    assert {etree.QName(child).localname: child.text for child in devices["vda"]} == {
        "poolID": "00000000-0000-0000-0000-000000000000",
        "domainID": DOMAIN,
        "imageID": "d2000000-0000-4000-8000-000000000001",
        "volumeID": "d2000000-0000-4000-8000-00000000000b",
        "shared": "exclusive",
    }
    assert devices["sda"].findtext(f"{OVIRT}domainID") == "5d000000-0000-4000-8000-000000000002"
    assert devices["sdb"].findtext(f"{OVIRT}GUID") == "36001405000000000000000000000000a"


def test_values_of_the_vm() -> None:
    block = block_of(VM)
    assert block.findtext(f"{OVIRT}clusterVersion") == "4.7"
    assert block.findtext(f"{OVIRT}custom/{OVIRT}sap_agent") == "true"
    assert block.findtext(f"{OVIRT}launchPaused") == "false"
    assert block.findtext(f"{OVIRT}minGuaranteedMemoryMb") == "1024"
    assert block.findtext(f"{OVIRT}resumeBehavior") == "auto_resume"
    assert block.findtext(f"{OVIRT}ballooningEnabled") == "true"
    vm = VARIANTS["texts"]
    assert block_of(vm).findtext(f"{OVIRT}clusterVersion") == "4.3"
    assert block_of(vm).findtext(f"{OVIRT}resumeBehavior") == "leave_paused"
    killed = small(resume_behavior=ResumeBehavior.KILL, has_balloon=False)
    assert block_of(killed).findtext(f"{OVIRT}resumeBehavior") == "kill"
    assert block_of(killed).findtext(f"{OVIRT}ballooningEnabled") == "false"
    assert "custom property 'mac pool'" in notes(vm)


def test_a_start_is_never_paused() -> None:
    """A paused VM holds no lease, and would stay so."""
    vm = small(starts_paused=True)
    assert block_of(vm).findtext(f"{OVIRT}launchPaused") == "false"
    assert "IsRunAndPause is not applied" in notes(vm)


def test_the_boot_disk_is_exclusive_even_if_shareable() -> None:
    vm = small(disks=(disk(1, is_shareable=True, boot_order=1), disk(2, is_shareable=True)))
    shared = [item.text for item in block_of(vm).iter(f"{OVIRT}shared")]
    assert shared == ["exclusive", "shared"]
    assert "disk vda is exclusive, not shareable" in notes(vm)
    flags = [item.find("shareable") is None for item in built(vm).findall("devices/disk")]
    assert flags == [True, False]


def test_custom_properties_of_nics() -> None:
    vm = small(nics=(nic(1, custom_properties=(("queues", "2"), ("1", "x"))), nic(2, mac=None)))
    devices = [item for item in block_of(vm).iter(f"{OVIRT}device") if item.get("mac_address")]
    assert [item.get("mac_address") for item in devices] == ["52:54:00:00:01:01"]
    assert [(etree.QName(child).localname, child.text) for child in devices[0][0]] == [
        ("queues", "2")
    ]
