# SPDX-License-Identifier: Apache-2.0
"""Whether the holder of each host id lives, by our own clock. Pure: bytes and Instants in.

A lease that is renewed changes its bytes: the time of renewal is in them. So of two looks that
are `host_dead` apart and find the same bytes, the later proves that nobody renewed in between,
whatever anybody's clock says. Apart means from the first one's end to the later one's begin: a
read that hung may have seen any moment of it. Garbage is judged by the same rule, but its host's
I/O timeout is not known: it may be one with sanlock's default under VDSM, whatever is configured
here, so garbage takes at least that one's time.

    free       the record says so
    live       it was seen to change, less than 4 I/O timeouts ago (a renewal is due each 2)
    fail       unchanged for longer than that: its host is losing the storage, or has died
    dead       unchanged for host_dead seconds: other hosts may have its leases
    unknown    watched for less than 4 I/O timeouts, without a change
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.sanlock.lockspace_codec import HostLease, decode, sector_bytes_of
from ha_agent.broker.sanlock.place import MAX_HOST_ID
from ha_agent.broker.sanlock.times import IO_TIMEOUT_SECONDS
from ha_agent.instant import Instant

_FAIL_IO_TIMEOUTS = 4
_DEAD_IO_TIMEOUTS = 8
_USUAL_IO_TIMEOUT_SECONDS = IO_TIMEOUT_SECONDS["safe"]
"""Sanlock's own, and VDSM's: no profile has a longer one."""


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
        self._looked_at: Optional[Instant] = None

    def look(self, data: bytes, began_at: Instant, ended_at: Instant) -> None:
        """Take notice of what was read after `began_at` and before `ended_at`."""
        self._looked_at = began_at
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
            self._seen[host_id] = _Seen(sector, ended_at, before is not None, lease)

    @property
    def is_known(self) -> bool:
        """Whether it was looked at already."""
        return self._sector_bytes is not None

    @property
    def sector_bytes(self) -> int:
        """The lockspace's sector size, as far as it is known."""
        return self._sector_bytes or 512

    def judge(self) -> list[Judged]:
        """Judge all host ids that were looked at, as of the last look, which had them all."""
        looked_at = self._looked_at
        if looked_at is None:
            return []
        return [self._judge(seen, looked_at) for _, seen in sorted(self._seen.items())]

    def _judge(self, seen: _Seen, looked_at: Instant) -> Judged:
        lease, age_seconds = seen.lease, max(0.0, looked_at - seen.since)
        theirs = _USUAL_IO_TIMEOUT_SECONDS if lease.problem else lease.io_timeout_seconds
        io_timeout_seconds = max(self._io_timeout_seconds, theirs)
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
