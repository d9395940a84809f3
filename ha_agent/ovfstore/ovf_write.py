# SPDX-License-Identifier: Apache-2.0
"""Elements in the engine's order and namespaces, and which texts XML can carry.

The engine's order matters to people who compare documents, to no reader; so the tables below
name what the engine writes (OvfWriter, OvfOvirtWriter, OvfVmWriter), and anything else keeps its
place behind its neighbour.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import (
    OVF_NAMESPACE,
    RASD_NAMESPACE,
    VSSD_NAMESPACE,
    XSI_NAMESPACE,
)
from ha_agent.ovfstore.model import Pairs

NAMESPACES = {
    "ovf": OVF_NAMESPACE,
    "rasd": RASD_NAMESPACE,
    "vssd": VSSD_NAMESPACE,
    "xsi": XSI_NAMESPACE,
}
CONTENT_ORDER = (
    "Name", "Description", "Comment", "CreationDate", "ExportDate", "DeleteProtected",
    "SsoMethod", "IsSmartcardEnabled", "NumOfIoThreads", "TimeZone", "default_boot_sequence",
    "initrd_url", "kernel_url", "kernel_params", "Generation", "CustomCompatibilityVersion",
    "ClusterCompatibilityVersion", "VmType", "ResumeBehavior", "TunnelMigration",
    "VncKeyboardLayout", "MinAllocatedMem", "IsStateless", "IsRunAndPause", "AutoStartup",
    "Priority", "CreatedByUserId", "MigrationDowntime", "VmInit", "MigrationSupport",
    "DedicatedVmForVds", "SerialNumberPolicy", "CustomSerialNumber", "IsBootMenuEnabled",
    "IsSpiceFileTransferEnabled", "IsSpiceCopyPasteEnabled", "AllowConsoleReconnect",
    "ConsoleDisconnectAction", "ConsoleDisconnectActionDelay", "IsAutoConverge",
    "IsMigrateCompressed", "IsMigrateEncrypted", "MigrationPolicyId", "CustomEmulatedMachine",
    "BiosType", "CustomCpuName", "PredefinedProperties", "UserDefinedProperties",
    "MaxMemorySizeMb", "LeaseDomainId", "MultiQueuesEnabled", "VirtioScsiMultiQueuesEnabled",
    "UseHostCpu", "BalloonEnabled", "CpuPinningPolicy", "ClusterName", "TemplateId",
    "TemplateName", "InstanceTypeId", "ImageTypeId", "IsInitilized", "Origin", "app_list",
    "quota_id", "DefaultDisplayType", "TrustedService", "OriginalTemplateId",
    "OriginalTemplateName", "CpuPinning", "UseLatestVersion", "StopTime", "BootTime", "Downtime",
    "EngineXml",
)  # fmt: skip
ITEM_ORDER = (
    "rasd:Caption", "rasd:Description", "rasd:InstanceId", "rasd:ResourceType",
    "rasd:OtherResourceType", "rasd:ResourceSubType", "rasd:Connection", "rasd:Linked",
    "rasd:Name", "rasd:ElementName", "rasd:MACAddress", "rasd:speed", "rasd:VirtualQuantity",
    "rasd:SinglePciQxl", "rasd:HostResource", "rasd:Parent", "rasd:Template",
    "rasd:DiskStorageType", "rasd:ApplicationList", "rasd:StorageId", "rasd:StoragePoolId",
    "rasd:CreationDate", "rasd:LastModified", "rasd:last_modified_date", "Type", "Device",
    "rasd:Address", "BootOrder", "IsPlugged", "IsReadOnly", "Alias", "SpecParams",
    "CustomProperties", "SnapshotId",
)  # fmt: skip
# What XML 1.0 has no way to write (section 2.2), surrogates and Unicode's non-characters.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def refuse_unwritable(value: object, path: str) -> None:
    """Raise BadInput that names the field in which XML could not carry a character."""
    if isinstance(value, str):
        found = _NOT_XML.search(value)
        if found is not None:
            raise BadInput(f"{found.group()!r} can't be written in XML", where=path)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            refuse_unwritable(item, f"{path}[{index}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, (enum.Enum, type)):
        for item in dataclasses.fields(value):
            if item.compare:
                refuse_unwritable(getattr(value, item.name), f"{path}.{item.name}")


def first_difference(left: object, right: object, path: str) -> Optional[str]:
    """Return the name of the first field in which two values differ, or None."""
    if left == right and type(left) is type(right):
        return None
    if isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right)):
            found = first_difference(one, other, f"{path}[{index}]")
            if found is not None:
                return found
    if (
        dataclasses.is_dataclass(left)
        and not isinstance(left, (enum.Enum, type))
        and type(left) is type(right)
    ):
        for item in dataclasses.fields(left):
            if item.compare:
                found = first_difference(
                    getattr(left, item.name), getattr(right, item.name), f"{path}.{item.name}"
                )
                if found is not None:
                    return found
    return path


def in_order(
    values: Sequence[tuple[str, str]], extra: Pairs, order: Sequence[str]
) -> list[tuple[str, str]]:
    """Return names with texts as they are to be written.

    `extra` wins over a value of its name, and keeps its own order.
    """
    ranks = {name: rank for rank, name in enumerate(order)}
    names = {name for name, _ in extra}
    ranked = [
        (ranks.get(name, len(ranks)), name, text) for name, text in values if name not in names
    ]
    least = 0
    for name, text in extra:
        least = max(least, ranks.get(name, least))
        ranked.append((least, name, text))
    return [(name, text) for _, name, text in sorted(ranked, key=lambda item: item[0])]


def add(
    parent: etree._Element,
    name: str,
    text: Optional[str] = None,
    *,
    attributes: Optional[Mapping[str, str]] = None,
) -> etree._Element:
    """Append an element; `attributes` are in the ovf namespace but for those of xsi."""
    element = etree.SubElement(parent, _full(name, ""))
    if text is not None:
        element.text = text
    for key, value in (attributes or {}).items():
        element.set(_full(key, f"{{{OVF_NAMESPACE}}}"), value)
    return element


def _full(name: str, otherwise: str) -> str:
    prefix, colon, local = name.partition(":")
    if colon and prefix in NAMESPACES:
        return f"{{{NAMESPACES[prefix]}}}{local}"
    return otherwise + name


def section(parent: etree._Element, kind: str, info: Optional[str] = None) -> etree._Element:
    """Append a Section of a kind, such as DiskSection."""
    element = add(parent, "Section", attributes={"xsi:type": f"ovf:{kind}_Type"})
    if info is not None:
        add(element, "Info", info)
    return element


def flag(value: bool) -> str:
    """Return a truth as the engine writes it."""
    return "true" if value else "false"


def properties(pairs: Pairs) -> str:
    """Return custom properties, `k=v;k2=v2`."""
    return ";".join(f"{key}={value}" for key, value in pairs)


def address(pairs: Pairs) -> str:
    """Return an address as Java writes a map, or nothing."""
    text = ", ".join(f"{key}={value}" for key, value in pairs)
    return f"{{{text}}}" if text else ""


def spec_params(parent: etree._Element, pairs: Pairs) -> None:
    """Append SpecParams; the slashes of a name are elements within elements."""
    if not pairs:
        return
    params = add(parent, "SpecParams")
    for path, value in pairs:
        *groups, last = path.split("/")
        at = params
        for name in groups:
            newest = at[-1] if len(at) else None
            is_open = newest is not None and newest.tag == name and len(newest) > 0
            at = newest if newest is not None and is_open else add(at, name)
        add(at, last, value)


def empty_elements(root: etree._Element) -> Iterator[etree._Element]:
    """Yield the elements that would be written <a/>, which the engine never does."""
    for element in root.iter():
        if not len(element) and element.text is None:
            yield element
