# SPDX-License-Identifier: Apache-2.0
"""The VM lease by sanlock: held by QEMU's own process, for as long as that lives.

    start of a VM     a launcher registers with the daemon, acquires the leases and becomes QEMU
                      (sanlock_exec.py); one that starts paused is registered only
    VM.cont           acquires them for the registered QEMU
    end               the daemon releases them with the process's end
    lost storage      the daemon ends QEMU before others can have the leases

A lease that another host held and lets go, or that dies with it, may keep the launcher waiting
for as long as sanlock needs to know: the VM is in WaitForLaunch then, as under libvirt, and
VM.destroy ends the wait.

Leases can be had only by a host that has joined the storage domain's lockspace, named by the
domain's UUID, in dom_md/ids: `HostIds`, asked by the monitors as VDSM's monitors do it. Its
membership outlives the embedded VDSM.

The calls here go to the daemon, which may wait for storage: callers run them off the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.domain.model import Lease
from ha_agent.vdsm.file_domain import read_domain_metadata
from ha_agent.vdsm.qemu.process import QMP_FD, QemuProcess
from ha_agent.vdsm.vm import sanlock_exec
from ha_agent.vdsm.vm.lease import LeasedStart, LeaseRefused
from ha_agent.waiting import Signal

log = logging.getLogger(__name__)

_STATUS_FD = QMP_FD + 1
_MAX_STATUS_BYTES = 4096
# sanlock's own time until a host counts as dead, at most; an acquire may wait for that.
_WATCHDOG_SECONDS = 60.0
_DEAD_IO_TIMEOUTS = 8
_CALL_SECONDS = 10.0
_SDM = b"SDM"


def binding() -> Any:
    """Return sanlock's Python module. Raises EnvironmentFault that names its package."""
    try:
        import sanlock
    except ImportError as error:
        raise EnvironmentFault(
            f"sanlock can't be used: {error}; install the package python3-sanlock"
        ) from error
    return sanlock


def ids_path(domain_path: Path) -> Path:
    """Return where a storage domain's lockspace is."""
    return domain_path / "dom_md" / "ids"


class SanlockLeases:
    """Implements lease.VmLeases."""

    def __init__(self, threads: StorageThreads, io_timeout_seconds: int) -> None:
        """Raises EnvironmentFault when the binding is not there."""
        self._threads = threads
        self._sanlock = binding()
        spec = importlib.util.find_spec("sanlock")
        self._folder = os.path.dirname((spec and spec.origin) or "")
        self._acquire_seconds = (
            _DEAD_IO_TIMEOUTS * io_timeout_seconds + _WATCHDOG_SECONDS + _CALL_SECONDS
        )

    async def prepare(
        self, leases: Sequence[Lease], arguments: Sequence[str], *, is_paused: bool
    ) -> LeasedStart:
        """Return the launcher's command line."""
        wanted = () if is_paused else leases
        command = [sys.executable, "-I", "-S", "-B", sanlock_exec.__file__]
        command += [str(_STATUS_FD), self._folder, str(len(wanted))]
        for lease in wanted:
            command += [lease.lockspace, lease.key, lease.path, str(lease.offset)]
        reading, writing = os.pipe()
        variables = {k: v for k, v in os.environ.items() if k.startswith("SANLOCK_")}
        return LeasedStart(
            (*command, *arguments),
            [writing],
            variables,
            functools.partial(_launched, reading, self._acquire_seconds),
            functools.partial(os.close, reading),
        )

    async def hand_over(self, leases: Sequence[Lease], process: QemuProcess) -> None:
        """Acquire the leases for a registered QEMU, but for those that it has already: it was let
        run before, and we have lost what we knew of that. Raises LeaseRefused, DeadlineExceeded.
        """
        has = await self._threads.run(
            "VM lease", _CALL_SECONDS, functools.partial(self._held_by, process.pid)
        )
        done: list[Lease] = []
        try:
            for lease in leases:
                if (lease.lockspace, lease.key) in has:
                    continue  # never released here either: its vCPUs may run
                await self._threads.run(
                    f"VM lease {lease.path}",
                    self._acquire_seconds,
                    functools.partial(self._acquire, lease, process.pid),
                    discard=functools.partial(self._release, process.pid),
                )
                done.append(lease)
        except BaseException:
            for lease in done:
                self._release(process.pid, lease)
            raise

    def _held_by(self, pid: int) -> set[tuple[str, str]]:
        try:
            resources = self._sanlock.inquire(pid=pid)
        except self._sanlock.SanlockException:
            return set()  # acquiring says what is wrong
        return {(one["lockspace"].decode(), one["resource"].decode()) for one in resources}

    def _acquire(self, lease: Lease, pid: int) -> Lease:
        try:
            self._sanlock.acquire(*_resource(lease), pid=pid)
        except self._sanlock.SanlockException as error:
            raise LeaseRefused(sanlock_exec.refusal(error)) from error
        return lease

    def _release(self, pid: int, lease: Lease) -> None:
        with contextlib.suppress(self._sanlock.SanlockException):  # gone with its process
            self._sanlock.release(*_resource(lease), pid=pid)


class HostIds:
    """This host's membership in storage domains' lockspaces."""

    def __init__(self, io_timeout_seconds: int) -> None:
        """Raises EnvironmentFault when the binding is not there."""
        self._sanlock = binding()
        self._io_timeout_seconds = io_timeout_seconds

    def keep(self, domain_path: Path, host_id: int) -> bool:
        """Tell whether the host id is held; begin to acquire it when it is not.

        Raises EnvironmentFault when the daemon refuses or does not answer.
        """
        lockspace = (domain_path.name.encode(), host_id, str(ids_path(domain_path)))
        try:
            held = self._sanlock.inq_lockspace(*lockspace)
            if held is False:
                self._sanlock.add_lockspace(
                    *lockspace, iotimeout=self._io_timeout_seconds, wait=False
                )
        except self._sanlock.SanlockException as error:
            if error.errno in (errno.EINPROGRESS, errno.EEXIST):
                return False
            raise _fault(error) from error
        return bool(held)

    def leave(self, domain_path: Path, host_id: int) -> None:
        """Release the host id, unless a VM has a lease by it. Raises EnvironmentFault."""
        lockspace = (domain_path.name.encode(), host_id, str(ids_path(domain_path)))
        try:
            self._sanlock.rem_lockspace(*lockspace, wait=False, unused=True)
        except self._sanlock.SanlockException as error:
            if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
                raise _fault(error) from error

    def initialise_domain(self, domain_path: Path) -> None:
        """Make the domain's empty lockspace and its SPM's resource, as VDSM does it.

        Whatever was there is lost: for a domain that is being made. Raises EnvironmentFault.
        """
        geometry = _geometry(domain_path)
        name = domain_path.name.encode()
        leases = str(domain_path / "dom_md" / "leases")
        try:
            self._sanlock.write_lockspace(
                name,
                str(ids_path(domain_path)),
                iotimeout=self._io_timeout_seconds,
                **geometry,
            )
            self._sanlock.write_resource(name, _SDM, [(leases, geometry["align"])], **geometry)
        except self._sanlock.SanlockException as error:
            raise _fault(error) from error

    def initialise_volume(self, volume_path: Path) -> None:
        """Make the free lease of a volume that is being made. Raises EnvironmentFault."""
        domain_path = volume_path.parents[2]
        resource = (domain_path.name.encode(), volume_path.name.encode())
        try:
            self._sanlock.write_resource(
                *resource, [(f"{volume_path}.lease", 0)], **_geometry(domain_path)
            )
        except self._sanlock.SanlockException as error:
            raise _fault(error) from error


def _geometry(domain_path: Path) -> dict[str, int]:
    values = read_domain_metadata(domain_path)
    return {
        "align": int(values.get("ALIGNMENT", "1048576")),
        "sector": int(values.get("BLOCK_SIZE", "512")),
    }


def _resource(lease: Lease) -> tuple[bytes, bytes, list[tuple[str, int]]]:
    return lease.lockspace.encode(), lease.key.encode(), [(lease.path, lease.offset)]


def _fault(error: Exception) -> EnvironmentFault:
    return EnvironmentFault(f"sanlock: {': '.join(str(arg) for arg in error.args[1:])}")


async def _launched(reading: int, deadline_seconds: float) -> None:
    """Wait until the launcher has become QEMU. Raises LeaseRefused, DeadlineExceeded."""
    loop = asyncio.get_running_loop()
    ended = Signal()
    said = bytearray()

    def read() -> None:
        part = os.read(reading, _MAX_STATUS_BYTES)
        said.extend(part[: _MAX_STATUS_BYTES - len(said)])
        if not part:
            loop.remove_reader(reading)
            ended.set()

    loop.add_reader(reading, read)
    try:
        has_ended = await ended.wait(deadline_seconds)
    finally:
        loop.remove_reader(reading)
    if said:
        raise LeaseRefused(said.decode("utf-8", "replace"))
    if not has_ended:
        raise DeadlineExceeded("the VM lease by sanlock", deadline_seconds)
