# SPDX-License-Identifier: Apache-2.0
"""The broker's side of the holder (sanlock/holder.py): start it, find it again, notice its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional, Protocol

from ha_agent import ofd_lock
from ha_agent.broker.lease.storage import Clock
from ha_agent.broker.sanlock.holder import LOCK_NAME, LOG_NAME, PID_NAME
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.waiting import Signal

_POLL_SECONDS = 0.02


class Holder(Protocol):
    """The process that has the lease; `HolderProcess` is the real one."""

    @property
    def pid(self) -> int:
        """The pid of the one that lives, 0: there is none."""
        ...

    async def ensure(self, deadline_seconds: float) -> int:
        """Return the pid of the one that lives, started if need be. Raises EnvironmentFault."""
        ...

    async def gone(self, limit_seconds: float) -> bool:
        """Wait for its end, at most so long; tell whether it ended."""
        ...

    def end(self) -> None:
        """End it at once; whatever it held is free then."""
        ...


class HolderProcess:
    """The holder of one run folder; implements Holder."""

    def __init__(self, run_dir: Path, vm_uuid: str, qemu_marker: str, clock: Clock) -> None:
        self._run_dir = run_dir
        self._vm_uuid = vm_uuid
        self._qemu_marker = qemu_marker
        self._clock = clock
        self._pid = 0
        self._pidfd: Optional[int] = None
        self._child: Optional[subprocess.Popen[bytes]] = None

    @property
    def pid(self) -> int:
        """The pid of the one that lives, also of one that a former broker started."""
        if self._pidfd is not None and _has_ended(self._pidfd):
            self._forget()
        if self._pidfd is None:
            self._find()
        return self._pid

    async def ensure(self, deadline_seconds: float) -> int:
        """Start one unless there is one. Raises EnvironmentFault."""
        ends_at = self._clock.now() + deadline_seconds
        pid = self.pid
        if pid:
            return pid
        try:
            self._start()
        except OSError as error:
            raise EnvironmentFault(f"no holder for the lease: {error}") from error
        assert self._child is not None
        while True:
            pid = self.pid
            if pid:
                return pid
            if self._child.poll() is not None:
                raise EnvironmentFault(
                    f"the lease's holder ended at once; see {self._run_dir / LOG_NAME}"
                )
            if self._clock.now() >= ends_at:
                self._child.kill()
                raise DeadlineExceeded("start of the lease's holder", deadline_seconds)
            await self._clock.sleep(_POLL_SECONDS)

    async def gone(self, limit_seconds: float) -> bool:
        """Wait for its end."""
        if self._pidfd is None:
            await self._clock.sleep(limit_seconds)
            return False
        ended, loop = Signal(), asyncio.get_running_loop()
        loop.add_reader(self._pidfd, ended.set)
        try:
            return await ended.wait(limit_seconds)
        finally:
            loop.remove_reader(self._pidfd)

    def end(self) -> None:
        """End it with SIGKILL: on SIGTERM it would end the VM first."""
        if self.pid and self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it; it lives on."""
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._pidfd, self._pid = None, 0

    def _find(self) -> None:
        """Take up the one that the run folder names, if it lives."""
        try:
            pid = int((self._run_dir / PID_NAME).read_text("ascii"))
            pidfd = os.pidfd_open(pid)
        except (FileNotFoundError, ProcessLookupError, ValueError, OverflowError):
            return
        # Its lock, looked at after the pid was pinned, tells that it is no other process. One
        # that locks now and has not written its pid yet is found at the next look.
        if self._is_locked() and _is_holder(pid):
            self._pid, self._pidfd = pid, pidfd
        else:
            os.close(pidfd)

    def _is_locked(self) -> bool:
        fd = os.open(self._run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return ofd_lock.is_locked(fd, 0, 1)
        finally:
            os.close(fd)

    def _forget(self) -> None:
        self.close()
        if self._child is not None:
            self._child.poll()  # reaps it

    def _start(self) -> None:
        command = [sys.executable, "-I", "-m", "ha_agent.broker.sanlock.holder"]
        command += ["--run-dir", str(self._run_dir), "--vm-uuid", self._vm_uuid]
        if self._qemu_marker:
            command += ["--qemu-marker", self._qemu_marker]
        with (self._run_dir / LOG_NAME).open("ab") as log:
            # As the guard: what ends the broker must not end the holder.
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _is_holder(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"ha_agent.broker.sanlock.holder" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
