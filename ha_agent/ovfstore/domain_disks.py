# SPDX-License-Identifier: Apache-2.0
"""The `<disk>` elements of a built domain: disks, direct LUNs and CD-ROM drives.

VDSM replaces path and type of an image disk by what preparing the image gives it. libvirt must
not change the owner of what it opens (`seclabel`): on NFS it may not, and VDSM has seen to it.
"""

from __future__ import annotations

from lxml import etree

from ha_agent.ovfstore.codes import BLANK_UUID, DRIVER_TYPES, DiskInterface
from ha_agent.ovfstore.domain_parts import PlacedDisk, Plan, add, whole_number

_CACHE_MODES = ("none", "writethrough", "writeback", "directsync", "unsafe", "default")


def put_cdroms(plan: Plan, devices: etree._Element) -> None:
    """Write the CD-ROM drives, empty ones: a disc would be of the host or of an ISO domain."""
    for cdrom in plan.cdroms:
        element = add(devices, "disk", type="file", device="cdrom", snapshot="no")
        add(element, "driver", name="qemu", type="raw", error_policy="report")
        # VDSM needs the element even for an empty drive; libvirt wants no empty file in it.
        add(element, "source", startupPolicy="optional")
        add(element, "target", dev=cdrom.target, bus=cdrom.bus)
        add(element, "readonly")
        plan.put_boot(element, cdrom)
        plan.put_alias(element, cdrom.device.device_uuid)
        if cdrom.drive_address:
            add(element, "address", **cdrom.drive_address)


def put_disks(plan: Plan, devices: etree._Element) -> None:
    """Write the disks in boot order."""
    virtio_disks = 0
    for placed in plan.disks:
        io_thread = 0
        if placed.bus == "virtio":
            io_thread = _io_thread(plan, placed, virtio_disks)
            virtio_disks += 1
        _put(plan, devices, placed, io_thread)


def _io_thread(plan: Plan, placed: PlacedDisk, number: int) -> int:
    """Return the disk's own I/O thread, or one in turn; 0 when the VM has none."""
    threads = plan.vm.io_threads
    if not threads:
        return 0
    own = whole_number(placed.disk.spec("pinToIoThread"), 1, threads)
    return number % threads + 1 if own is None else own


def _put(plan: Plan, devices: etree._Element, placed: PlacedDisk, io_thread: int) -> None:
    disk = placed.disk
    is_lun = disk.volume_uuid is None
    # A reservation is a command of SCSI, which only a disk that is passed through can take.
    is_passed = is_lun and disk.uses_scsi_reservation and placed.bus == "scsi"
    if disk.interface is DiskInterface.SPAPR_VSCSI:
        plan.note(
            f"disk {placed.target} is on virtio-scsi: spapr-vscsi is of another architecture"
        )
    element = add(
        devices,
        "disk",
        type="block" if is_lun else "file",
        device="lun" if is_passed else "disk",
        snapshot="no",
    )
    driver = add(
        element,
        "driver",
        name="qemu",
        type="raw" if is_lun else DRIVER_TYPES.get(disk.volume_format, "raw"),
        cache="none" if is_lun else _cache(plan, placed),
        error_policy="stop",
        io="native" if is_lun else "threads",
    )
    if disk.passes_discard:
        driver.set("discard", "unmap")
    if io_thread:
        driver.set("iothread", str(io_thread))
    _source(placed, element, is_passed)
    add(element, "target", dev=placed.target, bus=placed.bus)
    if disk.is_read_only:
        if placed.bus in ("ide", "sata"):
            plan.note(f"disk {placed.target} is writable: {placed.bus} has no read-only disks")
        else:
            add(element, "readonly")
    if plan.is_shared(placed):
        add(element, "shareable")
    plan.put_boot(element, placed)
    plan.put_alias(element, disk.image_uuid)
    if placed.drive_address:
        add(element, "address", **placed.drive_address)
    elif placed.bus == "virtio":
        plan.addresses.put_pci(element, disk.address, f"disk {placed.target}")
    if not is_passed:
        add(element, "serial", disk.image_uuid)


def _source(placed: PlacedDisk, element: etree._Element, is_passed: bool) -> None:
    disk = placed.disk
    if disk.volume_uuid is None:
        source = add(element, "source", dev=f"/dev/mapper/{disk.lun_id}")
    else:
        path = f"/rhev/data-center/{BLANK_UUID}/{placed.storage_domain_uuid}/images"
        source = add(element, "source", file=f"{path}/{disk.image_uuid}/{disk.volume_uuid}")
    add(source, "seclabel", model="dac", relabel="no")
    if is_passed:
        add(source, "reservations", managed="yes")


def _cache(plan: Plan, placed: PlacedDisk) -> str:
    wanted = plan.vm.custom_properties.get("viodiskcache")
    if not wanted or placed.disk.interface not in (
        DiskInterface.VIRTIO,
        DiskInterface.VIRTIO_SCSI,
    ):
        return "none"
    if wanted not in _CACHE_MODES:
        plan.note(f"viodiskcache {wanted!r} is no way to cache a disk")
        return "none"
    return wanted
