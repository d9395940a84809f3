# SPDX-License-Identifier: Apache-2.0
"""The simple elements of an OVF's Content, and the sections that no start needs.

Values only; what is needed for a start and what is not, see ovf_parse.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from ha_agent.ovfstore.codes import (
    BiosType,
    CpuPinningPolicy,
    DisplayType,
    MigrationSupport,
    Origin,
    ResumeBehavior,
    SerialNumberPolicy,
)
from ha_agent.ovfstore.model import Pairs, Snapshot, User, VmDefinition
from ha_agent.ovfstore.ovf_fields import Fields
from ha_agent.ovfstore.ovf_reading import Bad


def read_general(content: Fields, vm: VmDefinition) -> VmDefinition:
    """Return `vm` with what the simple elements say; its devices are already in it."""
    # What the engine's reader takes a document without BalloonEnabled for.
    has_balloon = any(device.kind == "balloon" for device in vm.devices)
    keeping = content.keeping
    return replace(
        vm,
        description=keeping.raw("Description") or "",
        origin=keeping.code("Origin", Origin, Bad.NOTE),
        time_zone=content.text("TimeZone"),
        is_delete_protected=content.flag("DeleteProtected", False, Bad.NOTE),
        has_balloon=content.flag("BalloonEnabled", has_balloon, Bad.NOTE),
        starts_paused=keeping.flag("IsRunAndPause", False, Bad.NOTE),
        io_threads=content.count("NumOfIoThreads", bad=Bad.NOTE) or 0,
        boot_sequence=content.count("default_boot_sequence", bad=Bad.NOTE),
        compat_version=content.text("ClusterCompatibilityVersion"),
        custom_compat_version=content.text("CustomCompatibilityVersion"),
        min_memory_mib=content.count("MinAllocatedMem", bad=Bad.NOTE),
        max_memory_mib=content.count("MaxMemorySizeMb", bad=Bad.NOTE),
        emulated_machine=content.text("CustomEmulatedMachine"),
        bios_type=content.code("BiosType", BiosType, Bad.DOUBT) or BiosType.I440FX_SEA_BIOS,
        cpu_model=content.text("CustomCpuName"),
        uses_host_cpu=content.flag("UseHostCpu", False, Bad.DOUBT),
        display_type=content.code("DefaultDisplayType", DisplayType, Bad.NOTE),
        vnc_keyboard_layout=content.text("VncKeyboardLayout"),
        predefined_properties=content.properties("PredefinedProperties"),
        user_properties=content.properties("UserDefinedProperties"),
        cpu_pinning=content.text("CpuPinning"),
        cpu_pinning_policy=keeping.code("CpuPinningPolicy", CpuPinningPolicy, Bad.NOTE),
        serial_number_policy=content.code("SerialNumberPolicy", SerialNumberPolicy, Bad.NOTE),
        custom_serial_number=content.text("CustomSerialNumber"),
        has_smartcard=keeping.flag("IsSmartcardEnabled", False, Bad.NOTE),
        has_boot_menu=content.flag("IsBootMenuEnabled", False, Bad.NOTE),
        kernel_path=content.text("kernel_url"),
        initrd_path=content.text("initrd_url"),
        kernel_arguments=content.text("kernel_params"),
        resume_behavior=_resume_behavior(content),
        has_multi_queues=content.flag("MultiQueuesEnabled", False, Bad.NOTE),
        virtio_scsi_queues=_virtio_scsi_queues(content),
        lease_domain_uuid=_uuid(content, "LeaseDomainId"),
        migration_support=keeping.code("MigrationSupport", MigrationSupport, Bad.NOTE),
        dedicated_host_uuids=keeping.texts("DedicatedVmForVds"),
        first_boot=_first_boot(content),
        # The last one: it is what none of the reads above asked for.
        extra_fields=content.rest(),
    )


def _resume_behavior(content: Fields) -> Optional[ResumeBehavior]:
    text = content.text("ResumeBehavior")

    def read() -> Optional[ResumeBehavior]:
        if text is None:
            return None
        for behavior in ResumeBehavior:
            if behavior.value == text:
                return behavior
        raise content.bad(f"{text[:40]!r} is no known ResumeBehavior", "ResumeBehavior")

    return content.attempt("ResumeBehavior", Bad.NOTE, None, read)


def _virtio_scsi_queues(content: Fields) -> int:
    """Return the number of queues; without one, "true" means: as many as virtual CPUs."""
    name = "VirtioScsiMultiQueuesEnabled"
    if not content.flag(name, False, Bad.NOTE):
        return 0
    element = content.sub(name)
    queues = None if element is None else element.attribute_count("queues")
    return queues or -1


def _uuid(content: Fields, name: str) -> Optional[str]:
    text = content.text(name)
    return content.attempt(
        name, Bad.DOUBT, None, lambda: None if text is None else content.uuid_of(text, name)
    )


def _first_boot(content: Fields) -> Pairs:
    """Return what cloud-init or sysprep is given on the very first start, for writing again."""
    element = content.keeping.sub("VmInit")
    return () if element is None else element.rest_attributes()


def read_external_data(section: Optional[Fields]) -> Pairs:
    """Return the stored bytes of TPM and firmware, by kind, in base64."""
    items = [] if section is None else section.keeping.all("VmExternalDataItem")
    return tuple(
        (item.attribute("kind") or "", item.text("VmExternalDataContent") or "") for item in items
    )


def read_users(section: Optional[Fields]) -> tuple[User, ...]:
    """Return who has rights on the VM."""
    users = []
    for item in [] if section is None else section.keeping.all("User"):
        roles = item.sub("UserRoles")
        users.append(
            User(item.text("UserDomain") or "", () if roles is None else roles.texts("RoleName"))
        )
    return tuple(users)


def read_names(section: Optional[Fields], name: str) -> tuple[str, ...]:
    """Return the `name` attributes of a section's elements: affinity groups, labels."""
    items = [] if section is None else section.keeping.all(name)
    return tuple(item.attribute("name") or "" for item in items)


def read_guest_applications(content: Fields) -> tuple[str, ...]:
    """Return what the guest has installed, one a ProductSection."""
    found = []
    for item in content.keeping.all("ProductSection"):
        item.derive("@class", "Product", "Version")
        found.append(item.raw("Info") or "")
    return tuple(found)


def read_snapshots(section: Optional[Fields]) -> tuple[Snapshot, ...]:
    """Return the VM's snapshots, the active state among them."""
    found = []
    for item in [] if section is None else section.keeping.all("Snapshot"):
        uuid, kind = item.attribute("id") or "", item.text("Type") or ""
        found.append(
            Snapshot(
                uuid=uuid.strip().lower(),
                kind=kind,
                description=item.keeping.raw("Description") or "",
                created=item.keeping.text("CreationDate") or "",
                extra_fields=item.rest(),
            )
        )
    return tuple(found)


def active_snapshot(section: Optional[Fields]) -> Optional[str]:
    """Return the uuid of the state that the VM runs on, or None."""
    items = [] if section is None else section.all("Snapshot")
    active = [item for item in items if item.text("Type") == "ACTIVE"]
    return (active[-1].attribute("id") or "").strip().lower() if active else None
