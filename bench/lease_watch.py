# SPDX-License-Identifier: Apache-2.0
"""An independent reader of the lock file: when was the lease last renewed, and by whom.

It reads the record many times a second and asks no daemon. Of a change it keeps the moment of
the last look that still showed the old record: the write can't have been earlier, so that what
is counted from it is at most one look too long, never too short.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.broker.lease.rules import BLOCK_SIZE_BYTES, LeaseRecord, decode
from ha_agent.errors import BadInput

LOOK_INTERVAL_SECONDS = 0.004


@dataclass(frozen=True)
class Write:
    """A record that was written after `not_before`, a moment of time.monotonic()."""

    not_before: float
    record: LeaseRecord


class WriteLog:
    """Turns looks at the block into the writes between them."""

    def __init__(self) -> None:
        self._block: Optional[bytes] = None
        self._looked_at = 0.0
        self.writes: list[Write] = []

    def look(self, at: float, block: bytes) -> None:
        """Take in a look that was begun at `at`. A block caught half written is left out."""
        if block != self._block:
            try:
                record = decode(block)
            except BadInput:
                return
            if self._block is not None:
                self.writes.append(Write(self._looked_at, record))
            self._block = block
        self._looked_at = at

    def last_by(self, host_id: int) -> Optional[Write]:
        """Return the last write with which this host held the lease."""
        mine = (w for w in reversed(self.writes) if w.record.host_id == host_id)
        return next(mine, None)

    def first_by(self, host_id: int, since: float) -> Optional[Write]:
        """Return the first write of this host that was not before `since`."""
        return next(
            (w for w in self.writes if w.record.host_id == host_id and w.not_before >= since), None
        )


class LeaseWatch:
    """Looks at the lock file in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = WriteLog()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def last_by(self, host_id: int) -> Optional[Write]:
        """Return the last write with which this host held the lease, None if there is none."""
        with self._lock:
            return self._log.last_by(host_id)

    def first_by(self, host_id: int, since: float) -> Optional[Write]:
        """Return the first write of this host that was not before `since`, or None."""
        with self._lock:
            return self._log.first_by(host_id, since)

    def _run(self) -> None:
        fd = os.open(self._path, os.O_RDONLY)
        try:
            while not self._stop.wait(LOOK_INTERVAL_SECONDS):
                at = time.monotonic()
                block = os.pread(fd, BLOCK_SIZE_BYTES, 0)
                with self._lock:
                    self._log.look(at, block)
        finally:
            os.close(fd)
