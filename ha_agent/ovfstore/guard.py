# SPDX-License-Identifier: Apache-2.0
"""Whether a new definition of the engine VM may be stored or started: not sawing off the branch.

The engine edits the very VM that it runs in, and finds out about a mistake when it is gone. So
each new definition is judged before it takes the place of the one in use. What counts is the
domain XML that VDSM would be given; the OVF is asked for what only it tells. Nothing is changed
or decided here: the answer is a tuple of refusals, empty when all is well.

    code                  judged against       force   refused when
    bad_domain_xml        itself               never   the domain XML can't be read, or has no disk
                                                       with the ids that VDSM prepares it by
    other_vm              the configuration    never   OVF or domain XML is of another VM
    no_vm_lease           itself               never   the boot disk is not exclusive, or its
                                                       volume has no lease: a second host could
                                                       run the VM at the same time
    boot_disk_gone        current              yes     the disk that it boots from is not attached
    boot_disk_changed     current              yes     both give a boot order, and another disk is
                                                       first: the lease would be on that one
    boot_disk_moved       current, or else     yes     the boot disk is on another storage domain
                          the configuration
    vm_lease_removed      current              yes     the VM's own lease (LeaseDomainId) is gone
    firmware_changed      current              yes     BIOS became UEFI, or UEFI BIOS: what is
                                                       installed does not boot with the other
    no_nic                itself, and current  yes     no NIC that is linked and on a network
    memory_beyond_hosts   hosts, and current   yes     more memory than any live host has
    cpus_beyond_hosts     hosts, and current   yes     more virtual CPUs than any live host has
                                                       CPU threads
    unknown_machine_type  this host, current   yes     the machine type is none of this host's
    delete_protection_off current              yes     it was on

"and current": not refused where the current definition is no better. It was accepted, perhaps
when a bigger host lived, and an edit of something else must get through. Without a current
definition only what is judged against something else applies. A live host of unknown capacity
gets the benefit of the doubt, as does a host that has not told its machine types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from ha_agent.ovfstore.codes import DUMMY_BRIDGE, VM_NAMESPACE
from ha_agent.ovfstore.domain_read import memory_mib, vcpus, whole_number
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_fields import local_name
from ha_agent.ovfstore.translate import DomainXml, domain_xml
from ha_agent.ovfstore.xml_input import OvfError, parse_xml

# QEMU's own names for its newest machine of a kind; hosts need not list them.
_MACHINE_ALIASES = ("pc", "q35")
NO_BOOT_ORDER = 1 << 30


@dataclass(frozen=True)
class Refusal:
    """Why not. `code` is one of the table above; `may_force`: a person may insist."""

    code: str
    sentence: str
    may_force: bool


@dataclass(frozen=True)
class HostCapacity:
    """What a live host has; None where it does not tell."""

    host_id: int
    host_name: str
    memory_mib: Optional[int] = None
    cpu_threads: Optional[int] = None


@dataclass(frozen=True)
class GuardFacts:
    """What a definition is judged against. `hosts` are the live ones, this host included;
    `machines` are the machine types that this host lists, None while unknown."""

    storage_domain_uuid: str
    vm_uuid: str
    hosts: tuple[HostCapacity, ...] = ()
    machines: Optional[frozenset[str]] = None


@dataclass(frozen=True)
class DomainDisk:
    """A disk of a domain XML that VDSM prepares. `boot_order` is `NO_BOOT_ORDER` without one."""

    image_uuid: str
    volume_uuid: str
    storage_domain_uuid: str
    is_exclusive: bool
    boot_order: int


@dataclass(frozen=True)
class _DomainFacts:
    """What the guard wants to know of a domain XML. `disks` are in boot order; `leases` are
    pairs of key and lockspace; None stands for what the XML leaves to libvirt."""

    uuid: str
    disks: tuple[DomainDisk, ...]
    leases: frozenset[tuple[str, str]]
    has_network: bool
    is_uefi: bool
    memory_mib: Optional[int]
    vcpus: Optional[int]
    machine: Optional[str]

    @property
    def boot(self) -> DomainDisk:
        return self.disks[0]


def judge(
    new: VmDefinition, domain: DomainXml, current: Optional[VmDefinition], facts: GuardFacts
) -> tuple[Refusal, ...]:
    """Return why `new`, which would be started as `domain`, must not follow on `current`.

    `current` is the definition in use, None where there is none. Raises nothing for what the
    documents hold. The gravest refusals come first.
    """
    try:
        wanted = _read(domain.xml, "domain XML")
    except OvfError as error:
        return (Refusal("bad_domain_xml", str(error), False),)
    found = sorted({new.uuid.lower(), wanted.uuid} - {facts.vm_uuid.lower()})
    if found:
        sentence = f"it is of VM {found[0] or '(none)'}, not of the engine VM {facts.vm_uuid}"
        return (Refusal("other_vm", sentence, False),)
    known: Optional[_DomainFacts] = None
    if current is not None:
        try:
            text = domain_xml(current, storage_domain_uuid=facts.storage_domain_uuid).xml
            known = _read(text, "the current definition")
        except OvfError:
            # Nothing could be started from it, so there is nothing in it to lose.
            current = None
    return (
        *_judge_lease(wanted),
        *_judge_boot_disk(wanted, known, facts),
        *_judge_rest_of_current(new, wanted, current, known),
        *_judge_network(wanted, known),
        *_judge_capacity(wanted, known, facts),
        *_judge_machine(wanted, known, facts),
    )


def _judge_lease(wanted: _DomainFacts) -> Iterator[Refusal]:
    boot = wanted.boot
    if not boot.is_exclusive:
        yield Refusal("no_vm_lease", f"its boot disk {boot.image_uuid} is not exclusive", False)
    elif (boot.volume_uuid, boot.storage_domain_uuid) not in wanted.leases:
        sentence = f"volume {boot.volume_uuid} of its boot disk has no lease"
        yield Refusal("no_vm_lease", sentence, False)


def _judge_boot_disk(
    wanted: _DomainFacts, known: Optional[_DomainFacts], facts: GuardFacts
) -> Iterator[Refusal]:
    boot, domain_uuid = wanted.boot, facts.storage_domain_uuid.lower()
    if known is not None:
        old, domain_uuid = known.boot, known.boot.storage_domain_uuid
        same = [disk for disk in wanted.disks if disk.image_uuid == old.image_uuid]
        if not same:
            sentence = f"its boot disk {old.image_uuid} is gone; it would boot from"
            yield Refusal("boot_disk_gone", f"{sentence} {boot.image_uuid}", True)
            return
        # Without orders in either the first disk in the document is but a guess.
        ordered = max(boot.boot_order, old.boot_order) < NO_BOOT_ORDER
        if ordered and boot.image_uuid != old.image_uuid:
            sentence = f"it would boot from disk {boot.image_uuid}, not from {old.image_uuid}"
            yield Refusal("boot_disk_changed", sentence, True)
        boot = same[0]
    if boot.storage_domain_uuid != domain_uuid:
        sentence = f"its boot disk {boot.image_uuid} is on storage domain"
        sentence += f" {boot.storage_domain_uuid}, not on {domain_uuid}"
        yield Refusal("boot_disk_moved", sentence, True)


def _judge_rest_of_current(
    new: VmDefinition,
    wanted: _DomainFacts,
    current: Optional[VmDefinition],
    known: Optional[_DomainFacts],
) -> Iterator[Refusal]:
    if current is None or known is None:
        return
    if _has_vm_lease(current, known) and not _has_vm_lease(new, wanted):
        sentence = "the VM's own lease (LeaseDomainId), which it had, is gone"
        yield Refusal("vm_lease_removed", sentence, True)
    if wanted.is_uefi is not known.is_uefi:
        was, would_be = ("BIOS", "UEFI") if wanted.is_uefi else ("UEFI", "BIOS")
        sentence = f"its firmware would be {would_be}, not {was} as before:"
        sentence += " what is installed on its disk would hardly boot"
        yield Refusal("firmware_changed", sentence, True)
    if current.is_delete_protected and not new.is_delete_protected:
        sentence = "delete protection is switched off: the engine could remove its own VM"
        yield Refusal("delete_protection_off", sentence, True)


def _has_vm_lease(vm: VmDefinition, domain: _DomainFacts) -> bool:
    return vm.lease_domain_uuid is not None or any(key == domain.uuid for key, _ in domain.leases)


def _judge_network(wanted: _DomainFacts, known: Optional[_DomainFacts]) -> Iterator[Refusal]:
    if not wanted.has_network and (known is None or known.has_network):
        sentence = "it has no NIC that is linked and on a network: nobody could reach the engine"
        yield Refusal("no_nic", sentence, True)


def _judge_capacity(
    wanted: _DomainFacts, known: Optional[_DomainFacts], facts: GuardFacts
) -> Iterator[Refusal]:
    memory = [(host.memory_mib, host.host_name) for host in facts.hosts]
    before = None if known is None else known.memory_mib
    if _is_beyond(wanted.memory_mib, before, [amount for amount, _ in memory]):
        most = max((amount or 0, name) for amount, name in memory)
        sentence = f"it needs {wanted.memory_mib} MiB of memory; no live host has more than"
        yield Refusal("memory_beyond_hosts", f"{sentence} {most[0]} MiB ({most[1]})", True)
    threads = [(host.cpu_threads, host.host_name) for host in facts.hosts]
    before = None if known is None else known.vcpus
    if _is_beyond(wanted.vcpus, before, [amount for amount, _ in threads]):
        most = max((amount or 0, name) for amount, name in threads)
        sentence = f"it needs {wanted.vcpus} virtual CPUs; no live host has more than"
        yield Refusal("cpus_beyond_hosts", f"{sentence} {most[0]} CPU threads ({most[1]})", True)


def _is_beyond(needed: Optional[int], before: Optional[int], amounts: list[Optional[int]]) -> bool:
    if needed is None or not amounts or (before is not None and needed <= before):
        return False
    return all(amount is not None and amount < needed for amount in amounts)


def _judge_machine(
    wanted: _DomainFacts, known: Optional[_DomainFacts], facts: GuardFacts
) -> Iterator[Refusal]:
    machine = wanted.machine
    if machine is None or facts.machines is None or machine in _MACHINE_ALIASES:
        return
    if machine not in facts.machines and (known is None or known.machine != machine):
        sentence = f"this host knows no machine type {machine!r:.60}"
        yield Refusal("unknown_machine_type", sentence, True)


def domain_disks(domain: DomainXml) -> tuple[DomainDisk, ...]:
    """Return the disks that VDSM prepares, the one that the VM boots from first, at least one.

    Raises OvfError.
    """
    return _read(domain.xml, "domain XML").disks


# Reading the domain XML -----------------------------------------------------------------


def _read(xml: str, where: str) -> _DomainFacts:
    """Return the facts of a domain XML; OvfError when it is none, or has no disk for VDSM."""
    root = parse_xml(xml.encode("utf-8", "replace"), where=where)
    if local_name(root) != "domain":
        raise OvfError(f"the root element is {root.tag!r:.60}, not domain", where=where)
    devices = root.find("devices")
    disks = () if devices is None else tuple(_disks(root, devices))
    if devices is None or not disks:
        raise OvfError("no disk has the image, volume and domain ids for VDSM", where=where)
    machine = root.find("os/type")
    loader = root.find("os/loader")
    system = root.find("os")
    return _DomainFacts(
        uuid=_text(root, "uuid"),
        disks=disks,
        leases=frozenset(
            (_text(lease, "key"), _text(lease, "lockspace")) for lease in devices.findall("lease")
        ),
        has_network=any(_is_connected(nic) for nic in devices.findall("interface")),
        is_uefi=(loader is not None and loader.get("type") == "pflash")
        or (system is not None and system.get("firmware") == "efi"),
        memory_mib=memory_mib(root),
        vcpus=vcpus(root),
        machine=None if machine is None else machine.get("machine") or None,
    )


def _disks(root: etree._Element, devices: etree._Element) -> list[DomainDisk]:
    """Return the disks that VDSM prepares, in boot order, then in the order of the document."""
    blocks = root.findall(f"metadata/{{{VM_NAMESPACE}}}vm")
    by_name = {
        child.get("name"): child
        for block in blocks
        for child in block
        if local_name(child) == "device" and child.get("devtype") == "disk"
    }
    found = []
    for disk in devices.findall("disk"):
        target = disk.find("target")
        metadata = by_name.get(None if target is None else target.get("dev"))
        if disk.get("device", "disk") != "disk" or metadata is None:
            continue
        ids = {local_name(child): (child.text or "").strip().lower() for child in metadata}
        image, volume, domain = (ids.get(key, "") for key in ("imageID", "volumeID", "domainID"))
        if not (image and volume and domain):
            continue  # a direct LUN
        boot = disk.find("boot")
        order = None if boot is None else whole_number(boot.get("order"))
        exclusive = ids.get("shared") == "exclusive"
        found.append(
            DomainDisk(image, volume, domain, exclusive, NO_BOOT_ORDER if order is None else order)
        )
    return sorted(found, key=lambda item: item.boot_order)


def _is_connected(nic: etree._Element) -> bool:
    link, source = nic.find("link"), nic.find("source")
    if link is not None and link.get("state") == "down":
        return False
    bridge = None if source is None else source.get("bridge")
    # A NIC of another type (user, hostdev, network) is on what its type says.
    return bool(bridge) and bridge != DUMMY_BRIDGE if nic.get("type") == "bridge" else True


def _text(parent: etree._Element, name: str) -> str:
    return (parent.findtext(name) or "").strip().lower()
