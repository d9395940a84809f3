# SPDX-License-Identifier: Apache-2.0
"""One tick: observe, step, perform, publish.

The cycle holds the latest answers and turns them into ticks. It waits for nothing: answers
come in through `on_*`, effects and reports run as tasks of their own with deadlines, and each
of these wakes the next tick. The same object runs in the daemon and in the simulator.

    answers -> Inputs -> observe.observation -> Fsm.step -> Decision
                                                   |-> effect  -> Performer -> outcome (next tick)
                                                   `-> Report  -> broker
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent import observe
from ha_agent.agent_events import AgentEvents
from ha_agent.broker.snapshot import OtherEntry, PenaltyEntry, Report, Snapshot, WaitEntry
from ha_agent.errors import EnvironmentFault
from ha_agent.fsm.effect import Effect
from ha_agent.fsm.machine import Decision, Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import HostFacts, Observation, Outcome, VmCondition, VmView
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.fsm.takeover import turn_at
from ha_agent.fsm.waits import others, waits
from ha_agent.instant import Instant
from ha_agent.log import fields
from ha_agent.perform import Performer
from ha_agent.ports import Broker, Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CycleTimes:
    """How old an answer may be and still count, and how often to publish; seconds."""

    # A broker that restarts is back well within this; its lease entry carries its own
    # deadline, so an older picture can't make a lease look ours.
    snapshot_max_age_seconds: float = 6.0
    # A look at the VM counts until the next one is overdue by a call's deadline.
    vm_max_age_seconds: float = 20.0
    # How long VDSM may say nothing before the VM is unknown: longer than a restart of the
    # embedded VDSM, shorter than any timeout that matters.
    vdsm_grace_seconds: float = 3.0
    publish_interval_seconds: float = 5.0


class Cycle:
    """The agent's decisions over time. Not for several threads."""

    def __init__(
        self,
        host_id: int,
        policy: Policy,
        clock: Clock,
        broker: Broker,
        performer: Performer,
        *,
        times: Optional[CycleTimes] = None,
        wake: Callable[[], None] = lambda: None,
        on_decision: Optional[Callable[[Step], None]] = None,
    ) -> None:
        self._host_id = host_id
        self._policy = policy
        self._clock = clock
        self._broker = broker
        self._performer = performer
        self._times = times or CycleTimes()
        self._wake = wake
        self._on_decision = on_decision
        self._decision: Optional[Decision] = None
        self._events = AgentEvents(clock.now())
        self._fsm = Fsm()
        self._inputs = observe.Inputs()
        self._vm_at: Optional[Instant] = None
        self._vm_unknown_since: Optional[Instant] = None
        self._outcomes: list[Outcome] = []
        self._effect_task: Optional[asyncio.Task[None]] = None
        self._publish_task: Optional[asyncio.Task[None]] = None
        self._published: Optional[Report] = None
        self._published_at: Optional[Instant] = None
        self._unheard = False
        self._reason = State.START.meaning
        self.next_due_seconds = math.inf
        """Tick again after so long at the latest, whatever the interval; set by each tick."""
        self.state = State.START
        self.memory = Memory()

    # Answers -----------------------------------------------------------------------------

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Take the broker's picture; one made before the one at hand is left out."""
        known = self._inputs.snapshot
        if known is not None and snapshot.made_at < known.made_at:
            return
        self._inputs = dataclasses.replace(self._inputs, snapshot=snapshot)
        self._wake()

    def on_vm(self, vm: VmView) -> None:
        """Take a look at the VM. UNKNOWN counts only when it has lasted (see CycleTimes)."""
        now = self._clock.now()
        if vm.condition is VmCondition.UNKNOWN:
            self._vm_unknown_since = self._vm_unknown_since or now
        else:
            self._inputs = dataclasses.replace(self._inputs, vm=vm)
            self._vm_at = now
            self._vm_unknown_since = None
        self._wake()

    def on_facts(self, facts: HostFacts) -> None:
        """Take this host's measurements."""
        self._inputs = dataclasses.replace(self._inputs, facts=facts)

    def on_local_maintenance(self, enabled: bool) -> None:
        """Take the operator's wish from the local-maintenance file."""
        if enabled != self._inputs.local_maintenance:
            log.info("local maintenance is %s", "on" if enabled else "off")
            self._inputs = dataclasses.replace(self._inputs, local_maintenance=enabled)
            self._wake()

    def on_policy(self, policy: Policy) -> None:
        """Use a new policy from the next tick on."""
        self._policy = policy
        self._wake()

    def request_stop(self) -> None:
        """Go to AgentStopped at the next tick; the VM is left as it is."""
        self._inputs = dataclasses.replace(self._inputs, stop_requested=True)
        self._wake()

    # The tick ----------------------------------------------------------------------------

    def tick(self) -> Decision:
        """Decide once, start what was decided, and say so. Never waits.

        A bug in the code of an effect or report comes out here: the process ends, systemd starts
        it anew, and it takes up what it finds; a lost outcome would hold up all effects for ever.
        """
        for task in (self._effect_task, self._publish_task):
            if task is not None and task.done():
                task.result()
        now = self._clock.now()
        observation = observe.observation(now, self._host_id, self._fresh(now), self._outcomes)
        self._outcomes = []
        decision = self._fsm.step(self.state, self.memory, observation, self._policy)
        step = Step(self.state, self.memory, observation, self._policy, decision)
        self._told_decision(step)
        self._events.decided(step, self._clock.wall())
        self.state, self.memory = decision.state, decision.memory
        if decision.row is not None:
            self._tell(decision)
            if decision.effect is None:
                self._wake()  # the next row may fire at once; without change of picture none does
        if decision.effect is not None:
            self._effect_task = asyncio.ensure_future(self._perform(decision.effect))
        self.next_due_seconds = self._next_due_seconds(now, decision, observation)
        self._publish(now, decision, observation)
        return decision

    def _next_due_seconds(
        self, now: Instant, decision: Decision, observation: Observation
    ) -> float:
        """When time alone may change the decision next: our turn, or the end of a pause."""
        memory = decision.memory
        dues = [
            turn_at(observation, decision.score.points, self._policy),
            memory.not_before,
            memory.last_at and memory.last_at + self._policy.retry_pause_seconds,
        ]
        return min((due - now for due in dues if due is not None and due > now), default=math.inf)

    async def finish(self, deadline_seconds: float) -> None:
        """Let a report under way end (so that peers see AgentStopped), and drop the rest."""
        tasks = [t for t in (self._publish_task, self._effect_task) if t is not None]
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=deadline_seconds)
            for task in late:
                task.cancel()

    def _fresh(self, now: Instant) -> observe.Inputs:
        inputs = self._inputs
        snapshot = inputs.snapshot
        if snapshot is not None and (
            now - snapshot.made_at > self._times.snapshot_max_age_seconds
        ):
            inputs = dataclasses.replace(inputs, snapshot=None)
        if self._vm_too_old(now):
            inputs = dataclasses.replace(inputs, vm=None)
        return inputs

    def _vm_too_old(self, now: Instant) -> bool:
        silent_since = self._vm_unknown_since
        if silent_since is not None and now - silent_since > self._times.vdsm_grace_seconds:
            return True
        return self._vm_at is None or now - self._vm_at > self._times.vm_max_age_seconds

    def _told_decision(self, step: Step) -> None:
        last, self._decision = self._decision, step.decision
        if self._on_decision is not None and _differs(last, step.decision):
            self._on_decision(step)

    def _tell(self, decision: Decision) -> None:
        assert decision.row is not None
        self._reason = decision.row.why
        extra = fields(
            state=decision.state.value,
            previous_state=decision.previous.value,
            reason=decision.row.why,
            host_id=self._host_id,
            score=decision.score.points,
        )
        effect = f" ({decision.effect.kind.value})" if decision.effect else ""
        if decision.changed:
            arrow = f"{decision.previous.value} -> {decision.state.value}"
            log.info("%s: %s%s", arrow, decision.row.why, effect, extra=extra)
        elif decision.effect is not None:
            log.info("%s: %s%s", decision.state.value, decision.row.why, effect, extra=extra)

    async def _perform(self, effect: Effect) -> None:
        performed = await self._performer.perform(effect)
        self._events.ended(effect, performed.outcome, self._clock.wall())
        if performed.snapshot is not None:
            self.on_snapshot(performed.snapshot)
        if performed.vm is not None:
            if performed.vm.condition is VmCondition.UNKNOWN:
                # What was seen before the effect is no longer true, whatever the grace.
                self._inputs = dataclasses.replace(self._inputs, vm=None)
            self.on_vm(performed.vm)
        self._outcomes.append(performed.outcome)
        self._wake()

    # Publishing --------------------------------------------------------------------------

    def _publish(self, now: Instant, decision: Decision, observation: Observation) -> None:
        report = self._report(decision, observation)
        due = self._published_at is None or (
            now - self._published_at >= self._times.publish_interval_seconds
        )
        events = self._events.waiting
        if report == self._published and not due and not events:
            return
        if self._publish_task is not None and not self._publish_task.done():
            return  # the report under way ends within its deadline; the next tick catches up
        self._published, self._published_at = report, now
        report = dataclasses.replace(report, made_at=now, events=events)
        self._publish_task = asyncio.ensure_future(self._send(report))

    def _report(self, decision: Decision, observation: Observation) -> Report:
        health = observation.health.of_vm_since(decision.memory.running_since)
        vm_here = observation.vm.condition not in (
            VmCondition.ABSENT,
            VmCondition.DOWN,
            VmCondition.MIGRATING_HERE,
        )
        return Report(
            state=decision.state.value,
            state_meaning=decision.state.meaning,
            state_since=decision.memory.state_since,
            reason=self._reason,
            score=decision.score.points,
            penalties=tuple(
                PenaltyEntry(p.name, p.points, p.cause) for p in decision.score.penalties
            ),
            engine_status=observe.engine_status(observation.vm, health.health, health.detail),
            local_maintenance=observation.local_maintenance,
            stopped=decision.state is State.AGENT_STOPPED,
            watch_engine=vm_here,
            waits=tuple(
                WaitEntry(wait.what, wait.until)
                for wait in waits(
                    decision.state,
                    decision.memory,
                    observation,
                    self._policy,
                    decision.score.points,
                )
            ),
            others=tuple(OtherEntry(o.host_id, o.able, o.why) for o in others(observation)),
        )

    async def _send(self, report: Report) -> None:
        try:
            await self._broker.publish(report)
        except EnvironmentFault as fault:
            if not self._unheard:
                log.warning("the broker did not take the report: %s", fault)
            self._unheard, self._published = True, None
        else:
            self._unheard = False
            self._events.taken(report.events)


def _differs(last: Optional[Decision], decision: Decision) -> bool:
    """Return whether a step is worth telling: an edge, another score, another better host."""
    if last is None or decision.row is not None:
        return True
    return _worth(last) != _worth(decision)


def _worth(decision: Decision) -> tuple[object, ...]:
    points = tuple((p.name, p.points) for p in decision.score.penalties)
    return decision.score.points, points, decision.better_host
