# SPDX-License-Identifier: Apache-2.0
"""What a handler of the RPC server is, and what it may answer besides a plain value.

A large answer that is made before it can be sent waits in memory, once for each caller that does
not read. `Late` is made when it can be sent, so it is also the newest. `Stream` goes on: after
its answer the server sends notifications, each made when the one before has been taken, so that
a slow caller gets the newest and never a queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from ha_agent.broker.rpc.peer import Peer
from ha_agent.errors import HaAgentError

Handler = Callable[[Mapping[str, Any], Peer], Awaitable[Any]]
"""Takes params by name and the caller; returns a result that rpc_codec can encode, a Late or a
Stream, or raises RpcRefusal. api/verb.py checks its params."""


class RpcRefusal(HaAgentError):
    """Raised by a handler: the caller gets `code`, `message` and `details`. No fault of ours."""

    def __init__(
        self, code: str, message: str, details: Optional[Mapping[str, Any]] = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})


@dataclass(frozen=True)
class Late:
    """An answer that `make` gives when there is room to send it. It must not wait or fail."""

    make: Callable[[], Any]


@dataclass(frozen=True)
class Stream:
    """An answer, and notifications `name` after it until the connection ends.

    `next` waits for something new and returns what makes its params; None ends the stream.
    """

    first: Any
    name: str
    next: Callable[[], Awaitable[Optional[Callable[[], Mapping[str, Any]]]]]
