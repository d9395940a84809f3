# SPDX-License-Identifier: Apache-2.0
"""The guard: a small process of its own that ends the engine VM at the lease's deadline.

    python -m ha_agent.broker.lease.fence --run-dir DIR --broker-pid PID [--qemu-marker DIR]

The broker renews the lease, so it can't be the one that answers for its own death: stopped,
hung or killed, it must not leave a VM behind that another host may start a second time. This
process shares nothing with it but `<run_dir>/fence.deadline` (fence_deadline.py). Four times a
second it compares the deadline with CLOCK_BOOTTIME, which counts while a host is suspended.

From the deadline on, and until a later one is armed or the file is removed, the VM may not run
here: every process whose command line has `-uuid <vm uuid>` (and the marker in an argument,
when one is given) is sent SIGKILL through its pidfd, again and again until it is gone. That
needs no VDSM, libvirt or storage, which may be what failed. A VM that stayed away for 10 s
retires the deadline, so that it does not end a VM that migrates here later. What was done
stands in `<run_dir>/fence.result`:

    {"vm_uuid": …, "epoch": 7, "fence_at": …, "looked_at": …, "ended_pids": [4711], "gone": true}

One guard runs in a run folder (a lock on fence.lock). It ignores SIGTERM, and leaves by itself
when its broker is gone and nothing is armed. It must not be ended with the broker: a session
of its own here, KillMode=process in the unit. An orderly stop of the broker, unless renewals
fail, disarms the deadline and the VM goes on: then only the VM lease forbids a second start.

What it can't do: end a process that is stuck in the kernel (state D). Such a VM runs no guest
code, and the VM lease is held until it is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Callable, Optional

from ha_agent import ofd_lock
from ha_agent.atomic_file import replace_file
from ha_agent.broker.identity import read_boot_id
from ha_agent.broker.lease.fence_deadline import (
    DEADLINE_NAME,
    LOCK_NAME,
    RESULT_NAME,
    FenceDeadline,
    read_deadline,
    read_deadline_file,
)
from ha_agent.broker.lease.guard_log import say
from ha_agent.broker.lease.rules import GUARD_POLL_SECONDS
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError
from ha_agent.instant import Instant
from ha_agent.journal_messages import FENCE_TROUBLE, FENCED

SETTLE_SECONDS = 10.0
_SCAN_SECONDS = 2.0
_PURSUE_SECONDS = 0.02
_PURSUE_FOR_SECONDS = 2.0
_MAX_SCANNERS = 16
_PROC = Path("/proc")


class VmProcesses:
    """The processes on this host that run one VM, each held by a pidfd, which can't be reused.

    They are looked for ahead of the deadline, and in threads: reading another process's command
    line can hang in the kernel while that process waits for storage, just when the VM has to be
    ended. The guard goes on without such a thread, and the next one passes that process over.
    """

    def __init__(self, vm_uuid: str, qemu_marker: str, proc: Path = _PROC) -> None:
        self._vm_uuid = vm_uuid.lower().encode()
        self._marker = qemu_marker.encode()
        self._proc = proc
        self._pidfds: dict[int, int] = {}
        self._found: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._scanners: list[_Scanner] = []

    def scan(self) -> None:
        """Find the VM's processes; those known already stay known until they have ended.

        Takes GUARD_POLL_SECONDS at most; what is found later counts at the next scan. Raises
        OSError.
        """
        self._scanners = [scanner for scanner in self._scanners if scanner.is_alive()]
        if len(self._scanners) < _MAX_SCANNERS:
            hung = {scanner.pid for scanner in self._scanners}
            scanner = _Scanner(self._proc, self._pin, {*self._pidfds, *hung})
            self._scanners.append(scanner)
            scanner.start()
        scanner = self._scanners[-1]
        scanner.join(GUARD_POLL_SECONDS)
        while not self._found.empty():
            pid, pidfd = self._found.get()
            if pid in self._pidfds:
                os.close(pidfd)
            else:
                self._pidfds[pid] = pidfd
        if scanner.error is not None:
            raise scanner.error

    def _pin(self, pid: int) -> None:
        """Open a process of the VM; called in a scanner's thread."""
        if not self._matches(pid):
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        # Looked at again through a handle that pins it: the pid may have changed hands.
        if self._matches(pid):
            self._found.put((pid, pidfd))
        else:
            os.close(pidfd)

    def kill(self) -> str:
        """Send SIGKILL to all that are known; return why one was refused, "" for none."""
        return self._send(signal.SIGKILL)

    def obstacle(self) -> str:
        """Return why `kill` would be refused; nothing is sent (kill(2): signal 0)."""
        return self._send(0)

    def _send(self, number: int) -> str:
        refused = ""
        for pid, pidfd in self._pidfds.items():
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                refused = f"can't end pid {pid}: {error.strerror}"
        return refused

    def known(self) -> list[int]:
        """Return the pids that were found, also of those that have just ended."""
        return sorted(self._pidfds)

    def alive(self) -> list[int]:
        """Return the pids of those that have not ended; a zombie has ended, a thread counts."""
        for pid, pidfd in list(self._pidfds.items()):
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            # pidfd_open(2): readable when the process, all its threads, has terminated.
            if poll.poll(0):
                os.close(pidfd)
                del self._pidfds[pid]
        return self.known()

    def close(self) -> None:
        """Let go of all handles; ends nothing."""
        while self._pidfds:
            os.close(self._pidfds.popitem()[1])

    def _matches(self, pid: int) -> bool:
        try:
            arguments = (self._proc / str(pid) / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False
        has_uuid = any(
            one == b"-uuid" and two.lower() == self._vm_uuid
            for one, two in zip(arguments, arguments[1:])
        )
        return has_uuid and any(self._marker in argument for argument in arguments)


class _Scanner(threading.Thread):
    """One walk through all processes; `pid` is the one that is being looked at."""

    def __init__(self, proc: Path, look_at: Callable[[int], None], skip: set[int]) -> None:
        super().__init__(daemon=True)
        self.pid = 0
        self.error: Optional[OSError] = None
        self._proc = proc
        self._look_at = look_at
        self._skip = {*skip, os.getpid()}

    def run(self) -> None:
        try:
            for name in os.listdir(self._proc):
                if name.isdigit() and int(name) not in self._skip:
                    self.pid = int(name)
                    self._look_at(self.pid)
        except OSError as error:
            self.error = error


class Guard:
    """Holds one run folder's VM to its deadline; `look` is one poll."""

    def __init__(self, run_dir: Path, boot_id: str, qemu_marker: str, proc: Path = _PROC) -> None:
        self._run_dir = run_dir
        self._boot_id = boot_id
        self._marker = qemu_marker
        self._proc = proc
        self._deadline: Optional[FenceDeadline] = None
        self._processes: Optional[VmProcesses] = None
        self._scanned_at: Optional[Instant] = None
        self._last_alive: Optional[Instant] = None
        self._ended: list[int] = []
        self._reported_gone = False
        self._fault = ""

    def look(self, now: Instant) -> Optional[float]:
        """Do what is due at `now`; return seconds until the next look, None: nothing armed.

        What fails is said and tried again at the next look; nothing ends the guard but `watch`.
        """
        deadline = self._read()
        if deadline is None:
            self._forget()
            return None
        if deadline != self._deadline:
            self._follow(deadline)
        assert self._processes is not None
        if now < deadline.fence_at:
            if self._scanned_at is None or now - self._scanned_at >= _SCAN_SECONDS:
                self._scanned_at = now
                self._processes.scan()
                self._processes.alive()
                # Known long before it matters: CAP_KILL may have got lost on the way.
                self._complain(self._processes.obstacle())
            return min(GUARD_POLL_SECONDS, deadline.fence_at - now)
        return self._enforce(deadline, self._processes, now)

    def _enforce(self, deadline: FenceDeadline, processes: VmProcesses, now: Instant) -> float:
        processes.kill()  # the known ones, before a scan that may take its time
        processes.scan()
        self._complain(processes.kill())
        new = [pid for pid in processes.known() if pid not in self._ended]
        alive = processes.alive()
        if new or alive or self._last_alive is None:
            self._last_alive = now
        if new:
            self._ended.extend(new)
            self._reported_gone = False
            self._report(deadline, now, gone=False)
            say(
                f"lease epoch {deadline.epoch} was not renewed: ending VM {deadline.vm_uuid},"
                f" pid {', '.join(map(str, new))}",
                FENCED,
                deadline,
            )
        if alive:
            pursue = now - deadline.fence_at < _PURSUE_FOR_SECONDS
            return _PURSUE_SECONDS if pursue else GUARD_POLL_SECONDS
        if not self._reported_gone:
            self._reported_gone = True
            self._report(deadline, now, gone=True)
            gone = f"lease epoch {deadline.epoch} has passed: VM {deadline.vm_uuid} is gone"
            say(gone, None, deadline)
        if now - self._last_alive >= SETTLE_SECONDS:
            self._retire(deadline)
        return GUARD_POLL_SECONDS

    def _read(self) -> Optional[FenceDeadline]:
        try:
            deadline = read_deadline(self._run_dir)
        except HaAgentError as error:
            # A damaged file is no permission: what was armed last stays armed.
            self._complain(str(error))
            return self._deadline
        if deadline is not None and deadline.boot_id != self._boot_id:
            say(f"removed a fence deadline of another boot, {deadline.boot_id}")
            self._retire(deadline)
            return None
        return deadline

    def _follow(self, deadline: FenceDeadline) -> None:
        """Turn to a deadline that is new; the processes that are known stay known."""
        old = self._deadline
        if self._processes is None or old is None or old.vm_uuid != deadline.vm_uuid:
            self._forget()
            self._processes = VmProcesses(deadline.vm_uuid, self._marker, self._proc)
        self._deadline = deadline
        self._last_alive = None
        self._ended = []
        self._reported_gone = False

    def _forget(self) -> None:
        if self._processes is not None:
            self._processes.close()
        self._deadline = self._processes = self._scanned_at = None

    def _complain(self, fault: str) -> None:
        """Say what is wrong, once as long as it stays the same."""
        if fault and fault != self._fault:
            say(fault, FENCE_TROUBLE)
        self._fault = fault or self._fault

    def _report(self, deadline: FenceDeadline, now: Instant, gone: bool) -> None:
        values = {
            "vm_uuid": deadline.vm_uuid,
            "epoch": deadline.epoch,
            "fence_at": deadline.fence_at.boottime_seconds,
            "looked_at": now.boottime_seconds,
            "ended_pids": self._ended,
            "gone": gone,
        }
        try:
            text = json.dumps(values) + "\n"
            replace_file(self._run_dir / RESULT_NAME, text.encode(), sync=False)
        except OSError as error:
            self._complain(f"can't write {RESULT_NAME}: {error}")  # ending the VM goes on

    @staticmethod
    def _is(path: Path, deadline: FenceDeadline) -> bool:
        with contextlib.suppress(HaAgentError):
            return read_deadline_file(path) == deadline
        return False

    def _retire(self, deadline: FenceDeadline) -> None:
        """Remove the deadline unless the broker has armed a later one meanwhile."""
        path = self._run_dir / DEADLINE_NAME
        aside = path.with_name(".fence.retired")
        try:
            os.replace(path, aside)
            if not self._is(aside, deadline):
                # It was a later one: back it goes, unless a still later one is there.
                with contextlib.suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            self._complain(f"can't remove {DEADLINE_NAME}: {error}")


def _is_gone(pidfd: Optional[int]) -> bool:
    if pidfd is None:
        return True
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _open_broker(broker_pid: int) -> Optional[int]:
    try:
        pidfd = os.pidfd_open(broker_pid)
    except ProcessLookupError:
        return None
    # Our parent, or the pid has been given to somebody else since.
    return pidfd if os.getppid() == broker_pid else None


def watch(run_dir: Path, boot_id: str, broker_pid: int, qemu_marker: str) -> None:
    """Guard the run folder until there is nothing left to guard, or another guard does it.

    Raises OSError when the run folder can't be used at the start.
    """
    clock = SystemClock()
    broker = _open_broker(broker_pid)
    lock_fd = os.open(run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    guard = Guard(run_dir, boot_id, qemu_marker)
    while ofd_lock.try_lock(lock_fd, 0, 1):
        while True:
            pause_seconds: Optional[float] = GUARD_POLL_SECONDS
            try:
                pause_seconds = guard.look(clock.now())
            except OSError as error:
                say(f"look failed, tried again: {error}", FENCE_TROUBLE)
            if pause_seconds is None and _is_gone(broker):
                break
            clock.block(GUARD_POLL_SECONDS if pause_seconds is None else pause_seconds)
        # Let go first, look second (GuardFence.arm does it the other way round).
        ofd_lock.unlock(lock_fd, 0, 1)
        if guard.look(clock.now()) is None:
            return


def main() -> int:
    """Run the guard process."""
    parser = argparse.ArgumentParser(prog="ha_agent.broker.lease.fence")
    parser.add_argument("--run-dir", required=True, type=Path, help="the broker's run folder")
    parser.add_argument("--broker-pid", required=True, type=int, help="who started this")
    parser.add_argument("--qemu-marker", default="", help="text in an argument of our QEMUs")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # only root may ask for it: the last to go, not the first
        Path("/proc/self/oom_score_adj").write_text("-1000", "ascii")
    try:
        watch(arguments.run_dir, read_boot_id(), arguments.broker_pid, arguments.qemu_marker)
    except OSError as error:
        say(f"can't guard {arguments.run_dir}: {error}", FENCE_TROUBLE)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
