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

The calls can hang with the storage: callers run them off the loop (deadline.py).
"""

from __future__ import annotations

import os
from pathlib import Path

from ha_agent import ofd_lock
from ha_agent.errors import EnvironmentFault

_LOCKED_BYTES = 1


class LeaseRefused(EnvironmentFault):
    """The lease could not be taken. The text is what VDSM puts into exitMessage for it."""


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


def lock(descriptor: int) -> None:
    """Lock an open lease file's description. Raises LeaseRefused, in the words of VDSM."""
    try:
        is_ours = ofd_lock.try_lock(descriptor, 0, _LOCKED_BYTES)
    except OSError as error:
        raise LeaseRefused(f"Failed to acquire lock: {error.strerror}") from error
    if not is_ours:
        raise LeaseRefused("resource busy: Failed to acquire lock: Lease is held by another host")
