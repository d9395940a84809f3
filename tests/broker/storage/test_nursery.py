# SPDX-License-Identifier: Apache-2.0
# What its workers do, and what the broker makes of them, is in test_storage_launch.py.
from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ha_agent.broker.storage.nursery import MESSAGE_BYTES, PID, READY

DEADLINE_SECONDS = 20.0


@pytest.fixture
def control() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(DEADLINE_SECONDS)
    command = [sys.executable, "-m", "ha_agent.broker.storage.nursery", "--run-dir", "/run/test"]
    with theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno())
    try:
        yield ours
        ours.close()
        assert process.wait(DEADLINE_SECONDS) == 0  # at the end of its socket
    finally:
        ours.close()
        process.kill()
        process.wait()


def test_says_when_it_is_ready_and_ends_with_its_socket(control: socket.socket) -> None:
    assert control.recv(MESSAGE_BYTES) == READY


def test_a_worker_comes_with_a_handle_and_ends_with_its_stdin(control: socket.socket) -> None:
    assert control.recv(MESSAGE_BYTES) == READY
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(control, [b"a-lane"], [theirs.fileno()])
        message, pidfds, _flags, _address = socket.recv_fds(control, MESSAGE_BYTES, 1)
        assert len(message) == PID.size
        theirs.close()
        os.close(pidfds[0])
        ours.settimeout(DEADLINE_SECONDS)
        ours.shutdown(socket.SHUT_WR)
        assert ours.recv(1) == b""


def test_imports_nothing_heavy() -> None:
    code = "import sys, ha_agent.broker.storage.nursery; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
