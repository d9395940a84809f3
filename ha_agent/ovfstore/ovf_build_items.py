# SPDX-License-Identifier: Apache-2.0
"""The hardware of a VmDefinition as Disk elements and Items of an OVF.

Names, order and what the engine's reader needs are as in ovf_build.
"""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree

from ha_agent.ovfstore.codes import BLANK_UUID, ResourceType
from ha_agent.ovfstore.model import Device, Disk, LunConnection, Nic, Pairs
from ha_agent.ovfstore.ovf_write import (
    ITEM_ORDER,
    add,
    address,
    flag,
    in_order,
    properties,
    spec_params,
)

_FORMAT_URIS = {
    "RAW": "http://www.vmware.com/specifications/vmdk.html#sparse",
    "COW": "http://www.gnome.org/~markmc/qcow-image-format.html",
}
_CAPTIONS = {
    ResourceType.CDROM: "CDROM",
    ResourceType.VIDEO: "Graphical Controller",
    ResourceType.GRAPHICS: "Graphical Framebuffer",
}


def _file_ref(disk: Disk) -> str:
    if disk.volume_uuid is None:
        return disk.image_uuid
    return f"{disk.image_uuid}/{disk.volume_uuid}"


def _number(value: object) -> str:
    return "" if value is None else str(value)


def file_element(references: etree._Element, disk: Disk) -> None:
    """Append the File of a volume or of a LUN."""
    if disk.volume_uuid is None:
        attributes = {"id": disk.image_uuid, "href": _file_ref(disk)}
        if disk.file_size_bytes is not None:
            attributes["size"] = str(disk.file_size_bytes)
        if disk.file_description:
            attributes["description"] = disk.file_description
        attributes["disk_storage_type"] = disk.storage_type or "LUN"
        if disk.cinder_volume_type is not None:
            attributes["cinder_volume_type"] = disk.cinder_volume_type
    else:
        attributes = {
            "href": _file_ref(disk),
            "id": disk.volume_uuid,
            "size": _number(disk.file_size_bytes),
            "description": disk.file_description,
            "disk_storage_type": disk.storage_type or "IMAGE",
            "cinder_volume_type": disk.cinder_volume_type or "",
        }
    add(references, "File", attributes=attributes)


def disk_element(parent: etree._Element, disk: Disk) -> None:
    """Append the Disk element of a volume or of a LUN."""
    attributes = _lun_attributes(disk) if disk.volume_uuid is None else _image_attributes(disk)
    extra = dict(disk.extra_attributes)
    attributes = {name: text for name, text in attributes.items() if name not in extra}
    element = add(parent, "Disk", attributes={**attributes, **extra})
    for connection in disk.connections:
        _connection(element, connection)


def _image_attributes(disk: Disk) -> dict[str, str]:
    attributes = {
        "diskId": disk.volume_uuid or "",
        "size": _number(disk.size_gib),
        "actual_size": _number(disk.actual_size_gib),
    }
    if disk.snapshot_uuid is not None:
        attributes["vm_snapshot_id"] = disk.snapshot_uuid
    parent = disk.parent_uuid
    attributes.update(
        {
            "parentRef": "" if parent is None else f"{disk.image_uuid}/{parent}",
            "fileRef": _file_ref(disk),
            "format": _FORMAT_URIS.get(disk.volume_format, ""),
            "volume-format": disk.volume_format,
            "volume-type": disk.volume_type,
            "disk-interface": disk.interface.value,
            "read-only": flag(disk.is_read_only),
            "shareable": flag(disk.is_shareable),
            "boot": flag(disk.is_boot),
            "pass-discard": flag(disk.passes_discard),
            "incremental-backup": flag(disk.has_incremental_backup),
            "disk-alias": disk.alias,
            "disk-description": disk.description,
            "wipe-after-delete": flag(disk.wipes_after_delete),
        }
    )
    return attributes


def _lun_attributes(disk: Disk) -> dict[str, str]:
    attributes = {
        "diskId": disk.image_uuid,
        "disk-alias": disk.alias,
        "disk-description": disk.description,
        "pass-discard": flag(disk.passes_discard),
        "fileRef": _file_ref(disk),
        "shareable": flag(disk.is_shareable),
        "boot": flag(disk.is_boot),
        "disk-interface": disk.interface.value,
        "read-only": flag(disk.is_read_only),
        "scsi_reservation": flag(disk.uses_scsi_reservation),
        "plugged": flag(disk.is_plugged),
    }
    if disk.size_gib is not None:
        attributes["device_size"] = str(disk.size_gib)
    attributes["lun_id"] = disk.lun_id or ""
    return attributes


def _connection(parent: etree._Element, connection: LunConnection) -> None:
    values = {
        "connection": connection.address,
        "iqn": connection.iqn,
        "port": connection.port,
        # These two are xsi's in the engine's documents.
        "xsi:storage_type": connection.storage_type,
        "xsi:portal": connection.portal,
    }
    known = {name: text for name, text in values.items() if text is not None}
    add(parent, "Connection", attributes=known)


def _item(
    hardware: etree._Element,
    values: Sequence[tuple[str, str]],
    extra: Pairs,
    params: Pairs,
    custom: Pairs,
) -> None:
    item = add(hardware, "Item")
    all_values = list(values)
    if custom:
        all_values.append(("CustomProperties", properties(custom)))
    for name, text in in_order(all_values, extra, ITEM_ORDER):
        add(item, name, text)
    spec_params(item, params)


def disk_items(hardware: etree._Element, disk: Disk) -> None:
    """Append the Items of a disk: one a volume of its chain, none for a LUN."""
    if disk.volume_uuid is None:
        return
    for volume in (*disk.older_volumes, disk):
        values = [
            ("rasd:Caption", volume.alias),
            ("rasd:InstanceId", volume.volume_uuid or ""),
            ("rasd:ResourceType", str(ResourceType.DISK.value)),
            ("rasd:HostResource", _file_ref(volume)),
            ("rasd:Parent", volume.parent_uuid or BLANK_UUID),
            *(("rasd:StorageId", domain) for domain in volume.storage_domain_uuids),
        ]
        if volume.storage_pool_uuid is not None:
            values.append(("rasd:StoragePoolId", volume.storage_pool_uuid))
        values += [
            ("Type", "disk"),
            ("Device", "disk"),
            ("rasd:Address", address(volume.address)),
            ("BootOrder", str(volume.boot_order)),
            ("IsPlugged", flag(volume.is_plugged)),
            ("IsReadOnly", flag(volume.is_read_only)),
            ("Alias", volume.device_alias),
        ]
        _item(hardware, values, volume.extra_fields, volume.spec_params, volume.custom_properties)


def nic_item(hardware: etree._Element, nic: Nic) -> None:
    """Append the Item of a network interface."""
    values = [
        ("rasd:Caption", f"Ethernet adapter on {nic.network or '[No Network]'}"),
        ("rasd:InstanceId", nic.device_uuid),
        ("rasd:ResourceType", str(ResourceType.NETWORK.value)),
        ("rasd:OtherResourceType", nic.profile or ""),
        ("rasd:ResourceSubType", str(nic.model.value)),
        ("rasd:Connection", nic.network or ""),
        ("rasd:Linked", flag(nic.is_linked)),
        ("rasd:Name", nic.name),
        ("rasd:ElementName", nic.name),
        ("rasd:MACAddress", nic.mac or ""),
    ]
    if nic.speed_mbit is not None:
        values.append(("rasd:speed", str(nic.speed_mbit)))
    values += [
        ("Type", "interface"),
        ("Device", nic.device),
        ("rasd:Address", address(nic.address)),
        ("BootOrder", str(nic.boot_order)),
        ("IsPlugged", flag(nic.is_plugged)),
        ("IsReadOnly", flag(nic.is_read_only)),
        ("Alias", nic.device_alias),
    ]
    _item(hardware, values, nic.extra_fields, nic.spec_params, nic.custom_properties)


def device_item(hardware: etree._Element, device: Device) -> None:
    """Append the Item of any other device."""
    values = []
    if device.resource_type in _CAPTIONS:
        values.append(("rasd:Caption", _CAPTIONS[ResourceType(device.resource_type)]))
    if device.device_uuid:
        # The engine's reader takes an Item without one, but none with an empty one.
        values.append(("rasd:InstanceId", device.device_uuid))
    values.append(("rasd:ResourceType", str(int(device.resource_type))))
    if device.monitors is not None:
        values.append(("rasd:VirtualQuantity", str(device.monitors)))
    values += [
        ("Type", device.kind),
        ("Device", device.device),
        ("rasd:Address", address(device.address)),
        ("BootOrder", str(device.boot_order)),
        ("IsPlugged", flag(device.is_plugged)),
        ("IsReadOnly", flag(device.is_read_only)),
        ("Alias", device.device_alias),
    ]
    _item(hardware, values, device.extra_fields, device.spec_params, device.custom_properties)
