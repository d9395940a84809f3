# SPDX-License-Identifier: Apache-2.0
"""What a feature of the broker hands to its process root: verbs to answer, work to keep doing.

service.py builds the parts and knows no more of them than this.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from ha_agent.broker.rpc_server import Handler


@dataclass(frozen=True)
class Part:
    """One feature of the broker.

    `handlers` are its verbs on the socket; `deadlines_seconds` the time of those that may take
    longer than the socket's own limit. Each of `work` makes a coroutine that runs until the broker
    stops, when it is cancelled; one that ends with an exception ends the broker: a bug.
    `close` is called after that, once.
    """

    name: str
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    deadlines_seconds: Mapping[str, float] = field(default_factory=dict)
    work: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    close: Callable[[], None] = lambda: None
