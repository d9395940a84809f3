# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wire import VdsmRelay, VerbSpotter

CALL = b'{"jsonrpc": "2.0", "method": "VM.create", "params": {}}'


@given(
    st.lists(
        st.sampled_from([CALL, b'"VM.created"', b"VM.create", b'"VM.destroy"', b'""', b"\0\n"])
    ),
    st.data(),
)
def test_every_call_is_counted_once_wherever_the_stream_is_cut(
    pieces: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(pieces)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20).map(sorted))
    ends = [*cuts, len(stream)]
    spotter = VerbSpotter("VM.create")
    counted = sum(spotter.feed(stream[begin:end]) for begin, end in zip([0, *cuts], ends))
    assert counted == stream.count(b'"VM.create"')


def test_one_byte_at_a_time_counts_with_the_last_quote() -> None:
    spotter = VerbSpotter("VM.create")
    counts = [spotter.feed(bytes([byte])) for byte in CALL]
    assert counts.index(1) == CALL.index(b'"VM.create"') + len(b'"VM.create"') - 1
    assert sum(counts) == 1


@contextlib.contextmanager
def upper_case_server() -> Iterator[int]:
    """One connection; answers in upper case, and hangs up at the caller's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            caller, _address = listener.accept()
            with caller:
                while data := caller.recv(65536):
                    caller.sendall(data.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)
        assert not thread.is_alive()


@contextlib.contextmanager
def relay_to(port: int) -> Iterator[VdsmRelay]:
    relay = VdsmRelay(port)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()


def connect(relay: VdsmRelay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=5)


def receive(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(65536)
        assert piece
        data += piece
    return data


def test_relay_changes_nothing_and_keeps_when_the_verb_passed() -> None:
    with upper_case_server() as port, relay_to(port) as relay:
        begun = time.monotonic()
        with connect(relay) as caller:
            caller.sendall(b"hello")
            assert receive(caller, 5) == b"HELLO"
            assert relay.first_since(begun) is None
            caller.sendall(CALL)
            assert receive(caller, len(CALL)) == CALL.upper()
            seen = relay.first_since(begun)
            assert seen is not None
            assert begun < seen < time.monotonic()
            assert relay.first_since(time.monotonic()) is None


def test_relay_hangs_up_when_nobody_listens_behind_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with relay_to(port) as relay, connect(relay) as caller:
        assert caller.recv(1) == b""


def test_relay_stops_with_connections_open() -> None:
    with upper_case_server() as port:
        relay = VdsmRelay(port)
        relay.start()
        with connect(relay) as caller:
            caller.sendall(b"x")
            assert receive(caller, 1) == b"X"
            relay.stop()
            assert caller.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(relay)
