# SPDX-License-Identifier: Apache-2.0
"""From a VM's definition to what QEMU is started with: paths, leases, firmware.

Everything on shared storage is done in threads with a deadline (deadline.py).
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.domain.model import Disk, Domain, Lease
from ha_agent.vdsm.qemu.arguments import build_command
from ha_agent.vdsm.qemu.placement import Command, Placement, QemuBinary
from ha_agent.vdsm.qemu.process import QMP_FD
from ha_agent.vdsm.vm import tpm as vm_tpm
from ha_agent.vdsm.vm.host_identity import free_huge_pages, smbios_values
from ha_agent.vdsm.vm.lease import VmLeases
from ha_agent.vdsm.vm.pause import PauseTimes
from ha_agent.vdsm.vm.state import Clock

_LEASE_PLACEHOLDER = "LEASE-PATH:"
# Where distributions put OVMF when the definition's own path, RHEL's, is not here.
_OVMF_CODE = (
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
)
_OVMF_SECURE_CODE = (
    "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
    "/usr/share/OVMF/OVMF_CODE.secboot.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
)


@dataclass(frozen=True)
class VmHost:
    """What VMs of this host share."""

    run_dir: Path
    qemu: QemuBinary
    accelerator: str
    networks: Mapping[str, str]
    domain_paths: Callable[[], tuple[Path, ...]]
    leases: VmLeases
    storage_deadline_seconds: float = 10.0
    threads: StorageThreads = field(default_factory=StorageThreads)
    pause_times: PauseTimes = field(default_factory=PauseTimes)


class StartTimes:
    """How long each step of a start took. The steps, in their order:

    definition (the document is read), command (disks found, command line made), lease (taken
    or, with sanlock, waited for), spawn (QEMU's process is there), qmp (it greets), running.
    """

    def __init__(self, clock: Clock) -> None:
        """The first step begins."""
        self._clock = clock
        self._at = clock.now()
        self._seconds: dict[str, float] = {}

    def step(self, name: str) -> None:
        """A step has ended, the next one begins. A name that comes twice is added up."""
        now = self._clock.now()
        self._seconds[name] = self._seconds.get(name, 0.0) + (now - self._at)
        self._at = now

    def told(self) -> str:
        """Return e.g. "started in 153.2 ms: definition 1.0, command 12.1, ..."."""
        steps = ", ".join(f"{name} {took * 1000:.1f}" for name, took in self._seconds.items())
        return f"started in {sum(self._seconds.values()) * 1000:.1f} ms: {steps}"


async def command_for(host: VmHost, domain: Domain, vm_dir: Path) -> Command:
    """Find the VM's disks and firmware and return its command line.

    Raises BadInput, EnvironmentFault, DeadlineExceeded.
    """
    found = await _look_at_disks(host, domain)
    firmware, nvram = _firmware(domain, vm_dir)
    placement = Placement(
        run_dir=vm_dir,
        accelerator=host.accelerator,
        networks=host.networks,
        disk_paths={target: seen.path for target, seen in found.items() if seen.is_there},
        no_direct_io=frozenset(target for target, seen in found.items() if not seen.is_direct),
        missing_disks=frozenset(
            target for target, seen in found.items() if seen.path and not seen.is_there
        ),
        firmware=firmware,
        nvram=nvram,
        qmp_fd=QMP_FD,
        free_huge_pages=free_huge_pages(),
        smbios=smbios_values(),
        tpm_socket=vm_tpm.socket_for(domain, vm_dir),
    )
    return build_command(domain, host.qemu, placement)


async def disk_paths(host: VmHost, domain: Domain) -> tuple[str, ...]:
    """Return the real paths of the VM's disks. Raises as command_for."""
    found = await _look_at_disks(host, domain)
    return tuple(seen.path for seen in found.values() if seen.is_there)


@dataclass(frozen=True)
class _SeenDisk:
    """A disk's real path, "" for an empty cdrom, and whether it has direct I/O."""

    path: str = ""
    is_there: bool = False
    is_direct: bool = False


async def _look_at_disks(host: VmHost, domain: Domain) -> dict[str, _SeenDisk]:
    return {
        disk.target: await host.threads.run(
            f"disk {disk.target}",
            host.storage_deadline_seconds,
            functools.partial(_look_at_disk, disk, host.domain_paths()),
        )
        for disk in domain.disks
    }


async def find_leases(host: VmHost, domain: Domain) -> tuple[Lease, ...]:
    """Return the VM's leases, placeholders filled in.

    Raises BadInput, EnvironmentFault, DeadlineExceeded.
    """
    found = []
    for lease in domain.leases:
        path = lease.path
        if path.startswith(_LEASE_PLACEHOLDER):
            path = await host.threads.run(
                "VM lease",
                host.storage_deadline_seconds,
                functools.partial(_volume_lease, lease, domain, host.domain_paths()),
            )
        found.append(replace(lease, path=path))
    return tuple(found)


def _look_at_disk(disk: Disk, domain_paths: tuple[Path, ...]) -> _SeenDisk:
    path = disk.path or ""
    if disk.volume is not None:
        ids = disk.volume
        domain_path = file_domain.find_domain(domain_paths, ids.domain)
        path = str(file_domain.find_volume(domain_path, ids.image, ids.volume))
    if not path:
        return _SeenDisk()
    if not os.path.exists(path):
        if disk.is_optional:
            return _SeenDisk(path)
        raise EnvironmentFault(f"disk {disk.target}: {path} does not exist")
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError:
        return _SeenDisk(path, is_there=True)
    return _SeenDisk(path, is_there=True, is_direct=True)


def _volume_lease(lease: Lease, domain: Domain, domain_paths: tuple[Path, ...]) -> str:
    """Fill in a lease placeholder, by VDSM's rule: key and lockspace name a disk of the VM."""
    for disk in domain.disks:
        ids = disk.volume
        if ids and ids.volume == lease.key and ids.domain == lease.lockspace:
            domain_path = file_domain.find_domain(domain_paths, ids.domain)
            volume = file_domain.find_volume(domain_path, ids.image, ids.volume)
            return f"{volume}.lease"
    raise BadInput(f"lease {lease.key} belongs to none of the VM's disks", where="domain XML")


def _firmware(domain: Domain, vm_dir: Path) -> tuple[str, str]:
    """Return the UEFI code and a fresh copy of its variables; "" where there are none."""
    if not domain.loader:
        return "", ""
    known = _OVMF_SECURE_CODE if domain.secure_boot else _OVMF_CODE
    code = next((path for path in (domain.loader, *known) if os.path.isfile(path)), "")
    variables = code.replace("CODE", "VARS").replace(".secboot", "")
    template = next(
        (path for path in (domain.nvram_template, variables) if path and os.path.isfile(path)), ""
    )
    if not code or not template:
        return code, ""
    nvram = vm_dir / "nvram.fd"
    shutil.copyfile(template, nvram)
    return code, str(nvram)
