# SPDX-License-Identifier: Apache-2.0
"""The holder: a small process that has the ownership lease, for the daemon to see.

    python -m ha_agent.broker.sanlock.holder --run-dir DIR --vm-uuid UUID [--qemu-marker DIR]

sanlock gives a lease to a process and takes it back when that process ends. The broker may end and
come back while the VM runs on, so it can't be that process; nor should it be the guard
(lease/fence.py), which must not depend on the daemon that may be what failed. This one registers
with the daemon and waits; the broker's storage workers acquire and release on behalf of its pid,
which stands in `<run_dir>/sanlock-holder.pid` while `sanlock-holder.lock` is locked.

It gives the lease up by ending, and that only when the VM is gone from this host:

    SIGTERM, sanlock's word that the     the deadline (fence_deadline.py) is set to now, for good,
    lockspace is lost                    and a guard is there: it ends the VM
    a deadline has passed, however,      the guard ends the VM; LEAVE_AFTER_SECONDS after the last
    an abandoned one too                 sight of it this process ends, and the lease is free
    nothing armed, and no VM for         it ends: the broker was stopped in order and the VM
    IDLE_SECONDS                         shut down since, so that others may have the lease

SIGKILL ends it at once. The broker sees that and takes the lease again, or ends the VM
(sanlock/keeper.py); without a broker there is still the VM lease, which is QEMU's own.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Optional, Protocol

from ha_agent import ofd_lock
from ha_agent.atomic_file import replace_file
from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.lease.fence import VmProcesses
from ha_agent.broker.lease.fence_deadline import Fence, FenceDeadline, GuardFence
from ha_agent.broker.sanlock.ops import binding
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError
from ha_agent.instant import Instant

PID_NAME = "sanlock-holder.pid"
LOCK_NAME = "sanlock-holder.lock"
LOG_NAME = "sanlock-holder.log"

LEAVE_AFTER_SECONDS = 2.0
IDLE_SECONDS = 60.0
_LOOK_SECONDS = 0.5


class Processes(Protocol):
    """What is needed of fence.VmProcesses."""

    def scan(self) -> None: ...

    def alive(self) -> list[int]: ...


class Holding:
    """Decides when the holder may end; `look` is one poll."""

    def __init__(self, fence: Fence, processes: Processes) -> None:
        self._fence = fence
        self._processes = processes
        self._epoch = 0
        self._absent_since: Optional[Instant] = None
        self.lost = False
        """sanlock has told us to end: the lockspace can't be kept."""

    def look(self, now: Instant) -> bool:
        """Do what is due; return whether to end now. Raises EnvironmentFault, OSError."""
        deadline = self._fence.armed()
        if deadline is not None:
            self._epoch = deadline.epoch
        if self.lost and (deadline is None or now < deadline.fence_at):
            self._fence.arm(now, self._epoch, final=True)
            deadline = self._fence.armed()
        if deadline is not None and now < deadline.fence_at:
            self._absent_since = None
            return False
        return self._is_absent(now, deadline)

    def _is_absent(self, now: Instant, deadline: Optional[FenceDeadline]) -> bool:
        self._processes.scan()
        if self._processes.alive() or self._absent_since is None:
            self._absent_since = now
        wait_seconds = IDLE_SECONDS if deadline is None else LEAVE_AFTER_SECONDS
        return now - self._absent_since >= wait_seconds


def hold(run_dir: Path, vm_uuid: str, qemu_marker: str) -> int:
    """Register and hold until it is time to end; return the exit code.

    Raises EnvironmentFault when there is no daemon, OSError for the run folder.
    """
    clock = SystemClock()
    lock_fd = os.open(run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not ofd_lock.try_lock(lock_fd, 0, 1):
        return 0  # there is one already
    # Before the pid is known to anybody: from then on a SIGTERM must find us waiting for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    binding().register()
    replace_file(run_dir / PID_NAME, f"{os.getpid()}\n".encode(), sync=False)
    fence = GuardFence(run_dir, vm_uuid, read_boot_id(), qemu_marker)
    holding = Holding(fence, VmProcesses(vm_uuid, qemu_marker))
    while True:
        if signal.sigtimedwait({signal.SIGTERM}, _LOOK_SECONDS) is not None:
            _say("sanlock ends its holders: the lockspace is lost, so the engine VM must end")
            holding.lost = True
        try:
            if holding.look(clock.now()):
                return 0
        except (HaAgentError, OSError) as error:
            _say(f"look failed, tried again: {error}")


def _say(line: str) -> None:
    sys.stderr.write(f"ha-agent sanlock holder: {line}\n")
    sys.stderr.flush()


def main() -> int:
    """Run the holder process."""
    parser = argparse.ArgumentParser(prog="ha_agent.broker.sanlock.holder")
    parser.add_argument("--run-dir", required=True, type=Path, help="the broker's run folder")
    parser.add_argument("--vm-uuid", required=True, help="the engine VM")
    parser.add_argument("--qemu-marker", default="", help="text in an argument of our QEMUs")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        return hold(arguments.run_dir, arguments.vm_uuid, arguments.qemu_marker)
    except (HaAgentError, OSError, binding().SanlockException) as error:
        _say(f"can't hold the lease: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
