# SPDX-License-Identifier: Apache-2.0
"""The times of an ownership lease that sanlock holds, and why they are safe. Pure.

sanlock renews one lease a host (its host id, a "delta lease"); whatever resources that host holds
live and die with it. All times follow from `io_timeout` (io) and from how long the watchdog takes
to fire (wd), as in sanlock's timeouts.h. Seconds after the last renewal (w) that reached storage:

                                                            safe   quick   fast
                                              io              10       5      2
                                              wd              60      30     10
    w + 2 io   the next renewal was due; its read shows
               the daemon, and so us, the one at w            20      10      4
    w + 4 io   a slow read of it would have ended by now      40      20      8
    w + 8 io   the daemon begins to end the processes that
               hold leases: our holder, and QEMU itself       80      40     16
    sight + 6 io  our own deadline: the guard ends the VM,
               also when broker, holder or daemon hang  80..100  40..50  16..20
    w + 8 io + wd  the watchdog has reset this host; other
               hosts' daemons give its leases away           140      70     26

`sight` is the last time that our broker looked at its daemon's memory and did not yet find the
renewal at w there, which is between w + 2 io - 1 and w + 4 io (sanlock/judge.py, OwnRenewals). So
the deadline is at w + 10 io at the latest, and FENCE_MARGIN_SECONDS more must fit before
w + 8 io + wd: that is what `faults` checks. In the usual case it falls on w + 8 io, together with
what sanlock itself does. Two renewals in a row may fail before it. A broker that is killed has
left, at worst, what is between the last sight and the deadline less a renewal's turn and a look:
about 4 io, 7 s for `fast`, to be back (sanlock/memory.py).

Others count from when they saw the renewal, never before w, by their own clocks; nobody's clock is
compared with another's. Ours is CLOCK_BOOTTIME: a host that was suspended finds its deadline
passed.

wd is 60 in every sanlock whose sanlock.conf does not say otherwise (and a constant before 4.0),
and must be the same on all hosts: profiles other than `safe` reach their short times only with
`watchdog_fire_timeout` there. Without it (60) everything stays safe, and a dead host costs
8 io + 60: 100 and 76 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

IO_TIMEOUT_SECONDS: Mapping[str, int] = {"safe": 10, "quick": 5, "fast": 2}
WATCHDOG_FIRE_SECONDS = 60
"""What sanlock has where its sanlock.conf does not say otherwise."""

FENCE_MARGIN_SECONDS = 3.0
"""Before others may have the lease: the guard's poll, the kill, two clocks that drift."""


@dataclass(frozen=True)
class SanlockTimes:
    """The times that follow from the daemon's I/O timeout and the watchdog's."""

    io_timeout_seconds: int = 10
    watchdog_fire_seconds: int = WATCHDOG_FIRE_SECONDS

    @property
    def renew_interval_seconds(self) -> int:
        """How often the daemon renews this host's lease on its id."""
        return 2 * self.io_timeout_seconds

    @property
    def host_dead_seconds(self) -> int:
        """When other hosts may have a dead host's leases, after its last renewal they saw."""
        return 8 * self.io_timeout_seconds + self.watchdog_fire_seconds

    @property
    def fence_after_seconds(self) -> float:
        """How long after `sight` of its own last renewal a host ends its VM."""
        return 6.0 * self.io_timeout_seconds

    def faults(self) -> list[str]:
        """Return what is wrong with these times, a sentence each; empty when they are safe."""
        latest_fence_seconds = 10 * self.io_timeout_seconds
        needed_seconds = 2 * self.io_timeout_seconds + FENCE_MARGIN_SECONDS
        if self.watchdog_fire_seconds >= needed_seconds:
            return []
        return [
            f"the owner may end its VM as late as {latest_fence_seconds} s after its last renewal,"
            f" which must be {FENCE_MARGIN_SECONDS:g} s before others may start it"
            f" ({self.host_dead_seconds} s): watchdog_fire_seconds must be at least"
            f" {needed_seconds:g}"
        ]
