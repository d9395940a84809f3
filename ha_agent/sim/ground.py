# SPDX-License-Identifier: Apache-2.0
"""What is so in the simulated world, put together from what it tells. Used by the checkers.

It knows nothing of how hosts decide. `saw` takes an event in; the rest answers questions about
the state after it. Which trouble a host is in is read from the list of faults itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.broker.lease.rules import HELD, LeaseRecord
from ha_agent.sim import events as e
from ha_agent.sim.faults import ALL_HOSTS, KINDS, Fault
from ha_agent.sim.spec import Spec

MOMENT_SECONDS = 90.0
"""How long a fault that is over at once, such as a kill, may explain what is seen after it."""
_OVER_AT_ONCE = ("kill",)


@dataclass
class Vm:
    """A QEMU with the disk open.

    `adopted`: its host has held the ownership lease since it is there; from then on lease or
    fence must cover it. `excused`: why neither has to, once a listed cause took them away.
    """

    host_id: int
    cause: str
    since_seconds: float
    adopted: bool
    excused: str = ""


class Ground:
    """The truth so far."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.vms: dict[int, Vm] = {}
        self.ended: Optional[Vm] = None
        """The VM that a VmEnded was about."""
        self.record: Optional[LeaseRecord] = None
        self.fence_before: Optional[float] = None
        """What the last FenceSet replaced."""
        self.bad_until_seconds = 0.0
        self.good = False
        self._fences: dict[int, Optional[float]] = {}
        self._troubles = {host_id: self._faults_of(host_id) for host_id in range(spec.hosts + 1)}

    def saw(self, event: e.Event) -> None:
        """Take in what happened."""
        if isinstance(event, e.VmStarted):
            of_ours = event.cause == "agent"
            vm = Vm(event.host_id, event.cause, event.at_seconds, adopted=of_ours)
            self.vms[event.host_id] = vm
        elif isinstance(event, e.VmEnded):
            self.ended = self.vms.pop(event.host_id, None)
        elif isinstance(event, e.LeaseLanded):
            self.record = event.record
            owned = self.vms.get(self.owner())
            if owned is not None:
                owned.adopted, owned.excused = True, ""
        elif isinstance(event, e.FenceSet):
            self.fence_before = self._fences.get(event.host_id)
            self._fences[event.host_id] = event.fires_at_seconds
        elif isinstance(event, e.HealthChanged):
            if not self.good:
                self.bad_until_seconds = event.at_seconds
            self.good = event.good

    def owner(self) -> int:
        """Return whose the lease is by the storage's own bytes; 0: nobody's."""
        record = self.record
        return record.host_id if record is not None and record.state == HELD else 0

    def fence_at(self, host_id: int) -> Optional[float]:
        """Return the true time at which the guard there will act; None: not armed."""
        return self._fences.get(host_id)

    def trouble(
        self,
        host_id: int,
        is_one: Callable[[Fault], bool],
        at_seconds: float,
        after_seconds: float = 0.0,
    ) -> bool:
        """Return whether such a fault is there now on this host, on all or on the cluster, or
        ended within the last `after_seconds`."""
        return any(
            fault.at_seconds <= at_seconds <= end_of(fault) + after_seconds
            for fault in self._troubles[host_id]
            if is_one(fault)
        )

    def _faults_of(self, host_id: int) -> tuple[Fault, ...]:
        return tuple(f for f in self.spec.faults if f.host_id in (host_id, ALL_HOSTS))


def end_of(fault: Fault) -> float:
    """Return when a fault is over: never, for one that lasts until something ends it."""
    if fault.duration_seconds is not None:
        return fault.at_seconds + fault.duration_seconds
    if KINDS[fault.kind].lasts and fault.kind not in _OVER_AT_ONCE:
        return math.inf
    return fault.at_seconds + MOMENT_SECONDS
