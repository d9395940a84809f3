# SPDX-License-Identifier: Apache-2.0
"""One tick: observe, step, perform, publish.

The cycle holds the latest answers and turns them into ticks. It waits for nothing: answers
come in through `on_*`, effects and reports run as tasks of their own with deadlines, and each
that says something new wakes the next tick. The same object runs in the daemon and in the
simulator.

A tick steps the state machine only when there is something to decide: the picture has changed
in what the machine looks at (a newer time alone is no change), an answer has become too old,
or the machine's own due has come (fsm/due.py). Any other tick gives the last decision again.

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

from ha_agent import agent_journal, observe
from ha_agent.agent_events import AgentEvents
from ha_agent.broker.snapshot import OtherEntry, PenaltyEntry, Report, Snapshot, WaitEntry
from ha_agent.fsm.context import Context
from ha_agent.fsm.cut_off import hand_over_at
from ha_agent.fsm.due import changed, next_due
from ha_agent.fsm.effect import Effect
from ha_agent.fsm.elsewhere import page_wanted
from ha_agent.fsm.machine import Decision, Fsm, Step
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, Observation, Outcome, VmCondition, VmView
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.second_vm import second_vms
from ha_agent.fsm.state import State
from ha_agent.fsm.waits import others, waits
from ha_agent.instant import Instant
from ha_agent.journal_messages import MAINTENANCE
from ha_agent.log import fields
from ha_agent.perform import Performer
from ha_agent.ports import Broker, Clock
from ha_agent.publisher import Publisher
from ha_agent.values import replaced

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
        hypervisor_name: str = "VDSM",
        wake: Callable[[], None] = lambda: None,
        on_decision: Optional[Callable[[Step], None]] = None,
    ) -> None:
        self._host_id = host_id
        self._policy = policy
        self._clock = clock
        self._performer = performer
        self._times = times or CycleTimes()
        self._hypervisor_name = hypervisor_name
        self._wake = wake
        self._on_decision = on_decision
        self._decision: Optional[Decision] = None  # of the last step, as a tick without one
        self._seen: Optional[Observation] = None  # what that step saw
        self._touched = True  # an answer has come that no tick has looked at
        self._again = True  # the next tick has to step, whatever it sees
        self._step_due: Optional[Instant] = None
        self._age_due: Optional[Instant] = None
        self._promised: Optional[Instant] = None
        self._events = AgentEvents(clock.now(), self._said)
        self._fsm = Fsm()
        self._inputs = observe.Inputs()
        self._vm_at: Optional[Instant] = None
        self._vm_unknown_since: Optional[Instant] = None
        self._acted_at: Optional[Instant] = None
        self._outcomes: list[Outcome] = []
        self._effect_task: Optional[asyncio.Task[None]] = None
        self._publisher = Publisher(
            broker,
            self._events,
            interval_seconds=self._times.publish_interval_seconds,
            wake=wake,
        )
        self._reason = self._said(State.START.meaning)
        self.next_due_seconds = 0.0
        """Tick again after so long at the latest, if nothing wakes it before; set by each tick."""
        self.waiting_for: tuple[str, ...] = ()
        """What holds things up, as of the last step, each the end of "It is waiting for"."""
        self.state = State.START
        # Nobody knows what the agent before this one asked VDSM for when it ended.
        self.memory = Memory(start_open_since=clock.now())

    # Answers -----------------------------------------------------------------------------

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Take the broker's picture; one made before the one at hand is left out."""
        known = self._inputs.snapshot
        if known is not None and snapshot.made_at < known.made_at:
            return
        hosts = observe.hosts_view(self._host_id, snapshot.hosts, self._inputs.hosts)
        self._inputs = replaced(self._inputs, snapshot=snapshot, hosts=hosts)
        agent_journal.heard(snapshot)
        self._heard()

    def on_vm(self, vm: VmView, asked_at: Optional[Instant] = None) -> None:
        """Take a look at the VM. UNKNOWN counts only when it has lasted (see CycleTimes).

        One that was asked for before the last effect began, which has ended with a look of its
        own, is left out: VDSM may answer late, with what that effect has changed since.
        """
        now = self._clock.now()
        if asked_at is not None and self._acted_at is not None and asked_at < self._acted_at:
            return
        if vm.condition is VmCondition.UNKNOWN:
            self._vm_unknown_since = self._vm_unknown_since or now
        else:
            self._inputs = replaced(self._inputs, vm=vm, vm_asked_at=asked_at)
            self._vm_at = now
            self._vm_unknown_since = None
        self._heard()

    def on_local_maintenance(self, enabled: bool) -> None:
        """Take the operator's wish from the local-maintenance file."""
        if enabled != self._inputs.local_maintenance:
            text = f"local maintenance is {'on' if enabled else 'off'}"
            log.info("%s", text, extra=fields(MAINTENANCE))
            self._inputs = dataclasses.replace(self._inputs, local_maintenance=enabled)
            self._heard()

    def on_policy(self, policy: Policy) -> None:
        """Use a new policy from the next tick on."""
        self._policy = policy
        self._again = True
        self._wake()

    def request_stop(self) -> None:
        """Go to AgentStopped at the next tick; the VM is left as it is."""
        self._inputs = dataclasses.replace(self._inputs, stop_requested=True)
        self._heard()

    def _heard(self) -> None:
        """Wake the tick if what has come is news, or makes it due earlier than it said."""
        self._touched = True
        if self._again or self._is_news(self._look(self._clock.now())):
            self._wake()
            return
        self._touched = False
        promised = self._promised
        if self._age_due is not None and (promised is None or self._age_due < promised):
            self._wake()

    def _is_news(self, observation: Observation) -> bool:
        if self._seen is None:
            return True
        return changed(self.memory, self._seen, observation, self._policy)

    # The tick ----------------------------------------------------------------------------

    def tick(self) -> Decision:
        """Decide once, start what was decided, and say so. Never waits.

        A bug in the code of an effect or report comes out here: the process ends, systemd starts
        it anew, and it takes up what it finds; a lost outcome would hold up all effects for ever.
        """
        for task in (self._effect_task, self._publisher.task):
            if task is not None and task.done():
                task.result()
        now = self._clock.now()
        decision = self._step(now) or self._decision
        assert decision is not None, "the first tick steps"
        self._publisher.tick(now)
        self.next_due_seconds = self._next_due_seconds(now)
        return decision

    def _step(self, now: Instant) -> Optional[Decision]:
        """Step the state machine if there is anything to decide; None if not."""
        due = self._again or _come(self._step_due, now)
        if not due and not self._touched and not _come(self._age_due, now):
            return None
        observation = self._look(now)
        self._touched = False
        if not due and not self._is_news(observation):
            return None
        self._outcomes = []
        decision = self._fsm.step(self.state, self.memory, observation, self._policy)
        step = Step(self.state, self.memory, observation, self._policy, decision)
        self._told_decision(step)
        self._events.decided(step, self._clock.wall())
        self.state, self.memory = decision.state, decision.memory
        self._seen = observation
        # The next row may fire at once, and an outcome is there for one step only.
        self._again = decision.row is not None or decision.memory.settled is not None
        self._step_due = next_due(
            self.state, self.memory, observation, self._policy, decision.score.points
        )
        if decision.row is not None:
            self._reason = self._said(decision.row.why)
            agent_journal.decided(step, self._reason)
            self._wake()
        if decision.effect is not None:
            self._effect_task = asyncio.ensure_future(self._perform(decision.effect))
        report = self._report(decision, observation)
        self.waiting_for = tuple(wait.what for wait in report.waits)
        self._publisher.tell(report)
        return decision

    def _next_due_seconds(self, now: Instant) -> float:
        """When to tick again though nothing comes: to decide, or to publish."""
        dues = [self._step_due, self._age_due, self._publisher.due(now)]
        self._promised = min((due for due in dues if due is not None), default=None)
        if self._again:
            self._promised = now
        if self._promised is None:
            return math.inf
        return max(0.0, self._promised - now)

    async def finish(self, deadline_seconds: float) -> None:
        """Let a report under way end (so that peers see AgentStopped), and drop the rest."""
        tasks = [t for t in (self._publisher.task, self._effect_task) if t is not None]
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=deadline_seconds)
            for task in late:
                task.cancel()

    def _look(self, now: Instant) -> Observation:
        """Return the picture as of `now`, and note when it changes by age alone."""
        inputs, snapshot = self._inputs, self._inputs.snapshot
        ends = []
        if snapshot is not None:
            end = snapshot.made_at + self._times.snapshot_max_age_seconds
            if now >= end:
                inputs = dataclasses.replace(inputs, snapshot=None)
            else:
                ends += [end, observe.lease_end(snapshot)]
        end_of_vm = self._end_of_vm()
        if end_of_vm is None or now >= end_of_vm:
            inputs = dataclasses.replace(inputs, vm=None)
        else:
            ends.append(end_of_vm)
        self._age_due = min((end for end in ends if end is not None and end > now), default=None)
        return observe.observation(now, self._host_id, inputs, self._outcomes)

    def _end_of_vm(self) -> Optional[Instant]:
        """Return until when the last look at the VM counts; None when there was none."""
        if self._vm_at is None:
            return None
        end = self._vm_at + self._times.vm_max_age_seconds
        silent_since = self._vm_unknown_since
        if silent_since is None:
            return end
        return min(end, silent_since + self._times.vdsm_grace_seconds)

    def _told_decision(self, step: Step) -> None:
        last, decision = self._decision, step.decision
        self._decision = Decision(
            decision.state,
            decision.state,
            decision.memory,
            None,
            decision.score,
            None,
            decision.better_host,
        )
        agent_journal.stands(decision)
        if decision.better_host != (last.better_host if last is not None else None):
            agent_journal.better_host(step)
        if self._on_decision is not None and _differs(last, decision):
            self._on_decision(step)

    def _said(self, words: str) -> str:
        """The state machine's own words call any hypervisor VDSM."""
        return words.replace("VDSM", self._hypervisor_name)

    async def _perform(self, effect: Effect) -> None:
        begun = self._clock.now()
        performed = await self._performer.perform(effect)
        agent_journal.performed(effect, performed.outcome, forgets=self._events.forgets(effect))
        self._events.ended(effect, performed.outcome, self._clock.wall())
        if performed.snapshot is not None:
            self.on_snapshot(performed.snapshot)
        if performed.vm is not None:
            if performed.vm.condition is VmCondition.UNKNOWN:
                # What was seen before the effect is no longer true, whatever the grace.
                self._inputs = dataclasses.replace(self._inputs, vm=None)
            else:
                self._acted_at = begun
            self.on_vm(performed.vm, begun)
        self._outcomes.append(performed.outcome)
        self._heard()

    def _report(self, decision: Decision, observation: Observation) -> Report:
        health = observation.health.of_vm_since(decision.memory.running_since)
        silent = observation.vm.condition is VmCondition.UNKNOWN
        seen = self._inputs.vm if silent and self._vm_at is not None else None
        sight, score = decision.memory.sight, decision.score.points
        context = Context(decision.memory, observation, self._policy, score)
        return Report(
            state=decision.state.value,
            state_meaning=self._said(decision.state.meaning),
            state_since=decision.memory.state_since,
            reason=self._reason,
            score=decision.score.points,
            penalties=tuple(
                PenaltyEntry(p.name, p.points, self._said(p.cause))
                for p in decision.score.penalties
            ),
            engine_status=observe.engine_status(observation.vm, health.health, health.detail),
            local_maintenance=observation.local_maintenance,
            stopped=decision.state is State.AGENT_STOPPED,
            watch_engine=page_wanted(decision.memory, observation),
            running_definition=decision.memory.started_from
            if decision.memory.running_since
            else "",
            second_vm_on=tuple(peer.host_name for peer in second_vms(observation)),
            better_host=decision.better_host,
            network_lost=decision.memory.trends.network_lost,
            engine_page="" if sight.page is Health.UNKNOWN else sight.page.value,
            page_bad_since=sight.bad_since,
            hand_over_at=hand_over_at(decision.state, context),
            waits=tuple(
                WaitEntry(self._said(wait.what), wait.until)
                for wait in waits(
                    decision.state, decision.memory, observation, self._policy, score
                )
            ),
            others=tuple(OtherEntry(o.host_id, o.able, o.why) for o in others(observation)),
            vm_order=observe.order_entry(decision.memory.vm_order),
            vdsm_silent_since=self._vm_unknown_since if silent else None,
            vm_seen="" if seen is None else seen.detail or seen.condition.value,
            vm_seen_at=self._vm_at if silent else None,
        )


def _differs(last: Optional[Decision], decision: Decision) -> bool:
    """Return whether a step is worth telling: an edge, another score, another better host."""
    if last is None or decision.row is not None:
        return True
    return _worth(last) != _worth(decision)


def _worth(decision: Decision) -> tuple[object, ...]:
    points = tuple((p.name, p.points) for p in decision.score.penalties)
    return decision.score.points, points, decision.better_host


def _come(due: Optional[Instant], now: Instant) -> bool:
    return due is not None and now >= due
