# SPDX-License-Identifier: Apache-2.0
"""A VmDefinition to the domain XML for VDSM's `VM.create({'xml': ...})`.

VDSM since v4.40.12 starts a VM from such XML and from nothing else (facts/vdsm.md, section 3).
The engine's own XML is used when it is sound (engine_xml.py); otherwise the XML is built from
the OVF (domain_build.py). Either way the boot disk is exclusive and its volume has a lease: a
definition for which that can't be had is an error, not a start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Optional

from ha_agent.ovfstore.domain_build import build_domain_xml
from ha_agent.ovfstore.engine_xml import Verdict, judge_engine_xml
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.xml_input import OvfError


@dataclass(frozen=True)
class DomainXml:
    """The XML, where it comes from, and sentences on what was repaired, changed or left out."""

    xml: str
    source: Literal["engine_xml", "ovf"]
    notes: tuple[str, ...] = ()


def domain_xml(
    vm: VmDefinition, *, storage_domain_uuid: str, display_network: Optional[str] = None
) -> DomainXml:
    """Return the domain XML to start `vm` with.

    `storage_domain_uuid` is the hosted engine's domain: a disk whose OVF names none is there.
    `display_network` is the network that consoles listen on; by default the first NIC's.
    Raises OvfError when the VM has no image disk, so that nothing could be leased, and when
    neither EngineXml nor the OVF can be used.
    """
    storage_domain_uuid = storage_domain_uuid.lower()
    notes: tuple[str, ...] = ()
    if vm.engine_xml is not None:
        verdict = judge_engine_xml(
            vm.engine_xml, vm_uuid=vm.uuid, storage_domain_uuid=storage_domain_uuid
        )
        if verdict.xml is not None:
            notes = verdict.notes
            if verdict.volume_uuid not in {disk.volume_uuid for disk in vm.disks}:
                notes += (
                    f"EngineXml boots from volume {verdict.volume_uuid}, not a disk of its OVF",
                )
            return DomainXml(verdict.xml, "engine_xml", notes + _disagreements(vm, verdict))
        notes = (f"EngineXml not used: {verdict.refusal}",)
    if vm.unreadable:
        # With an EngineXml these were passed over; a start from the OVF would guess them.
        reason = "; ".join((*notes, *vm.unreadable))
        raise OvfError(f"the OVF alone does not tell what to start: {reason}")
    xml, build_notes = build_domain_xml(
        vm, storage_domain_uuid=storage_domain_uuid, display_network=display_network
    )
    return DomainXml(xml, "ovf", notes + build_notes)


def _disagreements(vm: VmDefinition, verdict: Verdict) -> tuple[str, ...]:
    """The engine writes both from one VM; a person who edits the OVF forgets the EngineXml."""
    found = []
    for what, in_ovf, in_xml in (
        ("MiB of memory", vm.memory_mib, verdict.memory_mib),
        ("virtual CPUs", vm.vcpus, verdict.vcpus),
    ):
        if in_xml is not None and in_xml != in_ovf:
            found.append(
                f"the OVF says {in_ovf} {what}, its EngineXml {in_xml}: the EngineXml is started"
            )
    return tuple(found)


def with_engine_xml(
    vm: VmDefinition, *, storage_domain_uuid: str, display_network: Optional[str] = None
) -> tuple[VmDefinition, tuple[str, ...]]:
    """Return the same VM with an EngineXml of our own making, and notes.

    It is for a definition that no engine wrote, made from a vm.conf or from answers: VDSM starts
    nothing without. It has the engine's placeholders, and is sound as judge_engine_xml sees it;
    the engine writes its own when it next writes the OVF. An EngineXml that `vm` has is replaced.
    Raises OvfError when the VM has no image disk, so that nothing could be leased.
    """
    xml, notes = build_domain_xml(
        vm, storage_domain_uuid=storage_domain_uuid.lower(), display_network=display_network
    )
    return replace(vm, engine_xml=xml), notes
