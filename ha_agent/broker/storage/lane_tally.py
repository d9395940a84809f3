# SPDX-License-Identifier: Apache-2.0
"""What a storage lane has done since the broker's start, counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from ha_agent.instant import Instant


@dataclass
class LaneTally:
    """Calls of one lane. `errors` counts by name; reads, writes and bytes are its workers' own,
    of calls that were answered: what a lost worker did in its last call is not known."""

    answered: int = 0
    spent_seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0

    def answer(self, seconds: float, io: Optional[Sequence[int]]) -> None:
        """Count a call that the worker answered. `io`: reads, bytes read, writes, bytes written
        (storage/worker.py)."""
        self.answered += 1
        self.spent_seconds += seconds
        if io is not None:
            reads, read_bytes, writes, written_bytes = io
            self.reads += reads
            self.read_bytes += read_bytes
            self.writes += writes
            self.written_bytes += written_bytes


@dataclass(frozen=True)
class LaneFigures:
    """One lane as of now. `busy_since`: when the running call began, None while it is idle."""

    name: str
    tally: LaneTally
    queued: int = 0
    busy_since: Optional[Instant] = None
    replaced: int = 0
    stuck: int = 0
