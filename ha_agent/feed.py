# SPDX-License-Identifier: Apache-2.0
"""Brings the cycle its answers: the broker's picture, and looks at the VM.

Two coroutines that never end, for a task each. Every call in them has its port's deadline, and
what fails is asked again after a moment: the cycle itself judges how old an answer may be. Agent
and simulator run the same ones; they decide nothing.
"""

from __future__ import annotations

import collections
import logging

from ha_agent.cycle import Cycle
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.fsm.observation import VmCondition
from ha_agent.instant import Instant
from ha_agent.ports import Broker, Clock, Hypervisor
from ha_agent.waiting import Signal

log = logging.getLogger(__name__)

# The broker answers a waiting call at the latest after this; shorter than a picture's life.
_SNAPSHOT_WAIT_SECONDS = 2.0
# After an answer that failed: the broker or VDSM may be restarting.
_RETRY_SECONDS = 0.5
# While VDSM says that the VM is here but has not settled, events alone would do; VDSM sends
# none for some changes (facts/vdsm.md 1.4), so look more often.
_RESTLESS_POLL_SECONDS = 1.0
# However many events come, the VM is looked at no more often in any second: all of a VM's usual
# life is within this, so that each look comes at once, and a flood costs no more than that.
_LOOKS_A_SECOND = 10
_SETTLED = frozenset({VmCondition.ABSENT, VmCondition.DOWN, VmCondition.UP})


class Feed:
    """What the cycle hears. `look_again`, once set, brings the next look at the VM forward."""

    def __init__(
        self,
        cycle: Cycle,
        broker: Broker,
        hypervisor: Hypervisor,
        clock: Clock,
        *,
        look_again: Signal,
        poll_interval_seconds: float,
        hypervisor_name: str = "VDSM",
    ) -> None:
        self._cycle = cycle
        self._broker = broker
        self._hypervisor = hypervisor
        self._clock = clock
        self._look_again = look_again
        self._poll_interval_seconds = poll_interval_seconds
        self._hypervisor_name = hypervisor_name
        self._looks: collections.deque[Instant] = collections.deque(maxlen=_LOOKS_A_SECOND)

    async def follow_broker(self) -> None:
        """Bring each new picture, by a long poll."""
        version = -1
        silent = False
        while True:
            try:
                snapshot = await self._broker.snapshot(version, _SNAPSHOT_WAIT_SECONDS)
            except (EnvironmentFault, BadInput) as fault:
                if not silent:
                    log.warning("%s", fault)
                silent, version = True, -1
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            if silent:
                log.info("the broker answers again")
                silent = False
            version = snapshot.version
            self._cycle.on_snapshot(snapshot)

    async def follow_vm(self) -> None:
        """Look at the VM when asked to, and from time to time."""
        silent = False
        while True:
            await self._pause()
            self._look_again.clear()
            asked_at = self._clock.now()
            vm = await self._hypervisor.look()
            if (vm.condition is VmCondition.UNKNOWN) is not silent:
                silent = not silent
                answers = f"{self._hypervisor_name} answers: the VM is {vm.detail}"
                log.warning("%s", vm.detail if silent else answers)
            self._cycle.on_vm(vm, asked_at)
            settled = vm.condition in _SETTLED
            await self._look_again.wait(
                self._poll_interval_seconds if settled else _RESTLESS_POLL_SECONDS
            )

    async def _pause(self) -> None:
        """Wait while the last second has had all its looks; what asks for one is kept."""
        now = self._clock.now()
        if len(self._looks) == _LOOKS_A_SECOND and now - self._looks[0] < 1.0:
            await self._clock.sleep(1.0 - (now - self._looks[0]))
        self._looks.append(self._clock.now())
