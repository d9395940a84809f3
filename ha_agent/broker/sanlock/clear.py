# SPDX-License-Identifier: Apache-2.0
"""The process that frees an orphan record (sanlock/orphan.py): takes the lease, releases it, ends.

    python -m ha_agent.broker.sanlock.clear --lockspace NAME --path PATH --resource VM_UUID
        --epoch N [--qemu-marker TEXT]

sanlock gives a lease to a process, and ends one that lets go of its connection; so this can't be
a storage worker's own work. Exit code 0: the record at epoch N was freed. 1: it was not, and the
last line of stderr says why. After LIMIT_SECONDS it is ended by SIGALRM, and what it has is
released by the daemon.
"""

from __future__ import annotations

import argparse
import errno
import signal
import sys

from ha_agent.broker.lease.fence import VmProcesses
from ha_agent.broker.sanlock import ops
from ha_agent.broker.sanlock.place import RESOURCE_OFFSET
from ha_agent.errors import EnvironmentFault, HaAgentError

LIMIT_SECONDS = 10
# What this host's daemon answers for a resource that it has itself: resource.c, acquire_token.
_IN_USE = {
    errno.EEXIST: "a process of this host has it",
    errno.EBUSY: "this host is just acquiring it",
    errno.EAGAIN: "this host's daemon still tries to release it",
}


def clear(lockspace: str, path: str, resource: str, epoch: int, qemu_marker: str) -> None:
    """Take the resource at `epoch` and release it. Raises EnvironmentFault, OSError."""
    processes = VmProcesses(resource, qemu_marker)
    processes.scan()
    if processes.alive():
        raise EnvironmentFault(f"the engine VM runs here (pid {processes.alive()[0]})")
    sanlock = ops.binding()
    disks = [(path, RESOURCE_OFFSET)]
    what = (lockspace.encode(), resource.encode(), disks)
    with ops.faults(sanlock, where=f"{resource} in {path}"):
        connection = sanlock.register()
        try:
            # An epoch of 0 would be any; an orphan has been acquired at least once.
            sanlock.acquire(*what, slkfd=connection, version=max(epoch, 1))
        except sanlock.SanlockException as error:
            number = abs(error.errno)
            if number in _IN_USE:
                raise EnvironmentFault(f"{_IN_USE[number]} (sanlock error {number})") from error
            raise
        sanlock.release(*what, slkfd=connection)


def main() -> int:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="ha_agent.broker.sanlock.clear")
    parser.add_argument("--lockspace", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--resource", required=True, help="the engine VM's UUID")
    parser.add_argument("--epoch", required=True, type=int)
    parser.add_argument("--qemu-marker", default="", help="text in an argument of our QEMUs")
    arguments = parser.parse_args()
    signal.alarm(LIMIT_SECONDS)
    try:
        clear(**vars(arguments))
    except (HaAgentError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
