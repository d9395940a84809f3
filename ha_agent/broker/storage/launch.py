# SPDX-License-Identifier: Apache-2.0
"""The broker's side of the storage nursery (storage/nursery.py): asks it for workers.

The nursery saves memory, and nothing depends on it: when it can't be started, has ended, or does
not answer at once, workers are started one by one as storage/lane.py does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import select
import signal
import socket
import subprocess
import sys
from typing import Optional

from ha_agent.broker.storage.lane import Launch, WorkerProcess, launch_worker
from ha_agent.broker.storage.nursery import MESSAGE_BYTES, PID, READY
from ha_agent.vdsm_user import vdsm_owner
from ha_agent.waiting import within

log = logging.getLogger(__name__)

_START_SECONDS = 10.0
# The broker's loop waits for the answer; a fork takes about a millisecond.
_ANSWER_SECONDS = 0.5


def launch_for_daemons() -> Launch:
    """Return the launch of a worker of set-up, which root runs: as the daemons' user, so that what
    it makes on the storage is theirs, and a server that trusts no root lets it."""
    return functools.partial(launch_worker, owner=vdsm_owner())


class ForkedWorker:
    """A worker that is not our child: a pidfd tells when it has ended, and can't be reused."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd: Optional[int] = pidfd

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def poll(self) -> Optional[int]:
        """Return None while it lives. How it ended only its parent knows: 0 stands for that."""
        if self._pidfd is None:
            return 0
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if not poll.poll(0):
            return None
        self.close()
        return 0

    def close(self) -> None:
        """Let go of it, whether it lives or not."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


class Nursery:
    """The broker's side. `launch` is storage/lane.py's Launch; start and close it in the loop."""

    def __init__(self, run_dir: str, python: str = sys.executable) -> None:
        """`run_dir` stands in the command line, for people."""
        self._command = [
            python,
            "-I",
            "-m",
            "ha_agent.broker.storage.nursery",
            "--run-dir",
            run_dir,
        ]
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._socket: Optional[socket.socket] = None
        self._left: Optional[socket.socket] = None

    async def start(self) -> None:
        """Start the process and wait until it can fork. Without success `launch` does without."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._socket = ours
        try:
            with theirs:
                self._process = subprocess.Popen(self._command, stdin=theirs.fileno())
            loop = asyncio.get_running_loop()
            said = await within(_START_SECONDS, loop.sock_recv(ours, MESSAGE_BYTES))
            if said != READY:
                raise OSError("it ended")
        except (OSError, asyncio.TimeoutError) as error:
            self._give_up(str(error) or "it is not ready in time")
            return
        ours.settimeout(_ANSWER_SECONDS)

    def launch(self, python: str, name: str, run_dir: str) -> tuple[WorkerProcess, socket.socket]:
        """Fork a worker, or start one without the nursery. Raises OSError."""
        if self._socket is None:
            return launch_worker(python, name, run_dir)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                worker = self._fork(name, theirs)
        except OSError as error:
            ours.close()
            self._give_up(str(error))
            return launch_worker(python, name, run_dir)
        ours.setblocking(False)
        return worker, ours

    def close(self) -> None:
        """Let the process end, and its workers with it."""
        for control in (self._socket, self._left):
            if control is not None:
                control.close()
        self._socket = self._left = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _fork(self, name: str, theirs: socket.socket) -> ForkedWorker:
        assert self._socket is not None
        socket.send_fds(self._socket, [name.encode()], [theirs.fileno()])
        message, pidfds, _flags, _address = socket.recv_fds(self._socket, MESSAGE_BYTES, 1)
        if len(message) != PID.size or len(pidfds) != 1:
            for pidfd in pidfds:
                os.close(pidfd)
            raise OSError(message.decode("utf-8", "replace") or "it ended")
        return ForkedWorker(PID.unpack(message)[0], pidfds[0])

    def _give_up(self, why: str) -> None:
        # Its workers that live go on living with it: the process is left, the socket kept open.
        log.warning("storage nursery: %s; workers are started one by one", why)
        self._left, self._socket = self._socket, None
