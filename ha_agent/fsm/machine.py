# SPDX-License-Identifier: Apache-2.0
"""One step of the state machine: picture in, decision out.

    step(state, memory, observation, policy) -> Decision

Total (each state has an answer to each observation: no row fires, nothing changes), pure, and
at most one change of state a step. `transitions` selects the row; it runs no callback that
acts. The caller's duties:
  1. build one Observation from the latest answers, with the outcomes of effects that ended;
  2. call step; 3. keep state and memory of the Decision; 4. perform its effect, if any, and
  bring its Outcome in a later observation; 5. publish state and score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

from transitions import EventData, Machine

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.guards import RUNNING, Context, effect_possible
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, Observation, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.row import Row
from ha_agent.fsm.score import Score, score
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE

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


class _Selection:
    """The model that `transitions` moves: holds the row that fired."""

    state: State
    row: Optional[Row] = None

    def fired(self) -> tuple[Optional[Row], State]:
        return self.row, self.state


class Fsm:
    """The table, made ready to step. Holds no state between steps; not for several threads."""

    def __init__(self, table: tuple[Row, ...] = TABLE) -> None:
        self._selection = _Selection()
        self._machine = Machine(
            model=self._selection,
            states=State,
            initial=State.START,
            auto_transitions=False,
            send_event=True,
        )
        for row in table:
            self._machine.add_transition(
                "tick",
                list(row.sources),
                row.target,
                conditions=_condition(row),
                before=_recorder(row),
            )

    def step(
        self, state: State, memory: Memory, observation: Observation, policy: Policy
    ) -> Decision:
        """Decide on one observation. See the module's docstring for the caller's duties."""
        context, points = prepare(state, memory, observation, policy)
        selection = self._selection
        selection.row = None
        self._machine.set_state(state, selection)
        if self._machine.get_triggers(state):
            self._machine.events["tick"].trigger(selection, context=context)
        row, new_state = selection.fired()
        memory = _remember(context, row, state, new_state)
        effect = None
        if row is not None and row.effect is not None:
            effect, memory = _request(row, row.effect, context, memory)
        if row is not None:
            points = score(new_state, len(memory.failures), observation, policy)
        return Decision(new_state, state, memory, effect, points, row)


def prepare(
    state: State, memory: Memory, observation: Observation, policy: Policy
) -> tuple[Context, Score]:
    """Return what the guards of one step look at, and the score before it: outcomes, trends and
    the passing of time are taken into the memory."""
    memory = _absorb(memory, observation, policy)
    points = score(state, len(memory.failures), observation, policy)
    return Context(memory, observation, policy, points.points), points


def _condition(row: Row) -> Any:
    def holds(event: EventData) -> bool:
        context: Context = event.kwargs["context"]
        if row.effect is not None and not effect_possible(context, row.effect):
            return False
        return all(guard(context) for guard in row.when)

    return holds


def _recorder(row: Row) -> Any:
    def record(event: EventData) -> None:
        selection = event.model
        assert isinstance(selection, _Selection)
        selection.row = row

    return record


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
                    shutdown_asked = False
                pending = pending_since = None
                break
    running_since = None
    if observation.vm.condition in RUNNING:
        running_since = memory.running_since or now
    elif observation.vm.condition is VmCondition.UNKNOWN:
        running_since = memory.running_since
    health = observation.health.of_vm_since(running_since).health
    # Only an unbroken row of bad pictures is evidence: what was not seen may have been good.
    bad_since = (memory.bad_since or now) if health is Health.BAD else None
    vm_unknown_since = None
    if observation.vm.condition is VmCondition.UNKNOWN:
        vm_unknown_since = memory.vm_unknown_since or now
    global_maintenance = observation.global_maintenance
    if global_maintenance is None:
        global_maintenance = memory.global_maintenance
    window_seconds = policy.restart_window_seconds
    failures = tuple(at for at in memory.failures if now - at < window_seconds)
    return replace(
        memory,
        state_since=memory.state_since or now,
        pending=pending,
        pending_since=pending_since,
        settled_effect=settled_effect,
        settled=settled,
        shutdown_asked=shutdown_asked,
        running_since=running_since,
        bad_since=bad_since,
        vm_unknown_since=vm_unknown_since,
        global_maintenance=global_maintenance,
        failures=failures,
    )


def _remember(context: Context, row: Optional[Row], state: State, new_state: State) -> Memory:
    memory = context.memory
    if row is None:
        return memory
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
    effect = Effect(kind, serial, row.why, context.observation.lease.epoch)
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
