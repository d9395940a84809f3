# SPDX-License-Identifier: Apache-2.0
"""What this host waits for, and which other hosts could take over: for people, never to decide.

Each Wait is the end of a sentence that begins "It is waiting for". The rules themselves stand
in table.py and guards.py; this says which of them holds things up now, and when time alone
will end that. Nothing here names an age that counts up, so that equal situations give equal
answers and are published once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.fsm.context import Context
from ha_agent.fsm.cut_off import blind_hosts, hand_over_at
from ha_agent.fsm.effect import EffectKind
from ha_agent.fsm.elsewhere import no_engine_elsewhere
from ha_agent.fsm.guards import (
    RUNNING,
    lease_available,
    lease_ours,
    our_turn_at,
    page_out_of_reach,
    vm_gone,
)
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import LeaseCondition, Observation, VmCondition
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.fsm.takeover import able_hosts, peers_with_vm
from ha_agent.instant import Instant


@dataclass(frozen=True)
class Wait:
    """One thing that is waited for, and until when at the latest; None: as long as it takes."""

    what: str
    until: Optional[Instant] = None


@dataclass(frozen=True)
class Other:
    """Whether another host could take the engine VM, and a word on why or why not."""

    host_id: int
    able: bool
    why: str


_UNDER_WAY = {
    EffectKind.TAKE_LEASE: "the lease to be written on shared storage",
    EffectKind.RELEASE_LEASE: "the lease to be given up on shared storage",
    EffectKind.ABANDON_LEASE: "the lease to run out; the fence ends the engine VM before that",
    EffectKind.START_VM: "VDSM to take the order to start the engine VM",
    EffectKind.RESUME_VM: "VDSM to let the paused engine VM go on",
    EffectKind.SHUTDOWN_VM: "VDSM to take the order to shut the engine VM down",
    EffectKind.DESTROY_VM: "VDSM to end the engine VM",
}
_IDLE = (State.ENGINE_DOWN, State.ENGINE_UNEXPECTEDLY_DOWN)
_GIVES_UP = (
    *_IDLE,
    State.ENGINE_STOP,
    State.ENGINE_FORCE_STOP,
    State.GLOBAL_MAINTENANCE,
    State.LOCAL_MAINTENANCE,
)


def waits(
    state: State, memory: Memory, observation: Observation, policy: Policy, score: int
) -> tuple[Wait, ...]:
    """Return what holds things up now; the state, memory and score after the step."""
    context = Context(memory, observation, policy, score)
    found = _under_way(memory) + _answers(state, context) + _open_start(state, context)
    if state is State.GLOBAL_MAINTENANCE:
        found.append(_global_maintenance(memory))
    elif observation.local_maintenance and state is State.LOCAL_MAINTENANCE:
        found.append(Wait("local maintenance to be ended"))
    elif state in _IDLE:
        found += _turn(state, context)
    elif state is State.ENGINE_START:
        found += _pause(context)
    else:
        found += _with_vm(state, context)
    return tuple(found)


def others(observation: Observation) -> tuple[Other, ...]:
    """Return each other host, and whether it could take the engine VM over, by host id."""
    in_line = {peer.host_id for peer in able_hosts(observation)}
    found = []
    for peer in observation.peers:
        able = peer.host_id in in_line
        why = f"its score is {peer.score}"
        if not peer.alive:
            why = "it is silent: its status block does not change any more"
        elif peer.stopped:
            why = "its agent is stopped"
        elif peer.maintenance:
            why = "it is in local maintenance"
        elif peer.score > 0 and not able:
            why = "it let its lease expire, so it is taken for dead"
        if able and peer.predecessor:
            why += "; it runs the predecessor's agent, which goes by its own rules"
        found.append(Other(peer.host_id, able, why))
    return tuple(sorted(found, key=lambda other: other.host_id))


def _global_maintenance(memory: Memory) -> Wait:
    order = memory.shutdown
    if not order.ordered:
        return Wait("global maintenance to be ended")
    if not order.ready:
        return Wait(f"{order.waiting_for or 'the other hosts'}, before the cluster is shut down")
    return Wait("the cluster's shutdown to be ended by `ha-agent cluster resume`")


def _under_way(memory: Memory) -> list[Wait]:
    if memory.pending is None:
        return []
    kind = memory.pending.kind
    return [Wait(_UNDER_WAY.get(kind, f"this to be done: {kind.value}"))]


def _open_start(state: State, context: Context) -> list[Wait]:
    """A lease of ours that is kept for a VM which may still appear (start_fate.py)."""
    since = context.memory.start_open_since
    if since is None or state not in _GIVES_UP or not (lease_ours(context) and vm_gone(context)):
        return []
    what = "certainty that no start asked for before can still take effect; then the lease is"
    return [Wait(f"{what} given up", since + context.policy.start_open_seconds)]


def _answers(state: State, context: Context) -> list[Wait]:
    """Those who have not said what has to be known."""
    found = []
    observation, memory = context.observation, context.memory
    if observation.vm.condition is VmCondition.UNKNOWN:
        found.append(Wait("VDSM on this host to answer"))
        silent_since = memory.vm_unknown_since
        if observation.lease.condition is LeaseCondition.OURS and silent_since is not None:
            until = silent_since + context.policy.vdsm_silent_seconds
            what = "VDSM to answer before the lease is given up, unless the engine is healthy"
            found.append(Wait(what, until))
    if observation.lease.condition is LeaseCondition.UNKNOWN:
        detail = f" ({observation.lease.detail})" if observation.lease.detail else ""
        found.append(Wait(f"news of the lease on shared storage{detail}"))
    if state is State.START and memory.global_maintenance is None:
        found.append(Wait("the first look at the hosts' status blocks on shared storage"))
    return found


def _turn(state: State, context: Context) -> list[Wait]:
    """A host without the VM: what keeps it from taking the lease."""
    observation = context.observation
    lease = observation.lease
    found = []
    if state is State.ENGINE_UNEXPECTEDLY_DOWN and context.memory.state_since is not None:
        until = context.memory.state_since + context.policy.unexpected_down_seconds
        found.append(Wait("other hosts to try, after the engine VM failed here too often", until))
    if lease.condition is LeaseCondition.HELD:
        holder = lease.host_name or f"host {lease.host_id}"
        found.append(Wait(f"nothing: {holder} holds the lease and renews it"))
    if not lease_available(context):
        return found
    found += _pause(context)
    if context.score <= 0 or not observation.definition.available:
        found.append(Wait("what keeps this host from running the engine VM to be mended"))
        return found
    having = peers_with_vm(observation)
    if having:
        names = [peer.host_name for peer in having]
        what = f"{' and '.join(names)}, which still reports that the engine VM runs there"
        found.append(Wait(what))
    if not no_engine_elsewhere(context):
        what = (
            "the engine to stop answering: another host holds its VM lease, and it is well there"
        )
        found.append(Wait(what, context.memory.elsewhere_until))
    turn = our_turn_at(context)
    if turn is not None and turn > context.now:
        found.append(Wait("this host's turn to take the lease; better hosts go first", turn))
    return found


def _pause(context: Context) -> list[Wait]:
    until = context.memory.not_before
    if until is None or until <= context.now:
        return []
    number = len(context.memory.failures)
    if number:
        return [Wait(f"the pause after failure {number} of the engine VM here", until)]
    return [Wait("the pause that lets other hosts have the engine VM first", until)]


def _with_vm(state: State, context: Context) -> list[Wait]:
    """A host that has the VM, or had it: what is to become of it."""
    memory, policy = context.memory, context.policy
    since = memory.state_since or context.now
    vm = context.observation.vm.condition
    if state is State.ENGINE_STARTING:
        what = "the engine to answer; if it does not, the VM is stopped and started again"
        return [Wait(what, since + policy.start_timeout_seconds)]
    due = hand_over_at(state, context)
    if due is not None:
        names = " and ".join(peer.host_name for peer in blind_hosts(context))
        what = f"this host's network, or for {names} to reach the engine; else it is handed over"
        return [Wait(what, due)]
    if state is State.ENGINE_UP_BAD_HEALTH and memory.paused_since is not None:
        what = "the paused engine VM to go on; if it does not, it is ended and started again"
        return [Wait(what, memory.paused_since + policy.bad_health_grace_seconds)]
    if state is State.ENGINE_UP_BAD_HEALTH and page_out_of_reach(context):
        return [Wait("this host's network: without it a bad page says nothing of the engine")]
    if state is State.ENGINE_UP_BAD_HEALTH and memory.bad_since is not None:
        what = "the engine to answer well again; if it does not, the VM is stopped and started"
        return [Wait(f"{what} again", memory.bad_since + policy.bad_health_grace_seconds)]
    if state is State.ENGINE_STOP and vm in RUNNING:
        what = "the engine VM to shut down; if it does not, it is ended by force"
        return [Wait(what, since + policy.stop_timeout_seconds)]
    if state is State.ENGINE_FORCE_STOP and vm in RUNNING:
        return [Wait("the engine VM to be gone after it was ended by force")]
    if state in (State.ENGINE_MIGRATING_AWAY, State.ENGINE_MIGRATING_HERE):
        return [Wait("the migration of the engine VM to end, or its lease to be free")]
    if state is State.LOCAL_MAINTENANCE_MIGRATE_VM and not able_hosts(context.observation):
        return [Wait("another host that can take the engine VM; until then it stays here")]
    return []
