# SPDX-License-Identifier: Apache-2.0
"""Looks at this host and its storage for what the engine VM needs: paths, leases, files.

Everything here blocks and may hang with the storage: callers run it in threads.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.domain.model import Disk, Domain
from ha_agent.virt.domain_xml import VirtDomain, VirtPlacement, offer_of, place, read_definition
from ha_agent.virt.lock_reach import require_shared_locks

_LEASE_PLACEHOLDER = "LEASE-PATH:"
_OS_RELEASE = Path("/etc/os-release")


class LeaseKind(enum.Enum):
    """[libvirt] vm_lease; vm_lock.py says what each is."""

    IMAGE = "image"
    LOCKD = "lockd"
    SANLOCK = "sanlock"


@dataclass(frozen=True)
class VirtSettings:
    """What the configuration says of VMs under libvirt; see [libvirt] in conf/ha-agent.conf."""

    domain_paths: tuple[Path, ...]
    vm_lease: LeaseKind
    accelerator: str
    networks: Mapping[str, str]
    host_id: int


@dataclass(frozen=True)
class Placed:
    """A VM that can be started: its XML, and the disks and leases that its lock is proved by.

    `disks` are the paths of what it may write to; `leases` are (lockspace, key, path, offset).
    """

    domain: VirtDomain
    disks: tuple[str, ...]
    leases: tuple[tuple[str, str, str, int], ...]
    is_paused: bool


def place_vm(xml: str, vm_uuid: str, settings: VirtSettings, capabilities_xml: str) -> Placed:
    """Find what the definition names, and return the VM for libvirt.

    Raises BadInput, and EnvironmentFault when something is not there.
    """
    domain, files = read_definition(xml, vm_uuid)
    disk_paths: dict[str, str] = {}
    cached: set[str] = set()
    for disk in domain.disks:
        path = _disk_path(disk, settings.domain_paths)
        if path:
            disk_paths[disk.target] = path
            if not _has_direct_io(path):
                cached.add(disk.target)
    written = tuple(
        disk_paths[disk.target]
        for disk in domain.disks
        if disk.target in disk_paths and disk.device != "cdrom" and not disk.read_only
    )
    if settings.vm_lease is not LeaseKind.SANLOCK:
        for path in written:
            require_shared_locks(path)
    if any(disk.shareable for disk in domain.disks):
        raise BadInput(
            "a shareable disk has no lock that keeps a second VM out", where="domain XML"
        )
    leases = _leases(domain, settings) if settings.vm_lease is LeaseKind.SANLOCK else ()
    placement = VirtPlacement(
        offer=offer_of(capabilities_xml, domain.arch),
        accelerator=settings.accelerator,
        disk_paths=disk_paths,
        no_direct_io=frozenset(cached),
        lease_paths={key: path for _space, key, path, _offset in leases},
        networks=settings.networks,
        missing_files=frozenset(name for name in files if not os.path.exists(name)),
        sysinfo=_sysinfo(),
    )
    return Placed(place(xml, domain, placement), written, leases, domain.launch_paused)


def _disk_path(disk: Disk, domain_paths: tuple[Path, ...]) -> str:
    path = disk.path or ""
    if disk.volume is not None:
        ids = disk.volume
        domain_path = file_domain.find_domain(domain_paths, ids.domain)
        path = str(file_domain.find_volume(domain_path, ids.image, ids.volume))
    if path and not os.path.exists(path):
        raise EnvironmentFault(f"disk {disk.target}: {path} does not exist")
    return path


def _has_direct_io(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _leases(domain: Domain, settings: VirtSettings) -> tuple[tuple[str, str, str, int], ...]:
    """Return the leases, placeholders filled in by VDSM's rule: they name a disk of the VM."""
    found = []
    volumes = {
        (disk.volume.volume, disk.volume.domain): disk for disk in domain.disks if disk.volume
    }
    for lease in domain.leases:
        path = lease.path
        if path.startswith(_LEASE_PLACEHOLDER):
            disk = volumes.get((lease.key, lease.lockspace))
            if disk is None:
                raise BadInput(
                    f"lease {lease.key} belongs to none of the VM's disks", where="domain XML"
                )
            path = f"{_disk_path(disk, settings.domain_paths)}.lease"
        found.append((lease.lockspace, lease.key, path, lease.offset))
    if not found:
        raise BadInput("no <lease>, which [libvirt] vm_lease = sanlock needs", where="domain XML")
    return tuple(found)


def _sysinfo() -> dict[str, str]:
    """Return what VDSM would fill in. The host's serial stays out: libvirt has none to say."""
    values = {"OS-NAME:": "Linux", "OS-VERSION:": "", "HOST-SERIAL:": ""}
    names = {"NAME": "OS-NAME:", "VERSION_ID": "OS-VERSION:"}
    try:
        lines = _OS_RELEASE.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return values
    for line in lines:
        key, _, value = line.partition("=")
        if key in names:
            values[names[key]] = value.strip().strip("\"'")
    return values
