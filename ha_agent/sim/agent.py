# SPDX-License-Identifier: Apache-2.0
"""A simulated agent: the real Cycle, Performer and VdsmHypervisor, driven as ha_agent/agent.py
does. Only what brings answers to them is simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from ha_agent.cycle import Cycle
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.fsm.machine import Decision
from ha_agent.fsm.observation import VmCondition
from ha_agent.fsm.state import State
from ha_agent.perform import Performer
from ha_agent.sim.broker import BrokerCalls
from ha_agent.sim.loop import Process
from ha_agent.sim.vdsm import BRIDGE, SimVdsmCalls
from ha_agent.vdsm_port import VdsmHypervisor
from ha_agent.waiting import Signal

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

# As ha_agent/agent.py and the configuration's defaults have them.
_SNAPSHOT_WAIT_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_FACTS_INTERVAL_SECONDS = 15.0
_RESTLESS_POLL_SECONDS = 1.0
_VDSM_POLL_SECONDS = 10.0
_TICK_INTERVAL_SECONDS = 10.0
_SHORTEST_PAUSE_SECONDS = 0.001
_STOP_DEADLINE_SECONDS = 3.0
_TICKS_AT_ONCE = 50


class SimAgent:
    """One host's agent process. Make it within its process (`Process.run`)."""

    def __init__(self, host: SimHost, process: Process) -> None:
        self.host = host
        self.process = process
        spec = host.world.spec
        self._wake = Signal()
        self._better_host: Optional[int] = None
        self._look_again = Signal()
        self.vdsm = SimVdsmCalls(host, process, self._look_again.set)
        self._hypervisor = VdsmHypervisor(
            self.vdsm,  # type: ignore[arg-type]  # the five verbs that it calls
            host.world.vm_uuid,
            bridge=BRIDGE,
            shutdown_timeout_seconds=spec.policy.stop_timeout_seconds,
        )
        self._broker = BrokerCalls(host, spec.times.lease_expiry_seconds)
        self.cycle = Cycle(
            host.host_id,
            spec.policy,
            host.clock,
            self._broker,
            Performer(self._broker, self._hypervisor),
            wake=self._wake.set,
        )
        self.cycle.on_local_maintenance(host.local_maintenance)
        for work in (
            self._tick_until_stopped(),
            self._follow_broker(),
            self._follow_vm(),
            self._follow_facts(),
        ):
            process.spawn(work)

    def maintenance_changed(self) -> None:
        """The file of local maintenance was written."""
        self.cycle.on_local_maintenance(self.host.local_maintenance)

    def request_stop(self) -> None:
        """SIGTERM."""
        self.cycle.request_stop()

    async def _tick_until_stopped(self) -> None:
        loop = self.host.world.loop
        at_once, last_seconds = 0, -1.0
        while self.cycle.state is not State.AGENT_STOPPED:
            self._wake.clear()
            decision = self.cycle.tick()
            self.host.world.ticked(self.host, decision)
            self._tell(decision)
            self._tell_better_host(decision)
            at_once = at_once + 1 if loop.now == last_seconds else 0
            last_seconds = loop.now
            if at_once > _TICKS_AT_ONCE:
                self.host.world.violate("busy", f"{self.host.name} ticks without end")
                await loop.sleep(_TICK_INTERVAL_SECONDS)
            due_seconds = max(self.cycle.next_due_seconds, _SHORTEST_PAUSE_SECONDS)
            await self._wake.wait(min(_TICK_INTERVAL_SECONDS, due_seconds))
        await self.cycle.finish(_STOP_DEADLINE_SECONDS)
        self.host.agent_left()

    def _tell(self, decision: Decision) -> None:
        if decision.row is None:
            return
        effect = f" ({decision.effect.kind.value})" if decision.effect is not None else ""
        if decision.changed:
            arrow = f"{decision.previous.value} -> {decision.state.value}"
            self.host.say(f"{arrow}: {decision.row.why}{effect}")
        elif effect:
            self.host.say(f"{decision.state.value}: {decision.row.why}{effect}")

    def _tell_better_host(self, decision: Decision) -> None:
        better = decision.better_host
        if better != self._better_host:
            self._better_host = better
            points = decision.score.points
            self.host.say(
                f"no host is better by far any more ({points} points)"
                if better is None
                else f"h{better} would be better by far ({points} points): the engine may migrate"
            )

    async def _follow_broker(self) -> None:
        version = -1
        while True:
            try:
                snapshot = await self._broker.snapshot(version, _SNAPSHOT_WAIT_SECONDS)
            except (EnvironmentFault, BadInput):
                version = -1
                await self.host.world.loop.sleep(_RETRY_SECONDS)
                continue
            version = snapshot.version
            self.cycle.on_snapshot(snapshot)

    async def _follow_vm(self) -> None:
        while True:
            self._look_again.clear()
            asked_at = self.host.clock.now()
            vm = await self._hypervisor.look()
            self.cycle.on_vm(vm, asked_at)
            settled = vm.condition in (VmCondition.ABSENT, VmCondition.DOWN, VmCondition.UP)
            await self._look_again.wait(_VDSM_POLL_SECONDS if settled else _RESTLESS_POLL_SECONDS)

    async def _follow_facts(self) -> None:
        while True:
            try:
                self.cycle.on_facts(await self._hypervisor.facts())
                pause_seconds = _FACTS_INTERVAL_SECONDS
            except EnvironmentFault:
                pause_seconds = _RETRY_SECONDS
            await self.host.world.loop.sleep(pause_seconds)
