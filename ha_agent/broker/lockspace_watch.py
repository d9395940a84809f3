# SPDX-License-Identifier: Apache-2.0
"""Whether the holder of each host id lives, by our own clock. Pure: bytes and Instants in.

A lease that is renewed changes its bytes: the time of renewal is in them. So of two looks that
are `host_dead` apart and find the same bytes, the later proves that nobody renewed in between,
whatever anybody's clock says; garbage is judged by the same rule.

    free       the record says so
    live       it was seen to change, less than 4 I/O timeouts ago (a renewal is due each 2)
    fail       unchanged for longer than that: its host is losing the storage, or has died
    dead       unchanged for host_dead seconds: other hosts may have its leases
    unknown    watched for less than 4 I/O timeouts, without a change
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.lockspace_codec import HostLease, decode, sector_bytes_of
from ha_agent.broker.sanlock_place import MAX_HOST_ID
from ha_agent.instant import Instant

_FAIL_IO_TIMEOUTS = 4
_DEAD_IO_TIMEOUTS = 8


@dataclass(frozen=True)
class Judged:
    """One host id. `unchanged_seconds` is for how long we know its record to be as it is;
    `changed` whether that began with a change that we saw, so that it is the age of the renewal.
    """

    lease: HostLease
    state: str
    unchanged_seconds: float
    changed: bool
    dead_after_seconds: float

    @property
    def is_proven_unused(self) -> bool:
        """Whether nobody can hold it: the one thing that a repair may rely on."""
        return self.state in ("free", "dead")


@dataclass(frozen=True)
class _Seen:
    sector: bytes
    since: Instant
    changed: bool
    lease: HostLease


class LockspaceWatch:
    """What was seen of one lockspace so far."""

    def __init__(self, io_timeout_seconds: int, watchdog_seconds: float) -> None:
        """The times are the configured ones; a record that names a longer one has its own."""
        self._io_timeout_seconds = io_timeout_seconds
        self._watchdog_seconds = watchdog_seconds
        self._seen: dict[int, _Seen] = {}
        self._sector_bytes: Optional[int] = None

    def look(self, data: bytes, began_at: Instant) -> None:
        """Take notice of what was read; `began_at` was taken before the read was sent."""
        size = sector_bytes_of(data)
        if size != self._sector_bytes:
            self._seen.clear()
            self._sector_bytes = size
        for host_id in range(1, min(len(data) // size, MAX_HOST_ID[size]) + 1):
            sector = data[(host_id - 1) * size : host_id * size]
            before = self._seen.get(host_id)
            if before is not None and before.sector == sector:
                continue
            lease = decode(sector, host_id)
            self._seen[host_id] = _Seen(sector, began_at, before is not None, lease)

    @property
    def is_known(self) -> bool:
        """Whether it was looked at already."""
        return self._sector_bytes is not None

    @property
    def sector_bytes(self) -> int:
        """The lockspace's sector size, as far as it is known."""
        return self._sector_bytes or 512

    def judge(self, now: Instant) -> list[Judged]:
        """Judge all host ids that were looked at. `now`: when the last look began."""
        return [self._judge(seen, now) for _, seen in sorted(self._seen.items())]

    def _judge(self, seen: _Seen, now: Instant) -> Judged:
        lease, age_seconds = seen.lease, now - seen.since
        io_timeout_seconds = max(self._io_timeout_seconds, lease.io_timeout_seconds)
        dead_after_seconds = _DEAD_IO_TIMEOUTS * io_timeout_seconds + self._watchdog_seconds
        if lease.is_free:
            state = "free"
        elif age_seconds >= dead_after_seconds:
            state = "dead"
        elif age_seconds >= _FAIL_IO_TIMEOUTS * io_timeout_seconds:
            state = "fail"
        else:
            state = "live" if seen.changed else "unknown"
        return Judged(lease, state, age_seconds, seen.changed, dead_after_seconds)
