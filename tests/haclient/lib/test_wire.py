# SPDX-License-Identifier: Apache-2.0
"""The client's wire against brokers that are down, hang, drip, lie, restart, and real ones."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ovirt_hosted_engine_ha.lib import wire
from ovirt_hosted_engine_ha.lib.exceptions import (
    BrokerConnectionError,
    BrokerTimeoutError,
    DisconnectionError,
    RequestError,
)

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.server import RpcServer, ServerLimits
from ha_agent.broker.rpc.unix_listener import listen_unix
from tests.fake_broker import FakeBroker

LONG_SECONDS, SHORT_SECONDS = 30.0, 0.2
Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(path: Path, serve: Serve) -> Iterator[str]:
    """A broker that does one thing with whoever connects, and then ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def body() -> None:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            with sock, contextlib.suppress(ConnectionError):
                serve(sock)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield str(path)
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listener.close()


def saying(data: bytes) -> Serve:
    """Take the request, say this and end the connection."""

    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(data)

    return serve


def test_a_call_and_its_answer(short_path: Path) -> None:
    fake = FakeBroker(short_path / "s")
    try:
        fake.answers["add"] = lambda params: (None, params["a"] + 1)
        assert wire.call(str(short_path / "s"), "add", {"a": 1}, LONG_SECONDS) == 2
        fake.answers["none"] = (None, None)
        assert wire.call(str(short_path / "s"), "none", {}, LONG_SECONDS) is None
        told = {"code": "denied", "message": "only look", "details": {"a": 1}}
        fake.answers["add"] = (told, None)
        with pytest.raises(RequestError, match="only look") as refused:
            wire.call(str(short_path / "s"), "add", {"a": 1}, LONG_SECONDS)
        assert (refused.value.code, refused.value.details) == ("denied", {"a": 1})
    finally:
        fake.close()


def test_no_broker(short_path: Path) -> None:
    with pytest.raises(BrokerConnectionError, match="can't be reached") as caught:
        wire.call(str(short_path / "none"), "status", {}, LONG_SECONDS)
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(OSError, match="can't be reached"):  # as set-up's tools catch it
        wire.call(str(short_path / ("long" * 50)), "status", {}, LONG_SECONDS)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(short_path / "dead"))
    dead.close()
    with pytest.raises(BrokerConnectionError) as caught:
        wire.call(str(short_path / "dead"), "status", {}, LONG_SECONDS)
    assert caught.value.errno == errno.ECONNREFUSED


def test_a_broker_that_hangs(short_path: Path) -> None:
    ended = threading.Event()

    def hang(_sock: socket.socket) -> None:
        ended.wait(20)

    with serving(short_path / "s", hang) as path:
        with pytest.raises(BrokerTimeoutError, match=r"did not answer status within 0\.2 s"):
            wire.call(path, "status", {}, SHORT_SECONDS)
        ended.set()


def test_a_broker_whose_queue_is_full(short_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(short_path / "s"))
    listener.listen(0)
    first = socket.socket(socket.AF_UNIX)
    with listener, first:
        first.connect(str(short_path / "s"))
        with pytest.raises(BrokerTimeoutError):
            wire.call(str(short_path / "s"), "status", {}, SHORT_SECONDS)


@contextlib.contextmanager
def signals_all_the_time() -> Iterator[None]:
    """This thread gets signals, as a process with children does."""
    ended, me = threading.Event(), threading.get_ident()

    def send() -> None:
        while not ended.wait(0.01):
            signal.pthread_kill(me, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)
        signal.signal(signal.SIGUSR1, before)


def test_signals_end_no_wait_for_a_full_queue(short_path: Path) -> None:
    """A connect() that a signal interrupts has not begun; Python takes it for done."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(short_path / "s"))
    listener.listen(0)
    first = socket.socket(socket.AF_UNIX)
    with listener, first:
        first.connect(str(short_path / "s"))
        with signals_all_the_time(), pytest.raises(BrokerTimeoutError):
            wire.call(str(short_path / "s"), "status", {}, SHORT_SECONDS)


def test_an_answer_that_drips_can_not_stretch_the_deadline(short_path: Path) -> None:
    ended = threading.Event()

    def drip(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"\x94\x01\x00\xc0\xdb\x00\x10\x00\x00")
        while not ended.wait(0.01):
            sock.sendall(b"x")

    with serving(short_path / "s", drip) as path:
        with pytest.raises(BrokerTimeoutError):
            wire.call(path, "status", {}, SHORT_SECONDS)
        ended.set()


@pytest.mark.parametrize("data", [b"", msgpack.packb([1, 0, None, "x" * 99])[:50]])
def test_a_broker_that_ends_before_its_answer(short_path: Path, data: bytes) -> None:
    told = pytest.raises(DisconnectionError, match="ended the connection")
    with serving(short_path / "s", saying(data)) as path, told as caught:
        wire.call(path, "status", {}, LONG_SECONDS)
    assert caught.value.errno == errno.ECONNRESET


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 5000,
        msgpack.packb([1, 7, None, True]),
        msgpack.packb([1, 0]),
        msgpack.packb([1, 0, "wrong", None]),
        msgpack.packb([1, 0, {"code": "x"}, None]),
        msgpack.packb([1, 0, None, {1: 2}]),
        msgpack.packb([0, 0, "call", []]),
        msgpack.packb([2, "closing", 5]),
    ],
)
def test_garbage_is_told(short_path: Path, data: bytes) -> None:
    told = pytest.raises(DisconnectionError, match="can't be read")
    with serving(short_path / "s", saying(data)) as path, told as caught:
        wire.call(path, "status", {}, LONG_SECONDS)
    assert caught.value.errno == errno.EPROTO


@given(st.binary(max_size=200))
def test_whatever_comes_is_an_answer_or_a_known_error(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(DisconnectionError, RequestError):
            wire._answer(ours, "path", lambda: LONG_SECONDS)


def test_why_it_closes_is_told(short_path: Path) -> None:
    bye = msgpack.packb([2, "closing", [{"code": "busy", "message": "come back later"}]])
    told = pytest.raises(DisconnectionError, match="come back later")
    with serving(short_path / "s", saying(bye)) as path, told:
        wire.call(path, "status", {}, LONG_SECONDS)


async def test_the_brokers_own_server_takes_and_gives_the_same(short_path: Path) -> None:
    async def echo(params: Any, peer: Any) -> Any:
        return dict(params)

    server = RpcServer({"echo": echo}, limits=ServerLimits())
    server.start(listen_unix(str(short_path / "s")))
    params = {"text": "ä" * 1000, "whole": 2**60, "flag": True, "bytes": b"\0\xff", "none": None}

    def call() -> Any:
        return wire.call(str(short_path / "s"), "echo", params, LONG_SECONDS)

    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(None, call) for _ in range(20)]  # of many threads at once
    assert await asyncio.gather(*calls) == [params] * 20
    with pytest.raises(RequestError) as caught:
        await loop.run_in_executor(
            None, lambda: wire.call(str(short_path / "s"), "ech", {}, LONG_SECONDS)
        )
    assert caught.value.code == rpc_codec.CODE_UNKNOWN_METHOD
    await server.stop()


def test_after_a_restart_the_next_call_works(short_path: Path) -> None:
    for number in range(2):
        fake = FakeBroker(short_path / "s")
        fake.answers["status"] = (None, number)
        assert wire.call(str(short_path / "s"), "status", {}, LONG_SECONDS) == number
        fake.close()
        with pytest.raises(BrokerConnectionError):
            wire.call(str(short_path / "s"), "status", {}, LONG_SECONDS)
        (short_path / "s").unlink()
