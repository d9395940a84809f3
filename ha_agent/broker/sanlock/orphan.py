# SPDX-License-Identifier: Apache-2.0
"""Frees a record of the ownership lease that names this host though nothing here has the lease.

sanlock's daemon forgets a lease whose release could not be written, for an I/O error other than a
timeout (resource.c, _release_token; a timeout it tries again by itself). The record then says
"held" for as long as this host lives, and no host can take the lease: not even this one, which
has no business to. Such an orphan is freed by taking the lease once more and releasing it:

    0 s   a look shows: the record is held by our host id, in its present generation; our holder
          has nothing; no deadline is armed; our own renewals are seen
    10 s  so did every look since then, at the same epoch: this is logged, and a process of its own
          (clear.py) takes it and releases it
    +30 s the next try, if that failed

Why that can't make an owner, or two:
- The process that takes it is not the holder. The keeper, this one or the next broker's, adopts
  only what the holder has; so it is never ours, whoever ends or hangs in between.
- The daemon refuses while any process of this host has the lease, is getting it or is giving it
  up; and while the epoch is not the one that was seen. Another host can't have it: the record
  names this one, which lives.
- It does not take it while the engine VM runs here: then the record keeps others from a start.
- When that process ends, at the latest after its own deadline, its lease is released.
An acquire that the agent asks for meanwhile waits, and is refused: for it the lease is held.
"""

from __future__ import annotations

import logging
from typing import Optional

from ha_agent.broker.lease.fence_deadline import Fence
from ha_agent.broker.lease.storage import Clock
from ha_agent.broker.sanlock.port import Look, Sanlock
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 10.0
_LOOKS = 5
_AGAIN_SECONDS = 30.0
CLEAR_SECONDS = 12.0
"""Above clear.LIMIT_SECONDS: a worker that waits for that process is not given up."""


class OrphanWatch:
    """Follows the looks of a host that does not own the lease; `problem` says what is wrong."""

    def __init__(self, sanlock: Sanlock, host_id: int, clock: Clock, fence: Fence) -> None:
        self._sanlock = sanlock
        self._host_id = host_id
        self._clock = clock
        self._fence = fence
        self._epoch: Optional[int] = None
        self._looks = 0
        self._since: Optional[Instant] = None
        self._due: Optional[Instant] = None
        self.problem = ""

    async def saw(self, look: Look, *, is_renewed: bool) -> None:
        """Take in a look that read storage, and do what is due; may take CLEAR_SECONDS.

        `is_renewed`: the daemon's renewals of our host id are seen in time.
        """
        epoch = self._orphan_epoch(look) if is_renewed else None
        if epoch is None or epoch != self._epoch:
            self._epoch, self._looks, self._since, self._due = epoch, 0, None, None
            self.problem = ""
        if epoch is None:
            return
        now = self._clock.now()
        self._since = self._since or now
        self._looks += 1
        if self._looks < _LOOKS or now - self._since < ORPHAN_SECONDS or self._is_armed():
            return
        if self._due is None:
            log.warning(
                "the record of the lease (epoch %d) names this host, but no process here has the"
                " lease: a release did not reach storage; it is freed by another release",
                epoch,
            )
        if self._due is None or now >= self._due:
            await self._clear(epoch)

    def _orphan_epoch(self, look: Look) -> Optional[int]:
        leader, own = look.leader, look.hosts.get(self._host_id)
        if not look.joined or look.held is not None or leader is None or own is None:
            return None
        is_ours = leader.host_id == self._host_id and leader.generation == own.generation
        return leader.epoch if leader.held and is_ours else None

    def _is_armed(self) -> bool:
        try:
            return self._fence.armed() is not None
        except EnvironmentFault:
            return True

    async def _clear(self, epoch: int) -> None:
        try:
            refused = await self._sanlock.clear(epoch, CLEAR_SECONDS)
        except EnvironmentFault as fault:
            refused = str(fault)
        self._due = self._clock.now() + _AGAIN_SECONDS
        if not refused:
            log.warning("the record of the lease (epoch %d) was freed", epoch)
            return
        problem = (
            f"the record of the lease (epoch {epoch}) names this host, no process here has the"
            f" lease, and it can't be freed: {refused}; it is tried again. If that does not help,"
            " end the VMs with leases on this host and restart sanlock here"
        )
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem
