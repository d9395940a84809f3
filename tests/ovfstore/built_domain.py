# SPDX-License-Identifier: Apache-2.0
"""What the tests of built domains share: the sample VM, its domain, and looks into it."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import BiosType
from ha_agent.ovfstore.domain_build import build_domain_xml
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_parse import parse_ovf

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "engine_vm.ovf"
VM = parse_ovf(DATA.read_bytes(), where="F")
I440FX = dataclasses.replace(
    VM, emulated_machine="pc-i440fx-rhel7.6.0", bios_type=BiosType.I440FX_SEA_BIOS
)
DOMAIN = "5d000000-0000-4000-8000-000000000001"


def built(vm: VmDefinition = VM) -> etree._Element:
    return etree.fromstring(build_domain_xml(vm, storage_domain_uuid=DOMAIN)[0].encode())


def notes(vm: VmDefinition) -> str:
    return "\n".join(build_domain_xml(vm, storage_domain_uuid=DOMAIN)[1])


def attribute(root: etree._Element, path: str, name: str) -> Optional[str]:
    element = root.find(path)
    assert element is not None, path
    return element.get(name)


def disks(root: etree._Element, device: str = "disk") -> dict[str, etree._Element]:
    found = {}
    for disk in root.findall("devices/disk"):
        if disk.get("device") == device:
            found[attribute(disk, "target", "dev") or ""] = disk
    return found


def without(kind: str, vm: VmDefinition = VM) -> VmDefinition:
    kept = tuple(device for device in vm.devices if device.kind != kind)
    return dataclasses.replace(vm, devices=kept)
