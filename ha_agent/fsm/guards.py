# SPDX-License-Identifier: Apache-2.0
"""The questions that rows of the table ask, each a pure function of one tick's context."""

from __future__ import annotations

import functools
from typing import Callable, Optional

from ha_agent.fsm.context import Context
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import (
    Health,
    LeaseCondition,
    Observation,
    OutcomeCode,
    VmCondition,
    VmExit,
)
from ha_agent.fsm.takeover import able_hosts, peers_with_vm, turn_at
from ha_agent.instant import Instant

Guard = Callable[[Context], bool]

RUNNING = frozenset(
    {
        VmCondition.STARTING,
        VmCondition.UP,
        VmCondition.PAUSED,
        VmCondition.STOPPING,
        VmCondition.MIGRATING_AWAY,
    }
)

# One failure may be an accident of this host's, two are the definition's.
_FAILED_STARTS = 2


def idle(context: Context) -> bool:
    """no effect is under way"""
    return context.memory.pending is None


def stop_requested(context: Context) -> bool:
    """the agent is asked to stop"""
    return context.observation.stop_requested


def global_maintenance(context: Context) -> bool:
    """global maintenance is on"""
    return bool(context.memory.global_maintenance)


def global_maintenance_known(context: Context) -> bool:
    """it is known whether global maintenance is on"""
    return context.memory.global_maintenance is not None


def stop_has_to_wait(context: Context) -> bool:
    """an effect under way may leave the lease ours without a VM"""
    pending = context.memory.pending
    if pending is None:
        return False
    return pending.kind is EffectKind.TAKE_LEASE or (lease_ours(context) and vm_gone(context))


def local_maintenance(context: Context) -> bool:
    """local maintenance is on"""
    return context.observation.local_maintenance


def vm_unknown(context: Context) -> bool:
    """VDSM does not answer"""
    return context.observation.vm.condition is VmCondition.UNKNOWN


def vm_running(context: Context) -> bool:
    """the VM runs here"""
    return context.observation.vm.condition in RUNNING


def vm_coming(context: Context) -> bool:
    """the VM is migrating here"""
    return context.observation.vm.condition is VmCondition.MIGRATING_HERE


def vm_leaving(context: Context) -> bool:
    """the VM is migrating away"""
    return context.observation.vm.condition is VmCondition.MIGRATING_AWAY


def vm_absent(context: Context) -> bool:
    """VDSM has no record of the VM"""
    return context.observation.vm.condition is VmCondition.ABSENT


def vm_down(context: Context) -> bool:
    """a Down record of the VM is left"""
    return context.observation.vm.condition is VmCondition.DOWN


def vm_gone(context: Context) -> bool:
    """the VM does not run here"""
    return vm_absent(context) or vm_down(context)


def vm_migrated(context: Context) -> bool:
    """the VM ended here by migrating"""
    return vm_down(context) and context.observation.vm.exit is VmExit.MIGRATED


def vm_lease_elsewhere(context: Context) -> bool:
    """the VM ended for want of its VM lease"""
    return vm_down(context) and context.observation.vm.exit is VmExit.LEASE_HELD_ELSEWHERE


def lease_known(context: Context) -> bool:
    """the lease could be read"""
    return context.observation.lease.condition is not LeaseCondition.UNKNOWN


def lease_ours(context: Context) -> bool:
    """the lease is ours"""
    return context.observation.lease.condition is LeaseCondition.OURS


def lease_available(context: Context) -> bool:
    """the lease is free or expired"""
    condition = context.observation.lease.condition
    return condition in (LeaseCondition.FREE, LeaseCondition.EXPIRED)


def lease_expired(context: Context) -> bool:
    """the lease has expired"""
    return context.observation.lease.condition is LeaseCondition.EXPIRED


def lease_taken_away(context: Context) -> bool:
    """the lease is known to be expired or another host's"""
    condition = context.observation.lease.condition
    return condition in (LeaseCondition.HELD, LeaseCondition.EXPIRED)


def our_turn_at(context: Context) -> Optional[Instant]:
    """Return when this host may take the lease."""
    since = context.memory.state_since
    return turn_at(
        context.observation,
        context.score,
        context.policy,
        since,
        network_lost=context.memory.trends.network_lost,
    )


def our_turn(context: Context) -> bool:
    """it is this host's turn to take the lease"""
    turn = our_turn_at(context)
    return turn is not None and context.now >= turn


def able(context: Context) -> bool:
    """this host could run the VM"""
    return context.score > 0 and context.observation.definition.available


def not_held_back(context: Context) -> bool:
    """no pause after a failure is running"""
    not_before = context.memory.not_before
    return not_before is None or context.now >= not_before


def no_peer_has_vm(context: Context) -> bool:
    """no live host says that the VM runs there"""
    return not peers_with_vm(context.observation)


def other_host_able(context: Context) -> bool:
    """another live host could run the VM"""
    return bool(able_hosts(context.observation))


def healthy(context: Context) -> bool:
    """the engine's health page is good"""
    return _health(context) is Health.GOOD


def unhealthy(context: Context) -> bool:
    """the engine's health page is bad"""
    return _health(context) is Health.BAD


def hung(context: Context) -> bool:
    """the engine has been bad for the whole grace time"""
    grace_seconds = context.policy.bad_health_grace_seconds
    return unhealthy(context) and context.age_seconds(context.memory.bad_since) >= grace_seconds


def page_out_of_reach(context: Context) -> bool:
    """the page went bad with this host's network, and no other host is far better"""
    # A page that can't be asked says nothing of the engine. Elsewhere it would fare no better,
    # unless a host leads by what the loss of the network costs. But one that was good although
    # the network tests failed, as with an address that never answers, does not need them.
    lost_at, bad_since = context.memory.trends.network.since, context.memory.bad_since
    if lost_at is None or bad_since is None:
        return False
    if bad_since - lost_at > context.policy.bad_health_grace_seconds:
        return False
    enough = context.score + context.policy.hysteresis.lead_enter
    return not any(peer.score >= enough for peer in able_hosts(context.observation))


def vm_paused(context: Context) -> bool:
    """the VM is paused"""
    return context.observation.vm.condition is VmCondition.PAUSED


def paused_too_long(context: Context) -> bool:
    """the VM has been paused for the whole grace time"""
    grace_seconds = context.policy.bad_health_grace_seconds
    return vm_paused(context) and context.age_seconds(context.memory.paused_since) >= grace_seconds


def given_up(context: Context) -> bool:
    """the engine has been bad for the whole grace time, and had its whole start time"""
    memory = context.memory
    begun = memory.running_since
    if begun is None and memory.last_kind is EffectKind.START_VM:
        begun = memory.last_at  # asked for, and VDSM fell silent before it was seen to run
    if not hung(context):
        return False
    if memory.was_healthy or begun is None:
        return True
    return context.age_seconds(begun) >= context.policy.start_timeout_seconds


def starting_too_long(context: Context) -> bool:
    """the engine has not become healthy within its start time"""
    return context.age_seconds(context.memory.state_since) >= context.policy.start_timeout_seconds


def stopping_too_long(context: Context) -> bool:
    """the orderly stop has not ended within its time"""
    return context.age_seconds(context.memory.state_since) >= context.policy.stop_timeout_seconds


def shutdown_asked(context: Context) -> bool:
    """the orderly stop was asked for"""
    return context.memory.shutdown_asked


def effect_possible(context: Context, kind: EffectKind) -> bool:
    """nothing is under way, and the last effect of this kind is a pause ago"""
    memory = context.memory
    if memory.pending is not None:
        return False
    if memory.last_kind is not kind or memory.last_at is None:
        return True
    return context.now - memory.last_at >= context.policy.retry_pause_seconds


def first_look_overdue(context: Context) -> bool:
    """VDSM has not answered since the agent began"""
    silent_seconds = context.age_seconds(context.memory.vm_unknown_since)
    return vm_unknown(context) and silent_seconds >= context.policy.first_look_seconds


def vdsm_silent_too_long(context: Context) -> bool:
    """VDSM has been silent for too long"""
    silent_seconds = context.age_seconds(context.memory.vm_unknown_since)
    return vm_unknown(context) and silent_seconds >= context.policy.vdsm_silent_seconds


def restarts_left(context: Context) -> bool:
    """the VM may be tried again on this host"""
    return len(context.memory.failures) < len(context.policy.restart_backoff_seconds)


def penance_done(context: Context) -> bool:
    """the time for other hosts to take over has passed"""
    seconds = context.policy.unexpected_down_seconds
    return context.age_seconds(context.memory.state_since) >= seconds


def take_refused(context: Context) -> bool:
    """taking the lease did not work"""
    return _settled(context, EffectKind.TAKE_LEASE) not in (None, OutcomeCode.OK)


def start_lost_race(context: Context) -> bool:
    """the start ended: the VM lease is held elsewhere"""
    if start_left_record(context) and vm_lease_elsewhere(context):
        return True
    return _settled(context, EffectKind.START_VM) is OutcomeCode.LEASE_HELD_ELSEWHERE


def start_left_record(context: Context) -> bool:
    """all that is left of our start is a Down record, not counted yet"""
    # VDSM answers a start before it has done it, so that most failures come this way.
    memory = context.memory
    if memory.last_kind is not EffectKind.START_VM or memory.last_at is None:
        return False
    counted = bool(memory.failures) and memory.failures[-1] >= memory.last_at
    return vm_down(context) and idle(context) and not counted


def start_failed(context: Context) -> bool:
    """the start failed"""
    code = _settled(context, EffectKind.START_VM)
    return code in (OutcomeCode.FAILED, OutcomeCode.REFUSED) or start_left_record(context)


def engine_health(memory: Memory, observation: Observation) -> Health:
    """Return what this tick knows of the engine: of the VM that runs here, or of one that may."""
    if observation.vm.condition is VmCondition.PAUSED:
        return Health.BAD  # a page that was good a moment ago says nothing of it
    since = memory.running_since or memory.vm_unknown_since
    return observation.health.of_vm_since(since).health


def _health(context: Context) -> Health:
    return engine_health(context.memory, context.observation)


def _settled(context: Context, kind: EffectKind) -> Optional[OutcomeCode]:
    effect, outcome = context.memory.settled_effect, context.memory.settled
    if effect is None or outcome is None or effect.kind is not kind:
        return None
    return outcome.code


def definition_failing(context: Context) -> bool:
    """the definition in use failed to start twice, and there is one that did start"""
    current, memory = context.observation.definition, context.memory
    failing = memory.failing == current.identity and memory.failed_starts >= _FAILED_STARTS
    return failing and bool(current.fallback)


def negate(guard: Guard) -> Guard:
    """Return the guard that holds when `guard` does not."""

    @functools.wraps(guard)  # due.py looks through it
    def negated(context: Context) -> bool:
        return not guard(context)

    negated.__name__ = f"not_{guard.__name__}"
    negated.__doc__ = f"not: {guard.__doc__}"
    return negated
