# SPDX-License-Identifier: Apache-2.0
"""One call over the operators' socket, blocking, for the command line; and a caller's errors.

It must not import asyncio, directly or not: a command would start 50 ms later. The predecessor's
command line had no deadline and hung with its broker (facts 1.5); here one deadline covers
connecting, sending and every part of the answer, so that an answer that drips can't stretch it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, Callable, Optional, Protocol

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.codec import Message, Notification, Request, Response, RpcDecoder
from ha_agent.errors import DeadlineExceeded, EnvironmentFault, HaAgentError
from ha_agent.instant import Instant

DEFAULT_DEADLINE_SECONDS = 10.0
ENDED = "the connection ended before the answer"
_READ_BYTES = 64 * 1024
_TIMEVAL = struct.Struct("ll")


class BrokerUnreachable(EnvironmentFault):
    """No connection to a broker at `path`, or it was lost before the answer.

    In the second case the call may have taken effect.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the broker can't be reached at {path}: {reason}")
        self.path = path
        self.reason = reason


class RpcCallFailed(HaAgentError):
    """The broker answered with an error: `code` (see rpc_codec), `message`, `details`."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details)


class NowClock(Protocol):
    """The part of a clock that is needed here."""

    def now(self) -> Instant:
        """Return this host's monotonic time."""
        ...


def call_once(
    path: str,
    method: str,
    params: Optional[Mapping[str, Any]] = None,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    *,
    clock: NowClock,
    max_message_bytes: int = rpc_codec.DEFAULT_MAX_MESSAGE_BYTES,
) -> Any:
    """Connect to the broker at `path`, call `method`, return its result.

    Raises BrokerUnreachable, RpcCallFailed, DeadlineExceeded, or RpcCodecError when `params`
    can't be sent.
    """
    request = rpc_codec.encode(Request(0, method, params or {}))
    limit = clock.now() + deadline_seconds

    def remaining_seconds() -> float:
        left_seconds = limit - clock.now()
        if left_seconds <= 0:
            raise DeadlineExceeded(f"{method} at {path}", deadline_seconds)
        return left_seconds

    decoder = RpcDecoder(max_message_bytes)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            connect(sock, path, remaining_seconds)
            sock.settimeout(remaining_seconds())
            # A server that turned us away has closed already, but said why; that is still there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(request)
            while True:
                sock.settimeout(remaining_seconds())
                data = sock.recv(_READ_BYTES)
                if not data:
                    raise BrokerUnreachable(path, ENDED)
                for message in decoder.feed(data):
                    response = response_in(message, path)
                    if response is not None and response.msgid == 0:
                        return result_of(response)
        except (socket.timeout, BlockingIOError):
            raise DeadlineExceeded(f"{method} at {path}", deadline_seconds) from None
        except OSError as error:
            raise BrokerUnreachable(path, reason_of(error)) from error
        except rpc_codec.RpcCodecError as error:
            raise BrokerUnreachable(path, f"its answer can't be read: {error}") from error


def connect(sock: socket.socket, path: str, remaining_seconds: Callable[[], float]) -> None:
    """Connect, blocking, within the time, whose end `remaining_seconds` tells by raising.

    Raises that, and OSError.
    """
    sock.setblocking(True)
    while True:
        # With settimeout() Python makes the socket non-blocking, and connect() to a UNIX socket
        # whose queue is full then fails at once with EAGAIN instead of waiting. SO_SNDTIMEO
        # (unix(7), socket(7)) bounds a blocking connect() in the kernel: EAGAIN when time is up.
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
            # A signal ended the wait, and Python took that for a connection that is being made,
            # and then for one that is: with TCP it would be.
            if error.errno == errno.ENOTCONN:
                continue
            raise
        return


def response_in(message: Message, path: str) -> Optional[Response]:
    """Return `message` if it is a response. Raises BrokerUnreachable for a "closing"."""
    if isinstance(message, Response):
        return message
    if isinstance(message, Notification) and message.method == rpc_codec.CLOSING:
        raise BrokerUnreachable(path, str(message.params.get("message", "it closed")))
    return None


def result_of(response: Response) -> Any:
    """Return the result. Raises RpcCallFailed for an error."""
    if response.error is not None:
        raise RpcCallFailed(response.error.code, response.error.message, response.error.details)
    return response.result


def reason_of(error: OSError) -> str:
    """Return why a socket failed, in words for an operator."""
    if error.errno == errno.ENOENT:
        return "there is no such socket; is ha-broker running?"
    if error.errno == errno.ECONNREFUSED:
        return "nobody listens there; is ha-broker running?"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"user {os.geteuid()} has no permission"
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return ENDED
    return error.strerror or str(error)
