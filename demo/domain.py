# SPDX-License-Identifier: Apache-2.0
"""Makes the demo's shared storage domain, laid out as VDSM lays out a file domain.

<domain>/dom_md/metadata
<domain>/images/<image>/<volume> (+ .meta, .lease)   boot disk, two OVF_STOREs, status volume
<domain>/ha_agent/<vm>.lease                         the lock file of the ownership lease
"""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

from demo.guest import MEMORY_MIB, GuestImage
from ha_agent.broker.lease import file as lease_file
from ha_agent.clock import SystemClock
from ha_agent.ovfstore.codes import BiosType, DiskInterface, DisplayType, NicModel, Origin
from ha_agent.ovfstore.locate import format_description, java_date_text
from ha_agent.ovfstore.model import Disk, Nic, VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.tar_volume import build_archive
from ha_agent.ovfstore.translate import domain_xml
from ha_agent.vdsm import file_domain

NETWORK = "ovirtmgmt"
STATUS_VOLUME_BYTES = 128 * 1024 * 1024
STORE_VOLUME_BYTES = 128 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class DemoDomain:
    """Where things are."""

    path: Path
    uuid: str
    vm_uuid: str
    boot_disk: Path
    status_image: str
    status_volume: str
    lease: Path


def engine_vm(domain_uuid: str, image: str, volume: str, vm_uuid: str) -> VmDefinition:
    """Return the demo's engine VM as the engine would define it, EngineXml included."""
    vm = VmDefinition(
        uuid=vm_uuid,
        name="HostedEngine",
        memory_mib=MEMORY_MIB,
        sockets=1,
        cores_per_socket=1,
        threads_per_core=1,
        max_vcpus=1,
        emulated_machine="pc-i440fx-7.2",
        bios_type=BiosType.I440FX_SEA_BIOS,
        display_type=DisplayType.NONE,
        origin=Origin.MANAGED_HOSTED_ENGINE,
        is_delete_protected=True,
        disks=(
            Disk(
                image_uuid=image,
                volume_uuid=volume,
                storage_domain_uuids=(domain_uuid,),
                size_gib=1,
                interface=DiskInterface.VIRTIO,
                is_boot=True,
                boot_order=1,
                alias="he_virtio_disk",
            ),
        ),
        nics=(
            Nic(
                device_uuid=str(uuid.uuid4()),
                name="vnet0",
                model=NicModel.PV,
                network=NETWORK,
                mac="00:16:3e:35:83:68",
            ),
        ),
        ovf_version="4.5.8",
        compat_version="4.8",
    )
    return dataclasses.replace(vm, engine_xml=domain_xml(vm, storage_domain_uuid=domain_uuid).xml)


def make_domain(parent: Path, guest: GuestImage) -> DemoDomain:
    """Create domain, volumes, OVF_STORE archives and lock file in `parent`."""
    wall = SystemClock().wall()
    seconds = int(wall.unix_seconds)
    domain_uuid, vm_uuid = str(uuid.uuid4()), str(uuid.uuid4())
    path = file_domain.create_domain(parent, domain_uuid, name="hosted_storage")

    def volume(description: str, disktype: str, size_bytes: int, source: Path) -> tuple[str, str]:
        image, name = str(uuid.uuid4()), str(uuid.uuid4())
        file_domain.create_volume(
            path, image, name, size_bytes, description, disktype,
            created_at_seconds=seconds, source=source,
        )  # fmt: skip
        return image, name

    size_bytes = max(guest.size_bytes, 1)
    disk_image, disk_volume = volume("he_virtio_disk", "HEVD", size_bytes, guest.path)
    archive = parent / "ovf_store.tar"
    ovf = build_ovf(engine_vm(domain_uuid, disk_image, disk_volume, vm_uuid))
    updated = java_date_text(wall)
    data = build_archive(domain_uuid, [(vm_uuid, ovf)], last_updated_text=updated, written_at=wall)
    archive.write_bytes(data)
    description = format_description(
        storage_domain_uuid=domain_uuid,
        updated=True,
        last_updated_text=updated,
        size_bytes=len(data),
    )
    for _copy in range(2):
        volume(description, "OVFS", STORE_VOLUME_BYTES, archive)
    archive.unlink()
    empty = parent / "empty"
    empty.write_bytes(b"")
    status_image, status_volume = volume(
        "HostedEngineMetaData", "HEMD", STATUS_VOLUME_BYTES, empty
    )
    empty.unlink()
    lease = path / "ha_agent" / f"{vm_uuid}.lease"
    lease.parent.mkdir()
    lease_file.lease_initialise(str(lease))
    return DemoDomain(
        path=path,
        uuid=domain_uuid,
        vm_uuid=vm_uuid,
        boot_disk=path / "images" / disk_image / disk_volume,
        status_image=status_image,
        status_volume=status_volume,
        lease=lease,
    )
