# SPDX-License-Identifier: Apache-2.0
"""Following the broker's picture, blocking, for the command line and scripts.

    for picture in follow("/run/ha-agent/broker.socket", clock=SystemClock()):
        print(picture["lease"]["state"])

It must not import asyncio (rpc/call.py says why), nor connect again by itself: what came in
between would be missed unnoticed. The broker sends something at least once a minute, so a silence
means that it hangs or is gone.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from ha_agent.broker.rpc import codec as rpc_codec
from ha_agent.broker.rpc.call import (
    DEFAULT_DEADLINE_SECONDS,
    ENDED,
    BrokerUnreachable,
    NowClock,
    connect,
    reason_of,
    response_in,
    result_of,
)
from ha_agent.broker.rpc.codec import Notification, Request, RpcDecoder
from ha_agent.errors import BadInput, DeadlineExceeded

CHANGED = "changed"
SILENCE_SECONDS = 90.0
_READ_BYTES = 64 * 1024


def follow(
    path: str,
    *,
    clock: NowClock,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    silence_seconds: float = SILENCE_SECONDS,
) -> Iterator[Mapping[str, Any]]:
    """Give the picture, as the verb `status` answers it, at once and after each change.

    Raises BrokerUnreachable, RpcCallFailed, DeadlineExceeded, BadInput; never ends otherwise.
    """
    limit = clock.now() + deadline_seconds

    def remaining_seconds() -> float:
        left_seconds = limit - clock.now()
        if left_seconds <= 0:
            raise DeadlineExceeded(f"watch at {path}", deadline_seconds)
        return left_seconds

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            connect(sock, path, remaining_seconds)
            sock.settimeout(deadline_seconds)
            sock.sendall(rpc_codec.encode(Request(0, "watch", {})))
            yield from _pictures(sock, path, clock, deadline_seconds, silence_seconds)
        except (socket.timeout, BlockingIOError):
            raise DeadlineExceeded(f"watch at {path}", deadline_seconds) from None
        except OSError as error:
            raise BrokerUnreachable(path, reason_of(error)) from error
        except rpc_codec.RpcCodecError as error:
            raise BrokerUnreachable(path, f"its answer can't be read: {error}") from error


def _pictures(
    sock: socket.socket,
    path: str,
    clock: NowClock,
    deadline_seconds: float,
    silence_seconds: float,
) -> Iterator[Mapping[str, Any]]:
    decoder = RpcDecoder()
    limit_seconds = deadline_seconds
    ends_at = clock.now() + limit_seconds
    while True:
        left_seconds = ends_at - clock.now()
        if left_seconds <= 0:
            raise DeadlineExceeded(f"watch at {path}", limit_seconds)
        sock.settimeout(left_seconds)
        try:
            data = sock.recv(_READ_BYTES)
        except socket.timeout:
            raise DeadlineExceeded(f"watch at {path}", limit_seconds) from None
        if not data:
            raise BrokerUnreachable(path, ENDED)
        for message in decoder.feed(data):
            response = response_in(message, path)
            if response is not None:
                result_of(response)
            elif isinstance(message, Notification) and message.method == CHANGED:
                yield _picture(message)
            limit_seconds = silence_seconds
            ends_at = clock.now() + limit_seconds


def _picture(message: Notification) -> Mapping[str, Any]:
    picture = message.params.get("snapshot")
    if not isinstance(picture, Mapping):
        raise BadInput("expected a map", where="broker.changed.snapshot")
    return picture
