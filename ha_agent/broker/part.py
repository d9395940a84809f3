# SPDX-License-Identifier: Apache-2.0
"""What a feature of the broker hands to its process root: verbs to answer, work to keep doing.

service.py builds the parts and knows no more of them than this.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ha_agent.broker.rpc.server import Handler

Work = Callable[[], Coroutine[Any, Any, None]]


def _nothing() -> None:
    pass


async def _done() -> None:
    pass


@dataclass(frozen=True)
class Part:
    """One feature of the broker.

    `handlers` are its verbs on the socket; `deadlines_seconds` the time of those that may take
    longer than the socket's own limit. Each of `work` makes a coroutine that runs until the broker
    stops, when it is cancelled; one that ends with an exception ends the broker: a bug.
    `wake` is called at the beginning of the stop: verbs that wait answer then. `close` is
    awaited at its end, once, and must not wait for storage.
    """

    name: str
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    deadlines_seconds: Mapping[str, float] = field(default_factory=dict)
    work: tuple[Work, ...] = ()
    wake: Callable[[], None] = _nothing
    close: Callable[[], Awaitable[None]] = _done
