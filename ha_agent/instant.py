# SPDX-License-Identifier: Apache-2.0
"""Points in time, as types that can't be mixed.

`Instant` is this host's CLOCK_BOOTTIME, which goes on counting while the host is suspended:
a host that slept must not believe that its lease is fresh. `WallTime` is the calendar, for
people and for files. The predecessor compared one with the other, so its retry limit never
worked; here that is a TypeError. Durations are plain floats in seconds, in names that end
in `_seconds`.

Both are values: nothing here reads a clock (clock.py does). An Instant means something only
on the host and boot that it was read on; agent, broker and embedded VDSM of one host share it.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Union, overload


@dataclass(frozen=True, eq=False)
class Instant:
    """A point on this host's boot-time clock, in seconds since boot."""

    boottime_seconds: float

    # By hand, as a dataclass compares by way of two tuples, and every tick does so often.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Instant):
            return NotImplemented
        return self.boottime_seconds == other.boottime_seconds

    def __hash__(self) -> int:
        return hash(self.boottime_seconds)

    def __lt__(self, other: Instant) -> bool:
        if not isinstance(other, Instant):
            return NotImplemented
        return self.boottime_seconds < other.boottime_seconds

    def __le__(self, other: Instant) -> bool:
        if not isinstance(other, Instant):
            return NotImplemented
        return self.boottime_seconds <= other.boottime_seconds

    def __gt__(self, other: Instant) -> bool:
        if not isinstance(other, Instant):
            return NotImplemented
        return self.boottime_seconds > other.boottime_seconds

    def __ge__(self, other: Instant) -> bool:
        if not isinstance(other, Instant):
            return NotImplemented
        return self.boottime_seconds >= other.boottime_seconds

    def __add__(self, duration_seconds: float) -> Instant:
        return Instant(self.boottime_seconds + duration_seconds)

    @overload
    def __sub__(self, other: Instant) -> float: ...

    @overload
    def __sub__(self, other: float) -> Instant: ...

    def __sub__(self, other: Union[Instant, float]) -> Union[Instant, float]:
        if isinstance(other, Instant):
            return self.boottime_seconds - other.boottime_seconds
        if isinstance(other, (int, float)):
            return Instant(self.boottime_seconds - other)
        return NotImplemented


def reached(since: Instant, duration_seconds: float) -> Instant:
    """Return the first Instant `at` for which `at - since >= duration_seconds` holds.

    Not always `since + duration_seconds`: floats round, and who wakes at an instant that is a
    hair too early finds the condition false, and nothing wakes it again.
    """
    at = since.boottime_seconds + duration_seconds
    while at - since.boottime_seconds < duration_seconds:
        at = math.nextafter(at, math.inf)
    while True:
        earlier = math.nextafter(at, -math.inf)
        if earlier - since.boottime_seconds < duration_seconds:
            return Instant(at)
        at = earlier


@dataclass(frozen=True, order=True)
class WallTime:
    """A calendar time, in seconds since the Unix epoch."""

    unix_seconds: float

    def __add__(self, duration_seconds: float) -> WallTime:
        return WallTime(self.unix_seconds + duration_seconds)

    @overload
    def __sub__(self, other: WallTime) -> float: ...

    @overload
    def __sub__(self, other: float) -> WallTime: ...

    def __sub__(self, other: Union[WallTime, float]) -> Union[WallTime, float]:
        if isinstance(other, WallTime):
            return self.unix_seconds - other.unix_seconds
        if isinstance(other, (int, float)):
            return WallTime(self.unix_seconds - other)
        return NotImplemented

    def iso(self) -> str:
        """Return the time as ISO 8601 in UTC, to the second."""
        moment = datetime.datetime.fromtimestamp(self.unix_seconds, datetime.timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def local(self) -> str:
        """Return the time in the local zone, to the second, as people write it in a log."""
        return f"{self._local():%Y-%m-%d %H:%M:%S}"

    def ctime(self) -> str:
        """Return the time as C's ctime() does, in the local zone, as status blocks hold it."""
        return self._local().ctime()

    def _local(self) -> datetime.datetime:
        # Of the second it is in: a datetime made of a float is rounded, maybe to the next one.
        return datetime.datetime.fromtimestamp(math.floor(self.unix_seconds))  # noqa: DTZ006
