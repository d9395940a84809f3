# SPDX-License-Identifier: Apache-2.0
"""Observations and memories for the state machine's tests: made by hand, or by hypothesis."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from hypothesis import strategies as st

from ha_agent.fsm.better_host import Lead
from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.memory import Memory, StopReason
from ha_agent.fsm.observation import (
    DefinitionView,
    Health,
    HealthView,
    HostFacts,
    LeaseCondition,
    LeaseView,
    Observation,
    Outcome,
    OutcomeCode,
    PeerView,
    ShutdownView,
    VmCondition,
    VmExit,
    VmOrder,
    VmOrderKind,
    VmView,
)
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.sight import Sight
from ha_agent.fsm.state import State
from ha_agent.fsm.trends import Trend, Trends
from ha_agent.fsm.vm_order import OrderPhase, OrderProgress
from ha_agent.instant import Instant

NOW = Instant(1_000_000.0)
US = 1
STOPPING = (State.ENGINE_STOP, State.ENGINE_FORCE_STOP, State.LOCAL_MAINTENANCE_MIGRATE_VM)


def lease(
    condition: LeaseCondition, *, host_id: Optional[int] = None, epoch: int = 7
) -> LeaseView:
    """Return the lease as the broker would show it; free and expired since long."""
    available = condition in (LeaseCondition.FREE, LeaseCondition.EXPIRED)
    holder = {LeaseCondition.OURS: US, LeaseCondition.HELD: 2, LeaseCondition.EXPIRED: 2}
    return LeaseView(
        condition,
        host_id=host_id if host_id is not None else holder.get(condition),
        epoch=epoch,
        available_since=NOW - 1000.0 if available else None,
    )


def peer(host_id: int = 2, **fields: Any) -> PeerView:
    """Return a live, able peer that does not have the VM."""
    plain = PeerView(host_id, f"h{host_id}", alive=True, score=3400, vm_up=False)
    return dataclasses.replace(plain, **fields)


def seen(
    vm: VmCondition = VmCondition.ABSENT,
    lease_is: LeaseCondition = LeaseCondition.FREE,
    **fields: Any,
) -> Observation:
    """Return a picture in which all is well but what is named. `exit` is the VM's."""
    ended: Optional[VmExit] = fields.pop("exit", None)
    if vm is VmCondition.DOWN and ended is None:
        ended = VmExit.CRASHED
    health = fields.pop("health", Health.UNKNOWN)
    values: dict[str, Any] = {
        "now": NOW,
        "host_id": US,
        "vm": VmView(vm, ended),
        "lease": lease(lease_is),
        "definition": DefinitionView(available=True, identity="d1", memory_mib=4096),
        "health": HealthView(health, taken_at=NOW),
        "global_maintenance": False,
    }
    values.update(fields)
    return Observation(**values)


def settled(memory: Memory, kind: EffectKind, code: OutcomeCode) -> tuple[Memory, Outcome]:
    """Return a memory in which an effect is under way, and the outcome that ends it."""
    serial = memory.serial + 1
    effect = Effect(kind, serial, "test", 7)
    memory = dataclasses.replace(
        memory,
        serial=serial,
        pending=effect,
        pending_since=NOW - 1.0,
        last_kind=kind,
        last_at=NOW - 1.0,
    )
    return memory, Outcome(serial, code)


def ended(
    kind: EffectKind, code: OutcomeCode, picture: Observation, memory: Optional[Memory] = None
) -> tuple[Observation, Memory]:
    """Return the picture that brings the end of an effect, and the memory that waits for it."""
    memory, outcome = settled(memory or Memory(), kind, code)
    return dataclasses.replace(picture, outcomes=(outcome,)), memory


def stopping(reason: StopReason, **fields: Any) -> Memory:
    """Return the memory of a host that stops the VM, or gives the lease up, for `reason`."""
    return dataclasses.replace(Memory(stop_reason=reason), **fields)


def failed(times: int, **fields: Any) -> Memory:
    """Return the memory of a host where the VM failed so often, 10 s apart, last 10 s ago."""
    failures = tuple(NOW - 10.0 * ago for ago in range(times, 0, -1))
    return dataclasses.replace(Memory(failures=failures), **fields)


def ordered(kind: VmOrderKind, phase: OrderPhase = OrderPhase.OPEN, **fields: Any) -> Memory:
    """Return the memory of a host that carries order number 3 out, since a second."""
    progress = OrderProgress(3, kind, phase, since=NOW - 1.0)
    return dataclasses.replace(Memory(vm_order=progress), **fields)


def context(
    picture: Observation, memory: Optional[Memory] = None, *, score: int = 3400
) -> Context:
    """Return what a guard looks at, with the default policy."""
    return Context(memory or Memory(), picture, Policy(), score)


def at(picture: Observation, now: Instant) -> Observation:
    """Return the same picture as taken at `now`, without outcomes."""
    health = dataclasses.replace(picture.health, taken_at=now)
    return dataclasses.replace(picture, now=now, health=health, outcomes=())


instants = st.floats(0.0, 1000.0).map(lambda age_seconds: NOW - age_seconds)
vm_views = st.one_of(
    st.sampled_from([c for c in VmCondition if c is not VmCondition.DOWN]).map(VmView),
    st.sampled_from(VmExit).map(lambda ended: VmView(VmCondition.DOWN, ended)),
)
lease_views = st.one_of(
    st.sampled_from(LeaseCondition).map(lease),
    st.builds(
        LeaseView,
        st.sampled_from([LeaseCondition.FREE, LeaseCondition.EXPIRED]),
        host_id=st.sampled_from([1, 2, 3]),
        epoch=st.integers(0, 9),
        available_since=st.none() | instants,
    ),
)
peer_views = st.builds(
    PeerView,
    st.integers(2, 4),
    st.just("peer"),
    st.booleans(),
    st.sampled_from([0, 1, 2400, 3400]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(Health),
    st.sampled_from([0, 119, 120]),
    st.none() | st.just(NOW),
)
host_facts = st.builds(
    HostFacts,
    st.none() | st.floats(0.0, 1.0),
    st.none() | st.booleans(),
    st.none() | st.floats(0.0, 1.0),
    st.none() | st.integers(0, 9000),
    st.none() | st.just(NOW),
    st.none() | st.just(NOW),
)
trend_values = st.floats(0.0, 1.0).map(lambda value: round(value, 2))
trends = st.builds(
    Trend,
    st.lists(trend_values, max_size=5).map(tuple),
    st.none() | instants,
    st.none() | st.floats(0.0, 100.0).map(lambda age_seconds: NOW - age_seconds),
    trend_values,
    st.booleans(),
)
leads = st.just(Lead()) | st.builds(
    Lead,
    st.integers(2, 4),
    st.floats(0.0, 100.0).map(lambda age_seconds: NOW - age_seconds),
    st.booleans(),
)
sights = st.just(Sight()) | st.builds(
    Sight, instants, st.sampled_from(Health), st.none() | instants
)
orders = st.builds(
    OrderProgress,
    st.integers(1, 4),
    st.sampled_from(VmOrderKind),
    st.sampled_from(OrderPhase),
    since=instants,
)
outcomes = st.lists(
    st.builds(Outcome, st.integers(0, 5), st.sampled_from(OutcomeCode)), max_size=2
).map(tuple)
observations = st.builds(
    Observation,
    st.just(NOW),
    st.just(US),
    vm_views,
    lease_views,
    st.lists(peer_views, max_size=3, unique_by=lambda p: p.host_id).map(tuple),
    st.builds(
        DefinitionView,
        st.booleans(),
        st.sampled_from(["d1", "d2"]),
        memory_mib=st.integers(0, 5000),
        fallback=st.sampled_from(["", "d0"]),
    ),
    st.sampled_from(Health).map(lambda health: HealthView(health, taken_at=NOW)),
    host_facts,
    local_maintenance=st.booleans(),
    global_maintenance=st.sampled_from([None, False, True]),
    shutdown=st.none() | st.builds(ShutdownView, st.booleans(), st.booleans()),
    vm_order=st.none() | st.builds(VmOrder, st.integers(1, 4), st.sampled_from(VmOrderKind)),
    stop_requested=st.sampled_from([False, False, False, True]),
    outcomes=outcomes,
)


@st.composite
def states_with_memory(draw: st.DrawFn) -> tuple[State, Memory]:
    """Draw a state with a memory that can go with it: a reason to stop only while stopping."""
    state = draw(st.sampled_from(State))
    stopping = state in STOPPING
    serial = draw(st.integers(0, 5))
    kind = draw(st.none() | st.sampled_from(EffectKind))
    pending = None
    last_at = draw(instants) if kind else None
    if kind is not None and draw(st.booleans()):
        pending = Effect(kind, serial, "drawn")
    reason = draw(st.sampled_from(StopReason)) if stopping else None
    if state is State.LOCAL_MAINTENANCE_MIGRATE_VM:
        reason = StopReason.MAINTENANCE
    return state, Memory(
        state_since=draw(st.none() | instants),
        serial=serial,
        pending=pending,
        pending_since=last_at if pending else None,
        running_since=draw(st.none() | instants),
        bad_since=draw(st.none() | instants),
        vm_unknown_since=draw(st.none() | instants),
        paused_since=draw(st.none() | instants),
        was_healthy=draw(st.booleans()),
        started_from=draw(st.sampled_from(["", "d0", "d1"])),
        failing=draw(st.sampled_from(["", "d1"])),
        failed_starts=draw(st.integers(0, 3)),
        shutdown=draw(st.builds(ShutdownView, st.booleans(), st.booleans())),
        global_maintenance=draw(st.sampled_from([None, False, True])),
        failures=tuple(sorted(draw(st.lists(instants, max_size=6)))),
        not_before=draw(st.none() | instants.map(lambda at: at + 500.0)),
        elsewhere_until=draw(st.none() | instants.map(lambda at: at + 500.0)),
        start_open_since=draw(st.none() | instants),
        stop_reason=reason,
        shutdown_asked=stopping and draw(st.booleans()),
        last_kind=kind,
        last_at=last_at,
        vm_order=draw(orders),
        trends=draw(st.builds(Trends, trends, trends, trends, trends)),
        lead=draw(leads),
        sight=draw(sights),
        handed_over_at=draw(st.none() | instants),
    )
