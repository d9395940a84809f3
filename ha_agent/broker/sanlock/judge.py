# SPDX-License-Identifier: Apache-2.0
"""What the looks at sanlock say of the ownership lease, and of our own renewals. Pure.

Whether an owner is dead is the daemon's judgement, and at an acquire the daemon's alone: what is
said here only tells the agent when to try, and people what to expect.

    storage says                 the daemon says of the owner       the lease is
    free (released)              -                                  free
    held by host H, generation G LIVE, FAIL or UNKNOWN, same G      held
                                 DEAD                               expired
                                 FREE, or not listed: it left       expired
                                 a later generation: it came anew   expired
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.broker.sanlock.place import Leader
from ha_agent.broker.sanlock.port import HostSight, Look
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.instant import Instant

LOOK_SECONDS = 1.0
QUICK_SECONDS = 0.2
"""Between two looks when the lease is about to expire, or was lost a moment ago."""


@dataclass(frozen=True)
class SanlockJudgement:
    """The lease as far as looks have shown: unknown, free, held or expired.

    `since` is when this was first seen so, `expires_at` when a held one is expected to expire if
    its owner renews no more; `flag` is what the daemon says of the owner.
    """

    state: str
    leader: Optional[Leader] = None
    since: Optional[Instant] = None
    expires_at: Optional[Instant] = None
    flag: str = ""

    def refusal(self, expected_epoch: int) -> str:
        """Say why the lease can't be taken with this epoch in mind, "" when it can be tried."""
        if self.leader is None or self.state not in ("free", "expired"):
            return f"lease is {self.state}, not free or expired"
        if self.leader.epoch != expected_epoch:
            return f"epoch is {self.leader.epoch}, not {expected_epoch}"
        return ""

    def pause_seconds(self, now: Instant, free_look_seconds: float) -> float:
        """Return how long to wait before the next look at a lease that is not ours."""
        if self.state == "free":
            # As in lease/cycle.py: the next in rank must see that the one before it took it.
            return free_look_seconds
        # The daemon counts whole seconds from a moment up to a look before ours.
        soon = self.expires_at is not None and self.expires_at - now < 2 * LOOK_SECONDS
        return QUICK_SECONDS if soon else LOOK_SECONDS


class OwnerWatch:
    """Follows the owner by looks that have read storage."""

    def __init__(self, times: SanlockTimes) -> None:
        self._times = times
        self._changed: dict[int, tuple[int, int, Instant]] = {}
        self._judged = SanlockJudgement("unknown")

    def saw(self, look: Look, received: Instant) -> None:
        """Take in a look; `received` is an Instant from after its answer was in.

        One that did not read keeps what storage said last, and hears of its owner anew.
        """
        for sight in look.hosts.values():
            known = self._changed.get(sight.host_id)
            if known is None or known[:2] != (sight.generation, sight.timestamp):
                self._changed[sight.host_id] = (sight.generation, sight.timestamp, received)
        leader = look.leader or self._judged.leader
        if leader is None or not look.hosts:
            return
        judged = self._judge(leader, look.hosts.get(leader.host_id))
        old = self._judged
        same = old.state == judged.state and old.leader == leader
        self._judged = SanlockJudgement(
            state=judged.state,
            leader=leader,
            since=old.since if same else received,
            expires_at=judged.expires_at,
            flag=judged.flag,
        )

    def forget(self) -> None:
        """Storage does not hold what we can read, or we are not of the lockspace any more."""
        self._changed.clear()
        self._judged = SanlockJudgement("unknown")

    def judge(self) -> SanlockJudgement:
        """Say what the looks so far allow to be said."""
        return self._judged

    def _judge(self, leader: Leader, owner: Optional[HostSight]) -> SanlockJudgement:
        if not leader.held:
            return SanlockJudgement("free")
        if owner is None or owner.flag == "FREE" or owner.generation > leader.generation:
            return SanlockJudgement("expired", flag="FREE")
        if owner.flag == "DEAD":
            return SanlockJudgement("expired", flag="DEAD")
        changed_at = self._changed[owner.host_id][2]
        io_timeout_seconds = owner.io_timeout_seconds or self._times.io_timeout_seconds
        dead_seconds = SanlockTimes(
            io_timeout_seconds, self._times.watchdog_fire_seconds
        ).host_dead_seconds
        return SanlockJudgement("held", expires_at=changed_at + dead_seconds, flag=owner.flag)


@dataclass(frozen=True)
class Distance:
    """From the daemon's clock, as a renewal's timestamp shows it, to the sight of that renewal by
    ours: an Instant that a timestamp is added to. For one generation of our host id."""

    generation: int
    distance: Instant


class OwnRenewals:
    """When our own daemon last renewed our host id, as its memory shows it: `sight`.

    The daemon tells of a renewal by its timestamp T, whole seconds of its own clock, when it reads
    it back at the next renewal. If look p showed an older one and the next look shows T, then T
    was on storage, and read back, after p was sent: counting from p.sent is late by no more than
    the read-back took (2 to 4 io timeouts). A read-back that took longer must not count from when
    it came: T itself tells how far it is from the renewals before it, so `sight` follows T by the
    smallest distance that was seen while we own the lease.

    A broker that starts anew has no time to wait for a renewal: the deadline of the one before may
    be near. With the distance that was in force, on this boot and for this generation, the first T
    that it sees has a sight at once, the same that the one before would have given it.
    """

    def __init__(
        self,
        known: Optional[Distance] = None,
        keep: Callable[[Distance], None] = lambda _distance: None,
    ) -> None:
        """`known`: what `keep` was given last on this boot; it is called when that changes."""
        self._known, self._keep = known, keep
        self._generation = 0
        self._timestamp: Optional[int] = None
        self._looked_at: Optional[Instant] = None
        self._distance: Optional[Instant] = None
        self.sight: Optional[Instant] = None

    def saw(self, own: Optional[HostSight], sent: Instant, owned: bool) -> None:
        """Take in what a look sent at `sent` showed of this host; `owned`: we have the lease."""
        if own is None:
            self._timestamp = self.sight = None
        elif own.generation != self._generation or self._timestamp is None:
            self._generation, self._timestamp, self.sight = own.generation, own.timestamp, None
            if self._known is not None and self._known.generation == own.generation:
                self._distance = self._known.distance
                self.sight = self._distance + float(own.timestamp)
        elif own.timestamp != self._timestamp and self._looked_at is not None:
            distance = self._looked_at - float(own.timestamp)
            if self._distance is None or self.sight is None or not owned:
                self._distance = distance
            self._distance = min(self._distance, distance)
            self._timestamp = own.timestamp
            self.sight = self._distance + float(own.timestamp)
            new = Distance(own.generation, self._distance)
            if new != self._known:
                self._known = new
                self._keep(new)
        self._looked_at = sent
