# SPDX-License-Identifier: Apache-2.0
"""Becomes QEMU, registered with sanlock and holding the VM's leases: a program of its own.

    python sanlock_exec.py STATUS_FD FOLDER COUNT [LOCKSPACE KEY PATH OFFSET]... QEMU [ARGUMENT]...

    1. register       the daemon knows this process by its pid; the connection is kept over exec
    2. acquire        COUNT leases, for this process; none for a VM that starts paused
    3. exec           the process is QEMU now: same pid, same leases

As libvirt does it. From then on the leases are QEMU's: they end with it, and if this host's
lease on the lockspace can't be renewed, the daemon ends QEMU (SIGTERM, then SIGKILL) before any
other host can have them. Nothing that happens to the embedded VDSM matters any more.

STATUS_FD is a pipe, closed by the exec: if its reader finds the end and nothing before, QEMU
runs; else what it finds says, in VDSM's words, why it does not. FOLDER has the Python binding of
sanlock. It is started without site packages (-I -S), and must import next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys

_LEASE_FIELDS = 4
# Errors below are sanlock's own (sanlock_rv.h), from -200 downwards; above they are errnos.
_FIRST_SANLOCK_ERROR = 200


def no_daemon(error: Exception) -> str:
    """Say that the daemon does not answer, as libvirt does (lock_driver_sanlock.c)."""
    return f"Failed to open socket to sanlock daemon: {_text(error)}"


def refusal(error: Exception) -> str:
    """Say why a lease was not acquired, in the words of VDSM (facts/vdsm.md, section 3)."""
    number = error.args[0] if error.args else 0
    is_own = isinstance(number, int) and abs(number) >= _FIRST_SANLOCK_ERROR
    return f"{'resource busy: ' if is_own else ''}Failed to acquire lock: {_text(error)}"


def _text(error: Exception) -> str:
    """Return the last argument of a SanlockException: (number, what failed, why)."""
    return str(error.args[-1]) if error.args else type(error).__name__


def main(argv: list[str]) -> int:
    """Become QEMU. Returns only when it is not to be, with 1."""
    status_fd, folder, count = int(argv[1]), argv[2], int(argv[3])
    end = 4 + count * _LEASE_FIELDS
    fields, command = argv[4:end], argv[end:]
    os.set_inheritable(status_fd, False)
    # Last on the path: a folder of many packages must not come before Python's own.
    sys.path.append(folder)
    problem = _lease(fields)
    if not problem:
        # Python ignores these, and what is ignored stays so over exec.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SANLOCK_")}
        try:
            os.execve(command[0], command, environment)
        except OSError as error:
            problem = f"{command[0]}: {error.strerror}"
    os.write(status_fd, problem.encode("utf-8", "replace"))
    return 1


def _lease(fields: list[str]) -> str:
    """Register, and acquire the leases; return why it could not be, else ""."""
    try:
        import sanlock
    except ImportError as error:
        return f"sanlock's Python binding can't be used: {error}"
    try:
        connection = sanlock.register()
    except sanlock.SanlockException as error:
        return no_daemon(error)
    os.set_inheritable(connection, True)
    for first in range(0, len(fields), _LEASE_FIELDS):
        lockspace, key, path, offset = fields[first : first + _LEASE_FIELDS]
        try:
            sanlock.acquire(
                lockspace.encode(), key.encode(), [(path, int(offset))], slkfd=connection
            )
        except sanlock.SanlockException as error:
            return refusal(error)
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv))
