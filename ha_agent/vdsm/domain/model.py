# SPDX-License-Identifier: Apache-2.0
"""A VM's definition as values: what document.py reads and qemu/arguments.py uses. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional


@dataclass(frozen=True)
class PciAddress:
    """Where the guest finds a device. `bus` is the index of its PCI controller."""

    bus: int
    slot: int
    function: int
    multifunction: bool = False


@dataclass(frozen=True)
class DriveAddress:
    """Where a disk is on its controller."""

    controller: int
    bus: int
    target: int
    unit: int


@dataclass(frozen=True)
class VolumeIds:
    """The disk is this volume of a storage domain; its path is for VDSM to find."""

    pool: str
    domain: str
    image: str
    volume: str


@dataclass(frozen=True)
class Disk:
    """A disk or cdrom. `path` is None for an empty cdrom. `target` is vda, sdb, hdc..."""

    device: str
    target: str
    bus: str
    path: Optional[str]
    format: str = "raw"
    cache: str = ""
    io: str = ""
    error_policy: str = ""
    serial: str = ""
    discard: str = ""
    boot_order: Optional[int] = None
    read_only: bool = False
    shareable: bool = False
    volume: Optional[VolumeIds] = None
    address: Optional[PciAddress] = None
    drive: Optional[DriveAddress] = None
    io_thread: int = 0
    is_optional: bool = False
    has_reservations: bool = False


@dataclass(frozen=True)
class Nic:
    """A network card. `network` is the bridge or network name, empty when it has none."""

    model: str
    network: str
    mac: str
    link_up: bool = True
    queues: int = 0
    boot_order: Optional[int] = None
    address: Optional[PciAddress] = None


@dataclass(frozen=True)
class Lease:
    """The VM lease. `path` may be the placeholder LEASE-PATH:<volume>:<domain>; its offset is
    a placeholder as well then, and of a volume's own lease file it is 0.
    """

    key: str
    lockspace: str
    path: str
    offset: int = 0


@dataclass(frozen=True)
class Device:
    """Any other device: element name, kind (its type or model), further attributes.

    `options` are numbers by name: ports, queues, iothread, bytes, period, vram.
    """

    tag: str
    kind: str
    name: str = ""
    index: Optional[int] = None
    action: str = ""
    address: Optional[PciAddress] = None
    options: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Graphics:
    """A console. `valid_to` is when its password ends, in UTC as libvirt writes it, or ""."""

    kind: str
    password: str = field(default="", repr=False)
    valid_to: str = ""


@dataclass(frozen=True)
class Cpu:
    """`mode` is '', 'custom', 'host-passthrough' or 'host-model'; features are (policy, name)."""

    mode: str = ""
    model: str = ""
    features: tuple[tuple[str, str], ...] = ()
    sockets: int = 0
    cores: int = 0
    threads: int = 0


@dataclass(frozen=True)
class NumaCell:
    """A node of the guest's memory. `cpus` is a set such as 0-3,8, or empty."""

    cell_id: int
    cpus: str
    memory_mib: int
    is_shared: bool = False


@dataclass(frozen=True)
class Tuning:
    """The machine beyond its devices. 0 and "" mean that the document does not say.

    `pinned_cpus` are (vCPU, set of host CPUs), `memory_now_mib` is what a balloon leaves at first.
    `timers` are (name, tickpolicy, present), `smbios` (name, value), in which values such as
    HOST-SERIAL: are the host's to fill in. `no_sleep` has mem and disk where the guest must not
    suspend to it.
    """

    max_memory_mib: int = 0
    memory_slots: int = 0
    huge_page_kib: int = 0
    cells: tuple[NumaCell, ...] = ()
    io_threads: int = 0
    pinned_cpus: tuple[tuple[str, str], ...] = ()
    memory_now_mib: int = 0
    smbios: tuple[tuple[str, str], ...] = ()
    clock_seconds: int = 0
    timers: tuple[tuple[str, str, str], ...] = ()
    has_acpi: bool = True
    has_smm: bool = False
    no_sleep: tuple[str, ...] = ()
    kernel: str = ""
    initrd: str = ""
    kernel_arguments: str = ""
    boot_menu_ms: int = 0
    has_serial_bios: bool = False


@dataclass(frozen=True)
class Domain:
    """One VM's definition. `devices` keep the document's order."""

    uuid: str
    name: str
    memory_mib: int
    vcpus: int
    max_vcpus: int
    cpu: Cpu
    machine: str
    arch: str
    loader: str
    nvram_template: str
    secure_boot: bool
    boot_devices: tuple[str, ...]
    boot_menu: bool
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]
    leases: tuple[Lease, ...]
    devices: tuple[Device, ...]
    graphics: tuple[Graphics, ...]
    launch_paused: bool
    destroy_on_reboot: bool
    resume_behavior: str
    tuning: Tuning
    unknown_parts: tuple[str, ...]

    @property
    def has_open_vnc(self) -> bool:
        """Whether a VNC console is open to all, which VDSM refuses (facts, section 3)."""
        return any(item.kind == "vnc" and not item.valid_to for item in self.graphics)
