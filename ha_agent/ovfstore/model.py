# SPDX-License-Identifier: Apache-2.0
"""A VM's definition as values: what an OVF says, whatever it was read from.

It neither parses nor decides. Texts are as in the OVF; uuids are lower case; units are in the
names. Devices that need no more than the engine's common fields are all `Device`, in the order
of the document, so that a document is kept whole; the properties of `VmDefinition` sort them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from ha_agent.ovfstore.codes import (
    BiosType,
    CpuPinningPolicy,
    DiskInterface,
    DisplayType,
    MigrationSupport,
    NicModel,
    Origin,
    ResumeBehavior,
    SerialNumberPolicy,
)

Pairs = tuple[tuple[str, str], ...]
"""Names with values, in order; an address's pairs are sorted, because Java's map order is none."""


@dataclass(frozen=True)
class LunConnection:
    """A way to a direct LUN: None for what the OVF does not say."""

    address: Optional[str] = None
    iqn: Optional[str] = None
    port: Optional[str] = None
    storage_type: Optional[str] = None
    portal: Optional[str] = None


@dataclass(frozen=True)
class Disk:
    """A disk: an image's leaf volume, or a direct LUN when `lun_id` is set.

    For a LUN, `image_uuid` is the disk's uuid, and there is no volume. `boot_order` counts
    from 1; 0 means that the VM does not boot from it. `parent_uuid` is the volume that the
    leaf is based on; `storage_type` is None for what is usual, else the engine's word (CINDER).
    `older_volumes` are the rest of its chain, which a start does not name: they are kept so that
    a document is written again whole.
    `extra_attributes` (of the Disk element) and `extra_fields` (of its Item) are what nothing
    here interprets, and what could not be read: they win over a field when written again.
    """

    image_uuid: str
    volume_uuid: Optional[str] = None
    lun_id: Optional[str] = None
    storage_domain_uuids: tuple[str, ...] = ()
    storage_pool_uuid: Optional[str] = None
    snapshot_uuid: Optional[str] = None
    size_gib: Optional[int] = None
    actual_size_gib: Optional[int] = None
    file_size_bytes: Optional[int] = None
    volume_format: str = "RAW"
    volume_type: str = "Preallocated"
    interface: DiskInterface = DiskInterface.VIRTIO
    is_boot: bool = False
    boot_order: int = 0
    is_plugged: bool = True
    is_read_only: bool = False
    is_shareable: bool = False
    passes_discard: bool = False
    wipes_after_delete: bool = False
    alias: str = ""
    description: str = ""
    device_alias: str = ""
    address: Pairs = ()
    connections: tuple[LunConnection, ...] = ()
    uses_scsi_reservation: bool = False
    has_incremental_backup: bool = False
    storage_type: Optional[str] = None
    cinder_volume_type: Optional[str] = None
    file_description: str = ""
    parent_uuid: Optional[str] = None
    older_volumes: tuple[Disk, ...] = ()
    spec_params: Pairs = ()
    custom_properties: Pairs = ()
    extra_attributes: Pairs = ()
    extra_fields: Pairs = ()

    def spec(self, name: str) -> Optional[str]:
        """Return a spec parameter, such as pinToIoThread, or None."""
        return dict(self.spec_params).get(name)


@dataclass(frozen=True)
class Nic:
    """A network interface. `network` is None for "no network", `mac` when the OVF has none."""

    device_uuid: str
    name: str
    model: NicModel = NicModel.PV
    network: Optional[str] = None
    profile: Optional[str] = None
    mac: Optional[str] = None
    is_linked: bool = True
    is_plugged: bool = True
    speed_mbit: Optional[int] = None
    boot_order: int = 0
    device_alias: str = ""
    address: Pairs = ()
    device: str = "bridge"
    is_read_only: bool = False
    spec_params: Pairs = ()
    custom_properties: Pairs = ()
    extra_fields: Pairs = ()


@dataclass(frozen=True)
class Device:
    """Any other device: `kind` is the OVF's `Type` (controller, rng, ...), `device` its `Device`.

    `monitors` is the `VirtualQuantity` of a video device, which always has one. A nested spec
    parameter has a name with slashes: `vendor/id`. `device_uuid` is empty when the OVF has none.
    """

    device_uuid: str
    resource_type: int
    kind: str
    device: str
    monitors: Optional[int] = None
    boot_order: int = 0
    is_plugged: bool = True
    is_read_only: bool = False
    device_alias: str = ""
    address: Pairs = ()
    spec_params: Pairs = ()
    custom_properties: Pairs = ()
    extra_fields: Pairs = ()

    def spec(self, name: str) -> Optional[str]:
        """Return a spec parameter, or None."""
        return dict(self.spec_params).get(name)


@dataclass(frozen=True)
class NumaNode:
    """A guest NUMA node. `cpus` are numbers of virtual CPUs."""

    index: int
    cpus: tuple[int, ...]
    memory_mib: int
    tune_mode: Optional[str] = None
    host_nodes: tuple[int, ...] = ()
    node_uuid: Optional[str] = None


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of the VM, kept as it is: a start needs no more than the active one's uuid."""

    uuid: str
    kind: str
    description: str = ""
    created: str = ""
    extra_fields: Pairs = ()


@dataclass(frozen=True)
class User:
    """A person with rights on the VM, `name@domain`, kept as it is."""

    name: str
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class VmDefinition:
    """A VM as its OVF defines it for the next start.

    `max_vcpus` may be more than sockets * cores * threads: the rest is for hot plug. None
    stands for what the OVF does not say. `engine_xml` is the engine's own domain XML, as text.
    `virtio_scsi_queues` is -1 for "as many as virtual CPUs". `external_data` are the TPM's and
    the firmware's stored bytes, by kind (tpm, nvram), in base64. `extra_fields` are the simple
    elements of `Content` that nothing here interprets, or whose value could not be read;
    they win over a field of their name when the document is written again.

    `notes` tell what could not be read and is not needed for a start. `unreadable` tells what
    a start from these fields needs and that has a stand-in here: with a sound `engine_xml` the
    VM starts all the same, without one it must not. Both are about the document that was
    read, so they don't count when definitions are compared.
    """

    uuid: str
    name: str
    memory_mib: int
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    max_vcpus: int
    max_memory_mib: Optional[int] = None
    min_memory_mib: Optional[int] = None
    cpu_model: Optional[str] = None
    uses_host_cpu: bool = False
    emulated_machine: Optional[str] = None
    bios_type: BiosType = BiosType.I440FX_SEA_BIOS
    display_type: Optional[DisplayType] = None
    os_type: str = "other_linux"
    origin: Optional[Origin] = None
    description: str = ""
    time_zone: Optional[str] = None
    vnc_keyboard_layout: Optional[str] = None
    is_delete_protected: bool = False
    has_balloon: bool = True
    starts_paused: bool = False
    io_threads: int = 0
    boot_sequence: Optional[int] = None
    usb_policy: Optional[str] = None
    cpu_pinning: Optional[str] = None
    predefined_properties: Pairs = ()
    user_properties: Pairs = ()
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    devices: tuple[Device, ...] = ()
    numa_nodes: tuple[NumaNode, ...] = ()
    engine_xml: Optional[str] = None
    ovf_version: Optional[str] = None
    compat_version: Optional[str] = None
    custom_compat_version: Optional[str] = None
    extra_fields: Pairs = ()
    serial_number_policy: Optional[SerialNumberPolicy] = None
    custom_serial_number: Optional[str] = None
    has_smartcard: bool = False
    has_boot_menu: bool = False
    kernel_path: Optional[str] = None
    initrd_path: Optional[str] = None
    kernel_arguments: Optional[str] = None
    resume_behavior: Optional[ResumeBehavior] = None
    has_multi_queues: bool = False
    virtio_scsi_queues: int = 0
    lease_domain_uuid: Optional[str] = None
    cpu_pinning_policy: Optional[CpuPinningPolicy] = None
    migration_support: Optional[MigrationSupport] = None
    dedicated_host_uuids: tuple[str, ...] = ()
    external_data: Pairs = ()
    first_boot: Pairs = ()
    users: tuple[User, ...] = ()
    affinity_groups: tuple[str, ...] = ()
    affinity_labels: tuple[str, ...] = ()
    guest_applications: tuple[str, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    unreadable: tuple[str, ...] = field(default=(), compare=False)

    @property
    def vcpus(self) -> int:
        """The number of virtual CPUs at start."""
        return self.sockets * self.cores_per_socket * self.threads_per_core

    @property
    def is_q35(self) -> bool:
        """True for PCI Express machines; the machine's name, when there is one, decides."""
        if self.emulated_machine:
            return "q35" in self.emulated_machine
        return self.bios_type.is_q35

    @property
    def graphics(self) -> tuple[Device, ...]:
        """Consoles for people: `device` is vnc or spice."""
        return self._of_kind("graphics")

    @property
    def videos(self) -> tuple[Device, ...]:
        """Video cards: `device` is vga, qxl, cirrus or bochs."""
        return self._of_kind("video")

    @property
    def cdroms(self) -> tuple[Device, ...]:
        """CD-ROM drives."""
        return tuple(item for item in self._of_kind("disk") if item.device == "cdrom")

    @property
    def controllers(self) -> tuple[Device, ...]:
        """Controllers: `device` is virtio-scsi, virtio-serial, usb, ide, sata or pci."""
        return self._of_kind("controller")

    @property
    def consoles(self) -> tuple[Device, ...]:
        """Text consoles."""
        return self._of_kind("console")

    @property
    def rngs(self) -> tuple[Device, ...]:
        """Random number generators."""
        return self._of_kind("rng")

    @property
    def custom_properties(self) -> dict[str, str]:
        """Predefined and user-defined properties together; the user's win."""
        return dict(self.predefined_properties + self.user_properties)

    def _of_kind(self, kind: str) -> tuple[Device, ...]:
        return tuple(item for item in self.devices if item.kind == kind and item.is_plugged)

    def disks_in_boot_order(self) -> tuple[Disk, ...]:
        """Plugged disks: by boot order, then boot disks without one, then others."""
        plugged = [disk for disk in self.disks if disk.is_plugged]
        return tuple(
            sorted(
                plugged,
                key=lambda disk: (disk.boot_order == 0, disk.boot_order, not disk.is_boot),
            )
        )
