# SPDX-License-Identifier: Apache-2.0
"""May the engine do this? Asked before it removes or moves what the engine VM itself stands on.

The answer is a verdict with a stable code and a sentence. It is worked out from what the broker
has in memory; nothing is asked and nothing is changed here. What can't be known now is denied:
asking again later costs nothing.

    action                      object's keys (* needed)          denied with
    storage_domain.detach       storage_domain*                   hosted_engine_domain,
                                                                  engine_vm_disk
    storage_domain.maintenance  the same                          the same
    storage_domain.remove       the same                          the same
    disk.remove                 disk*, storage_domain, disk_type  hosted_engine_volume, ovf_store,
                                                                  engine_vm_disk
    disk.detach                 the same                          the same, but of the engine VM's
                                                                  disks only the boot disk
    disk.move                   the same                          as disk.detach
    ovf_store.remove            disk or storage_domain            ovf_store
    vm.remove                   vm*                               engine_vm
    host.maintenance            host_id or host                   last_able_host
    host.remove                 host_id or host                   host_runs_engine, last_able_host

    code                  allowed  meaning
    not_concerned         yes      the hosted engine does not need it
    allowed               yes      the hosted engine is concerned, and can bear it
    hosted_engine_domain  no       it is the storage domain that the hosted engine lives on
    hosted_engine_volume  no       it holds status blocks, lockspace or configuration
    ovf_store             no       it is a copy of the OVF_STORE with the engine VM's definition
    engine_vm             no       it is the engine VM
    engine_vm_disk        no       it is, or it holds, a disk of the engine VM
    host_runs_engine      no       the host owns the engine VM
    last_able_host        no       no other host could run the engine VM
    unknown_state         no       what the answer needs is not known now; ask again
    unknown_action        no       there is no such action
    bad_object            no       the object lacks a key, or has a value that can't be one

`storage_domain`, `disk` (the image, which is what the engine calls a disk; a volume will do) and
`vm` are uuids. `disk_type` is VDSM's (HEMD, HESD, HECI, ...), which the engine knows, too, as the
disk's content type. `host_id` is the engine's vds_spm_id, which is the host id here; `host` is
what the host calls itself, and another name is a bad object. An able host lives, has a score
above 0, is not in local maintenance, and its agent was not stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Callable, Optional

from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.ovfstore.guard import domain_disks
from ha_agent.ovfstore.locate import StoreCopy
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_fields import UUID
from ha_agent.ovfstore.translate import DomainXml

# What VDSM calls the hosted engine's own disks (facts/ovf-and-volumes.md, 1.2).
OWN_DISK_TYPES = {
    "HEMD": "the hosts' status blocks",
    "HESD": "the hosts' lockspace",
    "HECI": "the hosted engine's configuration",
}


@dataclass(frozen=True)
class Verdict:
    """The answer; `code` is one of the table above."""

    allowed: bool
    code: str
    sentence: str


@dataclass(frozen=True)
class VmDisks:
    """What the engine VM's disks are made of: uuids of images and volumes, and of the storage
    domains that they are on; `boot_uuids` are image and volume that it boots from."""

    uuids: frozenset[str]
    boot_uuids: frozenset[str]
    storage_domain_uuids: frozenset[str]


@dataclass(frozen=True)
class CanDoFacts:
    """What is known now. uuids are lower case; None stands for what is not known.

    `volumes` maps images and volumes of the hosted engine to what they hold ("the hosts' status
    blocks"); `store_uuids` are images and volumes of the domain's OVF_STORE copies.
    `owner_host_id` is 0 when no host owns the engine VM.
    """

    storage_domain_uuid: str
    vm_uuid: str
    hosts: tuple[HostEntry, ...] = ()
    owner_host_id: Optional[int] = None
    volumes: Mapping[str, str] = field(default_factory=dict)
    store_uuids: Optional[frozenset[str]] = None
    vm_disks: Optional[VmDisks] = None


def can_do_facts(
    snapshot: Snapshot,
    vm: Optional[VmDefinition],
    domain: Optional[DomainXml],
    *,
    storage_domain_uuid: str,
    volumes: Mapping[str, str],
    store_copies: Optional[Iterable[StoreCopy]],
) -> CanDoFacts:
    """Return the facts from the picture in memory and from the definition in use.

    `vm` and `domain` are None without a definition; `store_copies` is None while the store was
    not listed. Raises OvfError for a domain XML that nothing could be started from.
    """
    disks: Optional[VmDisks] = None
    if vm is not None and domain is not None:
        disks = _vm_disks(vm, domain)
    stores: Optional[frozenset[str]] = None
    if store_copies is not None:
        pairs = [(copy.image_uuid, copy.volume_uuid) for copy in store_copies]
        stores = frozenset(uuid.lower() for pair in pairs for uuid in pair)
    lease = snapshot.lease
    owner: Optional[int] = None
    if lease.state == "free":
        owner = 0
    elif lease.state in ("held", "expired"):
        owner = lease.host_id
    return CanDoFacts(
        storage_domain_uuid=storage_domain_uuid.lower(),
        vm_uuid=snapshot.vm_uuid.lower(),
        hosts=snapshot.hosts,
        owner_host_id=owner,
        volumes={uuid.lower(): what for uuid, what in volumes.items()},
        store_uuids=stores,
        vm_disks=disks,
    )


def _vm_disks(vm: VmDefinition, domain: DomainXml) -> VmDisks:
    prepared = domain_disks(domain)
    uuids = {disk.image_uuid for disk in prepared} | {disk.volume_uuid for disk in prepared}
    domains = {disk.storage_domain_uuid for disk in prepared}
    for disk in vm.disks:
        uuids |= {disk.image_uuid, disk.volume_uuid or disk.image_uuid}
        domains |= set(disk.storage_domain_uuids)
    boot = prepared[0]
    return VmDisks(
        frozenset(uuids), frozenset((boot.image_uuid, boot.volume_uuid)), frozenset(domains)
    )


def can_do(action: str, object: Mapping[str, str], facts: CanDoFacts) -> Verdict:
    """Return whether the hosted engine can bear `action` done to `object`. Raises nothing."""
    judge = _ACTIONS.get(action)
    if judge is None:
        known = ", ".join(ACTIONS)
        return Verdict(False, "unknown_action", f"{action!r:.60} is none of {known}")
    try:
        return judge(_Object(action, object), facts)
    except _BadObject as bad:
        return Verdict(False, "bad_object", str(bad))


class _BadObject(Exception):
    """The object does not say what the action is done to."""


class _Object:
    """Reads the object's values."""

    def __init__(self, action: str, values: Mapping[str, str]) -> None:
        self.action = action
        self._values = values

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        return self._values.get(key, "").strip()

    def uuid(self, key: str) -> str:
        """Return a needed uuid, in lower case."""
        if not self.has(key):
            raise _BadObject(f"{self.action} needs {key}=UUID")
        value = self.text(key).lower()
        if not UUID.fullmatch(value):
            raise _BadObject(f"{key}: {value!r:.60} is not a UUID")
        return value

    def domain(self) -> str:
        """Return the storage domain that it is on; "" when that is not said."""
        return self.uuid("storage_domain") if self.has("storage_domain") else ""


_NOT_CONCERNED = Verdict(True, "not_concerned", "the hosted engine does not need it")


def _unknown(what: str) -> Verdict:
    return Verdict(False, "unknown_state", f"{what}: ask again when `ha-agent status` shows it")


def _storage_domain(asked: _Object, facts: CanDoFacts) -> Verdict:
    domain_uuid = asked.uuid("storage_domain")
    if domain_uuid == facts.storage_domain_uuid:
        sentence = f"storage domain {domain_uuid} holds the engine VM, its definition and what"
        sentence += " the hosts agree through: it must stay attached and active. To retire it,"
        sentence += " restore a backup of the engine to a new hosted engine first"
        return Verdict(False, "hosted_engine_domain", sentence)
    if facts.vm_disks is None:
        return _unknown("the engine VM's definition has not been read, nor so where its disks are")
    if domain_uuid in facts.vm_disks.storage_domain_uuids:
        sentence = f"storage domain {domain_uuid} holds a disk of the engine VM: detach that disk"
        return Verdict(False, "engine_vm_disk", f"{sentence} from the VM, or move it, first")
    return _NOT_CONCERNED


def _disk(asked: _Object, facts: CanDoFacts) -> Verdict:
    disk_uuid = asked.uuid("disk")
    is_elsewhere = asked.domain() not in ("", facts.storage_domain_uuid)
    what = facts.volumes.get(disk_uuid)
    if what is None and not is_elsewhere:
        what = OWN_DISK_TYPES.get(asked.text("disk_type").upper())
    if what is not None:
        sentence = f"disk {disk_uuid} holds {what}: it stays for as long as there is a hosted"
        return Verdict(False, "hosted_engine_volume", f"{sentence} engine on this domain")
    if facts.store_uuids is not None and disk_uuid in facts.store_uuids:
        return _is_store(disk_uuid)
    disks = facts.vm_disks
    if disks is None:
        return _unknown("the engine VM's definition has not been read, so its disks are not known")
    if disk_uuid in disks.boot_uuids:
        sentence = f"disk {disk_uuid} is the one that the engine VM boots from. To move it,"
        sentence += " restore a backup of the engine to a new hosted engine"
        return Verdict(False, "engine_vm_disk", sentence)
    if disk_uuid in disks.uuids:
        if asked.action != "disk.remove":
            sentence = f"disk {disk_uuid} is the engine VM's, which does not boot from it"
            return Verdict(True, "allowed", sentence)
        sentence = f"disk {disk_uuid} is a disk of the engine VM: detach it from the VM first"
        return Verdict(False, "engine_vm_disk", sentence)
    if facts.store_uuids is None and not is_elsewhere:
        return _unknown("the OVF_STORE copies have not been listed")
    return _NOT_CONCERNED


def _is_store(disk_uuid: str) -> Verdict:
    sentence = f"disk {disk_uuid} is an OVF_STORE copy of the hosted engine's storage domain, in"
    sentence += " which the engine VM's definition is. A damaged copy is written anew from the"
    sentence += " good one by the engine's next update of the OVF_STORE"
    return Verdict(False, "ovf_store", sentence)


def _ovf_store(asked: _Object, facts: CanDoFacts) -> Verdict:
    domain_uuid = asked.domain()
    if not asked.has("disk"):
        if not domain_uuid:
            raise _BadObject(f"{asked.action} needs disk=UUID or storage_domain=UUID")
        if domain_uuid == facts.storage_domain_uuid:
            sentence = f"the OVF_STORE of storage domain {domain_uuid} holds the engine VM's"
            return Verdict(False, "ovf_store", f"{sentence} definition, and must stay")
        return _NOT_CONCERNED
    disk_uuid = asked.uuid("disk")
    if facts.store_uuids is not None and disk_uuid in facts.store_uuids:
        return _is_store(disk_uuid)
    if facts.store_uuids is None and domain_uuid in ("", facts.storage_domain_uuid):
        return _unknown("the OVF_STORE copies have not been listed")
    return _NOT_CONCERNED


def _vm(asked: _Object, facts: CanDoFacts) -> Verdict:
    vm_uuid = asked.uuid("vm")
    if vm_uuid != facts.vm_uuid:
        return _NOT_CONCERNED
    sentence = f"VM {vm_uuid} is the engine VM, which the engine itself runs in. To retire it,"
    return Verdict(False, "engine_vm", f"{sentence} clean the hosted engine up on every host")


# Hosts ----------------------------------------------------------------------------------


def _host_maintenance(asked: _Object, facts: CanDoFacts) -> Verdict:
    host, unknown = _find_host(asked, facts)
    if host is None:
        return unknown
    others = [_name(other) for other in facts.hosts if other != host and not _why_unable(other)]
    if others:
        sentence = f"the engine VM can run on {', '.join(others)}"
        return Verdict(True, "allowed", sentence)
    if facts.owner_host_id is None and _why_unable(host):
        return _unknown("the lease has not been read, so who owns the engine VM is not known")
    if _why_unable(host) and facts.owner_host_id != host.host_id:
        sentence = f"{_name(host)} could not run the engine VM anyway: {_why_unable(host)}"
        return Verdict(True, "allowed", sentence)
    rest = [f"{_name(other)}: {_why_unable(other)}" for other in facts.hosts if other != host]
    sentence = f"without {_name(host)} no host could run the engine VM"
    sentence += f" ({'; '.join(rest) or 'there is no other'}). Make another host able to, first"
    return Verdict(False, "last_able_host", sentence)


def _host_remove(asked: _Object, facts: CanDoFacts) -> Verdict:
    host, unknown = _find_host(asked, facts)
    if host is None:
        return unknown
    if facts.owner_host_id is None:
        return _unknown("the lease has not been read, so who owns the engine VM is not known")
    if facts.owner_host_id == host.host_id:
        sentence = f"{_name(host)} owns the engine VM: put it into maintenance first, so that"
        return Verdict(False, "host_runs_engine", f"{sentence} the VM moves")
    return _host_maintenance(asked, facts)


def _find_host(asked: _Object, facts: CanDoFacts) -> tuple[Optional[HostEntry], Verdict]:
    """Return the host, or None and the verdict without it."""
    if not any(host.alive for host in facts.hosts):
        return None, _unknown("no host's status block has been seen to change")
    if asked.has("host_id"):
        text = asked.text("host_id")
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise _BadObject(f"host_id: {text!r:.60} is not a number")
        found = {host.host_id: host for host in facts.hosts}.get(int(text))
        return found, _NOT_CONCERNED
    if not asked.has("host"):
        raise _BadObject(f"{asked.action} needs host_id=NUMBER or host=NAME")
    name = asked.text("host")
    called = [host for host in facts.hosts if host.host_name.lower() == name.lower()]
    if len(called) != 1:
        # The engine may call it otherwise than it calls itself: no reason to allow anything.
        known = ", ".join(_name(host) for host in facts.hosts)
        raise _BadObject(f"host: {len(called)} hosts are called {name!r:.80}; there are {known}")
    return called[0], _NOT_CONCERNED


def _why_unable(host: HostEntry) -> str:
    """Return why the engine VM would not be started there, or ""."""
    if not host.alive:
        return "it does not live"
    if host.stopped:
        return "its agent was stopped"
    if host.maintenance:
        return "it is in local maintenance"
    return "" if host.score > 0 else "its score is 0"


def _name(host: HostEntry) -> str:
    return f"{host.host_name or 'host'} (id {host.host_id})"


_ACTIONS: Mapping[str, Callable[[_Object, CanDoFacts], Verdict]] = {
    "storage_domain.detach": _storage_domain,
    "storage_domain.maintenance": _storage_domain,
    "storage_domain.remove": _storage_domain,
    "disk.remove": _disk,
    "disk.detach": _disk,
    "disk.move": _disk,
    "ovf_store.remove": _ovf_store,
    "vm.remove": _vm,
    "host.maintenance": _host_maintenance,
    "host.remove": _host_remove,
}
ACTIONS = tuple(sorted(_ACTIONS))
