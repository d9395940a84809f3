# SPDX-License-Identifier: Apache-2.0
"""When a step is needed at all: what it sees has changed, or time alone may decide.

    changed(...)   two pictures differ in something that a step looks at
    next_due(...)  the first instant at which a row may fire, or the score or the better host
                   change, though nothing else does

Between the two a step would fire no row and give the same score, so nobody has to take it.
Each guard that reads the clock stands in `_FLIPS` with the instant at which its answer turns;
a due that turns out to change nothing costs one step, a missing one a decision that never comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Callable, Optional

from ha_agent.fsm import guards as g
from ha_agent.fsm.better_host import lead_dues
from ha_agent.fsm.context import Context
from ha_agent.fsm.cut_off import hand_over_again_at, not_handed_over_lately
from ha_agent.fsm.elsewhere import no_engine_elsewhere, page_elsewhere
from ha_agent.fsm.guards import Guard
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Observation
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.sight import page_since
from ha_agent.fsm.start_fate import is_told
from ha_agent.fsm.state import State
from ha_agent.fsm.table import TABLE
from ha_agent.fsm.trends import follow_trends, trend_dues
from ha_agent.fsm.vm_order import order_due
from ha_agent.instant import Instant, reached

Flip = Callable[[Context], Optional[Instant]]


def _after(since: Optional[Instant], seconds: float) -> Optional[Instant]:
    return None if since is None else reached(since, seconds)


def _turn(context: Context) -> Optional[Instant]:
    return g.our_turn_at(context)


def _not_before(context: Context) -> Optional[Instant]:
    return context.memory.not_before


def _page_believed(context: Context) -> Optional[Instant]:
    return context.memory.elsewhere_until


def _bad_for_long(context: Context) -> Optional[Instant]:
    return _after(context.memory.bad_since, context.policy.bad_health_grace_seconds)


def _paused_for_long(context: Context) -> Optional[Instant]:
    return _after(context.memory.paused_since, context.policy.bad_health_grace_seconds)


def _ran_for_long(context: Context) -> Optional[Instant]:
    memory = context.memory
    return _after(memory.running_since, context.policy.start_timeout_seconds)


def _asked_for_long(context: Context) -> Optional[Instant]:
    return _after(context.memory.last_at, context.policy.start_timeout_seconds)


def _silent_for_long(context: Context) -> Optional[Instant]:
    return _after(context.memory.vm_unknown_since, context.policy.vdsm_silent_seconds)


def _first_look_due(context: Context) -> Optional[Instant]:
    return _after(context.memory.vm_unknown_since, context.policy.first_look_seconds)


def _start_over(context: Context) -> Optional[Instant]:
    return _after(context.memory.state_since, context.policy.start_timeout_seconds)


def _stop_over(context: Context) -> Optional[Instant]:
    return _after(context.memory.state_since, context.policy.stop_timeout_seconds)


def _penance_over(context: Context) -> Optional[Instant]:
    return _after(context.memory.state_since, context.policy.unexpected_down_seconds)


def _pause_over(context: Context) -> Optional[Instant]:
    return _after(context.memory.last_at, context.policy.retry_pause_seconds)


_FLIPS: Mapping[Guard, tuple[Flip, ...]] = {
    g.our_turn: (_turn,),
    g.not_held_back: (_not_before,),
    no_engine_elsewhere: (_page_believed,),
    g.hung: (_bad_for_long,),
    g.given_up: (_bad_for_long, _ran_for_long, _asked_for_long),
    g.paused_too_long: (_paused_for_long,),
    g.starting_too_long: (_start_over,),
    g.stopping_too_long: (_stop_over,),
    g.penance_done: (_penance_over,),
    g.vdsm_silent_too_long: (_silent_for_long,),
    g.first_look_overdue: (_first_look_due,),
    not_handed_over_lately: (hand_over_again_at,),
}


def _flips_of(state: State) -> Iterator[Flip]:
    for row in TABLE:
        if state not in row.sources:
            continue
        if row.effect is not None:
            yield _pause_over  # effect_possible
        for guard in row.when:
            # A guard that is negated turns when the plain one does.
            yield from _FLIPS.get(getattr(guard, "__wrapped__", guard), ())


_STATE_FLIPS: Mapping[State, tuple[Flip, ...]] = {
    state: tuple(dict.fromkeys(_flips_of(state))) for state in State
}


def next_due(
    state: State, memory: Memory, observation: Observation, policy: Policy, score: int
) -> Optional[Instant]:
    """Return when time alone may decide next; None while it can't.

    For what a step gave that fired no row: its state, memory and score, and what it saw.
    """
    now = observation.now
    context = Context(memory, observation, policy, score)
    found = [flip(context) for flip in _STATE_FLIPS[state]]
    found += [reached(at, policy.restart_window_seconds) for at in memory.failures]
    found += trend_dues(memory.trends, policy)
    found.append(order_due(memory.vm_order, policy.stop_timeout_seconds))
    found += lead_dues(memory.lead, policy.hysteresis)
    return min((at for at in found if at is not None and at > now), default=None)


# All that a step compares as it is; the rest is judged below, or is no news by itself.
_PLAIN = attrgetter(
    *(
        field.name
        for field in fields(Observation)
        if field.name not in ("now", "health", "facts", "outcomes", "vm_asked_at")
    )
)


def changed(memory: Memory, before: Observation, after: Observation, policy: Policy) -> bool:
    """Return whether a step would see anything new in `after`, its time apart.

    `memory` is that of the step on `before`. A sample that is only newer is nothing new.
    """
    if after.outcomes or _PLAIN(before) != _PLAIN(after):
        return True
    if before.health is not after.health and _health(memory, before) != _health(memory, after):
        return True
    if memory.start_open_since is not None and is_told(memory, after, policy):
        return True
    return follow_trends(memory.trends, after, policy) is not memory.trends


def _health(memory: Memory, observation: Observation) -> tuple[object, ...]:
    health = observation.health.of_vm_since(memory.running_since)
    known = g.engine_health(memory, observation), page_elsewhere(memory, observation)
    sight = page_since(memory.sight.since, observation.health)
    return *known, sight, health.health, health.detail
