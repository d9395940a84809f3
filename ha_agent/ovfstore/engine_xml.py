# SPDX-License-Identifier: Apache-2.0
"""Judging and repairing the domain XML that the engine puts into the OVF (`EngineXml`).

It is the engine's own idea of the next start, so it is taken as it is when it is sound: of this
VM, with devices, with a boot disk that VDSM can prepare, and with the lease on that disk's volume
that keeps two hosts from running it at once (facts/ovf-and-volumes.md, 2.3; the predecessor's
"only if safe"). What is missing of exclusivity is repaired, never dropped: without EngineXml the
definition is poorer, and without lease nothing may start. All else is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import BLANK_UUID, VM_NAMESPACE
from ha_agent.ovfstore.domain_read import memory_mib, vcpus
from ha_agent.ovfstore.ovf_fields import UUID, local_name
from ha_agent.ovfstore.xml_input import OvfError, parse_xml

# What the engine writes: no password is known, and its time is over. VDSM wants it non-empty.
VNC_PASSWORD = "*****"
VNC_PASSWORD_VALID_TO = "1970-01-01T00:00:01"
_TRUE = ("true", "1", "yes", "on")


@dataclass(frozen=True)
class Verdict:
    """`xml` to start from, with what was repaired in `notes`; or None and the reason.

    `volume_uuid` is the boot disk's volume, the one that is leased; memory and CPUs are those
    at start, None where the XML does not tell.
    """

    xml: Optional[str]
    notes: tuple[str, ...] = ()
    refusal: str = ""
    volume_uuid: Optional[str] = None
    memory_mib: Optional[int] = None
    vcpus: Optional[int] = None


@dataclass(frozen=True)
class _ImageDisk:
    """An image disk: the name of its `<disk>`, its metadata for VDSM, and its ids."""

    name: str
    metadata: etree._Element
    volume_uuid: str
    storage_domain_uuid: str


def judge_engine_xml(text: str, *, vm_uuid: str, storage_domain_uuid: str) -> Verdict:
    """Return the EngineXml unchanged when it is sound, repaired when that is enough.

    Raises nothing for what the text holds: a text that can't be used is a refusal.
    """
    try:
        root = parse_xml(text.encode("utf-8"), where="EngineXml")
    except OvfError as error:
        return Verdict(None, refusal=str(error))
    if local_name(root) != "domain":
        return Verdict(None, refusal=f"its root element is {root.tag!r}, not domain")
    found_uuid = (root.findtext("uuid") or "").strip().lower()
    if found_uuid != vm_uuid:
        return Verdict(None, refusal=f"it is of VM {found_uuid or '(none)'}, not of {vm_uuid}")
    # libvirt would merge several, while VDSM looks at the first.
    found_devices = root.findall("devices")
    if len(found_devices) != 1:
        return Verdict(None, refusal=f"it has {len(found_devices)} elements devices, not one")
    devices = found_devices[0]
    twice = _boot_order_given_twice(devices)
    if twice is not None:
        return Verdict(None, refusal=f"two devices have boot order {twice}, which libvirt refuses")
    disks = _image_disks(root, devices)
    if not disks:
        return Verdict(None, refusal="it has no disk with image, volume and domain ids for VDSM")
    boot = disks[0]
    notes = [
        *_repair_exclusivity(boot),
        *_repair_lease(devices, boot),
        *_repair_strange_leases(devices, disks),
        *_repair_vnc(devices),
        *_repair_paused(root),
    ]
    xml = text
    if notes:
        xml = etree.tostring(root, xml_declaration=True, encoding="UTF-8").decode("utf-8")
    if boot.storage_domain_uuid != storage_domain_uuid:
        notes.append(
            f"EngineXml: the boot disk {boot.name} is on storage domain"
            f" {boot.storage_domain_uuid}, not on {storage_domain_uuid}"
        )
    return Verdict(
        xml,
        tuple(notes),
        volume_uuid=boot.volume_uuid,
        memory_mib=memory_mib(root),
        vcpus=vcpus(root),
    )


def lease_target(volume_uuid: str, storage_domain_uuid: str) -> dict[str, str]:
    """Return the placeholders that VDSM replaces by the path and offset of the volume's lease.

    It does so only where key is the leaf volume and lockspace the domain of a prepared disk
    (vdsm: virt/domxml_preprocess.py).
    """
    return {
        "path": f"LEASE-PATH:{volume_uuid}:{storage_domain_uuid}",
        "offset": f"LEASE-OFFSET:{volume_uuid}:{storage_domain_uuid}",
    }


def add_lease(devices: etree._Element, volume_uuid: str, storage_domain_uuid: str) -> None:
    """Append the `<lease>` of a volume."""
    lease = etree.SubElement(devices, "lease")
    etree.SubElement(lease, "key").text = volume_uuid
    etree.SubElement(lease, "lockspace").text = storage_domain_uuid
    etree.SubElement(lease, "target", lease_target(volume_uuid, storage_domain_uuid))


def _metadata_children(root: etree._Element) -> Iterator[etree._Element]:
    """Yield what stands in the ovirt-vm block; old engines left its children without namespace."""
    metadata = root.find("metadata")
    for block in [] if metadata is None else metadata:
        if block.tag == f"{{{VM_NAMESPACE}}}vm":
            yield from block


def _boot_order_given_twice(devices: etree._Element) -> Optional[str]:
    orders = [element.get("order") or "" for element in devices.iterfind("*/boot")]
    return next((order for order in orders if orders.count(order) > 1), None)


def _image_disks(root: etree._Element, devices: etree._Element) -> list[_ImageDisk]:
    """Return the disks that VDSM can prepare, that which the VM boots from first."""
    by_name: dict[Optional[str], etree._Element] = {}
    for child in _metadata_children(root):
        if local_name(child) == "device" and child.get("devtype") == "disk":
            # Of two, VDSM takes the first.
            by_name.setdefault(child.get("name"), child)
    candidates = []
    for position, disk in enumerate(devices.findall("disk")):
        target = disk.find("target")
        name = None if target is None else target.get("dev")
        metadata = by_name.get(name)
        if disk.get("device", "disk") != "disk" or name is None or metadata is None:
            continue
        ids = {local_name(child): (child.text or "").strip().lower() for child in metadata}
        wanted = [ids.get(key, "") for key in ("imageID", "volumeID", "domainID")]
        if all(UUID.fullmatch(value) for value in wanted):
            boot = disk.find("boot")
            order = (boot.get("order") or "") if boot is not None else ""
            rank = int(order) if order.isascii() and order.isdigit() else 1 << 30
            candidates.append((rank, position, _ImageDisk(name, metadata, wanted[1], wanted[2])))
    return [disk for _, _, disk in sorted(candidates, key=lambda item: item[:2])]


def _set_metadata(boot: _ImageDisk, name: str, value: str) -> Optional[str]:
    """Set one value of the boot disk's metadata; return the old one when it was another."""
    for child in boot.metadata:
        if local_name(child) == name:
            old = (child.text or "").strip()
            child.text = value
            return None if old == value else old or "(empty)"
    etree.SubElement(boot.metadata, f"{{{VM_NAMESPACE}}}{name}").text = value
    return "(missing)"


def _repair_exclusivity(boot: _ImageDisk) -> Iterator[str]:
    old = _set_metadata(boot, "shared", "exclusive")
    if old is not None:
        yield f"EngineXml repaired: disk {boot.name} is shared=exclusive now, was {old}"
    # The engine VM starts before any storage pool is connected, so VDSM must not look for one.
    old = _set_metadata(boot, "poolID", BLANK_UUID)
    if old is not None:
        yield f"EngineXml repaired: disk {boot.name} has the blank pool now, had {old}"


def _lease_ids(lease: etree._Element) -> tuple[str, str]:
    """Return key and lockspace: for a volume's lease, the volume and its storage domain."""
    key, lockspace = lease.findtext("key") or "", lease.findtext("lockspace") or ""
    return key.strip().lower(), lockspace.strip().lower()


def _repair_lease(devices: etree._Element, boot: _ImageDisk) -> Iterator[str]:
    """Make sure that there is one lease for the boot disk's volume, with a usable target.

    VDSM fills in the placeholders; a real path and offset it passes on (facts/vdsm.md, section 3).
    """
    ids = (boot.volume_uuid, boot.storage_domain_uuid)
    found = [lease for lease in devices.findall("lease") if _lease_ids(lease) == ids]
    if not found:
        add_lease(devices, *ids)
        yield f"EngineXml repaired: added the lease of volume {ids[0]} (disk {boot.name})"
        return
    for lease in found[1:]:
        # sanlock gives a process each lease once: with a second one nothing starts.
        devices.remove(lease)
        yield f"EngineXml repaired: the lease of disk {boot.name} was there more than once"
    expected = lease_target(*ids)
    target = found[0].find("target")
    if target is None:
        target = etree.SubElement(found[0], "target")
    path, offset = target.get("path") or "", target.get("offset") or ""
    is_placeholder = path == expected["path"] and offset == expected["offset"]
    if not (is_placeholder or _is_real(target)):
        for name, value in expected.items():
            target.set(name, value)
        yield f"EngineXml repaired: the lease of disk {boot.name} had no usable target"


def _is_real(target: etree._Element) -> bool:
    path, offset = target.get("path") or "", target.get("offset") or ""
    return path.startswith("/") and offset.isascii() and offset.isdigit()


def _repair_strange_leases(devices: etree._Element, disks: Sequence[_ImageDisk]) -> Iterator[str]:
    """Remove leases that VDSM can't fill in: those of volumes that are no disk's, as a parent's.

    VDSM leaves such a placeholder as it is, libvirt refuses it, and the VM would start nowhere.
    A lease with a real path is somebody's, and stays.
    """
    fillable = {(disk.volume_uuid, disk.storage_domain_uuid) for disk in disks}
    for lease in devices.findall("lease"):
        target = lease.find("target")
        if _lease_ids(lease) not in fillable and (target is None or not _is_real(target)):
            key, lockspace = _lease_ids(lease)
            devices.remove(lease)
            yield (
                f"EngineXml repaired: removed the lease {key or '(none)'} in"
                f" {lockspace or '(none)'}, which is no disk's volume"
            )


def _repair_vnc(devices: etree._Element) -> Iterator[str]:
    """VDSM refuses VNC without an end of the password's validity (code 9)."""
    for graphics in devices.findall("graphics"):
        if graphics.get("type") == "vnc" and not graphics.get("passwdValidTo"):
            graphics.set("passwd", VNC_PASSWORD)
            graphics.set("passwdValidTo", VNC_PASSWORD_VALID_TO)
            yield "EngineXml repaired: VNC had no passwdValidTo"


def _repair_paused(root: etree._Element) -> Iterator[str]:
    """A VM that starts paused holds no lease until it is continued, and serves nobody."""
    for child in _metadata_children(root):
        if local_name(child) == "launchPaused" and (child.text or "").strip().lower() in _TRUE:
            child.text = "false"
            yield "EngineXml repaired: launchPaused was true"
