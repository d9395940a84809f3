# SPDX-License-Identifier: Apache-2.0
"""The one picture in memory, and waiting for it to change.

Parts of the broker put what they learn on the board; the socket's clients read it from there,
so that no answer waits for storage. Belongs to one event loop; never blocks.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import Any, Callable

from ha_agent.broker.push.entry import PushEntry
from ha_agent.broker.snapshot import HostEntry, Report, Snapshot
from ha_agent.instant import Instant
from ha_agent.values import replaced
from ha_agent.waiting import Signal

# What changes with every publish of a host, whatever it says.
_QUIET = {
    HostEntry: (
        *("timestamp_seconds", "crc32", "extra", "changed_at"),
        "local_conf_timestamp_seconds",
    ),
    Report: ("made_at",),
    PushEntry: ("counters", "connections", "last_peer", "last_at_unix_seconds"),
}
_LOUD = {
    kind: operator.attrgetter(*(f.name for f in dataclasses.fields(kind) if f.name not in names))
    for kind, names in _QUIET.items()
}


def _differs(old: Any, new: Any) -> bool:
    return old is not new and bool(old != new)


def _means_more(old: Any, new: Any) -> bool:
    """Whether two parts that differ do so in something that somebody may wait for."""
    if isinstance(old, tuple) and isinstance(new, tuple):
        return len(old) != len(new) or any(
            _differs(before, after) and _means_more(before, after)
            for before, after in zip(old, new)
        )
    loud = _LOUD.get(type(new))
    return loud is None or type(old) is not type(new) or loud(old) != loud(new)


class Board:
    """Holds the newest Snapshot. `version` grows by one with each change that means something.

    `live` adds, at each read, the figures that change all the time (the lease's deadlines, the
    workers' state) and that nobody is to be woken for.
    """

    def __init__(
        self, first: Snapshot, now: Callable[[], Instant], live: Callable[[], dict[str, Any]]
    ) -> None:
        self._snapshot = first
        self._now = now
        self._live = live
        self._changed = Signal()

    @property
    def current(self) -> Snapshot:
        """The picture as it was put on the board, without the live figures."""
        return self._snapshot

    def read(self) -> Snapshot:
        """Return the picture as of now."""
        return replaced(self._snapshot, made_at=self._now(), **self._live())

    def update(self, **parts: Any) -> None:
        """Replace parts of the snapshot; what equals the old is no change.

        Nobody is woken for what only shows that somebody lives (see `_QUIET`): `read` has it.
        """
        old = self._snapshot
        changed = {
            name: part for name, part in parts.items() if _differs(getattr(old, name), part)
        }
        if not changed:
            return
        told = any(_means_more(getattr(old, name), part) for name, part in changed.items())
        version = old.version + 1 if told else old.version
        self._snapshot = replaced(old, version=version, **changed)
        if told:
            self._changed.set()
            self._changed = Signal()

    async def newer_than(self, version: int, wait_seconds: float) -> Snapshot:
        """Return the picture as soon as its version is not `version`, or after the wait."""
        await self.changed_from(version, wait_seconds)
        return self.read()

    async def changed_from(self, version: int, wait_seconds: float) -> None:
        """Wait as `newer_than` does, for who reads the picture later or not at all."""
        if self._snapshot.version == version and wait_seconds > 0:
            await self._changed.wait(wait_seconds)

    def wake(self) -> None:
        """Let everybody who waits go on, as at the end of the broker."""
        self._changed.set()
