# SPDX-License-Identifier: Apache-2.0
"""The process that storage workers are forked from, and the broker's side of it.

    python -m ha_agent.broker.storage_nursery --run-dir DIR

Three interpreters with the same modules take three times the memory; forked from one that has them
loaded, they share it, and a worker for a lane that lost its own is there in a millisecond instead
of a hundred. The nursery never touches storage and has no threads, so that nothing can hang in it
and a fork is safe.

On its stdin is a SOCK_SEQPACKET socket. First it sends "ready". Then each request is a lane's name
with one descriptor, which becomes the worker's stdin and stdout; the answer is the worker's pid as
four bytes, little endian, with its pidfd, or "error: " and a sentence. At the end of the socket it
ends, and by SIGKILL when the broker dies; the workers end with it.

Without it, or when it does not answer, workers are started one by one as storage_lane.py does it:
the nursery saves memory, and nothing depends on it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from typing import Optional

from ha_agent.broker import storage_worker
from ha_agent.broker.storage_lane import WorkerProcess, launch_worker
from ha_agent.errors import HaAgentError
from ha_agent.waiting import within

log = logging.getLogger(__name__)

_READY = b"ready"
_PID = struct.Struct("<i")
_MESSAGE_BYTES = 512
_START_SECONDS = 10.0
# The broker's loop waits for the answer; a fork takes about a millisecond.
_ANSWER_SECONDS = 0.5


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
        os.close(self._pidfd)
        self._pidfd = None
        return 0


class Nursery:
    """The broker's side. `launch` is storage_lane.py's Launch; start and close it in the loop."""

    def __init__(self, run_dir: str, python: str = sys.executable) -> None:
        """`run_dir` stands in the command line, for people."""
        self._command = [python, "-m", "ha_agent.broker.storage_nursery", "--run-dir", run_dir]
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
            said = await within(_START_SECONDS, loop.sock_recv(ours, _MESSAGE_BYTES))
            if said != _READY:
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
        message, pidfds, _flags, _address = socket.recv_fds(self._socket, _MESSAGE_BYTES, 1)
        if len(message) != _PID.size or len(pidfds) != 1:
            for pidfd in pidfds:
                os.close(pidfd)
            raise OSError(message.decode("utf-8", "replace") or "it ended")
        return ForkedWorker(_PID.unpack(message)[0], pidfds[0])

    def _give_up(self, why: str) -> None:
        # Its workers that live go on living with it: the process is left, the socket kept open.
        log.warning("storage nursery: %s; workers are started one by one", why)
        self._left, self._socket = self._socket, None


def _serve(control: socket.socket) -> None:
    """Fork a worker for each request, until the requests end."""

    def reap(_number: int, _frame: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, reap)
    control.send(_READY)
    while True:
        name, fds, _flags, _address = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        if not name:
            return
        # A child that ends at once must not give its pid away before it is held.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            pid = os.fork()
            if pid == 0:
                _be_worker(control, fds[0], name.decode())
            pidfd = os.pidfd_open(pid)
            try:
                socket.send_fds(control, [_PID.pack(pid)], [pidfd])
            finally:
                os.close(pidfd)
        except OSError as error:
            control.send(f"error: {error}".encode())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            for fd in fds:
                os.close(fd)


def _be_worker(control: socket.socket, fd: int, name: str) -> None:
    """Go on as the worker of a lane; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.dup2(fd, 0)
        os.dup2(fd, 1)
        os.close(fd)
        control.close()
        code = storage_worker.run(name)
    except (HaAgentError, OSError) as error:
        sys.stderr.write(f"storage worker {name}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    """Run the nursery on its stdin."""
    parser = argparse.ArgumentParser(prog="storage_nursery")
    parser.add_argument("--run-dir", required=True, help="the broker's run folder, for people")
    parser.parse_args()
    storage_worker.bind_to_parent("nursery")
    # A descriptor of its own, as 0 and 1 become each worker's.
    control = socket.socket(fileno=os.dup(0))
    # What is there now is not looked at by a child's collector, and so stays shared.
    gc.collect()
    gc.freeze()
    _serve(control)
    return 0


if __name__ == "__main__":
    sys.exit(main())
