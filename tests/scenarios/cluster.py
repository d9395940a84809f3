# SPDX-License-Identifier: Apache-2.0

"""A cluster in virtual time: the agent's own cycle and the broker's own lease keeper, over fake
storage and fake hypervisors. Scenarios read `seconds_of` and `log`. Deterministic: no threads, no
randomness, no real clock.

Checked in every story, all the time:
- never two VMs run;
- no start comes so far that only the VM lease refuses it (stories where it has to say so);
- no agent stops a healthy engine, but in local maintenance, when its lease has expired, or when
  its cable is out and that of another host, which could run it, is in.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any, Callable, Optional

from ha_agent.broker.lease.rules import LeaseTimes
from ha_agent.broker.snapshot import OrderEntry, Report
from ha_agent.fsm.observation import VmCondition, VmExit, VmView
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from tests.broker.lease_world import Disk, run_virtual
from tests.fakes import VmLease
from tests.scenarios.sim_host import SimHost

LEASE_EXPIRY_SECONDS = LeaseTimes().lease_expiry_seconds
FENCE_SECONDS = LeaseTimes().fence_after_seconds


def story(told: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make a test of a coroutine function: it is run in virtual time."""

    @functools.wraps(told)
    def test() -> None:
        run_virtual(told())

    return test


class Cluster:
    """Hosts 1 to n over one storage. `log` has a line for each change: seconds, host, state."""

    def __init__(
        self,
        hosts: int = 3,
        *,
        policy: Optional[Policy] = None,
        vm_lease_may_refuse: bool = False,
    ) -> None:
        self.policy = policy or Policy()
        self.vm_lease_may_refuse = vm_lease_may_refuse
        self.refusals = 0
        self.disk = Disk()
        self.vm_lease = VmLease()
        self.boot_seconds = 20.0
        self.definition = True
        self.identity, self.fallback = "d1", ""
        self.global_maintenance = False
        self.order: Optional[OrderEntry] = None
        self.other_vms: dict[int, int] = {}
        self.blocks: dict[int, tuple[Report, float]] = {}
        self.log: list[str] = []
        self.times: list[tuple[float, str]] = []
        self.hosts = {number: SimHost(self, number) for number in range(1, hosts + 1)}
        self.checker = asyncio.ensure_future(self._check())

    def __getitem__(self, host_id: int) -> SimHost:
        return self.hosts[host_id]

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def running(self) -> list[int]:
        """Return where the VM runs."""
        return [i for i, host in self.hosts.items() if host.hypervisor.running_since is not None]

    def state(self, host_id: int) -> State:
        return self.hosts[host_id].cycle.state

    def say(self, line: str) -> None:
        self.log.append(f"{self.now:8.2f} {line}")
        self.times.append((self.now, line))

    def seconds_of(self, line: str, *, after: float = 0.0) -> Optional[float]:
        """Return how long after `after` this line was first said."""
        for at, said in self.times:
            if at >= after and said == line:
                return at - after
        return None

    def log_since(self, seconds: float) -> list[str]:
        """Return what was said since then."""
        return [line for at, line in self.times if at >= seconds]

    async def until(self, state: State, host_id: int, *, seconds: float) -> float:
        """Wait for a host to come to a state; return the seconds that it took."""
        begun = self.now
        while self.state(host_id) is not state:
            assert self.now - begun < seconds, f"no {state.value} on {host_id}:\n{self.story()}"
            await asyncio.sleep(0.05)
            self._broken()
        return self.now - begun

    async def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            await asyncio.sleep(0.25)
            self._broken()

    async def up_on(self, host_id: int, state: State = State.ENGINE_UP) -> None:
        """Begin with the engine up on this host (or as far as `state`), all others down."""
        for other in self.hosts.values():
            other.maintenance(other.host_id != host_id)
        await self.until(state, host_id, seconds=60.0)
        for other in self.hosts.values():
            other.maintenance(False)
        await self.pass_time(5.0)

    def begin_migration(self, source: int, target: int) -> None:
        """The engine begins to move its VM; nobody asked the agents."""
        self[source].hypervisor.view = VmView(
            VmCondition.MIGRATING_AWAY, detail="Migration Source"
        )
        self[target].hypervisor.view = VmView(
            VmCondition.MIGRATING_HERE, detail="Migration Destination"
        )

    def end_migration(self, source: int, target: int) -> None:
        """The VM runs at the target now, with its VM lease."""
        leaves, enters = self[source].hypervisor, self[target].hypervisor
        since = leaves.running_since
        leaves.end(VmExit.MIGRATED)
        self.vm_lease.holder, enters.running_since = enters, since
        enters.view = VmView(VmCondition.UP, detail="Up")

    def fail_migration(self, source: int, target: int) -> None:
        """The VM stays at the source, if that lives; the target is left with a Down record."""
        if self[source].hypervisor.running_since is not None:
            self[source].hypervisor.view = VmView(VmCondition.UP, detail="Up")
        self[target].hypervisor.view = VmView(VmCondition.DOWN, VmExit.CRASHED, detail="Down")

    def story(self) -> str:
        return "\n".join(self.log)

    def _broken(self) -> None:
        """Raise what ended a host's task or the checker: none of them may end by itself."""
        for task in (self.checker, *(task for h in self.hosts.values() for task in h.tasks)):
            if task.done() and not task.cancelled():
                task.result()

    async def _check(self) -> None:
        while True:
            assert len(self.running) <= 1, f"two VMs, on {self.running}:\n{self.story()}"
            refused = self.refusals and not self.vm_lease_may_refuse
            assert not refused, f"only the VM lease forbade a second VM:\n{self.story()}"
            await asyncio.sleep(0.05)
