# SPDX-License-Identifier: Apache-2.0
"""The one picture in memory, and waiting for it to change.

Parts of the broker put what they learn on the board; the socket's clients read it from there,
so that no answer waits for storage. Belongs to one event loop; never blocks.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, Callable

from ha_agent.broker.snapshot import Snapshot
from ha_agent.instant import Instant
from ha_agent.waiting import wait_for_event


class Board:
    """Holds the newest Snapshot. `version` grows by one with each real change.

    `live` adds, at each read, the figures that change all the time (the lease's deadlines, the
    workers' state) and that nobody is to be woken for.
    """

    def __init__(
        self, first: Snapshot, now: Callable[[], Instant], live: Callable[[], dict[str, Any]]
    ) -> None:
        self._snapshot = first
        self._now = now
        self._live = live
        self._changed = asyncio.Event()

    def read(self) -> Snapshot:
        """Return the picture as of now."""
        return dataclasses.replace(self._snapshot, made_at=self._now(), **self._live())

    def update(self, **parts: Any) -> None:
        """Replace parts of the snapshot; what equals the old is no change."""
        new = dataclasses.replace(self._snapshot, **parts)
        if new == self._snapshot:
            return
        self._snapshot = dataclasses.replace(new, version=self._snapshot.version + 1)
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer_than(self, version: int, wait_seconds: float) -> Snapshot:
        """Return the picture as soon as its version is not `version`, or after the wait."""
        if self._snapshot.version == version and wait_seconds > 0:
            await wait_for_event(self._changed, wait_seconds)
        return self.read()

    def wake(self) -> None:
        """Let everybody who waits go on, as at the end of the broker."""
        self._changed.set()
