# SPDX-License-Identifier: Apache-2.0
"""One call over the broker's socket: MessagePack-RPC, blocking, with one deadline for all of it.

    request    [0, msgid, method, [params]]       answer    [1, msgid, error, result]

as docs/api.md of ha-agent documents it; what else the broker says ([2, "closing", [why]]) it says
before it ends the connection. Each call has a connection of its own, so that any number of threads
may call at once, and a call after a broker's restart simply works.

The predecessor's client had no deadline and took VDSM down with a broker that hung (BZ 2026625).
Here connecting, sending, and every part of an answer that drips count against one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, Callable

import msgpack

from .exceptions import (
    BrokerConnectionError,
    BrokerTimeoutError,
    DisconnectionError,
    RequestError,
)

_READ_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
# The longest list that we ask for has a host an item, and there are 2000 at most.
_MAX_ITEMS = 10_000
# What msgpack raises of bytes that are none, and what a message of another form makes us raise.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, msgpack.UnpackException)
_TIMEVAL = struct.Struct("ll")


def call(path: str, method: str, params: Mapping[str, Any], timeout_seconds: float) -> Any:
    """Call `method` of the broker at `path` and return its result.

    Raises BrokerConnectionError, BrokerTimeoutError, DisconnectionError and RequestError.
    """
    limit = time.monotonic() + timeout_seconds

    def remaining_seconds() -> float:
        left_seconds = limit - time.monotonic()
        if left_seconds <= 0:
            raise _timeout(path, method, timeout_seconds)
        return left_seconds

    request = msgpack.packb([0, 0, method, [dict(params)] if params else []], use_bin_type=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        _connect(sock, path, remaining_seconds)
        try:
            sock.settimeout(remaining_seconds())
            # Who turns us away closes at once, but has said why; that is still there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(request)
            return _answer(sock, path, remaining_seconds)
        except (socket.timeout, BlockingIOError):
            raise _timeout(path, method, timeout_seconds) from None
        except (BrokerConnectionError, DisconnectionError):
            raise
        except OSError as error:
            number = error.errno or errno.EIO
            raise DisconnectionError(number, os.strerror(number), path) from error


def _connect(sock: socket.socket, path: str, remaining_seconds: Callable[[], float]) -> None:
    """Connect, blocking. Raises BrokerTimeoutError and BrokerConnectionError."""
    while True:
        # With settimeout() connect() to a UNIX socket whose queue is full fails at once with
        # EAGAIN; blocking, with SO_SNDTIMEO, it waits that long for a place (unix(7), socket(7)).
        seconds = remaining_seconds()
        whole = int(seconds)
        microseconds = max(1, int((seconds - whole) * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(whole, microseconds))
        try:
            sock.connect(path)
            sock.getpeername()
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                # A signal ended the wait, and Python took that for a connection that is being
                # made, and then for one that is: with TCP it would be.
                continue
            number = error.errno or errno.EINVAL  # a path too long for a socket has none
            text = error.strerror or str(error)
            raise BrokerConnectionError(
                number, f"the HA broker can't be reached: {text}", path
            ) from None
        return


def _answer(sock: socket.socket, path: str, remaining_seconds: Callable[[], float]) -> Any:
    unpacker = msgpack.Unpacker(
        max_buffer_size=_MAX_ANSWER_BYTES,
        max_array_len=_MAX_ITEMS,
        max_map_len=_MAX_ITEMS,
        strict_map_key=True,
    )
    while True:
        sock.settimeout(remaining_seconds())
        data = sock.recv(_READ_BYTES)
        if not data:
            what = "the HA broker ended the connection before its answer"
            raise DisconnectionError(errno.ECONNRESET, what, path)
        try:
            unpacker.feed(data)
            for message in unpacker:
                kind, *rest = message
                if kind == 1 and len(rest) == 3 and rest[0] == 0:
                    return _result(rest[1], rest[2])
                if kind != 2 or len(rest) != 2:
                    raise ValueError("no answer to what was asked")
                if rest[0] == "closing":
                    why = rest[1][0].get("message") if rest[1] else "it closed the connection"
                    raise DisconnectionError(errno.ECONNRESET, f"the HA broker: {why}", path)
        except _UNREADABLE as error:
            what = f"the HA broker's answer can't be read ({type(error).__name__})"
            raise DisconnectionError(errno.EPROTO, what, path) from error


def _result(error: Any, result: Any) -> Any:
    if error is not None:
        raise RequestError(str(error["message"]), str(error["code"]), error.get("details"))
    return result


def _timeout(path: str, method: str, timeout_seconds: float) -> BrokerTimeoutError:
    what = f"the HA broker did not answer {method} within {timeout_seconds:g} s"
    return BrokerTimeoutError(errno.ETIMEDOUT, what, path)
