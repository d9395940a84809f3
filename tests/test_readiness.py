# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.errors import EnvironmentFault
from ha_agent.readiness import Readiness, listen_sockets


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Be systemd's end of the notification socket."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(path)
        end.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield end


def test_each_message_arrives(systemd: socket.socket) -> None:
    readiness = Readiness()
    readiness.starting()
    readiness.ready()
    readiness.watchdog()
    readiness.reloading()
    readiness.stopping()
    assert [systemd.recv(1000) for _ in range(5)] == [
        b"EXTEND_TIMEOUT_USEC=60000000",
        b"READY=1",
        b"WATCHDOG=1",
        b"RELOADING=1",
        b"STOPPING=1",
    ]


def test_status_is_one_short_utf8_line(systemd: socket.socket) -> None:
    readiness = Readiness()
    readiness.status("owner:\n  Zürich €\nREADY=1")
    assert systemd.recv(1000) == "STATUS=owner: Zürich € READY=1".encode()
    readiness.status("x" * 5000)
    assert len(systemd.recv(10000)) == len("STATUS=") + 200


def test_a_vanished_systemd_is_no_error(systemd: socket.socket) -> None:
    readiness = Readiness()
    systemd.close()
    readiness.ready()


def test_a_systemd_that_reads_nothing_holds_nobody_up(systemd: socket.socket) -> None:
    readiness = Readiness()
    for _ in range(100000):  # many more than wait in a socket
        readiness.watchdog()


def test_without_notify_socket_nothing_happens() -> None:
    readiness = Readiness({})
    readiness.ready()
    readiness.status("x")
    readiness.watchdog()
    readiness.stopping()


def test_no_sockets_without_or_for_another_process() -> None:
    assert listen_sockets({}) == []
    assert listen_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []


# What systemd does between fork and exec: the socket becomes descriptor 3, LISTEN_PID is us.
_ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[2]), 3)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
if sys.argv[1] == "absent":
    sys.modules["systemd"] = None
from ha_agent.readiness import listen_sockets
[passed] = listen_sockets()
print(passed.getsockname(), passed.getblocking(), passed.get_inheritable(), listen_sockets())
"""


def activated(tmp_path: Path, argument: str) -> subprocess.CompletedProcess[str]:
    """Run the program above with a listening socket passed as systemd passes it."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        number = listening.fileno()
        return subprocess.run(
            [sys.executable, "-c", _ACTIVATED, argument, str(number)],
            pass_fds=[number],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


def test_sockets_of_systemd_are_taken_once(tmp_path: Path) -> None:
    pytest.importorskip("systemd.daemon")
    done = activated(tmp_path, "present")
    assert done.stdout.strip() == f"{tmp_path / 's'} False False []", done.stderr


def test_passed_sockets_without_systemd_python_are_a_clear_error(tmp_path: Path) -> None:
    done = activated(tmp_path, "absent")
    assert done.returncode == 1
    assert EnvironmentFault.__name__ in done.stderr
    assert "python3-systemd" in done.stderr
