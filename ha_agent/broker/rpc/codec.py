# SPDX-License-Identifier: Apache-2.0
"""The wire of the operators' socket: MessagePack-RPC as bytes in, messages out. Pure.

It must not know sockets, tasks or deadlines (rpc/server.py and rpc/client.py do), nor any
method's meaning. Framing and message types are those of the published specification
(github.com/msgpack-rpc/msgpack-rpc, spec.md); messages follow each other with nothing between:

    request       [0, msgid, method, params]     client to server
    response      [1, msgid, error, result]      server to client
    notification  [2, method, params]            server to client; has no answer

What we lay down where the specification leaves room:

- msgid: an unsigned 32-bit number, chosen by the client, not in use by another open call.
- method: 1 to 64 characters of text.
- params: `[]`, or `[{"name": value, ...}]`, one map with text keys. Other shapes are refused.
- error: nil, or a map {"code": text, "message": text, "details": map}. `details` may be
  absent; unknown keys are ignored, so that later versions can add some. `code` is one of the
  CODE_ constants below or one that a method documents; `message` is a sentence for people.
- result: anything without extension types and with text (or binary) map keys only; nil when
  error is not nil. Of a key that stands twice in a map, the last one counts.
- The notification "closing" with {"code", "message"} says why the server is about to close.

A socket's other end may be hostile. msgpack itself allocates room for an array as soon as its
header is read, and waits without complaint for a text of 4 GiB. So a scanner walks the headers
first: it refuses a message as soon as a header declares more than the limits allow, and hands
bytes to msgpack only when the whole message is there. The cost of a bomb is bounded by
`max_message_bytes` and MAX_ELEMENTS, whatever it declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import msgpack

from ha_agent.errors import BadInput

# The longest document that a definition may be (8 MiB, ovfstore/xml_input.py), and what goes
# with it: what may be in use must be told, put and rolled back to as well.
DEFAULT_MAX_MESSAGE_BYTES = 9 * 1024 * 1024
MAX_DEPTH = 32
# Counts every value and every map key. An empty list costs one byte on the wire and 56 in
# memory, so the bytes alone don't bound what a message costs. The picture of the largest cluster,
# 2000 hosts with 50 to 60 values each, is half of it.
MAX_ELEMENTS = 262144
MAX_MSGID = 2**32 - 1
MAX_METHOD_CHARACTERS = 64

CODE_BAD_ARGUMENT = "bad_argument"
CODE_BAD_MESSAGE = "bad_message"
CODE_BUSY = "busy"
CODE_DEADLINE = "deadline"
CODE_DENIED = "denied"
CODE_INTERNAL = "internal"
CODE_NOT_FOUND = "not_found"
CODE_NOT_READY = "not_ready"
CODE_STOPPING = "stopping"
CODE_UNKNOWN_METHOD = "unknown_method"

CLOSING = "closing"

_REQUEST, _RESPONSE, _NOTIFICATION = 0, 1, 2

# First bytes of the MessagePack specification (github.com/msgpack/msgpack, spec.md, "Formats").
# Scalars: size of header and value together.
_SCALAR_BYTES = {
    **{0xC0: 1, 0xC2: 1, 0xC3: 1},  # nil, false, true
    **{0xCA: 5, 0xCB: 9},  # float 32, 64
    **{0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9},  # uint 8 to 64
    **{0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9},  # int 8 to 64
}
# Of the others: width of the length field that follows the first byte.
_BLOB_LENGTH_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bin, str
_ARRAY_LENGTH_BYTES = {0xDC: 2, 0xDD: 4}
_MAP_LENGTH_BYTES = {0xDE: 2, 0xDF: 4}
_LENGTH_BYTES = {**_BLOB_LENGTH_BYTES, **_ARRAY_LENGTH_BYTES, **_MAP_LENGTH_BYTES}


class RpcCodecError(BadInput):
    """Bytes that are no message of ours, or a message that can't be sent.

    `msgid` is the call that it was about, where that could be read: the server answers it.
    """

    def __init__(
        self, what: str, *, offset: Optional[int] = None, msgid: Optional[int] = None
    ) -> None:
        super().__init__(what, where="MessagePack-RPC", offset=offset)
        self.msgid = msgid


@dataclass(frozen=True)
class RpcError:
    """The error of a response. `code` is for programs, `message` for people."""

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A call: `method` with `params` by name, to be answered with the same `msgid`."""

    msgid: int
    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """The answer to the call `msgid`: `error`, or else `result`."""

    msgid: int
    error: Optional[RpcError] = None
    result: Any = None


@dataclass(frozen=True)
class Notification:
    """A message without an answer."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)


Message = Union[Request, Response, Notification]


def encode(message: Message, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> bytes:
    """Return `message` as bytes for the wire.

    Raises RpcCodecError when it holds what MessagePack or the other end does not take: an
    object of ours, a number beyond 64 bits, a map key that is not text, more bytes than
    `max_message_bytes`.
    """
    fields = _to_fields(message)
    msgid = None if isinstance(message, Notification) else message.msgid
    try:
        packed: bytes = msgpack.packb(fields, use_bin_type=True)
        # packb takes any map key; the other end refuses all but text, and with it the connection.
        _unpack(packed)
    except (TypeError, ValueError, OverflowError) as error:
        raise RpcCodecError(f"can't be sent: {error}", msgid=msgid) from error
    if len(packed) > max_message_bytes:
        raise RpcCodecError(
            f"can't be sent: {len(packed)} bytes, the limit is {max_message_bytes}", msgid=msgid
        )
    return packed


class RpcDecoder:
    """Turns a stream of bytes, cut anywhere, into messages.

    After a RpcCodecError the stream has no known boundary any more: every later feed raises the
    same error, and the caller closes the connection. Messages that stood before the fault in the
    same feed are lost with it.
    """

    def __init__(self, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES) -> None:
        self._max_message_bytes = max_message_bytes
        self._failure: Optional[RpcCodecError] = None
        self._buffer = bytearray()
        self._stream_offset = 0  # of the buffer's first byte, for error messages
        self._start_message()

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes; return the messages that they complete, in order.

        Raises RpcCodecError with the offset in the stream.
        """
        if self._failure is not None:
            raise self._failure
        self._buffer += data
        messages: list[Message] = []
        try:
            while self._buffer and self._message_is_complete():
                messages.append(self._take_message())
        except RpcCodecError as error:
            self._failure = error
            self._buffer.clear()
            raise
        return messages

    @property
    def has_partial_message(self) -> bool:
        """Whether bytes of an unfinished message are waiting; at end of stream that is a cut."""
        return bool(self._buffer)

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished message is held."""
        return len(self._buffer)

    def _start_message(self) -> None:
        self._position = 0  # of the next header; may lie behind what has come so far
        self._open = [1]  # elements still to come in each open array or map, outermost first
        self._missing = 1  # their sum
        self._elements = 0

    def _message_is_complete(self) -> bool:
        """Walk over as many headers as have come. What they declare is checked, not stored."""
        while self._open:
            header = _read_header(self._buffer, self._position)
            if header is None:
                return False
            if header == _NO_HEADER:
                raise self._refuse(
                    f"byte 0x{self._buffer[self._position]:02x} begins an extension type or "
                    "nothing at all; neither is used here"
                )
            size_bytes, children = header
            self._check_limits(size_bytes, children)
            self._position += size_bytes
            self._elements += 1
            self._missing += children - 1
            self._open[-1] -= 1
            if children:
                self._open.append(children)
            while self._open and not self._open[-1]:
                self._open.pop()
        return self._position <= len(self._buffer)

    def _check_limits(self, size_bytes: int, children: int) -> None:
        # Every element still to come takes at least one byte, so this is the least size that
        # the message can have. It is known long before those bytes are there.
        least_bytes = self._position + size_bytes + self._missing - 1 + children
        if least_bytes > self._max_message_bytes:
            raise self._refuse(
                f"a message of at least {least_bytes} bytes, the limit is "
                f"{self._max_message_bytes}"
            )
        if self._elements + self._missing + children > MAX_ELEMENTS:
            raise self._refuse(f"more than {MAX_ELEMENTS} elements in a message")
        if children and len(self._open) >= MAX_DEPTH:
            raise self._refuse(f"nested deeper than {MAX_DEPTH}")

    def _take_message(self) -> Message:
        raw = bytes(self._buffer[: self._position])
        try:
            fields = _unpack(raw)
        except ValueError as error:
            raise self._refuse(f"not MessagePack: {error}", at_start=True) from error
        try:
            message = _from_fields(fields)
        except RpcCodecError as error:
            raise RpcCodecError(
                error.what, offset=self._stream_offset, msgid=error.msgid
            ) from error
        del self._buffer[: self._position]
        self._stream_offset += self._position
        self._start_message()
        return message

    def _refuse(self, what: str, *, at_start: bool = False) -> RpcCodecError:
        position = 0 if at_start else self._position
        return RpcCodecError(what, offset=self._stream_offset + position)


_NO_HEADER = (0, 0)


def _read_header(buffer: bytearray, position: int) -> Optional[tuple[int, int]]:
    """Return (bytes of header and own value, number of elements inside), or None for "wait".

    _NO_HEADER stands for a first byte that begins nothing that we take.
    """
    if position >= len(buffer):
        return None
    first = buffer[position]
    if first < 0x80 or first >= 0xE0:
        return 1, 0
    if first < 0x90:
        return 1, 2 * (first & 0x0F)
    if first < 0xA0:
        return 1, first & 0x0F
    if first < 0xC0:
        return 1 + (first & 0x1F), 0
    if first in _SCALAR_BYTES:
        return _SCALAR_BYTES[first], 0
    width = _LENGTH_BYTES.get(first)
    if width is None:
        return _NO_HEADER
    header_bytes = 1 + width
    if position + header_bytes > len(buffer):
        return None
    length = int.from_bytes(buffer[position + 1 : position + header_bytes], "big")
    if first in _BLOB_LENGTH_BYTES:
        return header_bytes + length, 0
    return header_bytes, 2 * length if first in _MAP_LENGTH_BYTES else length


def _unpack(raw: bytes) -> Any:
    """Unpack one whole value. Raises ValueError (msgpack's own exceptions are among it).

    unpackb bounds each length by len(raw), and the limits below are a second fence.
    """
    try:
        return msgpack.unpackb(
            raw, strict_map_key=True, max_array_len=MAX_ELEMENTS, max_map_len=MAX_ELEMENTS
        )
    except msgpack.UnpackException as error:
        # A few of these have an empty text: their class name is all there is to say.
        raise ValueError(str(error) or type(error).__name__) from error


def _to_fields(message: Message) -> list[Any]:
    if isinstance(message, Request):
        return [_REQUEST, message.msgid, message.method, _params_to_wire(message.params)]
    if isinstance(message, Notification):
        return [_NOTIFICATION, message.method, _params_to_wire(message.params)]
    if message.error is None:
        return [_RESPONSE, message.msgid, None, message.result]
    error: dict[str, Any] = {"code": message.error.code, "message": message.error.message}
    if message.error.details:
        error["details"] = dict(message.error.details)
    return [_RESPONSE, message.msgid, error, None]


def _params_to_wire(params: Mapping[str, Any]) -> list[Any]:
    return [dict(params)] if params else []


def _from_fields(fields: Any) -> Message:
    if not isinstance(fields, list) or not fields or type(fields[0]) is not int:
        raise RpcCodecError("a message is an array that begins with its type, 0, 1 or 2")
    kind = fields[0]
    if kind == _NOTIFICATION and len(fields) == 3:
        return Notification(_method(fields[1], None), _params(fields[2], None))
    if kind not in (_REQUEST, _RESPONSE) or len(fields) != 4:
        raise RpcCodecError(f"no message has type {kind} and {len(fields)} elements")
    msgid = fields[1]
    if type(msgid) is not int or not 0 <= msgid <= MAX_MSGID:
        raise RpcCodecError(f"msgid must be a number from 0 to {MAX_MSGID}")
    if kind == _REQUEST:
        return Request(msgid, _method(fields[2], msgid), _params(fields[3], msgid))
    return _response(msgid, fields[2], fields[3])


def _response(msgid: int, error: Any, result: Any) -> Response:
    if error is None:
        return Response(msgid, result=result)
    if result is not None:
        raise RpcCodecError("a response has either an error or a result", msgid=msgid)
    if not isinstance(error, dict):
        raise RpcCodecError("a response's error must be a map", msgid=msgid)
    code, message, details = error.get("code"), error.get("message"), error.get("details", {})
    if not (isinstance(code, str) and isinstance(message, str) and isinstance(details, dict)):
        raise RpcCodecError(
            "an error has text `code` and `message`, and a map `details` if any", msgid=msgid
        )
    return Response(msgid, error=RpcError(code, message, details))


def _method(method: Any, msgid: Optional[int]) -> str:
    if not isinstance(method, str) or not 1 <= len(method) <= MAX_METHOD_CHARACTERS:
        raise RpcCodecError(
            f"method must be text of 1 to {MAX_METHOD_CHARACTERS} characters", msgid=msgid
        )
    return method


def _params(params: Any, msgid: Optional[int]) -> dict[str, Any]:
    if params == []:
        return {}
    if isinstance(params, list) and len(params) == 1 and isinstance(params[0], dict):
        named: dict[str, Any] = params[0]
        if all(isinstance(name, str) for name in named):
            return named
    raise RpcCodecError("params must be [] or [{name: value, ...}]", msgid=msgid)
