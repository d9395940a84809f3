# SPDX-License-Identifier: Apache-2.0
"""A simulated agent: the real Cycle, Performer and VdsmHypervisor, driven as ha_agent/agent.py
does. Only what brings answers to them is simulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from ha_agent.cycle import Cycle
from ha_agent.feed import Feed
from ha_agent.fsm.machine import Decision
from ha_agent.fsm.state import State
from ha_agent.perform import Performer
from ha_agent.sim.broker import BrokerCalls
from ha_agent.sim.loop import Process
from ha_agent.sim.vdsm import SimVdsmCalls
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm_port import VdsmHypervisor
from ha_agent.waiting import Signal

if TYPE_CHECKING:
    from ha_agent.sim.host import SimHost

# As ha_agent/agent.py and the configuration's defaults have them.
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
        self._look_again = look_again = Signal()
        self.vdsm = SimVdsmCalls(host, process, look_again.set, self._hear)
        self._hypervisor = hypervisor = VdsmHypervisor(
            self.vdsm,  # type: ignore[arg-type]  # the four verbs that it calls
            host.world.vm_uuid,
            shutdown_timeout_seconds=spec.policy.stop_timeout_seconds,
        )
        broker = BrokerCalls(host, spec.times.lease_expiry_seconds)
        self.cycle = Cycle(
            host.host_id,
            spec.policy,
            host.clock,
            broker,
            Performer(broker, hypervisor),
            wake=self._wake.set,
        )
        self.cycle.on_local_maintenance(host.local_maintenance)
        feed = Feed(
            self.cycle,
            broker,
            hypervisor,
            host.clock,
            look_again=look_again,
            poll_interval_seconds=_VDSM_POLL_SECONDS,
        )
        for work in (
            self._tick_until_stopped(),
            feed.follow_broker(),
            feed.follow_vm(),
        ):
            process.spawn(work)

    def _hear(self, events: Sequence[Event]) -> None:
        """As hypervisor.py does with each event of VDSM."""
        for event in events:
            if self._hypervisor.hears(event):
                self._look_again.set()

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
