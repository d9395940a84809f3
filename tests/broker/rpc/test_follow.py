# SPDX-License-Identifier: Apache-2.0
"""Following the picture, against a socket whose bytes the test writes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.broker.rpc.call import BrokerUnreachable, RpcCallFailed
from ha_agent.broker.rpc.codec import Notification, Response, RpcError, encode
from ha_agent.broker.rpc.follow import follow
from ha_agent.broker.snapshot import Snapshot, to_wire
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, DeadlineExceeded
from ha_agent.instant import Instant
from tests.fake_broker import ha_agent

CLOCK = SystemClock()
OK = encode(Response(0, result=True))


def changed(version: int) -> bytes:
    return encode(Notification("changed", {"snapshot": {"version": version}}))


@contextlib.contextmanager
def server(path: Path, data: bytes, *, then_silent: bool = False) -> Iterator[None]:
    """Answer the first caller with `data`; close, or keep silent until the end."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    end = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(4096)
            sock.sendall(data)
            if then_silent:
                end.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(10)
        listener.close()


def test_each_picture_comes_and_the_end_is_told(tmp_path: Path) -> None:
    with server(tmp_path / "s", OK + changed(1) + changed(2)):
        pictures = follow(str(tmp_path / "s"), clock=CLOCK)
        seen = [next(pictures)["version"], next(pictures)["version"]]
        with pytest.raises(BrokerUnreachable, match="ended"):
            next(pictures)
    assert seen == [1, 2]


@pytest.mark.parametrize("data", [b"", OK + changed(1)])
def test_a_silence_is_not_waited_for_for_ever(tmp_path: Path, data: bytes) -> None:
    with server(tmp_path / "s", data, then_silent=True), pytest.raises(DeadlineExceeded):
        list(follow(str(tmp_path / "s"), clock=CLOCK, deadline_seconds=0.3, silence_seconds=0.1))


def test_a_refusal_is_typed(tmp_path: Path) -> None:
    refusal = encode(Response(0, error=RpcError("busy", "all are in use")))
    with server(tmp_path / "s", refusal), pytest.raises(RpcCallFailed, match="in use"):
        list(follow(str(tmp_path / "s"), clock=CLOCK))


def test_a_closing_is_told(tmp_path: Path) -> None:
    closing = encode(Notification("closing", {"code": "busy", "message": "no place"}))
    with server(tmp_path / "s", closing), pytest.raises(BrokerUnreachable, match="no place"):
        list(follow(str(tmp_path / "s"), clock=CLOCK))


@pytest.mark.parametrize("data", [b"\xc1", encode(Notification("changed", {"snapshot": 1}))])
def test_what_can_not_be_read(tmp_path: Path, data: bytes) -> None:
    with server(tmp_path / "s", data), pytest.raises((BrokerUnreachable, BadInput)):
        list(follow(str(tmp_path / "s"), clock=CLOCK))


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnreachable, match="no such socket"):
        list(follow(str(tmp_path / "s"), clock=CLOCK))


def test_the_command_line_follows(folder: Path) -> None:
    picture = to_wire(Snapshot(7, 1, "alpha", "vm", Instant(1.0)))
    data = OK + encode(Notification("changed", {"snapshot": picture})) * 2
    with server(folder / "run" / "broker.socket", data):
        done = ha_agent(folder, "status", "--watch", "--json")
    assert done.returncode == 1  # it ended with the broker
    assert "ended" in done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3  # two pictures, and the error
    assert lines[0] == lines[1]
