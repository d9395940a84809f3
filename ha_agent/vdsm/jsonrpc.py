# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC 2.0 as VDSM speaks it: bytes in, messages out, and back. No I/O.

    request    {"jsonrpc": "2.0", "method": "VM.getStats", "params": {...} or [...], "id": ...}
    response   {"jsonrpc": "2.0", "id": ..., "result": ...}
               {"jsonrpc": "2.0", "id": ..., "error": {"code": int, "message": str}}
    event      {"jsonrpc": "2.0", "method": "|virt|VM_status|<vm>", "params": {...}}

An event is what JSON-RPC calls a notification. VDSM sends them; nobody may send one to VDSM: a
notification, or a batch of two, kills the real VDSM's request thread and then it answers nobody
until it is restarted. So there is no encoder for a batch, and `encode_event` is for the
embedded VDSM alone. A batch of one is read as its one message, since VDSM's own client sends
requests like that.

Bounds: size is the transport's matter (stomp.py); here depth, number of messages in a batch and
digits of an integer. What can't be a message is a `JsonRpcError` with the code that a server
answers it with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from ha_agent.errors import BadInput

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

MAX_DEPTH = 64
MAX_BATCH = 100
_MAX_INTEGER_DIGITS = 40

Params = Union[Mapping[str, Any], list[Any]]
MessageId = Union[str, int]


class JsonRpcError(BadInput):
    """Bytes that are no JSON-RPC message. `code` is PARSE_ERROR or INVALID_REQUEST."""

    def __init__(self, what: str, *, code: int = INVALID_REQUEST) -> None:
        super().__init__(what)
        self.code = code


@dataclass(frozen=True)
class RpcErrorInfo:
    """The `error` of a response: VDSM's code (facts 1.3) and its text."""

    code: int
    message: str


@dataclass(frozen=True)
class Request:
    """A call. `params` go by name (an object) or by position (an array)."""

    method: str
    params: Params = field(default_factory=dict)
    id: MessageId = ""


@dataclass(frozen=True)
class Response:
    """An answer: `error`, or else `result`. `id` is None when VDSM could not read the request."""

    id: Optional[MessageId]
    result: Any = None
    error: Optional[RpcErrorInfo] = None


@dataclass(frozen=True)
class Event:
    """A message without id. VDSM's own have a method that starts with "|"; any other one is a
    client's notification.
    """

    method: str
    params: Params = field(default_factory=dict)


Message = Union[Request, Response, Event]


def encode_request(request: Request) -> bytes:
    """Return the request's bytes, a bare object."""
    return _dump({"method": request.method, "params": request.params, "id": request.id})


def encode_response(response: Response) -> bytes:
    """Return the response's bytes, with `error` when there is one and `result` otherwise."""
    if response.error is None:
        return _dump({"id": response.id, "result": response.result})
    error = {"code": response.error.code, "message": response.error.message}
    return _dump({"id": response.id, "error": error})


def encode_event(event: Event) -> bytes:
    """Return the event's bytes."""
    return _dump({"method": event.method, "params": event.params})


def decode(data: bytes) -> Message:
    """Read one message, bare or as a batch of one. Raises JsonRpcError, also for more than one."""
    messages = decode_batch(data)
    if len(messages) != 1:
        raise JsonRpcError(f"a batch of {len(messages)} messages")
    return messages[0]


def decode_batch(data: bytes) -> list[Message]:
    """Read a bare message or a batch, as a list of 1 to MAX_BATCH messages.

    Raises JsonRpcError; one bad message spoils its batch.
    """
    value = _load(data)
    if not isinstance(value, list):
        return [_message(value)]
    if not 1 <= len(value) <= MAX_BATCH:
        raise JsonRpcError(f"a batch of {len(value)} messages")
    return [_message(member) for member in value]


def _dump(members: dict[str, Any]) -> bytes:
    return _ENCODER.encode({"jsonrpc": "2.0", **members}).encode()


def _load(data: bytes) -> Any:
    try:
        # A Python function for each integer takes long, where none can be too long.
        decoder = _DECODER_OF_LONG if _has_long_number(data) else _DECODER
        value = decoder.decode(data.decode("utf-8"))
    except RecursionError:
        raise JsonRpcError("JSON nested too deep", code=PARSE_ERROR) from None
    except UnicodeDecodeError as error:
        raise JsonRpcError(f"not UTF-8 at byte {error.start}", code=PARSE_ERROR) from error
    except ValueError as error:
        raise JsonRpcError(f"not JSON: {error}", code=PARSE_ERROR) from error
    if not _is_surely_shallow(data):
        _check_depth(value)
    return value


def _bounded_integer(digits: str) -> int:
    # Old interpreters take minutes for an integer of millions of digits.
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    # 1e999 is JSON; as a float it is infinity, which is not.
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Made once: json.loads and json.dumps with arguments make one for each message, which takes
# longer than most messages do.
_DECODER = json.JSONDecoder(parse_float=_finite_float, parse_constant=_no_constant)
_DECODER_OF_LONG = json.JSONDecoder(
    parse_int=_bounded_integer, parse_float=_finite_float, parse_constant=_no_constant
)
_ENCODER = json.JSONEncoder(allow_nan=False)
_CONTAINERS = frozenset((dict, list))  # what _DECODER makes, and no classes derived from them


_DIGITS_TO_ZERO = bytes(ord("0") if byte in b"0123456789" else 0 for byte in range(256))
_LONG_NUMBER = b"0" * (_MAX_INTEGER_DIGITS + 1)
# At first one byte in so many is looked at: a number that is too long has so many of those.
_STRIDE = 8
_LONG_NUMBER_SEEN = b"0" * (len(_LONG_NUMBER) // _STRIDE)
_BRACKETS_ALIKE = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_NO_STRUCTURE = bytes(set(range(256)) - set(b'{}[]"'))


def _has_long_number(data: bytes) -> bool:
    """Whether there are more than _MAX_INTEGER_DIGITS digits in a row; in strings, too."""
    seen = data[::_STRIDE].translate(_DIGITS_TO_ZERO)
    return _LONG_NUMBER_SEEN in seen and _LONG_NUMBER in data.translate(_DIGITS_TO_ZERO)


def _is_surely_shallow(data: bytes) -> bool:
    """Whether brackets and quotes of valid JSON show that it is not nested too deep; quick.

    What is nested deeper opens more brackets than MAX_DEPTH first and closes as many afterwards:
    few answers have so many at all, those in strings included.

    Without a backslash, each quote begins or ends a string. Where an even number of them stands
    between any two brackets, all brackets are outside of strings, as the first one is. Taking
    away the innermost pairs of those then takes away one level.
    """
    after_opened = data.translate(_BRACKETS_ALIKE, _NO_BRACKETS).split(b"{", MAX_DEPTH + 1)
    if len(after_opened) <= MAX_DEPTH + 1 or after_opened[-1].count(b"}") <= MAX_DEPTH:
        return True
    brackets = data.translate(_BRACKETS_ALIKE, _NO_STRUCTURE).replace(b'""', b"")
    if b"\\" in data or b'"' in brackets:
        return False
    for _level in range(MAX_DEPTH):
        if not brackets:
            return True
        brackets = brackets.replace(b"{}", b"")
    return not brackets


def _check_depth(value: Any) -> None:
    level = [value] if type(value) in _CONTAINERS else []
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise JsonRpcError(f"JSON nested deeper than {MAX_DEPTH}", code=PARSE_ERROR)
        level = [
            member
            for container in level
            for member in (container.values() if type(container) is dict else container)
            if type(member) in _CONTAINERS
        ]


def _message(value: Any) -> Message:
    if not isinstance(value, dict):
        raise JsonRpcError("a message that is no object")
    if value.get("jsonrpc") != "2.0":
        raise JsonRpcError('a message without "jsonrpc": "2.0"')
    message_id = _id(value.get("id"))
    if "method" not in value:
        return _response(value, message_id)
    method = value["method"]
    if not isinstance(method, str) or not method:
        raise JsonRpcError("method is not a text")
    params = value.get("params")
    if params is None:
        params = {}
    if not isinstance(params, (dict, list)):
        raise JsonRpcError(f"{method[:100]}: params are neither object nor array")
    if message_id is None:
        return Event(method, params)
    return Request(method, params, message_id)


def _id(value: Any) -> Optional[MessageId]:
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        return value
    raise JsonRpcError("id is neither text nor integer")


def _response(value: dict[str, Any], message_id: Optional[MessageId]) -> Response:
    error = value.get("error")
    if error is None:
        if "result" not in value:
            raise JsonRpcError("a message with neither method, result nor error")
        return Response(message_id, value["result"])
    if not isinstance(error, dict):
        raise JsonRpcError("error is no object")
    code, text = error.get("code"), error.get("message")
    if not isinstance(code, int) or isinstance(code, bool) or not isinstance(text, str):
        raise JsonRpcError("error without an integer code and a text message")
    return Response(message_id, error=RpcErrorInfo(code, text))
