# SPDX-License-Identifier: Apache-2.0
"""The engine VM's definition for a deploy: from answers, an OVF or a vm.conf, with its disk.

It reads the one local file; nothing is asked or written. An OVF whose boot disk is on the domain
already is stored as it is, byte for byte.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ha_agent.bounded_file import read_bounded
from ha_agent.errors import BadInput
from ha_agent.ovfstore.codes import (
    BiosType,
    DiskInterface,
    DisplayType,
    NicModel,
    Origin,
    ResourceType,
)
from ha_agent.ovfstore.guard import GuardFacts, HostCapacity, judge
from ha_agent.ovfstore.model import Device, Disk, Nic, VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml, with_engine_xml
from ha_agent.ovfstore.vmconf_grammar import parse_vm_conf
from ha_agent.ovfstore.vmconf_read import definition_from_vm_conf
from ha_agent.setup.answers import Answers
from ha_agent.vdsm.client.answers import HostCapabilities

Document = Callable[[], Awaitable[bytes]]
"""Gives the OVF to store, with the disk as it is now."""

MAX_BYTES = 8 * 1024 * 1024
_COMPATIBILITY = "4.7"


@dataclass(frozen=True)
class Source:
    """A definition as it was given. `document` is the OVF's own bytes, b"" for other sources;
    `notes` are sentences on what was made up or left out."""

    vm: VmDefinition
    document: bytes = b""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskPlace:
    """Where the engine VM's boot disk is."""

    domain_uuid: str
    image_uuid: str
    volume_uuid: str
    size_gib: int


def load_source(answers: Answers, choose: Callable[[str, Callable[[], str]], str]) -> Source:
    """Return the definition. `choose(key, make)` keeps what has to be made up.

    Raises BadInput with the file and what is wrong in it.
    """
    kind, path = answers.text("definition"), answers.path("definition_file")
    if kind == "answers" or path is None:
        return Source(_from_answers(answers, choose))
    data = _read(path)
    if kind == "ovf":
        return Source(parse_ovf(data, where=str(path)), data)
    conf = parse_vm_conf(data, where=str(path))
    vm, notes = definition_from_vm_conf(conf, where=str(path))
    return Source(vm, notes=notes)


def document(source: Source, place: DiskPlace) -> bytes:
    """Return the OVF to store, with the boot disk at `place`. Raises BadInput."""
    vm = source.vm
    if source.document and _boots_from(vm, place):
        return source.document
    vm, _notes = with_engine_xml(with_disk(vm, place), storage_domain_uuid=place.domain_uuid)
    return build_ovf(vm)


def with_disk(vm: VmDefinition, place: DiskPlace) -> VmDefinition:
    """Return the VM with its boot disk at `place`. Raises BadInput where it has more disks."""
    ordered = vm.disks_in_boot_order()
    if len(vm.disks) > 1:
        raise BadInput(
            f"VM {vm.name} has {len(vm.disks)} disks; the engine VM can be set up with one, and"
            " gets others by the engine"
        )
    boot = ordered[0] if ordered else Disk(image_uuid=place.image_uuid)
    disk = dataclasses.replace(
        boot,
        image_uuid=place.image_uuid,
        volume_uuid=place.volume_uuid,
        storage_domain_uuids=(place.domain_uuid,),
        size_gib=place.size_gib,
        actual_size_gib=None,
        file_size_bytes=None,
        volume_format="RAW",
        is_boot=True,
        boot_order=1,
        alias=boot.alias or "he_virtio_disk",
        lun_id=None,
        parent_uuid=None,
        older_volumes=(),
        snapshot_uuid=None,
        extra_attributes=(),
        extra_fields=(),
    )
    return dataclasses.replace(vm, disks=(disk,))


def refusals(
    data: bytes, domain_uuid: str, capabilities: HostCapabilities, host_id: int, host_name: str
) -> tuple[str, ...]:
    """Return why a host would not start this OVF, in sentences. Raises BadInput."""
    vm = parse_ovf(data, where="the engine VM's OVF")
    xml = domain_xml(vm, storage_domain_uuid=domain_uuid)
    host = HostCapacity(host_id, host_name, capabilities.memory_mib, capabilities.cpu_threads)
    facts = GuardFacts(domain_uuid, vm.uuid, (host,), capabilities.emulated_machines or None)
    found = [refusal.sentence for refusal in judge(vm, xml, None, facts)]
    # The guard leaves a first definition's machine alone: there a person is asked.
    machines, machine = capabilities.emulated_machines, vm.emulated_machine
    if machine and machines and machine not in machines:
        found.append(f"QEMU on this host has no machine {machine}")
    return tuple(found)


def _boots_from(vm: VmDefinition, place: DiskPlace) -> bool:
    ordered = vm.disks_in_boot_order()
    if not ordered or vm.engine_xml is None:
        return False
    boot = ordered[0]
    return (boot.image_uuid, boot.volume_uuid) == (place.image_uuid, place.volume_uuid) and (
        place.domain_uuid in boot.storage_domain_uuids or not boot.storage_domain_uuids
    )


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from None


def _random_mac() -> str:
    # 00:16:3e is Xen's range, which oVirt's set-up takes for the engine VM, too.
    tail = uuid.uuid4().hex[:6]
    return ":".join(("00:16:3e", tail[:2], tail[2:4], tail[4:]))


def _from_answers(
    answers: Answers, choose: Callable[[str, Callable[[], str]], str]
) -> VmDefinition:
    def new_id() -> str:
        return str(uuid.uuid4())

    machine, has_console = answers.text("machine"), answers.text("console") == "vnc"
    is_q35 = "q35" in machine
    devices = []
    if has_console:
        graphics, video = choose("graphics", new_id), choose("video", new_id)
        devices = [
            Device(graphics, int(ResourceType.GRAPHICS), "graphics", "vnc"),
            Device(video, int(ResourceType.VIDEO), "video", "vga", monitors=1),
        ]
    cpus = answers.number("cpus")
    return VmDefinition(
        uuid=answers.text("vm_uuid") or choose("vm_uuid", new_id),
        name=answers.text("vm_name"),
        memory_mib=answers.number("memory_mib"),
        sockets=cpus,
        cores_per_socket=1,
        threads_per_core=1,
        max_vcpus=cpus,
        emulated_machine=machine,
        bios_type=BiosType.Q35_SEA_BIOS if is_q35 else BiosType.I440FX_SEA_BIOS,
        display_type=DisplayType.VGA if has_console else DisplayType.NONE,
        origin=Origin.MANAGED_HOSTED_ENGINE,
        is_delete_protected=True,
        compat_version=_COMPATIBILITY,
        disks=(Disk(image_uuid=choose("HEVD_image", new_id), interface=DiskInterface.VIRTIO),),
        nics=(
            Nic(
                device_uuid=choose("nic", new_id),
                name="vnet0",
                model=NicModel.PV,
                network=answers.text("network"),
                mac=answers.text("mac") or choose("mac", _random_mac),
            ),
        ),
        devices=tuple(devices),
    )
