# SPDX-License-Identifier: Apache-2.0
"""The `<metadata>` of a built domain: what VDSM reads of it, and libvirt keeps without looking.

From the ids of a disk VDSM prepares the image; a disk that is `shared=exclusive` is one that only
a leased VM may have. Values have the ovirt-vm namespace, as VDSM reads them.
"""

from __future__ import annotations

import re

from lxml import etree

from ha_agent.ovfstore.codes import BLANK_UUID, TUNE_NAMESPACE, VM_NAMESPACE
from ha_agent.ovfstore.domain_parts import PlacedDisk, Plan

_ELEMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


def put_metadata(plan: Plan, root: etree._Element, *, is_pinned: bool) -> None:
    """Write `<metadata>`; `is_pinned` says that virtual CPUs are pinned to those of a host."""
    vm = plan.vm
    metadata = etree.SubElement(root, "metadata")
    etree.SubElement(metadata, f"{{{TUNE_NAMESPACE}}}qos")
    block = _child(metadata, "vm")
    _child(block, "minGuaranteedMemoryMb", str(vm.min_memory_mib or vm.memory_mib), type="int")
    version = vm.custom_compat_version or vm.compat_version
    if version:
        _child(block, "clusterVersion", version)
    _child(block, "ballooningEnabled", "true" if vm.has_balloon else "false", type="bool")
    _child(block, "cpuPolicy", "manual" if is_pinned else "none")
    custom = _child(block, "custom")
    for name, value in vm.custom_properties.items():
        if _ELEMENT_NAME.fullmatch(name):
            _child(custom, name, value)
        else:
            plan.note(f"custom property {name!r} can't be an XML element and is left out")
    for nic in vm.nics:
        if nic.is_plugged and nic.mac:
            device = _child(block, "device", mac_address=nic.mac)
            properties = _child(device, "custom")
            for name, value in nic.custom_properties:
                if _ELEMENT_NAME.fullmatch(name):
                    _child(properties, name, value)
    for placed in plan.disks:
        _put_disk(plan, block, placed)
    # An automatic start must run: a paused VM holds no lease (facts/vdsm.md, section 3).
    _child(block, "launchPaused", "false", type="bool")
    if vm.starts_paused:
        plan.note("IsRunAndPause is not applied: a paused engine VM serves nobody")
    behavior = "auto_resume" if vm.resume_behavior is None else vm.resume_behavior.value.lower()
    _child(block, "resumeBehavior", behavior)


def _put_disk(plan: Plan, block: etree._Element, placed: PlacedDisk) -> None:
    device = _child(block, "device", devtype="disk", name=placed.target)
    disk = placed.disk
    if disk.volume_uuid is None:
        _child(device, "GUID", disk.lun_id or "")
        return
    # The engine VM starts before any storage pool is connected.
    _child(device, "poolID", BLANK_UUID)
    _child(device, "domainID", placed.storage_domain_uuid)
    _child(device, "imageID", disk.image_uuid)
    _child(device, "volumeID", disk.volume_uuid)
    _child(device, "shared", "shared" if plan.is_shared(placed) else "exclusive")


def _child(parent: etree._Element, tag: str, text: str = "", **attributes: str) -> etree._Element:
    element = etree.SubElement(parent, f"{{{VM_NAMESPACE}}}{tag}", attributes)
    if text:
        element.text = text
    return element
