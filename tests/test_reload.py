# SPDX-License-Identifier: Apache-2.0
"""What SIGHUP asks for: checked first, and then the same process begins anew."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ha_agent.config import layers
from ha_agent.errors import BadInput
from ha_agent.readiness import Readiness
from ha_agent.reload import KEPT, Reload, refuse_other
from tests.small_config import NOWHERE, write_config


def test_what_names_the_host_its_vm_and_its_lease_can_not_change(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    old = layers.load([path], NOWHERE)
    more = "[log]\nlevel = debug\n[lease]\npath = /srv/other\n"
    path.write_text(path.read_text().replace("id = 1\n", "id = 2\n") + more)
    new = layers.load([path], NOWHERE)
    with pytest.raises(layers.ConfigError) as caught:
        refuse_other(old, new)
    told = str(caught.value)
    assert "[host] id = 2: the daemon that runs has 1" in told
    assert "[lease] path = /srv/other: the daemon that runs has " in told
    assert len(caught.value.faults) == 2
    assert f"{path}:2: " in told
    refuse_other(old, new, ("host.run_dir",))


def test_what_is_kept_are_keys(tmp_path: Path) -> None:
    config = layers.load([write_config(tmp_path)], NOWHERE)
    known = {f"{one.section}.{one.key}" for one in layers.shown(config)}
    assert set(KEPT) <= known


class Files:
    """The files, good or faulty, and whether the loop was woken."""

    def __init__(self) -> None:
        self.fault = ""
        self.woken = 0

    def check(self) -> None:
        if self.fault:
            raise BadInput(self.fault, where="/etc/x.conf")

    def wake(self) -> None:
        self.woken += 1


async def hung_up(reload: Reload) -> None:
    """Send ourselves SIGHUP, and let the loop take it."""
    reload.listen()
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.05)
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


async def test_faulty_files_are_told_and_nothing_else_happens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    files = Files()
    files.fault = "two faults: a, b"
    reload = Reload(files.check, Readiness({}), files.wake)
    await hung_up(reload)
    assert (reload.asked, files.woken) == (False, 0)
    [told] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "two faults: a, b" in told.getMessage()
    assert "/etc/x.conf" in told.getMessage()


async def test_good_files_are_asked_for_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        files = Files()
        with pytest.MonkeyPatch.context() as environ:
            environ.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
            reload = Reload(files.check, Readiness(), files.wake)
        await hung_up(reload)
        await hung_up(reload)
        assert (reload.asked, files.woken) == (True, 1)
        assert systemd.recv(100) == b"RELOADING=1"
        assert systemd.recv(100).startswith(b"STATUS=")
        with pytest.raises(BlockingIOError):
            systemd.recv(100)


# Begins anew once: the second life is told by the word that it was not given on the command line.
_TWICE = """
import logging, os, signal, socket, sys
from ha_agent.reload import begin_anew
from ha_agent.readiness import listen_sockets
kind = sys.argv[1]
if "SECOND" in os.environ:
    waiting = signal.SIGHUP in signal.sigpending()
    passed = [one.getsockname() for one in listen_sockets()]
    print(os.getpid() == int(os.environ["SECOND"]), sys.argv[1:], waiting, passed)
    sys.exit(0)
os.environ["SECOND"] = str(os.getpid())
listener = None
if kind != "none":
    taken = [os.open(sys.argv[2] + ".log", os.O_WRONLY | os.O_CREAT) for _ in range(4)]
    last = logging.Handler()
    last.flush = lambda: kind == "third" or os.write(3, b"last words")
    if kind == "third":
        os.close(3)
    listener = socket.socket(socket.AF_UNIX)
    assert (listener.fileno() == 3) == (kind == "third")
    listener.bind(sys.argv[2])
    listener.listen()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
os.kill(os.getpid(), signal.SIGHUP)
begin_anew(listener)
"""


@pytest.mark.parametrize("kind", ["none", "third", "other"])
def test_it_is_the_same_process_with_the_same_words_and_socket(tmp_path: Path, kind: str) -> None:
    if kind != "none":
        pytest.importorskip("systemd.daemon", reason="needs systemd-python")
    program, place = tmp_path / "twice.py", tmp_path / "listener"
    program.write_text(_TWICE)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program), kind, str(place)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    passed = [] if kind == "none" else [str(place)]
    assert done.stdout == f"True {[kind, str(place)]} True {passed}\n", done.stderr
    if kind == "other":  # what records went to had the descriptor that the socket gets
        assert (tmp_path / "listener.log").read_text() == "last words"


_ASKED_AGAIN = """
import logging, os, signal, sys, threading, time
from ha_agent.reload import begin_anew
if "SECOND" in os.environ:
    print("again")
    sys.exit(0)
os.environ["SECOND"] = "1"
# As the one that writes the log file: signals of the process are this thread's, too.
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
last = logging.Handler()
last.flush = lambda: os.kill(os.getpid(), signal.SIGHUP)
begin_anew()
"""


def test_who_asks_again_while_the_last_records_go_ends_nothing(tmp_path: Path) -> None:
    program = tmp_path / "again.py"
    program.write_text(_ASKED_AGAIN)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "again\n"), done.stderr
