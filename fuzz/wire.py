# SPDX-License-Identifier: Apache-2.0
"""VDSM's wire, fuzzed: the STOMP and JSON-RPC codecs, what reads VDSM's answers, and both ends.

What is promised of each, whatever the bytes and however they are cut:
- a codec gives messages or a BadInput that says what is wrong (STOMP's names its peer too), and
  what it accepts is the same after it was written and read again;
- an end of a connection lets no exception out, and says why it ended;
- a reader of answers refuses with BadInput or gives a value.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import pkgutil
import socket
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Callable, Optional

from fuzz.promise import WHERE, Finding, refused
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput
from ha_agent.vdsm import client, jsonrpc
from ha_agent.vdsm.client.connection import Connection
from ha_agent.vdsm.server.stomp_server import EVENTS, StompServer
from ha_agent.vdsm.stomp import Frame, StompDecoder, StompError, encode
from ha_agent.vdsm.vm_status import lock_failure, parse_status_event, parse_vm_stats

MAX_FRAME_BYTES = 2000
MAX_HEADER_BYTES = 400
_CODES = (jsonrpc.PARSE_ERROR, jsonrpc.INVALID_REQUEST)


def fuzz_stomp(data: bytes) -> None:
    """The decoder: the same outcome whole and byte by byte, and what it gives can be sent."""
    whole, by_byte = _decoded([data]), _decoded([bytes((byte,)) for byte in data])
    if whole != by_byte:
        raise Finding("the outcome depends on where the bytes were cut")
    for frame in whole or ():
        again = _decoded([encode(frame)])
        if again is None or [_plain(one) for one in again] != [_plain(frame)]:
            raise Finding("a frame is another one after it was written and read again")


def _decoded(chunks: Sequence[bytes]) -> Optional[list[Frame]]:
    """Return the frames, or None when the bytes were refused, which then stays so."""
    decoder = StompDecoder(
        max_frame_bytes=MAX_FRAME_BYTES, max_header_bytes=MAX_HEADER_BYTES, where=WHERE
    )
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            frames += decoder.feed(chunk)
    except StompError as error:
        refused(error)
        try:
            decoder.feed(b"")
        except StompError:
            return None
        raise Finding("a decoder that failed goes on") from error
    return frames


def _plain(frame: Frame) -> tuple[str, dict[str, str], bytes]:
    headers = {name: value for name, value in frame.headers.items() if name != "content-length"}
    return frame.command, headers, frame.body


def fuzz_jsonrpc(data: bytes) -> None:
    """A message or a batch: refused with a code, or the same after a round trip."""
    try:
        messages = jsonrpc.decode_batch(data)
    except jsonrpc.JsonRpcError as error:
        if error.code not in _CODES or not error.what:
            raise Finding(f"a refusal without code or reason: {error!r}") from error
        return
    for message in messages:
        if isinstance(message, jsonrpc.Request):
            written = jsonrpc.encode_request(message)
        elif isinstance(message, jsonrpc.Response):
            written = jsonrpc.encode_response(message)
        else:
            written = jsonrpc.encode_event(message)
        if jsonrpc.decode(written) != message:
            raise Finding("a message is another one after it was written and read again")


def fuzz_answers(data: bytes) -> None:
    """The result of any verb, given to every reader of answers, and an event likewise."""
    try:
        message = jsonrpc.decode(b'{"jsonrpc": "2.0", "id": 1, "result": ' + data + b"}")
    except jsonrpc.JsonRpcError:
        return
    result = message.result if isinstance(message, jsonrpc.Response) else None
    for read in readers():
        try:
            read(result)
        except BadInput as error:
            if not error.what:
                raise Finding(f"{read.__name__} refuses without a reason") from error
    for stats in (lambda: parse_vm_stats(result, vm_id="vm"), lambda: _event(result)):
        try:
            told = stats()
        except BadInput:
            continue
        if told is not None:
            lock_failure(told.exit_message)
            told.exit_message.encode()


@lru_cache(maxsize=1)
def readers() -> list[Callable[[Any], Any]]:
    """Return all of answers.py, and of its neighbours answers_*.py, that read a verb's result."""
    found: dict[str, Callable[[Any], Any]] = {}
    for module in pkgutil.iter_modules(client.__path__):
        if module.name.startswith("answers"):
            members = vars(importlib.import_module(f"{client.__name__}.{module.name}"))
            for name, read in members.items():
                if name.startswith("read_") and len(inspect.signature(read).parameters) == 1:
                    found[name] = read
    return [found[name] for name in sorted(found)]


def _event(result: Any) -> Any:
    params = result if isinstance(result, (dict, list)) else {"vm": result}
    return parse_status_event(jsonrpc.Event("|virt|VM_status|vm", params))


@lru_cache(maxsize=1)
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class _Nowhere(asyncio.Transport):
    """A transport that takes everything, and keeps nothing."""

    aborted = False

    def set_write_buffer_limits(
        self, high: Optional[int] = None, low: Optional[int] = None
    ) -> None:
        pass

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def fuzz_client(data: bytes) -> None:
    """Our end of a connection, greeted and with a call under way, fed by a hostile VDSM."""
    _loop().run_until_complete(_feed_client(data))


def _receive(connection: Connection, data: bytes) -> None:
    """Hand it over as asyncio does, in portions of the connection's buffer."""
    while data:
        buffer = connection.get_buffer(-1)
        portion, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(portion)] = portion
        connection.buffer_updated(len(portion))


async def _feed_client(data: bytes) -> None:
    events: list[jsonrpc.Event] = []
    connection = Connection(
        WHERE, clock=SystemClock(), heart_beat_ms=(0, 0), on_event=events.append
    )
    transport = _Nowhere()
    connection.connection_made(transport)
    _receive(connection, b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0")
    call = asyncio.ensure_future(connection.call("Host.ping2", {}, 60.0))
    await asyncio.sleep(0)
    _receive(connection, data)
    if connection.ended.done() and not (connection.ended.result() and transport.aborted):
        raise Finding("the connection ended without a reason, or stays open")
    connection.end("over")
    try:
        await call
    except Exception as error:
        if "over" not in str(error) and connection.ended.result() not in str(error):
            raise Finding(f"the call does not say why it failed: {error!r}") from error


async def _answer(body: bytes) -> tuple[Optional[bytes], bool]:
    try:
        messages = jsonrpc.decode_batch(body)
    except jsonrpc.JsonRpcError as error:
        info = jsonrpc.RpcErrorInfo(error.code, error.what)
        return jsonrpc.encode_response(jsonrpc.Response(None, error=info)), False
    if len(messages) != 1 or not isinstance(messages[0], jsonrpc.Request):
        return None, True
    return jsonrpc.encode_response(jsonrpc.Response(messages[0].id, messages[0].params)), True


def fuzz_server(data: bytes) -> None:
    """The embedded VDSM's end, over a real socket: it says why it ends, and serves the next."""
    _loop().run_until_complete(_feed_server(data))


_server: list[StompServer] = []


class _Faults(logging.Handler):
    """Keeps what is logged as an error: a fault of the server's own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


async def _feed_server(data: bytes) -> None:
    if not _server:
        made = StompServer(_answer)
        await made.start("127.0.0.1", 0)
        _server.append(made)
    faults = _Faults()
    logger = logging.getLogger("ha_agent.vdsm")
    logger.addHandler(faults)
    try:
        answered = await _talk(_server[0].port, data)
        await asyncio.sleep(0)
    finally:
        logger.removeHandler(faults)
    if faults.said:
        raise Finding(f"a fault of the server's own: {faults.said[0]}")
    try:
        StompDecoder().feed(answered)
    except StompError as error:
        raise Finding(f"the server sends what can't be read: {error}") from error
    good = encode(Frame("CONNECT", {"accept-version": "1.2"}))
    if not (await _talk(_server[0].port, good)).startswith(b"CONNECTED\n"):
        raise Finding("the server serves the next client no more")


async def _talk(port: int, data: bytes) -> bytes:
    """Send, say that no more comes, and return all that is answered until the server ends."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        # Ends by a reset: thousands of connections must not stay as TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await loop.sock_connect(sock, ("127.0.0.1", port))
        answered = b""
        try:
            await loop.sock_sendall(sock, data)
            sock.shutdown(socket.SHUT_WR)
            while True:
                chunk = await loop.sock_recv(sock, 65536)
                if not chunk:
                    return answered
                answered += chunk
        except ConnectionError:
            return b""  # a reset: what was answered before it may be lost


def stomp_seeds() -> list[bytes]:
    """Frames of both sides, as facts/vdsm.md 1.2 has them."""
    return [
        b"CONNECT\naccept-version:1.2\nheart-beat:0,24000\n\n\0",
        b"SUBSCRIBE\ndestination:r1\nack:auto\nid:s1\n\n\0" + _sent(_CALL),
        b"CONNECTED\r\nversion:1.2\r\nheart-beat:24000,0\r\n\r\n\0\n\n\r\n",
        encode(Frame("MESSAGE", {"destination": "r1", "subscription": "s1"}, _REPLY)),
        encode(Frame("MESSAGE", {"destination": EVENTS, "subscription": "e"}, _EVENT)),
        b"ERROR\ncontent-length:19\n\nVersion unsupported\0RECEIPT\nreceipt-id:77\n\n\0",
        b"DISCONNECT\nreceipt:a\\cb\\n\\\\\n\n\0",
    ]


def jsonrpc_seeds() -> list[bytes]:
    """Messages of each kind."""
    return [_CALL, b"[" + _CALL + b"]", _REPLY, _EVENT, _ERROR]


def answer_seeds() -> list[bytes]:
    """Results as VDSM sends them, one of each kind."""
    values: list[Any] = [
        [{"vmId": "vm", "status": "Down", "exitCode": 1, "exitReason": 2, "statusTime": "1"}],
        {"vm": {"status": "Up", "exitMessage": "Failed to acquire lock: x"}, "notify_time": 1},
        {"memFree": 1, "cpuLoad": "0.42", "network": {"a": {"state": "up"}}, "vmCount": 0},
        {"sd": {"code": 0, "lastCheck": "3.1", "delay": "0.1", "valid": True, "acquired": True}},
        {"uuid": "a", "pool": [], "version": "5", "block_size": 512, "remotePath": "a:/b"},
        {"taskState": "finished", "taskResult": "success", "code": 0, "message": ""},
        {"spmStatus": "Free", "spmId": -1},
        [{"id": "a", "status": 477}],
        {"path": "/run"},
        ["a", "b"],
    ]
    return [json.dumps(value).encode() for value in values]


def client_seeds() -> list[bytes]:
    """What a VDSM sends after its greeting."""
    return [seed for seed in stomp_seeds() if not seed.startswith((b"CONNECT\n", b"SUBS"))]


def server_seeds() -> list[bytes]:
    """What a client of VDSM sends, from its greeting on."""
    seeds = stomp_seeds()
    return [seeds[0] + seeds[1], seeds[0] + seeds[6], seeds[1] + _sent(b"[" + _CALL + b"]")]


def _sent(body: bytes) -> bytes:
    headers = {"destination": "jms.topic.vdsm_requests", "reply-to": "r1"}
    return encode(Frame("SEND", headers, body))


_CALL = b'{"jsonrpc": "2.0", "method": "VM.getStats", "params": {"vmID": "a"}, "id": "1"}'
_REPLY = b'{"jsonrpc": "2.0", "id": "1", "result": true}'
_ERROR = b'{"jsonrpc": "2.0", "id": "1", "error": {"code": 1, "message": "no"}}'
_EVENT = (
    b'{"jsonrpc": "2.0", "method": "|virt|VM_status|vm",'
    b' "params": {"vm": {"status": "Up"}, "notify_time": 2150378905}}'
)

STOMP_WORDS = (
    b"CONNECT", b"CONNECTED", b"MESSAGE", b"SEND", b"SUBSCRIBE", b"UNSUBSCRIBE", b"RECEIPT",
    b"ERROR", b"DISCONNECT", b"STOMP", b"\ncontent-length:", b"\nheart-beat:", b"99999999999999",
    b"-1", b"\0", b"\n\n", b"\r\n", b"\r\n\r\n", b"\\c", b"\\n", b"\\t", b"\\", b":", b"\xff",
    b"destination:", b"reply-to:", b"id:", b"jms.topic.vdsm_requests",
)  # fmt: skip
JSONRPC_WORDS = (
    b'"jsonrpc": "2.0"', b'"method"', b'"params"', b'"id"', b'"result"', b'"error"', b'"code"',
    b'"message"', b"null", b"NaN", b"Infinity", b"1e999", b"-0", b"9" * 50, b'"\\ud800"', b"[[[[",
    b'{"a":', b"true", b"[]", b"{}", b"\xc3\x28", b"\xef\xbb\xbf", b"1.5", b'"\\u0000"',
)  # fmt: skip
