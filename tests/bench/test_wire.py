# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wire import CREATE, DESTROY, SHUTDOWN, STATUS_EVENT, Spotter, VdsmRelay

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
    spotter = Spotter(b'"VM.create"')
    counted = sum(spotter.feed(stream[begin:end]) for begin, end in zip([0, *cuts], ends))
    assert counted == stream.count(b'"VM.create"')


def test_one_byte_at_a_time_counts_with_the_last_quote() -> None:
    spotter = Spotter(b'"VM.create"')
    counts = [spotter.feed(bytes([byte])) for byte in CALL]
    assert counts.index(1) == CALL.index(b'"VM.create"') + len(b'"VM.create"') - 1
    assert sum(counts) == 1


@contextlib.contextmanager
def server(change: Callable[[bytes], bytes]) -> Iterator[int]:
    """One connection; answers what `change` makes of its bytes, hangs up at the caller's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            caller, _address = listener.accept()
            with caller:
                while data := caller.recv(65536):
                    caller.sendall(change(data))

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
    with server(bytes.upper) as port, relay_to(port) as relay:
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
    with server(bytes.upper) as port:
        relay = VdsmRelay(port)
        relay.start()
        with connect(relay) as caller:
            caller.sendall(b"x")
            assert receive(caller, 1) == b"X"
            relay.stop()
            assert caller.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(relay)


class TestWhatIsTold:
    EVENT = b'{"jsonrpc": "2.0", "method": "|virt|VM_status|7f6e", "params": {}}'

    def test_each_verb_by_its_name(self) -> None:
        with server(bytes.upper) as port, relay_to(port) as relay, connect(relay) as caller:
            for verb in (CREATE, DESTROY, SHUTDOWN):
                begun = time.monotonic()
                call = CALL.replace(b"VM.create", verb.encode())
                caller.sendall(call)
                receive(caller, len(call))
                told = [
                    name
                    for name in (CREATE, DESTROY, SHUTDOWN)
                    if relay.first_since(begun, name) is not None
                ]
                assert told == [verb]

    def test_an_event_counts_when_it_comes_from_vdsm(self) -> None:
        with server(bytes) as port, relay_to(port) as relay, connect(relay) as caller:
            begun = time.monotonic()
            caller.sendall(self.EVENT)
            assert receive(caller, len(self.EVENT)) == self.EVENT
            seen = relay.first_since(begun, STATUS_EVENT)
            assert seen is not None
            # What came back was one; what was sent was none.
            assert relay.first_since(seen + 1e-9, STATUS_EVENT) is None
            assert relay.first_since(begun) is None

    def test_a_verb_that_vdsm_names_is_no_call(self) -> None:
        with server(lambda _data: CALL) as port, relay_to(port) as relay, connect(relay) as caller:
            caller.sendall(b"x")
            receive(caller, len(CALL))
            assert relay.first_since(0.0, CREATE) is None
