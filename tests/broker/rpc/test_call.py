# SPDX-License-Identifier: Apache-2.0
"""The command line's blocking call, against real sockets served from a thread."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from ha_agent.broker.rpc.call import BrokerUnreachable, RpcCallFailed, call_once
from ha_agent.broker.rpc.codec import Notification, Response, RpcError, encode
from ha_agent.clock import SystemClock
from ha_agent.errors import DeadlineExceeded

_CLOCK = SystemClock()


@contextlib.contextmanager
def _answering(path: Path, act: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    stop = threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(OSError):
            act(sock, stop)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield str(path)
    finally:
        stop.set()
        thread.join(5)
        listener.close()
    assert not thread.is_alive()


def test_a_result(tmp_path: Path) -> None:
    def act(sock: socket.socket, _stop: threading.Event) -> None:
        assert sock.recv(1000) == b"\x94\x00\x00\xa6status\x91\x81\xa1a\x01"
        answer = encode(Response(0, result={"blob": bytes(300_000)}))
        for start in range(0, len(answer), 7000):
            sock.sendall(answer[start : start + 7000])

    with _answering(tmp_path / "s", act) as path:
        result = call_once(path, "status", {"a": 1}, 5, clock=_CLOCK)
    assert result == {"blob": bytes(300_000)}


def test_an_error(tmp_path: Path) -> None:
    def act(sock: socket.socket, _stop: threading.Event) -> None:
        sock.recv(1000)
        sock.sendall(encode(Response(0, error=RpcError("denied", "only root may"))))

    refused = pytest.raises(RpcCallFailed, match="only root may")
    with _answering(tmp_path / "s", act) as path, refused as failed:
        call_once(path, "maintenance", clock=_CLOCK)
    assert failed.value.code == "denied"


def test_silent_server(tmp_path: Path) -> None:
    def act(_sock: socket.socket, stop: threading.Event) -> None:
        stop.wait(10)

    with _answering(tmp_path / "s", act) as path:
        before = _CLOCK.now()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.1 s"):
            call_once(path, "status", deadline_seconds=0.1, clock=_CLOCK)
        assert 0.09 < _CLOCK.now() - before < 2


def test_dripping_server_does_not_stretch_the_deadline(tmp_path: Path) -> None:
    def act(sock: socket.socket, stop: threading.Event) -> None:
        for byte in encode(Response(0, result="x" * 10_000)):
            sock.sendall(bytes([byte]))
            if stop.wait(0.01):
                return

    with _answering(tmp_path / "s", act) as path:
        before = _CLOCK.now()
        with pytest.raises(DeadlineExceeded):
            call_once(path, "status", deadline_seconds=0.2, clock=_CLOCK)
        assert _CLOCK.now() - before < 2


def test_full_queue_meets_the_deadline(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        before = _CLOCK.now()
        with pytest.raises(DeadlineExceeded):
            call_once(path, "status", deadline_seconds=0.1, clock=_CLOCK)
        assert 0.05 < _CLOCK.now() - before < 2


def test_signals_end_no_wait_for_a_full_queue(tmp_path: Path) -> None:
    """A connect() that a signal interrupts has not begun; Python takes it for done."""
    path = str(tmp_path / "s")
    ended, me = threading.Event(), threading.get_ident()

    def send() -> None:
        while not ended.wait(0.01):
            signal.pthread_kill(me, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    sender = threading.Thread(target=send)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        sender.start()
        try:
            with pytest.raises(DeadlineExceeded):
                call_once(path, "status", deadline_seconds=0.2, clock=_CLOCK)
        finally:
            ended.set()
            sender.join(10)
            signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"", "ended before"),
        (b"\x94\x01\x00", "ended before"),
        (b"\xc1", "can't be read"),
        (encode(Notification("closing", {"code": "busy", "message": "all in use"})), "all in use"),
    ],
)
def test_bad_answers(tmp_path: Path, answer: bytes, says: str) -> None:
    # Answers before it reads, as a server does that turns a caller away.
    def act(sock: socket.socket, _stop: threading.Event) -> None:
        sock.sendall(answer)

    unreachable = pytest.raises(BrokerUnreachable, match=says)
    with _answering(tmp_path / "s", act) as path, unreachable:
        call_once(path, "status", deadline_seconds=5, clock=_CLOCK)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnreachable, match="no such socket; is ha-broker running"):
        call_once(str(tmp_path / "s"), "status", clock=_CLOCK)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(BrokerUnreachable, match="nobody listens"):
            call_once(str(tmp_path / "s"), "status", clock=_CLOCK)


def test_no_asyncio() -> None:
    program = "import sys, ha_agent.broker.rpc.call; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0
