# SPDX-License-Identifier: Apache-2.0
"""The fence of a simulated host: the deadline in memory in place of a file, and its guard.

The guard is a process of its own, as broker/lease/fence.py is: it ends the VM at the deadline
whatever became of agent, broker and VDSM. Between arming and the deadline it would find
nothing to do, so it looks at the deadline and not four times a second. From then on it looks each
0.25 s, and retires the deadline when the VM has stayed away for SETTLE_SECONDS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from ha_agent.broker.lease.fence import SETTLE_SECONDS
from ha_agent.broker.lease.fence_deadline import FenceDeadline
from ha_agent.broker.lease.rules import GUARD_POLL_SECONDS
from ha_agent.instant import Instant
from ha_agent.sim.loop import Process, SimHandle
from ha_agent.vdsm.vm_status import ExitReason

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

# What a clock's rate makes of a number may be a little less than the number.
_ROUNDING_SECONDS = 1e-6


class SimFence:
    """fence_deadline.Fence of one host: `GuardFence` with the file in memory."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    def arm(self, fence_at: Instant, epoch: int, *, final: bool = False) -> None:
        host = self._host
        host.fence = FenceDeadline(host.world.vm_uuid, host.instance, fence_at, epoch, final)
        host.world.fence_set(host)
        if host.guard is None or not host.guard.process.alive:
            host.start_guard()
        else:
            host.guard.follow()

    def disarm(self) -> None:
        self._host.fence = None
        self._host.world.fence_set(self._host)
        if self._host.guard is not None:
            self._host.guard.follow()

    def armed(self) -> Optional[FenceDeadline]:
        return self._host.fence


class SimGuard:
    """The guard process."""

    def __init__(self, host: SimHost, process: Process) -> None:
        self.process = process
        self._host = host
        self._timer: Optional[SimHandle] = None
        self._last_alive: Optional[Instant] = None
        self._watched: Optional[FenceDeadline] = None
        self.follow()

    def follow(self) -> None:
        """The deadline was changed: look when it is there."""
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._host.fence
        if deadline is not None:
            left_seconds = deadline.fence_at - self._host.clock.now()
            self._timer = self.process.call_later(left_seconds, self._look)

    def _look(self) -> None:
        host, deadline = self._host, self._host.fence
        if deadline is None:
            return
        now = host.clock.now()
        if deadline is not self._watched:
            self._watched, self._last_alive = deadline, None
        if now < deadline.fence_at - _ROUNDING_SECONDS:
            return self.follow()
        victims = host.vms
        if victims or self._last_alive is None:
            self._last_alive = now
        if victims:
            host.world.fenced(host, deadline)
        for vm in victims:
            vm.end("fenced: the lease was not renewed", ExitReason.LOST_QEMU_CONNECTION)
        if now - self._last_alive >= SETTLE_SECONDS:
            host.fence = None
            host.world.fence_set(host)
        else:
            self._timer = self.process.call_later(GUARD_POLL_SECONDS, self._look)
        return None
