# SPDX-License-Identifier: Apache-2.0
"""From the engine's domain XML to one that this host's libvirt takes. Pure.

The engine writes its XML for VDSM, which changes it before libvirt sees it (facts/vdsm.md, 3).
Without VDSM that is done here; each change that takes something away is a note:

    disks          the volume's path from the ids in ovirt-vm's metadata; no change of the file's
                   owner (seclabel dac, as VDSM has it); cache without direct I/O where the
                   storage has none
    lease          the volume's lease file for sanlock; left out for image and lockd, which lock
                   the disk itself
    networks       a bridge of the network's name, or what [libvirt] networks says
    sysinfo        OS-NAME:, OS-VERSION:, HOST-SERIAL: filled in
    on_reboot      left out, which means restart; destroy where the engine asks for that
    channels       no path: libvirt makes up its own
    console        a pty, where it is a socket of oVirt's console proxy
    graphics       listens on the loopback where the listener is VDSM's own network; passwdValidTo
                   stays, so that a display without password stays shut
    type, machine, emulator, firmware, cpu
                   what this host has: qemu for kvm without KVM, the plain machine type for an
                   unknown one, libvirt's choice for a file that is not here

The metadata stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from lxml import etree

from ha_agent.errors import BadInput
from ha_agent.vdsm.domain.document import parse_domain
from ha_agent.vdsm.domain.model import Domain

_WHERE = "domain XML"


@dataclass(frozen=True)
class HostOffer:
    """What this host's libvirt has for an architecture, by its own capabilities."""

    domain_types: tuple[str, ...]
    machines: frozenset[str]
    security_models: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VirtPlacement:
    """What this host gives the VM.

    `disk_paths` are the real paths by target, `no_direct_io` the targets whose storage has no
    direct I/O; `lease_paths` the sanlock leases' files by key, empty where the lease is none of
    libvirt's <lease>; `networks` maps a network's name to "bridge=NAME", "network=NAME" or
    "user"; `missing_files` are files the definition names and this host has not; `sysinfo` what
    its placeholders become.
    """

    offer: HostOffer
    accelerator: str
    disk_paths: Mapping[str, str] = field(default_factory=dict)
    no_direct_io: frozenset[str] = frozenset()
    lease_paths: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    missing_files: frozenset[str] = frozenset()
    sysinfo: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VirtDomain:
    """`xml` for libvirt; `notes` say what differs from the definition."""

    xml: str
    notes: tuple[str, ...]


def read_definition(xml: str, vm_uuid: str) -> tuple[Domain, frozenset[str]]:
    """Return the definition as values, and the host's files that it names.

    Raises BadInput, also for another VM's definition and for a lease of none of its disks.
    """
    domain = parse_domain(xml)
    if domain.uuid != vm_uuid:
        raise BadInput(f"is of the VM {domain.uuid}, not of {vm_uuid}", where=_WHERE)
    root = etree.fromstring(xml.encode(), _parser())
    paths = ("devices/emulator", "os/loader")
    named = {(root.findtext(path) or "").strip() for path in paths}
    return domain, frozenset(name for name in named if name)


def place(xml: str, domain: Domain, placement: VirtPlacement) -> VirtDomain:
    """Return the XML for libvirt. `domain` is what `read_definition` read of `xml`.

    Raises BadInput for what this host can't give the VM.
    """
    root = etree.fromstring(xml.encode(), _parser())
    notes: list[str] = []
    is_emulated = _type(root, placement, notes)
    _machine(root, placement.offer, notes)
    _files(root, placement, notes)
    if is_emulated:
        _emulated_cpu(root, notes)
    _reboot(root, domain)
    _sysinfo(root, placement.sysinfo)
    devices = root.find("devices")
    assert devices is not None, "parse_domain has seen it"
    for disk in devices.findall("disk"):
        _disk(disk, placement, notes)
    for lease in devices.findall("lease"):
        _lease(devices, lease, placement.lease_paths)
    for nic in devices.findall("interface"):
        _nic(nic, placement.networks, is_emulated, notes)
    for channel in devices.findall("channel[@type='unix']"):
        _drop(channel, "source")
    for console in devices.findall("console[@type='unix']"):
        console.set("type", "pty")
        _drop(console, "source")
    for graphics in devices.findall("graphics"):
        _graphics(graphics)
    return VirtDomain(etree.tostring(root, encoding="unicode"), tuple(notes))


def _parser() -> etree.XMLParser:
    # What parse_domain has let through has no DOCTYPE and a bounded size.
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True, encoding="utf-8",
    )  # fmt: skip


def _drop(parent: etree._Element, name: str) -> None:
    for child in parent.findall(name):
        parent.remove(child)


def _type(root: etree._Element, placement: VirtPlacement, notes: list[str]) -> bool:
    """Choose the domain's type; tell whether the VM is emulated."""
    types = placement.offer.domain_types
    if not types:
        raise BadInput("this host's libvirt runs no VMs of its architecture", where=_WHERE)
    wanted = {"kvm": ("kvm",), "tcg": ("qemu",), "auto": ("kvm", "qemu", *types)}
    found = next((kind for kind in wanted[placement.accelerator] if kind in types), None)
    if found is None:
        raise BadInput(
            f"accelerator {placement.accelerator} is not to be had; this host's libvirt has the"
            f" domain types {', '.join(types)}",
            where=_WHERE,
        )
    if found != "kvm":
        notes.append(f"the domain's type is {found}: the VM runs without KVM, slowly")
    root.set("type", found)
    return found != "kvm"


def _machine(root: etree._Element, offer: HostOffer, notes: list[str]) -> None:
    kind = root.find("os/type")
    assert kind is not None, "parse_domain has seen it"
    wanted = kind.get("machine") or ""
    if not wanted or wanted in offer.machines or not offer.machines:
        return
    if not wanted.startswith(("pc", "q35")):
        raise BadInput(f"machine type {wanted[:60]!r} is not on this host", where=_WHERE)
    machine = "q35" if "q35" in wanted else "pc"
    notes.append(f"machine type {wanted} is not on this host, {machine} is used")
    kind.set("machine", machine)


def _files(root: etree._Element, placement: VirtPlacement, notes: list[str]) -> None:
    """Leave to libvirt what the definition has in a place that this host has not."""
    for parent_path, name in (("devices", "emulator"), ("os", "loader")):
        parent = root.find(parent_path)
        found = None if parent is None else parent.find(name)
        if parent is None or found is None:
            continue
        path = (found.text or "").strip()
        if path not in placement.missing_files:
            continue
        parent.remove(found)
        if name == "loader":
            _drop(parent, "nvram")
            parent.set("firmware", "efi")
        notes.append(f"{name} {path} is not on this host, libvirt chooses")


def _emulated_cpu(root: etree._Element, notes: list[str]) -> None:
    """Without KVM the host's CPU can't be passed on, and named models lack features."""
    cpu = root.find("cpu")
    if cpu is None:
        return
    if cpu.get("mode") or cpu.find("model") is not None or cpu.find("feature") is not None:
        notes.append("the CPU is the best that can be emulated")
        for name in ("model", "feature", "vendor", "cache"):
            _drop(cpu, name)
        for attribute in ("match", "check", "migratable"):
            if attribute in cpu.attrib:
                del cpu.attrib[attribute]
        cpu.set("mode", "maximum")


def _reboot(root: etree._Element, domain: Domain) -> None:
    _drop(root, "on_reboot")
    if domain.destroy_on_reboot:
        etree.SubElement(root, "on_reboot").text = "destroy"


def _sysinfo(root: etree._Element, values: Mapping[str, str]) -> None:
    for system in root.findall("sysinfo/system"):
        for entry in system.findall("entry"):
            text = (entry.text or "").strip()
            if text in values:
                entry.text = values[text]
            if text.endswith(":") and not values.get(text):
                system.remove(entry)


def _disk(disk: etree._Element, placement: VirtPlacement, notes: list[str]) -> None:
    target = disk.find("target")
    name = "" if target is None else target.get("dev") or ""
    source = disk.find("source")
    path = placement.disk_paths.get(name)
    if path is None:
        if source is not None:  # an empty cdrom: libvirt wants no source then
            disk.remove(source)
        return
    if source is None:
        source = etree.SubElement(disk, "source")
    kind = "block" if path.startswith("/dev/") else "file"
    disk.set("type", kind)
    for attribute in list(source.attrib):
        del source.attrib[attribute]
    source.set("file" if kind == "file" else "dev", path)
    _drop(source, "seclabel")
    if "dac" in placement.offer.security_models:  # not of an unprivileged libvirt
        etree.SubElement(source, "seclabel", model="dac", relabel="no")
    driver = disk.find("driver")
    if name in placement.no_direct_io and driver is not None and driver.get("cache") == "none":
        notes.append(f"disk {name}: its storage has no direct I/O")
        driver.set("cache", "writethrough")
        if driver.get("io") == "native":
            driver.set("io", "threads")


def _lease(devices: etree._Element, lease: etree._Element, paths: Mapping[str, str]) -> None:
    path = paths.get((lease.findtext("key") or "").strip())
    target = lease.find("target")
    if path is None or target is None:
        devices.remove(lease)
        return
    if target.get("path") != path:
        target.set("path", path)
        target.set("offset", "0")


def _nic(
    nic: etree._Element, networks: Mapping[str, str], is_emulated: bool, notes: list[str]
) -> None:
    source = nic.find("source")
    name = ""
    if source is not None:
        name = source.get("bridge") or source.get("network") or ""
        nic.remove(source)
    # VDSM defines this filter itself on its hosts; elsewhere it is unknown, and the start fails.
    for filterref in nic.findall("filterref"):
        if (filterref.get("filter") or "").startswith("vdsm-"):
            nic.remove(filterref)
            notes.append(f"network {name}: the filter {filterref.get('filter')} is VDSM's own")
    driver = nic.find("driver")
    if is_emulated and driver is not None and driver.get("name") == "vhost":
        nic.remove(driver)
    kind, _, value = networks.get(name, f"bridge={name}").partition("=")
    if kind == "user":
        nic.set("type", "user")
        return
    if not name:
        raise BadInput("an interface without network", where=_WHERE)
    nic.set("type", kind)
    etree.SubElement(nic, "source", {kind: value})


def _graphics(graphics: etree._Element) -> None:
    for listen in graphics.findall("listen[@type='network']"):
        if (listen.get("network") or "").startswith("vdsm-"):
            graphics.remove(listen)
            etree.SubElement(graphics, "listen", type="address", address="127.0.0.1")


def offer_of(capabilities_xml: str, arch: str) -> HostOffer:
    """Read virConnectGetCapabilities: what the host has for one architecture. Raises BadInput."""
    try:
        root = etree.fromstring(capabilities_xml.encode(), _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BadInput(f"not XML: {error}", where="libvirt's capabilities") from error
    types: list[str] = []
    machines: set[str] = set()
    for guest in root.findall("guest"):
        found: Optional[etree._Element] = guest.find("arch")
        if found is None or not re.fullmatch(re.escape(arch), found.get("name") or ""):
            continue
        types += [domain.get("type") or "" for domain in found.findall("domain")]
        machines |= {(machine.text or "").strip() for machine in found.iter("machine")}
    models = {(model.text or "").strip() for model in root.findall("host/secmodel/model")}
    return HostOffer(tuple(dict.fromkeys(types)), frozenset(machines), frozenset(models))
