# SPDX-License-Identifier: Apache-2.0
"""The hardware of an OVF: Disk elements and Items to Disk, Nic, Device and NumaNode values.

A disk stands in two or three places: `References/File` (id = volume), `Disk` (diskId = volume,
fileRef = image/volume) and an Item of type 17 (InstanceId = volume). A disk with snapshots has
all of that once for each volume of its chain; only the leaf is the disk that the VM runs on.
A direct LUN has a `File` of type LUN, a `Disk` with `lun_id`, and no Item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ha_agent.ovfstore.codes import (
    BLANK_UUID,
    DRIVER_TYPES,
    NIC_MODEL_NAMES,
    DiskInterface,
    NicModel,
    ResourceType,
)
from ha_agent.ovfstore.model import Device, Disk, LunConnection, Nic, NumaNode
from ha_agent.ovfstore.ovf_fields import Fields
from ha_agent.ovfstore.ovf_reading import Bad

# Items without a `Type` element of their own (old engines) are of these kinds.
_KIND_OF_TYPE = {
    ResourceType.CDROM: "disk",
    ResourceType.VIDEO: "video",
    ResourceType.GRAPHICS: "graphics",
}
# The SpecParams that count, of the devices that stand in the domain XML with a name of their own.
# Of other devices their kind alone counts: it is left out, or it is the console and VNC.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "balloon": ("model",),
    "console": ("consoleType", "enableSocket"),
    "controller": ("index", "ioThreadId", "model", "ports"),
    "disk": (),
    "rng": ("bytes", "period", "source"),
    "sound": (),
    "tpm": (),
    "video": ("vram",),
    "watchdog": ("action", "model"),
}
_WITHOUT_ADDRESS = ("console", "tpm")
_OF_ONE_SORT = ("balloon", "console", "rng", "tpm")
_INTERFACES = {interface.value.lower(): interface for interface in DiskInterface}
# What the writer makes from the rest of an Item; no reader needs it.
_CAPTIONS = ("Caption", "Description")


@dataclass(frozen=True)
class _Volume:
    """The places of one volume: its Disk element, and what belongs to it elsewhere."""

    element: Fields
    image: str
    uuid: str
    file: Optional[Fields]
    item: Optional[Fields]

    @property
    def parent(self) -> Optional[str]:
        """The volume that this one is based on; the Item says it, in old documents the Disk."""
        parent = (self.item.text("Parent") or "").lower() if self.item is not None else ""
        if not parent or parent == BLANK_UUID:
            parent = (self.element.attribute("parentRef") or "").lower().rpartition("/")[2]
        return parent if parent and parent != BLANK_UUID else None

    @property
    def keeping(self) -> _Volume:
        """The same places, read only to be written again."""
        file, item = self.file, self.item
        return replace(
            self,
            element=self.element.keeping,
            file=None if file is None else file.keeping,
            item=None if item is None else item.keeping,
        )


def read_disks(
    disks: Sequence[Fields],
    files: Sequence[Fields],
    items: Sequence[Fields],
    active_snapshot: Callable[[], Optional[str]],
) -> tuple[Disk, ...]:
    """Return the VM's disks in the order of the Disk elements, one for each chain.

    `active_snapshot` is asked only for a chain whose volumes don't tell which one is the leaf.
    """
    files_by_id = {(file.attribute("id") or "").lower(): file for file in files}
    items_by_volume = {(item.text("InstanceId") or "").lower(): item for item in items}
    chains: dict[str, list[_Volume]] = {}
    seen: set[str] = set()
    for element in disks:
        image = _image(element)
        uuid = (element.attribute("diskId") or "").lower()
        if uuid and uuid in seen:
            element.reading.set_older(element.element)
            element.reading.notes.append(f"Disk: a second one of {uuid}; the first counts")
            continue
        seen.add(uuid)
        volume = _Volume(element, image, uuid, files_by_id.get(uuid), items_by_volume.get(uuid))
        chains.setdefault(image, []).append(volume)
    return tuple(_disk(chain, active_snapshot) for chain in chains.values())


def _image(element: Fields) -> str:
    """Return the image of `fileRef`; a LUN has its disk's uuid alone there."""
    reference = element.attribute("fileRef") or element.attribute("diskId") or ""
    return element.uuid_of(reference.partition("/")[0], "@fileRef")


def _disk(chain: Sequence[_Volume], active_snapshot: Callable[[], Optional[str]]) -> Disk:
    leaf = chain[0] if len(chain) == 1 else _leaf(chain, active_snapshot)
    kind = None if leaf.file is None else leaf.file.attribute("disk_storage_type")
    if leaf.element.attribute("lun_id") or kind == "LUN":
        return _lun(leaf)
    older = tuple(_older(volume) for volume in chain if volume is not leaf)
    return _image_disk(leaf, older)


def _older(volume: _Volume) -> Disk:
    """Return a volume that another one is based on, for writing it again."""
    for fields in (volume.element, volume.file, volume.item):
        if fields is not None:
            fields.reading.set_older(fields.element)
    return _image_disk(volume.keeping, ())


def _leaf(chain: Sequence[_Volume], active_snapshot: Callable[[], Optional[str]]) -> _Volume:
    """Return the volume of a chain that no other volume is based on."""
    parents = {volume.parent for volume in chain}
    leaves = [volume for volume in chain if volume.uuid not in parents]
    snapshot = active_snapshot() if len(leaves) != 1 else None
    if snapshot:
        active = [
            volume
            for volume in chain
            if (volume.element.attribute("vm_snapshot_id") or "").lower() == snapshot
        ]
        leaves = active or leaves
    if len(leaves) != 1:
        raise chain[0].element.bad(
            f"image {chain[0].image} has {len(chain)} volumes and {len(leaves)} of them are"
            " leaves; it is not clear which one the VM runs on"
        )
    return leaves[0]


def _interface(element: Fields) -> DiskInterface:
    text = element.attribute("disk-interface")

    def read() -> DiskInterface:
        # What the engine's reader takes a document without it for (OvfReader).
        interface = _INTERFACES.get(text.lower()) if text else DiskInterface.IDE
        if interface is None:
            raise element.bad(f"{str(text)[:40]!r} is no known disk interface", "@disk-interface")
        return interface

    return element.attempt("@disk-interface", Bad.DOUBT, DiskInterface.VIRTIO, read)


def _volume_format(element: Fields) -> str:
    text = element.attribute("volume-format") or "Unassigned"

    def read() -> str:
        if text not in DRIVER_TYPES:
            raise element.bad(f"{text[:40]!r} is no known format", "@volume-format")
        return text

    return element.attempt("@volume-format", Bad.DOUBT, "Unassigned", read)


def _image_disk(volume: _Volume, older: tuple[Disk, ...]) -> Disk:
    element = volume.element
    element.derive("@format", "@fileRef", "@parentRef")
    disk = Disk(
        image_uuid=volume.image,
        volume_uuid=element.uuid_of(volume.uuid, "@diskId"),
        snapshot_uuid=element.keeping.attribute_uuid("vm_snapshot_id"),
        size_gib=element.keeping.attribute_count("size"),
        actual_size_gib=element.keeping.attribute_count("actual_size"),
        volume_format=_volume_format(element),
        volume_type=element.keeping.attribute("volume-type") or "Unassigned",
        interface=_interface(element),
        is_boot=element.attribute_flag("boot", False),
        is_read_only=element.attribute_flag("read-only", False, Bad.DOUBT),
        is_shareable=element.attribute_flag("shareable", False, Bad.DOUBT),
        passes_discard=element.attribute_flag("pass-discard", False),
        wipes_after_delete=element.keeping.attribute_flag("wipe-after-delete", False),
        has_incremental_backup=element.keeping.attribute_flag("incremental-backup", False),
        alias=element.keeping.attribute("disk-alias") or "",
        description=element.keeping.attribute("disk-description") or "",
        # Of a disk with one volume it says nothing about a start; of a chain, _leaf has asked.
        parent_uuid=volume.keeping.parent,
        older_volumes=older,
    )
    if volume.file is not None:
        disk = _with_file(disk, volume.file)
    if volume.item is not None:
        disk = _with_item(disk, volume.item)
    return replace(disk, extra_attributes=element.rest_attributes())


def _with_file(disk: Disk, file: Fields) -> Disk:
    file.derive("@href")
    kind = file.attribute("disk_storage_type") or None
    usual = "LUN" if disk.volume_uuid is None else "IMAGE"
    return replace(
        disk,
        file_size_bytes=file.keeping.attribute_count("size"),
        file_description=file.keeping.attribute("description") or "",
        storage_type=None if kind == usual else kind,
        cinder_volume_type=file.keeping.attribute("cinder_volume_type") or None,
    )


def _with_item(disk: Disk, item: Fields) -> Disk:
    domains = item.texts("StorageId")
    pool = item.keeping.text("StoragePoolId")
    item.derive(*_CAPTIONS, "HostResource", "Type", "Device", "IsReadOnly")
    return replace(
        disk,
        storage_domain_uuids=item.attempt(
            "StorageId",
            Bad.DOUBT,
            (),
            lambda: tuple(item.uuid_of(domain, "StorageId") for domain in domains),
        ),
        storage_pool_uuid=item.attempt(
            "StoragePoolId",
            Bad.NOTE,
            None,
            lambda: None if pool is None else item.uuid_of(pool, "StoragePoolId"),
        ),
        boot_order=item.count("BootOrder", bad=Bad.DOUBT) or 0,
        is_plugged=item.flag("IsPlugged", True, Bad.DOUBT),
        device_alias=item.keeping.raw("Alias") or "",
        address=item.address(),
        spec_params=item.spec_params("pinToIoThread"),
        custom_properties=item.keeping.properties("CustomProperties", Bad.NOTE),
        extra_fields=item.rest(),
    )


def _lun(volume: _Volume) -> Disk:
    element = volume.element
    element.derive("@fileRef")
    disk = Disk(
        image_uuid=volume.image,
        lun_id=element.attribute("lun_id") or "",
        size_gib=element.keeping.attribute_count("device_size"),
        interface=_interface(element),
        is_boot=element.attribute_flag("boot", False),
        is_plugged=element.attribute_flag("plugged", True, Bad.DOUBT),
        is_read_only=element.attribute_flag("read-only", False, Bad.DOUBT),
        is_shareable=element.attribute_flag("shareable", False, Bad.DOUBT),
        passes_discard=element.attribute_flag("pass-discard", False),
        uses_scsi_reservation=element.attribute_flag("scsi_reservation", False, Bad.DOUBT),
        alias=element.keeping.attribute("disk-alias") or "",
        description=element.keeping.attribute("disk-description") or "",
        connections=tuple(_connection(way) for way in element.keeping.all("Connection")),
        extra_attributes=element.rest_attributes(),
    )
    if volume.file is not None:
        disk = _with_file(disk, volume.file)
    return disk


def _connection(element: Fields) -> LunConnection:
    return LunConnection(
        address=element.attribute("connection"),
        iqn=element.attribute("iqn"),
        port=element.attribute("port"),
        storage_type=element.attribute("storage_type"),
        portal=element.attribute("portal"),
    )


def _nic_model(item: Fields) -> NicModel:
    text = item.text("ResourceSubType")

    def read() -> NicModel:
        if text is None:
            return NicModel.PV
        if text.isascii() and text.isdigit():
            model = item.code("ResourceSubType", NicModel)
        else:
            model = NIC_MODEL_NAMES.get(text.lower())
        if model is None:
            raise item.bad(f"{text[:40]!r} is no known NIC type", "ResourceSubType")
        return model

    return item.attempt("ResourceSubType", Bad.DOUBT, NicModel.PV, read)


def read_nic(item: Fields) -> Nic:
    """Return the network interface of an Item of type 10."""
    item.derive(*_CAPTIONS, "Type", "ElementName")
    model = _nic_model(item)
    device = "hostdev" if model is NicModel.PCI_PASSTHROUGH else "bridge"
    return Nic(
        device_uuid=item.text("InstanceId") or "",
        name=item.keeping.raw("Name") or "",
        model=model,
        network=item.text("Connection"),
        profile=item.keeping.text("OtherResourceType"),
        mac=item.text("MACAddress"),
        is_linked=item.flag("Linked", True, Bad.NOTE),
        is_plugged=item.flag("IsPlugged", True, Bad.DOUBT),
        speed_mbit=item.keeping.count("speed", bad=Bad.NOTE),
        boot_order=item.count("BootOrder", bad=Bad.DOUBT) or 0,
        device_alias=item.keeping.raw("Alias") or "",
        address=item.address(),
        device=item.text("Device") or device,
        is_read_only=item.keeping.flag("IsReadOnly", False, Bad.NOTE),
        spec_params=item.spec_params(),
        custom_properties=item.properties("CustomProperties"),
        extra_fields=item.rest(),
    )


def read_device(item: Fields, resource_type: int) -> Device:
    """Return any other device. `resource_type` is the Item's, already read."""
    if resource_type in _KIND_OF_TYPE:
        item.derive(*_CAPTIONS)
    kind = item.text("Type")
    if kind is None:
        known = resource_type in _KIND_OF_TYPE
        kind = _KIND_OF_TYPE[ResourceType(resource_type)] if known else ""
    device = (item.keeping if kind in _OF_ONE_SORT else item).text("Device")
    if device is None:
        device = "cdrom" if resource_type == ResourceType.CDROM else ""
    is_cdrom = (kind, device) == ("disk", "cdrom")
    monitors = item.keeping.count("VirtualQuantity", bad=Bad.NOTE)
    if resource_type == ResourceType.VIDEO and monitors is None:
        monitors = 1
    named = item if kind in _PARAMETERS else item.keeping
    return Device(
        device_uuid=named.text("InstanceId") or "",
        resource_type=resource_type,
        kind=kind,
        device=device,
        monitors=monitors,
        boot_order=_boot_order(item, is_cdrom),
        is_plugged=item.flag("IsPlugged", True, Bad.DOUBT),
        is_read_only=item.keeping.flag("IsReadOnly", False, Bad.NOTE),
        device_alias=item.keeping.raw("Alias") or "",
        address=(item.keeping if kind in _WITHOUT_ADDRESS else named).address(),
        spec_params=item.spec_params(*_PARAMETERS.get(kind, ())),
        custom_properties=item.keeping.properties("CustomProperties", Bad.NOTE),
        extra_fields=item.rest(),
    )


def _boot_order(item: Fields, is_cdrom: bool) -> int:
    """Return the place in the boot order, which counts of what a VM can boot from."""
    if is_cdrom:
        return item.count("BootOrder", bad=Bad.DOUBT) or 0
    return item.keeping.count("BootOrder", bad=Bad.NOTE) or 0


def read_numa_node(node: Fields) -> NumaNode:
    """Return a NumaNode element; its memory is in MiB."""
    index, memory_mib = node.count("Index"), node.count("MemTotal", lowest=1)
    if index is None or memory_mib is None:
        raise node.bad("without Index or MemTotal")
    return NumaNode(
        index=index,
        cpus=_numbers(node, "cpuIdList"),
        memory_mib=memory_mib,
        # The engine VM starts on any host, so its cells are bound to none, as by the engine.
        tune_mode=node.keeping.text("NumaTuneMode"),
        host_nodes=node.attempt(
            "vdsNumaNodeList", Bad.NOTE, (), lambda: _numbers(node.keeping, "vdsNumaNodeList")
        ),
        node_uuid=node.keeping.text("id"),
    )


def _numbers(fields: Fields, name: str) -> tuple[int, ...]:
    values = []
    for part in (fields.text(name) or "").split(","):
        value = fields.count_of(part.strip() or None, name, 0)
        if value is not None:
            values.append(value)
    return tuple(values)
