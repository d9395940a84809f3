# SPDX-License-Identifier: Apache-2.0
"""One step of the state machine: picture in, decision out.

    step(state, memory, observation, policy) -> Decision

Total (each state has an answer to each observation: no row fires, nothing changes), pure, and
at most one change of state a step. `transitions` makes the change; it runs no callbacks. The
caller's duties:
  1. build one Observation from the latest answers, with the outcomes of effects that ended;
  2. call step; 3. keep state and memory of the Decision; 4. perform its effect, if any, and
  bring its Outcome in a later observation; 5. publish state and score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from transitions import Machine

from ha_agent.fsm.better_host import Lead, follow_lead
from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.follow import follow
from ha_agent.fsm.guards import effect_possible, engine_health
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, Observation, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.row import Row
from ha_agent.fsm.score import Score, score
from ha_agent.fsm.sight import follow_sight
from ha_agent.fsm.start_fate import follow_start
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from ha_agent.fsm.trends import follow_trends
from ha_agent.fsm.vm_order import Following, OrderProgress, follow_order

# States that go on with a stop that was begun elsewhere; all others forget it.
_STOPPING = frozenset(
    {State.ENGINE_STOP, State.ENGINE_FORCE_STOP, State.LOCAL_MAINTENANCE_MIGRATE_VM}
)


@dataclass(frozen=True)
class Decision:
    """What one step decided.

    `row` is the edge that fired, None when nothing changed; `previous` the state before.
    `better_host` is a live host with a far better score, while a healthy engine runs here.
    """

    state: State
    previous: State
    memory: Memory
    effect: Optional[Effect]
    score: Score
    row: Optional[Row]
    better_host: Optional[int] = None

    @property
    def changed(self) -> bool:
        return self.state is not self.previous


@dataclass(frozen=True)
class Step:
    """Exactly what went into one `Fsm.step`, and what came out: enough to do it again."""

    state: State
    memory: Memory
    observation: Observation
    policy: Policy
    decision: Decision


class _Model:
    """What `transitions` moves from state to state."""

    state: State


class Fsm:
    """The table, made ready to step. Holds no state between steps; not for several threads.

    The rows of a state are asked here, in their order, and `transitions` then makes the change
    by the trigger of the one row that fires, so that no edge is gone which is not declared
    there. To let it ask all conditions of all rows takes several times as long.
    """

    def __init__(self, table: tuple[Row, ...] = TABLE) -> None:
        self._model = _Model()
        self._machine = Machine(
            model=self._model, states=State, initial=State.START, auto_transitions=False
        )
        rows: dict[State, list[tuple[str, Row]]] = {state: [] for state in State}
        for number, row in enumerate(table):
            trigger = f"row_{number}"
            self._machine.add_transition(trigger, list(row.sources), row.target)
            for source in row.sources:
                rows[source].append((trigger, row))
        self._rows = {state: tuple(found) for state, found in rows.items()}

    def step(
        self, state: State, memory: Memory, observation: Observation, policy: Policy
    ) -> Decision:
        """Decide on one observation. See the module's docstring for the caller's duties."""
        context, points = prepare(state, memory, observation, policy)
        memory = context.memory
        row, new_state = self._select(state, context)
        effect = None
        if row is not None:
            memory = _remember(context, row, state, new_state)
            if row.effect is not None:
                effect, memory = _request(row, row.effect, context, memory)
            points = score(new_state, memory, observation, policy)
        lead = _lead(new_state, memory, points.points, observation, policy)
        if lead is not memory.lead:
            memory = replace(memory, lead=lead)
        return Decision(new_state, state, memory, effect, points, row, lead.better_host)

    def _select(self, state: State, context: Context) -> tuple[Optional[Row], State]:
        for trigger, row in self._rows[state]:
            if _holds(row, context):
                self._machine.set_state(state, self._model)
                self._machine.events[trigger].trigger(self._model)
                return row, self._model.state
        return None, state


def prepare(
    state: State, memory: Memory, observation: Observation, policy: Policy
) -> tuple[Context, Score]:
    """Return what the guards of one step look at, and the score before it: outcomes, trends and
    the passing of time are taken into the memory."""
    memory = _absorb(memory, observation, policy)
    points = score(state, memory, observation, policy)
    return Context(memory, observation, policy, points.points), points


def _holds(row: Row, context: Context) -> bool:
    for guard in row.when:
        if not guard(context):
            return False
    return row.effect is None or effect_possible(context, row.effect)


def _absorb(memory: Memory, observation: Observation, policy: Policy) -> Memory:
    """Take in outcomes, trends, and the passing of time."""
    now = observation.now
    settled_effect = settled = None
    pending, pending_since = memory.pending, memory.pending_since
    shutdown_asked = memory.shutdown_asked
    if pending is not None:
        for outcome in observation.outcomes:
            if outcome.serial == pending.serial:
                settled_effect, settled = pending, outcome
                if pending.kind is EffectKind.SHUTDOWN_VM and not outcome.ok:
                    # Without an answer it may have been taken all the same: the VM tells.
                    taken = observation.vm.condition is VmCondition.STOPPING
                    shutdown_asked = shutdown_asked and taken
                pending = pending_since = None
                break
    global_maintenance = observation.global_maintenance
    if global_maintenance is None:
        global_maintenance = memory.global_maintenance
    window_seconds = policy.restart_window_seconds
    failures = memory.failures
    if failures:
        failures = tuple(at for at in failures if now - at < window_seconds)
    memory = memory.having(
        state_since=memory.state_since or now,
        pending=pending,
        pending_since=pending_since,
        settled_effect=settled_effect,
        settled=settled,
        shutdown_asked=shutdown_asked,
        global_maintenance=global_maintenance,
        failures=failures,
    )
    memory = follow_start(follow(memory, observation), observation, policy)
    memory = memory.having(vm_order=_follow_order(memory, observation, policy))
    memory = memory.having(trends=follow_trends(memory.trends, observation, policy))
    return memory.having(sight=follow_sight(memory.sight, memory.trends, observation))


def _follow_order(memory: Memory, observation: Observation, policy: Policy) -> OrderProgress:
    if observation.vm_order is None and not memory.vm_order.is_open:
        return memory.vm_order
    following = Following(
        memory.pending,
        memory.settled_effect,
        memory.settled,
        memory.global_maintenance,
        bool(memory.global_maintenance) and memory.shutdown.ordered,
        policy.stop_timeout_seconds,
    )
    return follow_order(memory.vm_order, observation, following)


def _lead(
    state: State, memory: Memory, points: int, observation: Observation, policy: Policy
) -> Lead:
    up = state is State.ENGINE_UP
    healthy_here = up and engine_health(memory, observation) is Health.GOOD
    return follow_lead(memory.lead, healthy_here, points, observation, policy.hysteresis)


def _remember(context: Context, row: Row, state: State, new_state: State) -> Memory:
    memory = context.memory
    if new_state is not state:
        memory = replace(memory, state_since=context.now)
        if new_state not in _STOPPING:
            memory = memory.forget_stop()
        elif state not in _STOPPING:
            memory = replace(memory, shutdown_asked=False)
    for note in row.notes:
        memory = note(context, memory)
    return memory


def _request(
    row: Row, kind: EffectKind, context: Context, memory: Memory
) -> tuple[Effect, Memory]:
    serial = memory.serial + 1
    lease, definition = context.observation.lease, context.observation.definition
    why = row.why
    if row.fallback and memory.start_fault:
        why = f"{why} ({memory.start_fault})"
    effect = Effect(kind, serial, why, lease.epoch, row.fallback, row.paused)
    if kind is EffectKind.START_VM:
        source = definition.fallback if row.fallback else definition.identity
        memory = replace(memory, was_healthy=False, started_from=source, start_fault="")
    memory = replace(
        memory,
        serial=serial,
        pending=effect,
        pending_since=context.now,
        last_kind=kind,
        last_at=context.now,
        shutdown_asked=memory.shutdown_asked or kind is EffectKind.SHUTDOWN_VM,
    )
    return effect, memory
