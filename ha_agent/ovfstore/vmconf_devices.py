# SPDX-License-Identifier: Apache-2.0
"""The devices of a vm.conf to Disk, Nic and Device values.

A device is a line `devices={type:...,device:...,...}`, a disk also a line `drive=...` or, in the
oldest files, a path (`imageFile=`). `type` and `device` are those of VDSM's legacy devices, of
which facts/ovf-and-volumes.md, section 3, has an example of each. What the model has no field for
is told of in a note; what must be known and is not there, or means nothing, is a BadInput.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from ha_agent.ovfstore.codes import (
    BLANK_UUID,
    NIC_MODEL_NAMES,
    DiskInterface,
    NicModel,
    ResourceType,
)
from ha_agent.ovfstore.model import Device, Disk, Nic, Pairs
from ha_agent.ovfstore.vmconf_fields import ConfFields
from ha_agent.ovfstore.vmconf_grammar import Entry, Value, VmConf

# `virtio_scsi` and `spapr_vscsi` are the predecessor's own spelling of what it read in an OVF.
_DISK_INTERFACES = {
    "virtio": DiskInterface.VIRTIO,
    "scsi": DiskInterface.VIRTIO_SCSI,
    "virtio_scsi": DiskInterface.VIRTIO_SCSI,
    "ide": DiskInterface.IDE,
    "sata": DiskInterface.SATA,
    "spapr_vscsi": DiskInterface.SPAPR_VSCSI,
}
_FORMATS = {"raw": "RAW", "cow": "COW", "qcow2": "COW"}
# VDSM's drive types; it takes the two truths as well (vdsm: virt/vmdevices/storage.py).
_SHARED = {"exclusive": False, "none": False, "false": False, "shared": True, "true": True}
_RESOURCE_TYPES = {"video": ResourceType.VIDEO, "graphics": ResourceType.GRAPHICS}
_CONTROLLER_PARAMETERS = ("index", "model", "ports")
_OLD_DISK_KEYS = ("hda", "hdb", "hdc", "hdd")
_IMAGE_PATH = re.compile(r"/(?P<domain>[^/]+)/images/(?P<image>[^/]+)/(?P<volume>[^/]+)$")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


@dataclass
class DevicesRead:
    """The devices in the order of the file, and sentences on what was changed or not used."""

    disks: list[Disk] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    devices: list[Device] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_devices(
    conf: VmConf, *, is_q35: bool, storage_domain_uuid: Optional[str], where: str
) -> DevicesRead:
    """Return the devices of a vm.conf.

    `storage_domain_uuid` is the domain of a disk whose line names none. Raises BadInput.
    """
    reader = _Reader(is_q35, storage_domain_uuid, where)
    for entry in conf.entries:
        if entry.key == "devices":
            reader.device(entry)
        elif entry.key == "drive":
            reader.drive(entry)
    for key in _OLD_DISK_KEYS:
        old = conf.last(key)
        if old is not None and old.value:
            reader.disk_of_path(old)
    cdrom = conf.last("cdrom")
    if cdrom is not None and cdrom.value:
        reader.old_cdrom(cdrom)
    reader.decide_boot_disk()
    return reader.result


class _Reader:
    def __init__(self, is_q35: bool, storage_domain_uuid: Optional[str], where: str) -> None:
        self.result = DevicesRead()
        self._is_q35 = is_q35
        self._storage_domain_uuid = storage_domain_uuid
        self._where = where

    def device(self, entry: Entry) -> None:
        """Read a line `devices=`."""
        fields = self._fields(entry, "device")
        kind = fields.text("type")
        if kind is None:
            raise fields.bad("a device without a type", "type")
        device = fields.text("device")
        fields.what = f"device {kind}" if device in (None, kind) else f"device {kind} {device}"
        if kind == "interface":
            self.result.nics.append(self._nic(fields, device))
        elif kind == "disk" and device in (None, "disk", "lun"):
            self.result.disks.append(self._disk(fields))
        else:
            self.result.devices.append(self._other(fields, kind, device or ""))
        self._tell_unused(fields)

    def drive(self, entry: Entry) -> None:
        """Read a line `drive=`: a disk whose type goes without saying."""
        fields = self._fields(entry, "drive")
        fields.take("type", "device")
        self.result.disks.append(self._disk(fields))
        self._tell_unused(fields)

    def disk_of_path(self, entry: Entry) -> None:
        """Read a disk given by the path of its volume."""
        fields = self._fields(entry, entry.key)
        found = _IMAGE_PATH.search(entry.value) if isinstance(entry.value, str) else None
        if found is None:
            raise fields.bad("is no path .../<domain>/images/<image>/<volume>; can't be converted")
        named: Mapping[str, Value] = {f"{key}ID": text for key, text in found.groupdict().items()}
        self.result.disks.append(
            self._disk(
                ConfFields({**named, "iface": "ide"}, what=entry.key, where=self._where,
                           line=entry.line)
            )
        )  # fmt: skip

    def old_cdrom(self, entry: Entry) -> None:
        """Read `cdrom=`: the path of a disc, which no start needs."""
        self.result.devices.append(Device("", ResourceType.CDROM, "disk", "cdrom"))
        self.result.notes.append(f"line {entry.line}: the disc in the CD-ROM drive is not used")

    def decide_boot_disk(self) -> None:
        """Mark the disk with the lowest order as the boot disk; the first where none has one."""
        disks = self.result.disks
        if not disks:
            return
        ordered = [disk for disk in disks if disk.boot_order]
        if ordered:
            boot = min(ordered, key=lambda disk: disk.boot_order)
            order = boot.boot_order
        else:
            boot, order = disks[0], 1
            self.result.notes.append(f"no disk has a bootOrder: {boot.image_uuid} is booted from")
        position = next(index for index, disk in enumerate(disks) if disk is boot)
        disks[position] = dataclasses.replace(boot, is_boot=True, boot_order=order)

    def _fields(self, entry: Entry, what: str) -> ConfFields:
        fields: Mapping[str, Value] = {}
        if not isinstance(entry.value, str):
            fields = entry.value
        found = ConfFields(fields, what=what, where=self._where, line=entry.line)
        if isinstance(entry.value, str) and entry.key in ("devices", "drive"):
            raise found.bad(f"{entry.value[:40]!r} has no fields")
        return found

    def _tell_unused(self, fields: ConfFields) -> None:
        unused = fields.unused()
        if unused:
            self.result.notes.append(
                f"line {fields.line}, {fields.what}: not used: {', '.join(unused)}"
            )

    def _disk(self, fields: ConfFields) -> Disk:
        lun = fields.text("GUID")
        if lun is not None:
            image, volume = fields.uuid("deviceId"), None
        else:
            image, volume = fields.uuid("imageID"), fields.uuid("volumeID")
            if volume is None:
                raise fields.bad("a disk without volumeID or GUID", "volumeID")
        if image is None:
            raise fields.bad("a disk without its uuid", "imageID" if lun is None else "deviceId")
        if any(disk.image_uuid == image for disk in self.result.disks):
            raise fields.bad(f"disk {image} is in the file already")
        if (fields.text("deviceId") or image).lower() != image:
            self.result.notes.append(
                f"line {fields.line}, {fields.what}: deviceId differs from imageID and is not used"
            )
        if fields.text("poolID") not in (None, BLANK_UUID):
            # The engine VM starts before any storage pool is connected.
            self.result.notes.append(
                f"line {fields.line}, {fields.what}: poolID is not used: the pool is the blank one"
            )
        if lun is None:
            self.result.notes.append(
                f"disk {image}: size unknown, allocation taken as Preallocated:"
                " VDSM's Volume.getInfo has both"
            )
        return Disk(
            image_uuid=image,
            volume_uuid=volume,
            lun_id=lun,
            storage_domain_uuids=() if lun else self._domains(fields, image),
            volume_format=fields.choice("format", _FORMATS, "RAW"),
            interface=self._interface(fields, image),
            boot_order=fields.number("bootOrder") or 0,
            is_read_only=fields.flag("readonly", False),
            is_shareable=fields.choice("shared", _SHARED, False),
            passes_discard=fields.flag("discard", False),
            device_alias=fields.text("alias") or "",
            address=fields.address(),
            spec_params=fields.spec_params(),
            custom_properties=fields.custom_properties(),
        )

    def _domains(self, fields: ConfFields, image: str) -> tuple[str, ...]:
        domain = fields.uuid("domainID")
        if domain is not None:
            return (domain,)
        if self._storage_domain_uuid is not None:
            self.result.notes.append(
                f"disk {image}: taken to be on storage domain {self._storage_domain_uuid}"
            )
            return (self._storage_domain_uuid.lower(),)
        self.result.notes.append(f"disk {image}: its storage domain is not given")
        return ()

    def _interface(self, fields: ConfFields, image: str) -> DiskInterface:
        interface = fields.choice("iface", _DISK_INTERFACES, DiskInterface.VIRTIO)
        if interface is DiskInterface.IDE and self._is_q35:
            self.result.notes.append(f"disk {image} is SATA, not IDE: a q35 machine has no IDE")
            return DiskInterface.SATA
        return interface

    def _nic(self, fields: ConfFields, device: Optional[str]) -> Nic:
        name = f"nic{len(self.result.nics) + 1}"
        mac = fields.text("macAddr")
        if mac is not None and _MAC.fullmatch(mac) is None:
            raise fields.bad(f"{mac[:40]!r} is no MAC address", "macAddr")
        self.result.notes.append(f"network interface {mac or '(no MAC)'} is named {name}")
        return Nic(
            device_uuid=fields.text("deviceId") or "",
            name=name,
            model=fields.choice("nicModel", NIC_MODEL_NAMES, NicModel.PV),
            network=fields.text("network"),
            mac=mac,
            is_linked=fields.flag("linkActive", True),
            boot_order=fields.number("bootOrder") or 0,
            device=device or "bridge",
            device_alias=fields.text("alias") or "",
            address=fields.address(),
            spec_params=fields.spec_params(),
            custom_properties=fields.custom_properties(),
        )

    def _other(self, fields: ConfFields, kind: str, device: str) -> Device:
        resource_type = _RESOURCE_TYPES.get(kind, ResourceType.OTHER)
        address = fields.address()
        parameters = dict(fields.spec_params())
        if kind == "disk" and device == "cdrom":
            resource_type = ResourceType.CDROM
            address = self._cdrom_address(fields, address)
        elif kind == "controller":
            device = self._controller(fields, device, parameters)
        elif kind == "rng" and fields.text("model") not in (None, "virtio"):
            raise fields.bad("is not virtio, the only model there is", "model")
        return Device(
            device_uuid=fields.text("deviceId") or "",
            resource_type=int(resource_type),
            kind=kind,
            device=device,
            monitors=1 if kind == "video" else None,
            boot_order=fields.number("bootOrder") or 0,
            is_read_only=fields.flag("readonly", False),
            device_alias=fields.text("alias") or "",
            address=address,
            spec_params=tuple(sorted(parameters.items())),
            custom_properties=fields.custom_properties(),
        )

    def _cdrom_address(self, fields: ConfFields, address: Pairs) -> Pairs:
        """Return the drive's address, if it has the bus that this machine gives it."""
        bus = "sata" if self._is_q35 else "ide"
        found = (fields.text("iface") or bus).lower()
        if found == bus:
            return address
        why = "a q35 machine has no IDE" if self._is_q35 else "this machine has no SATA"
        self.result.notes.append(
            f"the CD-ROM drive is {bus.upper()}, not {found.upper()}, and its address is left to"
            f" libvirt: {why}"
        )
        return ()

    def _controller(self, fields: ConfFields, device: str, parameters: dict[str, str]) -> str:
        """Return what the engine calls this controller; the line has its parameters outside."""
        if device == "scsi" and fields.text("model") == "virtio-scsi":
            device = "virtio-scsi"
        for name in _CONTROLLER_PARAMETERS:
            is_told = name == "model" and device == "virtio-scsi"
            if name not in parameters and not is_told:
                value = fields.text(name)
                if value is not None:
                    parameters[name] = value
        return device
