# SPDX-License-Identifier: Apache-2.0
"""The hardware of an OVF: Disk elements and Items to Disk, Nic, Device and NumaNode values.

A disk stands in two or three places: `References/File` (id = volume), `Disk` (diskId = volume,
fileRef = image/volume) and an Item of type 17 (InstanceId = volume). A disk with snapshots has
all of that once for each volume of its chain; only the leaf is the disk that the VM runs on.
A direct LUN has a `Disk` with `lun_id`, and no Item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ha_agent.ovfstore.codes import (
    BLANK_UUID,
    DRIVER_TYPES,
    NIC_MODEL_NAMES,
    DiskInterface,
    NicModel,
    ResourceType,
)
from ha_agent.ovfstore.model import Device, Disk, Nic, NumaNode
from ha_agent.ovfstore.ovf_fields import Fields, local_name

# Items without a `Type` element of their own (old engines) are of these kinds.
_KIND_OF_TYPE = {
    ResourceType.CDROM: "disk",
    ResourceType.VIDEO: "video",
    ResourceType.GRAPHICS: "graphics",
}
_INTERFACES = {interface.value.lower(): interface for interface in DiskInterface}


def read_disks(
    disks: Sequence[Fields],
    files: Sequence[Fields],
    items: Sequence[Fields],
    active_snapshot: Optional[str],
) -> tuple[Disk, ...]:
    """Return the VM's disks in the order of the Disk elements, one for each chain."""
    sizes = {file.attribute("id"): file.attribute_number("size") for file in files}
    items_by_volume = {(item.text("InstanceId") or "").lower(): item for item in items}
    chains: dict[str, list[Fields]] = {}
    for element in disks:
        image = _file_ref(element)[0]
        chains.setdefault(image, []).append(element)
    result = []
    for image, chain in chains.items():
        leaf = (
            chain[0] if len(chain) == 1 else _leaf(image, chain, items_by_volume, active_snapshot)
        )
        if leaf.attribute("lun_id"):
            result.append(_lun(leaf, image))
            continue
        volume = leaf.uuid_of(leaf.attribute("diskId") or "", "@diskId")
        item = items_by_volume.get(volume)
        disk = _image_disk(leaf, image, volume, item, sizes.get(leaf.attribute("diskId")))
        result.append(disk)
    return tuple(result)


def _file_ref(element: Fields) -> tuple[str, Optional[str]]:
    """Return image and volume of `fileRef`; a LUN has its disk's uuid alone there."""
    reference = element.attribute("fileRef") or element.attribute("diskId") or ""
    image, slash, volume = reference.partition("/")
    image = element.uuid_of(image, "@fileRef")
    return image, element.uuid_of(volume, "@fileRef") if slash else None


def _leaf(
    image: str,
    chain: Sequence[Fields],
    items_by_volume: dict[str, Fields],
    active_snapshot: Optional[str],
) -> Fields:
    """Return the volume of a chain that no other volume is based on."""
    parents = set()
    for element in chain:
        volume = (element.attribute("diskId") or "").lower()
        parent = (element.attribute("parentRef") or "").lower().rpartition("/")[2]
        item = items_by_volume.get(volume)
        if not parent and item is not None:
            parent = (item.text("Parent") or "").lower()
        if parent and parent != BLANK_UUID:
            parents.add(parent)
    leaves = [item for item in chain if (item.attribute("diskId") or "").lower() not in parents]
    if len(leaves) != 1 and active_snapshot:
        active = [
            item
            for item in chain
            if (item.attribute("vm_snapshot_id") or "").lower() == active_snapshot
        ]
        leaves = active or leaves
    if len(leaves) != 1:
        raise chain[0].bad(
            f"image {image} has {len(chain)} volumes and {len(leaves)} of them are leaves;"
            " it is not clear which one the VM runs on"
        )
    return leaves[0]


def _interface(element: Fields) -> DiskInterface:
    text = element.attribute("disk-interface")
    if text is None:
        return DiskInterface.VIRTIO
    interface = _INTERFACES.get(text.lower())
    if interface is None:
        raise element.bad(f"{text[:40]!r} is no known disk interface", "@disk-interface")
    return interface


def _image_disk(
    element: Fields,
    image: str,
    volume: str,
    item: Optional[Fields],
    file_size_bytes: Optional[int],
) -> Disk:
    volume_format = element.attribute("volume-format") or "RAW"
    if volume_format not in DRIVER_TYPES:
        raise element.bad(f"{volume_format[:40]!r} is no known format", "@volume-format")
    snapshot = element.attribute("vm_snapshot_id")
    domains: list[str] = []
    pool = None
    if item is not None:
        for child in item.element:
            if local_name(child) == "StorageId" and (child.text or "").strip():
                domains.append(item.uuid_of(child.text or "", "StorageId"))
        pool = item.text("StoragePoolId")
    return Disk(
        image_uuid=image,
        volume_uuid=volume,
        storage_domain_uuids=tuple(domains),
        storage_pool_uuid=None
        if pool is None or item is None
        else item.uuid_of(pool, "StoragePoolId"),
        snapshot_uuid=element.uuid_of(snapshot, "@vm_snapshot_id") if snapshot else None,
        size_gib=element.attribute_number("size"),
        actual_size_gib=element.attribute_number("actual_size"),
        file_size_bytes=file_size_bytes,
        volume_format=volume_format,
        volume_type=element.attribute("volume-type") or "Preallocated",
        interface=_interface(element),
        is_boot=element.attribute_flag("boot", False),
        boot_order=0 if item is None else item.count("BootOrder") or 0,
        is_plugged=True if item is None else item.flag("IsPlugged", True),
        is_read_only=element.attribute_flag("read-only", False),
        is_shareable=element.attribute_flag("shareable", False),
        passes_discard=element.attribute_flag("pass-discard", False),
        wipes_after_delete=element.attribute_flag("wipe-after-delete", False),
        alias=element.attribute("disk-alias") or "",
        description=element.attribute("disk-description") or "",
        device_alias="" if item is None else item.raw("Alias") or "",
        address=() if item is None else item.address(),
    )


def _lun(element: Fields, disk_uuid: str) -> Disk:
    return Disk(
        image_uuid=disk_uuid,
        lun_id=element.attribute("lun_id"),
        size_gib=element.attribute_number("device_size"),
        interface=_interface(element),
        is_boot=element.attribute_flag("boot", False),
        is_plugged=element.attribute_flag("plugged", True),
        is_read_only=element.attribute_flag("read-only", False),
        is_shareable=element.attribute_flag("shareable", False),
        passes_discard=element.attribute_flag("pass-discard", False),
        alias=element.attribute("disk-alias") or "",
        description=element.attribute("disk-description") or "",
    )


def read_nic(item: Fields) -> Nic:
    """Return the network interface of an Item of type 10."""
    text = item.text("ResourceSubType")
    if text is None:
        model: Optional[NicModel] = NicModel.PV
    elif text.isascii() and text.isdigit():
        model = item.code("ResourceSubType", NicModel)
    else:
        model = NIC_MODEL_NAMES.get(text.lower())
    if model is None:
        raise item.bad(f"{text!r} is no known NIC type", "ResourceSubType")
    return Nic(
        device_uuid=item.text("InstanceId") or "",
        name=item.raw("Name") or "",
        model=model,
        network=item.text("Connection"),
        profile=item.text("OtherResourceType"),
        mac=item.text("MACAddress"),
        is_linked=item.flag("Linked", True),
        is_plugged=item.flag("IsPlugged", True),
        speed_mbit=item.count("speed"),
        boot_order=item.count("BootOrder") or 0,
        device_alias=item.raw("Alias") or "",
        address=item.address(),
    )


def read_device(item: Fields, resource_type: int) -> Device:
    """Return any other device. `resource_type` is the Item's, already read."""
    kind = item.text("Type")
    if kind is None:
        known = resource_type in _KIND_OF_TYPE
        kind = _KIND_OF_TYPE[ResourceType(resource_type)] if known else ""
    device = item.text("Device")
    if device is None:
        device = "cdrom" if resource_type == ResourceType.CDROM else ""
    return Device(
        device_uuid=item.text("InstanceId") or "",
        resource_type=resource_type,
        kind=kind,
        device=device,
        monitors=item.count("VirtualQuantity"),
        boot_order=item.count("BootOrder") or 0,
        is_plugged=item.flag("IsPlugged", True),
        is_read_only=item.flag("IsReadOnly", False),
        device_alias=item.raw("Alias") or "",
        address=item.address(),
        spec_params=item.spec_params(),
    )


def read_numa_node(node: Fields) -> NumaNode:
    """Return a NumaNode element; its memory is in MiB."""
    index, memory_mib = node.count("Index"), node.count("MemTotal", lowest=1)
    if index is None or memory_mib is None:
        raise node.bad("without Index or MemTotal")
    node_uuid = node.text("id")
    return NumaNode(
        index=index,
        cpus=_numbers(node, "cpuIdList"),
        memory_mib=memory_mib,
        tune_mode=node.text("NumaTuneMode"),
        host_nodes=_numbers(node, "vdsNumaNodeList"),
        node_uuid=node_uuid,
    )


def _numbers(fields: Fields, name: str) -> tuple[int, ...]:
    values = []
    for part in (fields.text(name) or "").split(","):
        value = fields.number_of(part.strip() or None, name)
        if value is not None:
            values.append(value)
    return tuple(values)
