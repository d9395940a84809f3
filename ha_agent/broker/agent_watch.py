# SPDX-License-Identifier: Apache-2.0
"""What becomes of the lease when this host's agent is silent.

The broker renews the lease for its agent, and goes on doing so while the agent is restarted:
the VM runs, nothing is wrong. But an agent that stays away can't restart a VM that ends, and
as long as the lease is renewed no other host will. So when the agent has been silent for a
while and no VM runs here, the lease is given up. This decides nothing about where the VM runs;
it only stops claiming that it is here.

When VDSM is silent, too, nobody can tell whether the VM runs here. If the engine's page has been
bad for the grace time and another host can take over, the lease is abandoned: it runs out with
its fence armed, which ends a VM that is here (lease/cycle.py, 6). A release would leave that
VM, and its VM lease in every other host's way. In global maintenance the VM is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Callable, Optional, Protocol

from ha_agent.broker.lease.cycle import LeaseResult
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


class Lease(Protocol):
    """What is needed of the LeaseKeeper."""

    async def release(self, note: str) -> LeaseResult:
        """Free it at once, disarmed."""
        ...

    async def abandon(self, why: str) -> LeaseResult:
        """Let it run out, its fence armed."""
        ...


class AgentWatch:
    """Gives the lease up for an agent that is silent for `limit_seconds` without a VM."""

    def __init__(
        self,
        read: Callable[[], Snapshot],
        vm_stats: Callable[[], Awaitable[Optional[VmStats]]],
        lease: Lease,
        *,
        clock: Clock,
        limit_seconds: float,
        grace_seconds: float,
        watch_engine: Callable[[], None],
        hypervisor_name: str = "VDSM",
    ) -> None:
        """`vm_stats` asks for the engine VM; None is "no such VM". Raises EnvironmentFault.

        The page counts as bad after `grace_seconds`; `watch_engine` has it watched, for no
        agent may have asked for that since the broker was started.
        """
        self._read = read
        self._vm_stats = vm_stats
        self._hypervisor_name = hypervisor_name
        self._lease = lease
        self._watch_engine = watch_engine
        self._grace_seconds = grace_seconds
        self._bad_since: Optional[Instant] = None
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
            self._bad_since = None
            return False
        give_up: Callable[[str], Awaitable[LeaseResult]] = self._lease.release
        try:
            vm = await self._vm_stats()
        except EnvironmentFault as fault:
            if not self._engine_given_up(snapshot):
                return False
            why, give_up = f"{self._hypervisor_name} does not answer: {fault}", self._lease.abandon
        else:
            self._bad_since = None
            if vm is not None and vm.status is not VmStatus.DOWN:
                return False
            absent = f"{self._hypervisor_name} has no engine VM"
            why = absent if vm is None else "the engine VM is down"
        note = f"the agent has been silent for {silent_seconds:.0f} s and {why}"
        log.warning("lease given up: %s", note)
        try:
            return (await give_up(note)).ok
        except EnvironmentFault as fault:
            log.warning("lease not given up, tried again: %s", fault)
            return False

    def _engine_given_up(self, snapshot: Snapshot) -> bool:
        """Whether the engine is bad for good as far as its page tells, and others may start it."""
        if snapshot.health.health == "unknown":
            self._watch_engine()
        now = self._clock.now()
        if snapshot.health.health != "bad":
            self._bad_since = None
            return False
        self._bad_since = self._bad_since or now
        others = any(
            host.alive and not host.problem and host.score > 0
            for host in snapshot.hosts
            if host.host_id != snapshot.host_id and not host.maintenance and not host.stopped
        )
        bad_for_long = now - self._bad_since >= self._grace_seconds
        return bad_for_long and others and snapshot.global_maintenance is False
