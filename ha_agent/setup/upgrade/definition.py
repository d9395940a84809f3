# SPDX-License-Identifier: Apache-2.0
"""Whether the engine VM's definition can be taken over, and the OVF that a vm.conf becomes.

Values in, values out. A vm.conf has less than an OVF: sizes come from VDSM, and the domain XML,
without which nothing starts, is built here (facts/ovf-and-volumes.md, end of 3). Whatever its
source, a definition is judged by the guard before anything of the host is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ha_agent.errors import BadInput
from ha_agent.ovfstore.guard import GuardFacts, judge
from ha_agent.ovfstore.model import Disk, VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.translate import domain_xml, with_engine_xml
from ha_agent.ovfstore.vmconf_grammar import parse_vm_conf
from ha_agent.ovfstore.vmconf_read import definition_from_vm_conf
from ha_agent.ovfstore.xml_input import OvfError
from ha_agent.setup.step import SetupRefused

_GIB = 1 << 30


@dataclass(frozen=True)
class Converted:
    """The OVF that a vm.conf became; `notes` say what was made up, changed, or not used."""

    ovf: bytes
    vm: VmDefinition
    notes: tuple[str, ...]


def read_vm_conf(
    data: bytes, *, where: str, domain_uuid: str, vm_uuid: str
) -> tuple[VmDefinition, tuple[str, ...]]:
    """Return what a vm.conf says. Raises BadInput with file and line, also for another VM's."""
    vm, notes = definition_from_vm_conf(
        parse_vm_conf(data, where=where), storage_domain_uuid=domain_uuid, where=where
    )
    if vm.uuid != vm_uuid:
        raise BadInput(f"vmId is {vm.uuid}, hosted-engine.conf has {vm_uuid}", where=where)
    return vm, notes


def convert_vm_conf(
    data: bytes,
    *,
    where: str,
    domain_uuid: str,
    vm_uuid: str,
    capacities: Mapping[str, int],
) -> Converted:
    """Return the OVF. `capacities` has the bytes of each of the VM's volumes, by its UUID.

    Raises BadInput with file and line for what can't be converted.
    """
    vm, notes = read_vm_conf(data, where=where, domain_uuid=domain_uuid, vm_uuid=vm_uuid)
    vm = replace(vm, disks=tuple(_sized(disk, capacities) for disk in vm.disks))
    try:
        has_xml = domain_xml(vm, storage_domain_uuid=domain_uuid).source == "engine_xml"
        if not has_xml:
            vm, built = with_engine_xml(vm, storage_domain_uuid=domain_uuid)
            notes += built
    except OvfError as error:
        raise BadInput(f"no VM can be started from it: {error}", where=where) from error
    ovf = build_ovf(vm)
    return Converted(ovf, parse_ovf(ovf, where=where, expect_uuid=vm_uuid), notes)


def refuse_what_the_guard_refuses(
    vm: VmDefinition, facts: GuardFacts, accepted: Sequence[str], *, where: str
) -> tuple[str, ...]:
    """Return the codes of refusals that `accepted` overrules. Raises SetupRefused for others.

    Raises OvfError when nothing could be started from the definition.
    """
    domain = domain_xml(vm, storage_domain_uuid=facts.storage_domain_uuid)
    refusals = judge(vm, domain, None, facts)
    left = [one for one in refusals if not (one.may_force and one.code in accepted)]
    if left:
        said = "; ".join(f"{one.sentence} ({one.code})" for one in left)
        may = [one.code for one in left if one.may_force]
        hint = f"; to insist: {' '.join(f'--accept {code}' for code in may)}" if may else ""
        raise SetupRefused(f"{where}: {said}{hint}")
    return tuple(one.code for one in refusals)


def _sized(disk: Disk, capacities: Mapping[str, int]) -> Disk:
    size_bytes = capacities.get(disk.volume_uuid or "")
    if size_bytes is None:
        return disk
    size_gib = -(-size_bytes // _GIB)
    return replace(disk, file_size_bytes=size_bytes, size_gib=size_gib, actual_size_gib=size_gib)
