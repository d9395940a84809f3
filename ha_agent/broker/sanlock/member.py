# SPDX-License-Identifier: Apache-2.0
"""This host's membership of the lockspace: our host id, renewed by the daemon for as long as it is
a member. It outlives the broker, and ends with the daemon or by an administrator's hand."""

from __future__ import annotations

import dataclasses
import logging
from typing import Optional

from ha_agent.broker.lease.fence_deadline import Fence
from ha_agent.broker.lease.storage import Clock, HostIdHold
from ha_agent.broker.sanlock.port import Look, Sanlock
from ha_agent.broker.sanlock.times import WATCHDOG_FIRE_SECONDS, SanlockTimes
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.journal_messages import SANLOCK_GONE
from ha_agent.log import fields

log = logging.getLogger(__name__)

JOIN_SECONDS = 4.0
_AGAIN_SECONDS = 5.0


class Membership:
    """Joins the lockspace and knows whether we are of it; `hold` says so."""

    def __init__(self, sanlock: Sanlock, host_id: int, clock: Clock, fence: Fence) -> None:
        self._sanlock = sanlock
        self._fence = fence
        self._host_id = host_id
        self._clock = clock
        self._due: Optional[Instant] = None
        self.hold = HostIdHold(False, "the lockspace is not joined yet")
        self.problem = ""
        """Why joining can't even begin, "" when it can."""

    def saw(self, look: Look) -> None:
        """Take in what a look says."""
        if look.joined:
            if not self.hold.held:
                log.info("lockspace joined with host id %d", self._host_id)
            self.hold, self.problem = HostIdHold(True), ""
        elif self.hold.held:
            self.hold = HostIdHold(False, "the lockspace was left; our host id is not ours now")
            log.error("%s", self.hold.reason, extra=fields(SANLOCK_GONE))

    async def join(self) -> None:
        """Begin to join, unless that was tried a moment ago; the looks tell when it is done.

        The daemon takes some I/O timeouts for it; and if this host died with the id in use, until
        the id has expired. If another host uses the id it fails, and is tried again.

        Never while a fence deadline is in force: a new membership sets free what this host still
        holds by the old one, and the VM may not have ended yet.
        """
        now = self._clock.now()
        if self._due is not None and now < self._due:
            return
        self._due = now + _AGAIN_SECONDS
        try:
            if self._fence.armed() is not None:
                raise EnvironmentFault(
                    "sanlock has left the lockspace; it is joined again when the engine VM's"
                    " deadline is over here"
                )
            await self._sanlock.join(JOIN_SECONDS)
        except (BadInput, EnvironmentFault) as fault:
            if str(fault) != self.problem:
                told = fields(SANLOCK_GONE)
                log.error("the lockspace can't be joined: %s", fault, extra=told)
            self.problem = str(fault)
            self.hold = HostIdHold(False, self.problem)
        else:
            self.problem = ""
            self.hold = HostIdHold(
                False,
                f"host id {self._host_id} is being joined to the lockspace of sanlock; that takes"
                " longer, or fails, if another host uses it",
            )


class WatchdogCheck:
    """Whether the daemon counts with the watchdog's time that is configured; asked until it says.

    A daemon that does not tell is older than 4.0, where that time is 60 s and can't be set. One
    that differs is a problem to show; one with which our times are not safe, a refusal.
    """

    def __init__(self, sanlock: Sanlock, times: SanlockTimes) -> None:
        self._sanlock = sanlock
        self._times = times
        self._problem: Optional[str] = None
        self.refusal = ""
        """Why the lease must not be taken with this daemon, "" when it may."""

    async def problem(self) -> str:
        """Return what is wrong, "" for nothing; also while the daemon does not answer."""
        if self._problem is not None:
            return self._problem
        try:
            told = await self._sanlock.watchdog_fire_seconds(JOIN_SECONDS)
        except EnvironmentFault:
            return ""
        actual_seconds = WATCHDOG_FIRE_SECONDS if told is None else told
        wanted_seconds = self._times.watchdog_fire_seconds
        self._problem = ""
        if actual_seconds != wanted_seconds:
            self._problem = (
                f"[sanlock] watchdog_fire_seconds is {wanted_seconds}, but this host's daemon"
                f" counts with {actual_seconds} (watchdog_fire_timeout in sanlock.conf, the same"
                " on all hosts)"
            )
            actual = dataclasses.replace(self._times, watchdog_fire_seconds=actual_seconds)
            self.refusal = "; ".join(actual.faults())
        return self._problem
