# SPDX-License-Identifier: Apache-2.0
"""The VM lease of the embedded VDSM: a lock that lives exactly as long as the VM's QEMU.

    1. open the lease file            a new open file description, ours alone
    2. F_OFD_SETLK, write, byte 0     refused when any other description holds it, on this host
                                      or, over NFSv4 and cluster file systems, on another
    3. QEMU is spawned and inherits the description
    4. our copy is closed             the kernel frees the lock when the last copy is: QEMU's end

So nothing that happens to the embedded VDSM, the agent or the broker frees or breaks the lock,
and a second start is refused by the kernel. A plain POSIX lock would not do: it belongs to a
process, and ends when that process closes any descriptor of the file.

A domain with a sanlock lockspace is refused: its other hosts hold the VM lease by sanlock, which
knows nothing of this lock, so that each would let the other's VM start. The other way round there
is no lockspace to join.

The calls can hang with the storage: callers run them off the loop (deadline.py).
"""

from __future__ import annotations

import functools
import os
import re
import struct
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Protocol

from ha_agent import ofd_lock
from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.domain.model import Lease
from ha_agent.vdsm.qemu.process import QemuProcess

_LOCKED_BYTES = 1
# struct delta_lease's first field, sanlock src/ondisk.c: little-endian, whatever the host.
_LOCKSPACE_MAGIC = struct.pack("<I", 0x12212010)
# lock:	1: OFDLCK ADVISORY  WRITE -1 00:1f:4711 0 0
_OFD_LOCK = re.compile(r"^lock:\s+\d+: OFDLCK +\S+ +WRITE ", re.MULTILINE)


class LeaseRefused(EnvironmentFault):
    """The lease could not be taken. The text is what VDSM puts into exitMessage for it."""


async def _settled() -> None:
    pass


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class LeasedStart:
    """How to start a QEMU that has its leases.

    `arguments` are what to run, `descriptors` what it inherits, `variables` what joins its
    environment. After the spawn: `let_go` of our copies, and wait until it `settled`, which
    raises LeaseRefused or DeadlineExceeded. `close` in the end, in any case.
    """

    arguments: tuple[str, ...]
    descriptors: list[int] = field(default_factory=list)
    variables: Mapping[str, str] = field(default_factory=dict)
    settled: Callable[[], Awaitable[None]] = _settled
    closing: Callable[[], None] = _nothing

    def let_go(self) -> None:
        """Close our copies of what QEMU inherits."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def close(self) -> None:
        """Let go of everything; once."""
        self.let_go()
        self.closing()


class VmLeases(Protocol):
    """The kind of leases that a host's VMs have. All raises: LeaseRefused, EnvironmentFault,
    DeadlineExceeded; then none of the leases is held.
    """

    async def prepare(
        self, leases: Sequence[Lease], arguments: Sequence[str], *, is_paused: bool
    ) -> LeasedStart:
        """Return how to start this QEMU; one that starts paused holds no lease yet."""
        ...

    async def hand_over(self, leases: Sequence[Lease], process: QemuProcess) -> None:
        """Have a QEMU that was started paused hold its leases from now on."""
        ...


class LockFileLeases:
    """Leases that are locks on files; implements VmLeases."""

    def __init__(self, threads: StorageThreads, deadline_seconds: float) -> None:
        self._threads = threads
        self._deadline_seconds = deadline_seconds

    async def prepare(
        self, leases: Sequence[Lease], arguments: Sequence[str], *, is_paused: bool
    ) -> LeasedStart:
        """Take the locks."""
        held = [] if is_paused else await self._take(leases)
        return LeasedStart(tuple(arguments), held)

    async def hand_over(self, leases: Sequence[Lease], process: QemuProcess) -> None:
        """Take the locks and give QEMU the descriptors, but for those that it has already: it
        was let run before, and we have lost what we knew of that.
        """
        missing = []
        for lease in leases:
            has_it = await self._threads.run(
                f"VM lease {lease.path}",
                self._deadline_seconds,
                functools.partial(has_lock, process.pid, Path(lease.path)),
            )
            missing += [] if has_it else [lease]
        held = await self._take(missing)
        try:
            for number, descriptor in enumerate(held):
                await process.hold(descriptor, f"lease{number}")
        finally:
            for descriptor in held:
                os.close(descriptor)

    async def _take(self, leases: Sequence[Lease]) -> list[int]:
        """Take all locks or none, and return the descriptors that hold them."""
        held: list[int] = []
        try:
            for lease in leases:
                held.append(
                    await self._threads.run(
                        f"VM lease {lease.path}",
                        self._deadline_seconds,
                        functools.partial(_take_for, lease),
                        discard=os.close,
                    )
                )
        except BaseException:
            for descriptor in held:
                os.close(descriptor)
            raise
        return held


def _take_for(lease: Lease) -> int:
    refuse_lockspace(lease)
    return take(Path(lease.path))


def refuse_lockspace(lease: Lease) -> None:
    """Raise LeaseRefused where the lease's storage domain has a sanlock lockspace."""
    domain = next((p for p in Path(lease.path).parents if p.name == lease.lockspace), None)
    if domain is None:
        return  # its path is none of a file domain
    ids = domain / "dom_md" / "ids"
    try:
        with ids.open("rb") as file:
            has_lockspace = file.read(len(_LOCKSPACE_MAGIC)) == _LOCKSPACE_MAGIC
    except FileNotFoundError:
        return
    except OSError as error:
        raise LeaseRefused(f"Failed to acquire lock: {error.strerror} ({ids})") from error
    if has_lockspace:
        # In words that a client takes for a lockspace that is not joined, which it is.
        raise LeaseRefused(
            f"Failed to acquire lock: Lease lockspace in {ids}: other hosts use sanlock, so"
            " [vdsm-server] vm_lease must be sanlock here, too"
        )


def take(path: Path) -> int:
    """Take the lease and return the descriptor that holds it. Raises LeaseRefused.

    The descriptor is close-on-exec. The file must exist: a lease that is made up on the spot
    would be another file than the one the other hosts lock.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise LeaseRefused(f"Failed to acquire lock: {error.strerror} ({path})") from error
    try:
        lock(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def has_lock(pid: int, path: Path) -> bool:
    """Tell whether a process has an open file description that locks the file.

    By /proc/<pid>/fdinfo, whose "lock:" lines are this description's own (proc_pid_fdinfo(5)).
    Other processes may share it, but as long as this one has it nobody else gets the lock. A
    file that can't be looked at is told as not locked: then `take` says what is wrong with it.
    """
    try:
        wanted = os.stat(path)
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            is_it = os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), wanted)
            if is_it and _OFD_LOCK.search(Path(f"/proc/{pid}/fdinfo/{name}").read_text()):
                return True
        except OSError:
            continue  # closed meanwhile
    return False


def lock(descriptor: int) -> None:
    """Lock an open lease file's description. Raises LeaseRefused, in the words of VDSM."""
    try:
        is_ours = ofd_lock.try_lock(descriptor, 0, _LOCKED_BYTES)
    except OSError as error:
        raise LeaseRefused(f"Failed to acquire lock: {error.strerror}") from error
    if not is_ours:
        raise LeaseRefused("resource busy: Failed to acquire lock: Lease is held by another host")
