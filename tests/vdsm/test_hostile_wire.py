# SPDX-License-Identifier: Apache-2.0
"""Bytes that mean harm, to the codecs and to both ends of a connection: no crash, bounded memory,
and an end with a reason. `make fuzz` tries a million more (fuzz/wire.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import wire
from ha_agent.clock import SystemClock
from ha_agent.vdsm import jsonrpc, stomp
from ha_agent.vdsm.client.client import VdsmClient
from ha_agent.vdsm.errors import VdsmError
from ha_agent.vdsm.server.stomp_server import StompServer
from ha_agent.vdsm.stomp import Frame, StompDecoder, StompError, encode
from ha_agent.waiting import within
from tests.vdsm.stomp_peer import StompPeer

MIB = 1 << 20
PATIENCE_SECONDS = 30.0
HEAD = b"MESSAGE\ndestination:r\n"


@contextlib.contextmanager
def at_most(peak_bytes: int) -> Iterator[None]:
    """Hold what Python takes meanwhile against a bound."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < peak_bytes, f"{peak / MIB:.1f} MiB"


def refusal(*chunks: bytes, **bounds: int) -> str:
    decoder = StompDecoder(where="VDSM at h:1", **bounds)
    try:
        for chunk in chunks:
            decoder.feed(chunk)
    except StompError as error:
        return str(error)
    raise AssertionError("not refused")


# The codecs.


@given(st.lists(st.sampled_from(wire.STOMP_WORDS), max_size=12).map(b"".join))
def test_words_of_frames_whole_and_byte_by_byte(data: bytes) -> None:
    wire.fuzz_stomp(data)


@given(st.lists(st.sampled_from(wire.JSONRPC_WORDS), max_size=12).map(b"".join))
def test_words_of_messages(data: bytes) -> None:
    wire.fuzz_jsonrpc(data)
    wire.fuzz_jsonrpc(b'{"jsonrpc": "2.0", "id": 1, "result": ' + data + b"}")
    wire.fuzz_answers(data)


def test_a_flood_of_heart_beats_takes_no_memory() -> None:
    decoder = StompDecoder()
    beats = b"\n" * MIB
    with at_most(4 * MIB):
        for _ in range(8):
            assert decoder.feed(beats) == []
    assert len(decoder.feed(b"\r\n" * 1000 + HEAD + b"\n\0")) == 1


def test_a_flood_of_headers_is_refused_at_its_bound() -> None:
    def flood() -> Iterator[bytes]:
        yield HEAD
        for number in range(10**6):
            yield b"h%d:v\n" % number

    with at_most(MIB):
        assert f"longer than {stomp.MAX_HEADER_BYTES} bytes" in refusal(*_first(flood(), 3000))
    many = HEAD + b"a:b\n" * (stomp.MAX_HEADERS + 1) + b"\n\0"
    assert f"more than {stomp.MAX_HEADERS} headers" in refusal(many)


def _first(chunks: Iterator[bytes], count: int) -> list[bytes]:
    return [next(chunks) for _ in range(count)]


def test_a_giant_that_is_declared_is_refused_before_it_comes() -> None:
    with at_most(MIB):
        reason = refusal(HEAD + b"content-length:%d\n\n" % (stomp.MAX_FRAME_BYTES + 1))
    assert reason.startswith("VDSM at h:1: ")
    assert "content-length" in reason


def test_a_giant_that_is_not_declared_is_refused_at_the_bound() -> None:
    chunk = b"x" * MIB
    with at_most(2 * stomp.MAX_FRAME_BYTES + 8 * MIB):
        reason = refusal(HEAD + b"\n", *[chunk] * (stomp.MAX_FRAME_BYTES // MIB + 2))
    assert f"over the limit of {stomp.MAX_FRAME_BYTES} bytes" in reason


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (HEAD + b"content-length:4\n\n{}\0\0MESSAGE", "content-length 4 is wrong"),
        (HEAD + b"content-length:1\n\n{}\0", "content-length 1 is wrong"),
        (HEAD + b"a\0b:c\n\n\0", "NUL in a header"),
        (HEAD + b"a:\0\n\n\0", "NUL in a header"),
        (b"MESS\0AGE\n\n\0", "unknown command"),
        (HEAD + b"content-length:" + b"9" * 4000 + b"\n\n", "is not a number of bytes"),
    ],
)
def test_what_is_wrong_is_named_at_every_cut(data: bytes, what: str) -> None:
    for cut in range(len(data)):
        assert what in refusal(data[:cut], data[cut:])


@pytest.mark.parametrize(
    "value",
    [
        b"[" * MIB,
        b'{"a":' * 100_000,
        b"9" * MIB,
        b"-" + b"9" * 5000 + b".5e99999",
        b'"' + b"\\ud800" * 1000,
        b"[" + b"[]," * 100_000,
    ],
)
def test_hostile_values_are_refused_with_a_reason(value: bytes) -> None:
    with at_most(64 * MIB), pytest.raises(jsonrpc.JsonRpcError) as caught:
        jsonrpc.decode(b'{"jsonrpc": "2.0", "id": 1, "result": ' + value + b"}")
    assert caught.value.code == jsonrpc.PARSE_ERROR
    assert len(str(caught.value)) < 300


def test_of_two_members_of_a_name_the_last_counts_and_surrogates_can_be_sent_on() -> None:
    # As Python's json reads it, VDSM's too; what matters is that it is one of them.
    twice = b'{"jsonrpc": "2.0", "id": 1, "id": 2, "result": 1, "result": "\\ud800"}'
    message = jsonrpc.decode(twice)
    assert message == jsonrpc.Response(2, "\ud800")
    assert isinstance(message, jsonrpc.Response)
    assert jsonrpc.decode(jsonrpc.encode_response(message)) == message


# Our client, and a VDSM that means harm.


HOSTILE_ANSWERS = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "unknown command"),
    (HEAD + b"\n{\0", "not JSON"),
    (HEAD + b"\n\xff\0", "not UTF-8"),
    (HEAD + b"\n" + b"[" * 5000 + b"]" * 5000 + b"\0", "deep"),
    (HEAD + b'\n{"jsonrpc": "2.0", "id": {}, "result": 1}\0', "id is neither"),
    (HEAD + b"content-length:999999999\n\n", "over the limit"),
    (HEAD + b"h:v\n" * 100 + b"\n\0", "more than"),
    (b"\n" * MIB + b"ERROR\nmessage:x\n\nenough\0", "enough"),
    (HEAD + b'\n[{"jsonrpc": "2.0", "id": 1, "result": 1},{}]\0', "2.0"),
    (b"SEND\n\n\0", "unexpected SEND"),
]


@pytest.mark.parametrize(("data", "what"), HOSTILE_ANSWERS)
async def test_the_client_says_why_and_its_call_ends(data: bytes, what: str) -> None:
    peer = StompPeer()
    await peer.start()
    ready = asyncio.Event()
    client = VdsmClient(
        "127.0.0.1", peer.port, clock=SystemClock(), uniform=lambda: 0.0, on_connected=ready.set
    )
    client.start()
    try:
        await within(PATIENCE_SECONDS, ready.wait())
        call = asyncio.ensure_future(client.call("Silent", {}))
        await asyncio.sleep(0)
        peer.send_raw(data)
        with pytest.raises(VdsmError) as lost:
            await within(PATIENCE_SECONDS, call)
        assert what in str(lost.value)
        assert str(peer.port) in str(lost.value)
        # It tries again, and may be served well then.
        ready.clear()
        await within(PATIENCE_SECONDS, ready.wait())
        assert await client.call("Echo", {"a": 1}) == {"a": 1}
    finally:
        await client.close()
        await peer.stop()


# The embedded VDSM's server, and a client that means harm.


async def _answer(body: bytes) -> tuple[Optional[bytes], bool]:
    return body, True


@pytest.fixture
async def server() -> AsyncIterator[StompServer]:
    made = StompServer(_answer)
    await made.start("127.0.0.1", 0)
    yield made
    await made.close()


async def said_to(server: StompServer, *chunks: bytes) -> bytes:
    """Send, piece by piece, and return all that comes until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    said = b""
    try:
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                writer.write(chunk)
                await within(PATIENCE_SECONDS, writer.drain())
            while data := await within(PATIENCE_SECONDS, reader.read(65536)):
                said += data
    finally:
        writer.transport.abort()
    return said


SEND = b"SEND\ndestination:jms.topic.vdsm_requests\n"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (SEND + b"content-length:99999999\n\n", "over the limit"),
        (SEND + b"h:v\n" * 100 + b"\n\0", "more than"),
        (SEND + b"a:\0\n\n\0", "NUL in a header"),
        (SEND + b"content-length:1\n\n{}\0", "is wrong"),
        (b"SUBSCRIBE\nid:\\t\n\n\0", "unknown escape"),
        # As VDSM: what does not begin as STOMP is reset without a word.
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    ],
)
async def test_the_server_says_why_and_serves_the_next(
    server: StompServer, data: bytes, what: str
) -> None:
    assert what in (await said_to(server, data)).decode()
    # One byte at a time: nothing depends on how they came.
    assert what in (await said_to(server, *(bytes((byte,)) for byte in data))).decode()
    greeted = await said_to(server, b"CONNECT\naccept-version:1.2\n\n\0DISCONNECT\n\n\0")
    assert greeted.startswith(b"CONNECTED\n")


async def test_a_flood_into_the_server_takes_no_memory(server: StompServer) -> None:
    beats = [b"CONNECT\naccept-version:1.2\n\n\0", *[b"\n" * MIB] * 8, b"DISCONNECT\n\n\0"]
    with at_most(12 * MIB):
        assert (await said_to(server, *beats)).startswith(b"CONNECTED\n")
    body = [SEND + b"\n", *[b"x" * MIB] * (stomp.MAX_FRAME_BYTES // MIB + 2)]
    with at_most(3 * stomp.MAX_FRAME_BYTES + 12 * MIB):
        await said_to(server, *body)


async def test_requests_that_can_not_be_read_are_each_answered(server: StompServer) -> None:
    frames = [
        encode(Frame("SUBSCRIBE", {"destination": "r1", "id": "s"})),
        *(encode(Frame("SEND", {"destination": "jms.topic.vdsm_requests", "reply-to": "r1"}, body))
          for body in (b"{", b"\xff", json.dumps([[]] * 50).encode())),
        encode(Frame("DISCONNECT", {"receipt": "7"})),
    ]  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(b"".join(frames))
        decoder, commands = StompDecoder(), []
        while "RECEIPT" not in commands:
            data = await within(PATIENCE_SECONDS, reader.read(65536))
            assert data
            commands += [frame.command for frame in decoder.feed(data)]
    finally:
        writer.transport.abort()
