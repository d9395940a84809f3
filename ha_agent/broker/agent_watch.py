# SPDX-License-Identifier: Apache-2.0
"""What becomes of the lease when this host's agent is silent.

The broker renews the lease for its agent, and goes on doing so while the agent is restarted:
the VM runs, nothing is wrong. But an agent that stays away can't restart a VM that ends, and
as long as the lease is renewed no other host will. So when the agent has been silent for a
while and no VM runs here, the lease is given up. This decides nothing about where the VM runs;
it only stops claiming that it is here.

When VDSM is silent, too, and the engine's page is not good, the lease is given up as well: if
the VM does run here after all, its VM lease still forbids a second start, and the agent, once
back, finds the VM running and takes the lease again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Callable, Optional, Protocol

from ha_agent.broker.lease_cycle import LeaseResult
from ha_agent.broker.snapshot import Snapshot
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.vdsm.vm_status import VmStats, VmStatus

log = logging.getLogger(__name__)

_LOOKS_PER_LIMIT = 10


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class AgentWatch:
    """Gives the lease up for an agent that is silent for `limit_seconds` without a VM."""

    def __init__(
        self,
        read: Callable[[], Snapshot],
        vm_stats: Callable[[], Awaitable[Optional[VmStats]]],
        release: Callable[[str], Awaitable[LeaseResult]],
        *,
        clock: Clock,
        limit_seconds: float,
    ) -> None:
        """`vm_stats` asks VDSM for the engine VM; None is "no such VM". EnvironmentFault."""
        self._read = read
        self._vm_stats = vm_stats
        self._release = release
        self._clock = clock
        self._limit_seconds = limit_seconds
        self._begun = clock.now()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep(self._limit_seconds / _LOOKS_PER_LIMIT)
            await self.look()

    async def look(self) -> bool:
        """Look once; returns whether the lease was given up."""
        snapshot = self._read()
        # A broker that was just started has not heard of its agent yet.
        heard_at = snapshot.agent.made_at or self._begun
        silent_seconds = self._clock.now() - max(heard_at, self._begun)
        if not snapshot.lease.ours or silent_seconds < self._limit_seconds:
            return False
        why = await self._why_not_here(snapshot)
        if not why:
            return False
        note = f"the agent has been silent for {silent_seconds:.0f} s and {why}"
        log.warning("lease given up: %s", note)
        try:
            return (await self._release(note)).ok
        except EnvironmentFault as fault:
            log.warning("lease not given up, tried again: %s", fault)
            return False

    async def _why_not_here(self, snapshot: Snapshot) -> str:
        try:
            vm = await self._vm_stats()
        except EnvironmentFault as fault:
            return "" if snapshot.health.health == "good" else f"VDSM does not answer: {fault}"
        if vm is None:
            return "VDSM has no engine VM"
        return "the engine VM is down" if vm.status is VmStatus.DOWN else ""
