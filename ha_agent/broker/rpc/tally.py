# SPDX-License-Identifier: Apache-2.0
"""What an RPC server has done since the broker's start, counted. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

OK = "ok"
UNKNOWN_VERB = "unknown"


@dataclass
class RpcTally:
    """Connections and calls. `calls` counts by verb and result: `ok` or an error's code.

    A verb that does not exist counts as `unknown`, whatever the caller sent.
    """

    connections: int = 0
    open_connections: int = 0
    turned_away: int = 0
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
