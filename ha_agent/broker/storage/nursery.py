# SPDX-License-Identifier: Apache-2.0
"""The process that storage workers are forked from.

    python -m ha_agent.broker.storage.nursery --run-dir DIR

Three interpreters with the same modules take three times the memory; forked from one that has them
loaded, they share it, and a worker for a lane that lost its own is there in a millisecond instead
of a hundred. The nursery never touches storage and has no threads, so that nothing can hang in it
and a fork is safe.

On its stdin is a SOCK_SEQPACKET socket. First it sends "ready". Then each request is a lane's name
with one descriptor, which becomes the worker's stdin and stdout; the answer is the worker's pid as
four bytes, little endian, with its pidfd, or "error: " and a sentence. At the end of the socket it
ends, and by SIGKILL when the broker dies; the workers end with it. The broker's side is
storage/launch.py. Imports stay light: what is loaded here is in every worker.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import socket
import struct
import sys

from ha_agent.broker.storage import worker as storage_worker
from ha_agent.errors import HaAgentError

READY = b"ready"
PID = struct.Struct("<i")
MESSAGE_BYTES = 512


def _serve(control: socket.socket) -> None:
    """Fork a worker for each request, until the requests end."""

    def reap(_number: int, _frame: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, reap)
    control.send(READY)
    while True:
        name, fds, _flags, _address = socket.recv_fds(control, MESSAGE_BYTES, 1)
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
                socket.send_fds(control, [PID.pack(pid)], [pidfd])
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
