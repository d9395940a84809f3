# SPDX-License-Identifier: Apache-2.0
"""The libvirt domain XML of VM.create, read into values. No I/O.

What arrives is what the engine writes as EngineXml and what our own translator writes. It is
input from outside: the document's length is bounded, a DOCTYPE is refused (so there are no
entities), nothing is fetched, and what can't be read is a BadInput that names the element.

Here the document is only understood; what QEMU gets of it is qemu/arguments.py's
decision. Elements that say nothing about devices or that it does not use are left out of the
values.
"""

from __future__ import annotations

import re
from typing import Optional, Union

from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain import coverage as domain_coverage
from ha_agent.vdsm.domain.model import (
    Cpu,
    Device,
    Disk,
    Domain,
    DriveAddress,
    Graphics,
    Lease,
    Nic,
    PciAddress,
    VolumeIds,
)
from ha_agent.vdsm.domain.tuning import integer, read_tuning, size_kib

OVIRT_VM = "http://ovirt.org/vm/1.0"
MAX_XML_BYTES = 1024 * 1024
MAX_DEVICES = 256

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Numbers of devices, by where they stand.
_OPTIONS = (
    (".", "ports"),
    ("driver", "queues"),
    ("driver", "iothread"),
    ("rate", "bytes"),
    ("rate", "period"),
    ("model", "vram"),
)
_OFFSET = re.compile(r"[0-9]{1,18}")
_WHERE = "domain XML"


def parse_domain(text: Union[str, bytes]) -> Domain:
    """Read one domain document. Raises BadInput that names the element."""
    root = domain_root(text)
    metadata = root.find("metadata")
    vm_data = None if metadata is None else metadata.find(f"{{{OVIRT_VM}}}vm")
    devices = _need(root.find("devices"), "devices")
    if len(devices) > MAX_DEVICES:
        raise BadInput(f"more than {MAX_DEVICES} devices", where=_WHERE)
    max_vcpus = integer(_text(root, "vcpu"), "vcpu", 1, 4096)
    current = _need(root.find("vcpu"), "vcpu").get("current")
    operating_system = _need(root.find("os"), "os")
    machine = _need(operating_system.find("type"), "os/type")
    loader = operating_system.find("loader")
    nvram = operating_system.find("nvram")
    menu = operating_system.find("bootmenu")
    volumes = _volume_ids(vm_data)
    return Domain(
        uuid=_uuid(_text(root, "uuid")),
        name=_text(root, "name"),
        memory_mib=_memory_mib(root),
        vcpus=integer(current, "vcpu current", 1, max_vcpus) if current else max_vcpus,
        max_vcpus=max_vcpus,
        cpu=_cpu(root.find("cpu")),
        machine=machine.get("machine") or "",
        arch=machine.get("arch") or "x86_64",
        loader="" if loader is None else (loader.text or "").strip(),
        nvram_template="" if nvram is None else nvram.get("template") or "",
        secure_boot=loader is not None and loader.get("secure") == "yes",
        boot_devices=tuple(boot.get("dev") or "" for boot in operating_system.findall("boot")),
        boot_menu=menu is not None and menu.get("enable") == "yes",
        disks=tuple(_disk(disk, volumes) for disk in devices.findall("disk")),
        nics=tuple(_nic(nic) for nic in devices.findall("interface")),
        leases=tuple(_lease(lease) for lease in devices.findall("lease")),
        devices=tuple(
            _device(device)
            for device in devices
            if isinstance(device.tag, str) and device.tag not in ("disk", "interface", "lease")
        ),
        graphics=tuple(
            Graphics(
                item.get("type") or "", item.get("passwd") or "", item.get("passwdValidTo") or ""
            )
            for item in devices.findall("graphics")
        ),
        launch_paused=_flag(metadata, "launchPaused"),
        destroy_on_reboot=_flag(metadata, "destroy_on_reboot"),
        resume_behavior=_vm_text(metadata, "resumeBehavior").lower(),
        tuning=read_tuning(root),
        unknown_parts=domain_coverage.unknown(root),
    )


def domain_root(text: Union[str, bytes]) -> etree._Element:
    """Return the <domain> element. Raises BadInput for no XML, too much of it, or a DOCTYPE."""
    data = text.encode() if isinstance(text, str) else text
    if len(data) > MAX_XML_BYTES:
        raise BadInput(f"longer than {MAX_XML_BYTES} bytes", where=_WHERE)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True, encoding="utf-8",
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BadInput(f"not XML: {error}", where=_WHERE) from error
    doctype: str = root.getroottree().docinfo.doctype  # type: ignore[union-attr]
    if doctype:
        raise BadInput("has a DOCTYPE, which is refused", where=_WHERE)
    if root.tag != "domain":
        raise BadInput(f"root element is <{root.tag}>, not <domain>", where=_WHERE)
    return root


def _need(element: Optional[etree._Element], name: str) -> etree._Element:
    if element is None:
        raise BadInput(f"no <{name}>", where=_WHERE)
    return element


def _text(parent: etree._Element, name: str) -> str:
    text = (_need(parent.find(name), name).text or "").strip()
    if not text:
        raise BadInput(f"<{name}> is empty", where=_WHERE)
    return text


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text.lower()):
        raise BadInput(f"<uuid> {text[:60]!r} is no UUID", where=_WHERE)
    return text.lower()


def _memory_mib(root: etree._Element) -> int:
    element = _need(root.find("memory"), "memory")
    return max(1, size_kib(element.text, element.get("unit"), "memory") // 1024)


def _cpu(element: Optional[etree._Element]) -> Cpu:
    if element is None:
        return Cpu()
    topology = element.find("topology")

    def count(name: str) -> int:
        text = None if topology is None else topology.get(name)
        return integer(text, f"topology {name}", 1, 4096) if text else 0

    return Cpu(
        mode=element.get("mode") or "",
        model=(element.findtext("model") or "").strip(),
        features=tuple(
            (feature.get("policy") or "require", feature.get("name") or "")
            for feature in element.findall("feature")
        ),
        sockets=count("sockets"),
        cores=count("cores"),
        threads=count("threads"),
    )


def _attribute(element: etree._Element, path: str, name: str) -> str:
    child = element.find(path)
    return "" if child is None else child.get(name) or ""


def _boot_order(element: etree._Element) -> Optional[int]:
    order = _attribute(element, "boot", "order")
    return integer(order, "boot order", 1, 1000) if order else None


def _address(element: etree._Element) -> Optional[PciAddress]:
    address = element.find("address")
    if address is None or address.get("type") != "pci" or not address.get("slot"):
        return None
    return PciAddress(
        bus=integer(address.get("bus") or "0", "PCI bus", 0, 255),
        slot=integer(address.get("slot"), "PCI slot", 0, 31),
        function=integer(address.get("function") or "0", "PCI function", 0, 7),
        multifunction=address.get("multifunction") == "on",
    )


def _disk(element: etree._Element, volumes: dict[str, VolumeIds]) -> Disk:
    target = _attribute(element, "target", "dev")
    if not re.fullmatch(r"[a-z]{1,8}", target):
        raise BadInput(f"disk target {target[:40]!r} is no device name", where=_WHERE)
    kind = element.get("type") or "file"
    source = element.find("source")
    path = None if source is None else source.get("dev" if kind == "block" else "file")
    if source is not None and kind not in ("file", "block"):
        raise BadInput(f"disk {target}: type {kind!r} is not supported", where=_WHERE)
    return Disk(
        device=element.get("device") or "disk",
        target=target,
        bus=_attribute(element, "target", "bus") or "virtio",
        path=path or None,
        format=_attribute(element, "driver", "type") or "raw",
        cache=_attribute(element, "driver", "cache"),
        io=_attribute(element, "driver", "io"),
        error_policy=_attribute(element, "driver", "error_policy"),
        serial=(element.findtext("serial") or "").strip(),
        discard=_attribute(element, "driver", "discard"),
        boot_order=_boot_order(element),
        read_only=element.find("readonly") is not None,
        shareable=element.find("shareable") is not None,
        volume=volumes.get(target),
        address=_address(element),
        drive=_drive(element),
        io_thread=_number(element, "driver", "iothread"),
        is_optional=_attribute(element, "source", "startupPolicy") in ("optional", "requisite"),
        has_reservations=element.find("source/reservations") is not None,
    )


def _drive(element: etree._Element) -> Optional[DriveAddress]:
    address = element.find("address")
    if address is None or address.get("type") != "drive":
        return None
    numbers = [
        integer(address.get(name) or "0", f"drive {name}", 0, high)
        for name, high in (("controller", 255), ("bus", 1), ("target", 255), ("unit", 16383))
    ]
    return DriveAddress(*numbers)


def _number(element: etree._Element, path: str, name: str) -> int:
    text = _attribute(element, path, name)
    return integer(text, f"{element.tag} {name}", 0, 2**32 - 1) if text else 0


def _nic(element: etree._Element) -> Nic:
    source = element.find("source")
    network = "" if source is None else source.get("bridge") or source.get("network") or ""
    mac = _attribute(element, "mac", "address").lower()
    if mac and not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
        raise BadInput(f"MAC address {mac[:40]!r} is malformed", where=_WHERE)
    return Nic(
        model=_attribute(element, "model", "type") or "virtio",
        network=network,
        mac=mac,
        link_up=_attribute(element, "link", "state") != "down",
        queues=_number(element, "driver", "queues"),
        boot_order=_boot_order(element),
        address=_address(element),
    )


def _lease(element: etree._Element) -> Lease:
    path = _attribute(element, "target", "path")
    if not path:
        raise BadInput("<lease> has no target path", where=_WHERE)
    offset = _attribute(element, "target", "offset")
    return Lease(
        key=(element.findtext("key") or "").strip(),
        lockspace=(element.findtext("lockspace") or "").strip(),
        path=path,
        offset=int(offset) if _OFFSET.fullmatch(offset) else 0,
    )


def _device(element: etree._Element) -> Device:
    tag = element.tag
    target = element.find("target")
    name = "" if target is None else target.get("name") or ""
    kind = element.get("type") or element.get("model") or ""
    if tag == "controller":
        kind = "-".join(filter(None, (element.get("type"), element.get("model"))))
    elif tag == "video":
        kind = _attribute(element, "model", "type")
    elif tag in ("watchdog", "rng", "memballoon", "sound", "tpm", "panic"):
        kind = element.get("model") or ""
    elif tag in ("console", "channel"):
        kind = (target.get("type") if target is not None else None) or kind
    if tag == "tpm":
        backend = element.find("backend")
        if backend is not None:
            name = f"{backend.get('type') or ''} {backend.get('version') or ''}".strip()
    if tag == "input":
        name = element.get("bus") or ""
    if tag == "rng":
        name = (element.findtext("backend") or "").strip()
    index = element.get("index")
    return Device(
        tag=tag,
        kind=kind,
        name=name,
        index=integer(index, f"{tag} index", 0, 255) if index else None,
        action=element.get("action") or "",
        address=_address(element),
        options={
            name: _number(element, path, name)
            for path, name in _OPTIONS
            if _attribute(element, path, name)
        },
    )


def _vm_text(metadata: Optional[etree._Element], name: str) -> str:
    """Read a text of ovirt-vm:vm, with the namespace or, as old engines wrote it, without."""
    if metadata is None:
        return ""
    for path in (f"{{{OVIRT_VM}}}vm/{{{OVIRT_VM}}}{name}", f"{{{OVIRT_VM}}}vm/{name}"):
        text = metadata.findtext(path)
        if text is not None:
            return text.strip()
    return ""


def _flag(metadata: Optional[etree._Element], name: str) -> bool:
    return _vm_text(metadata, name).lower() in ("true", "1")


def _volume_ids(vm_data: Optional[etree._Element]) -> dict[str, VolumeIds]:
    """Read the disks' ids by target name. A disk that lacks one of the four has none."""
    found: dict[str, VolumeIds] = {}
    if vm_data is None:
        return found
    for device in vm_data.findall(f"{{{OVIRT_VM}}}device"):
        if device.get("devtype") != "disk":
            continue
        ids = [
            (device.findtext(f"{{{OVIRT_VM}}}{name}") or device.findtext(name) or "").strip()
            for name in ("poolID", "domainID", "imageID", "volumeID")
        ]
        if all(ids):
            found[device.get("name") or ""] = VolumeIds(*ids)
    return found
