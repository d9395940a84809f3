# SPDX-License-Identifier: Apache-2.0
"""An owner whose network is lost, and whose engine nobody reaches any more. Pure.

Such a host still reaches the engine over its own bridge, and calls it healthy. A score is no
reason to stop it (better_host.py); what other hosts see themselves is (sight.py):

    0 s     the cable is out
    40      the network's penalty is entered (trends.py), and stands in our status block
    45      a host with a good network asks for the page; from here on its block says "bad"
    165     ... for bad_health_grace_seconds without a break: the VM is shut down in order,
            the lease released, and a host with network takes it (takeover.py: this one waits)

Not while any live host reaches the engine; not for a host that could not take the VM, or has no
network itself, as when the switch is dead; not for one that is silent, or runs software that
says nothing of the page. What is looked at is this host's own network and the others' blocks, so
nobody's mistake alone stops a healthy engine: our test has to fail, and theirs of the page, and
nobody's may pass. And not again within restart_window_seconds: a VM that came back was found to
be able to run nowhere else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from ha_agent.fsm.context import Context
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.observation import Health, PeerView
from ha_agent.fsm.state import State
from ha_agent.fsm.takeover import contenders
from ha_agent.instant import Instant, reached


def cut_off(context: Context) -> bool:
    """for the whole grace time other hosts don't reach the engine, and this one has no network"""
    grace_seconds = context.policy.bad_health_grace_seconds
    return any(peer.page_bad_seconds >= grace_seconds for peer in blind_hosts(context))


def not_handed_over_lately(context: Context) -> bool:
    """the VM was not handed over for that within the restart window"""
    again_at = hand_over_again_at(context)
    return again_at is None or context.now >= again_at


def hand_over_again_at(context: Context) -> Optional[Instant]:
    """Return when a VM that was handed over, and came back, may be handed over again."""
    handed_over_at = context.memory.handed_over_at
    if handed_over_at is None:
        return None
    return reached(handed_over_at, context.policy.restart_window_seconds)


def note_hand_over(context: Context, memory: Memory) -> Memory:
    """Remember that the VM is handed over."""
    return replace(memory, handed_over_at=context.now)


def blind_hosts(context: Context) -> list[PeerView]:
    """Return the hosts that could run the VM and don't reach the engine; none while it is to
    stay here whatever they see."""
    if is_reached(context):
        return []
    return [peer for peer in _with_network(context) if peer.page is Health.BAD]


def is_reached(context: Context) -> bool:
    """Return whether the engine is in reach, as far as known: its host has network, or some live
    host gets a good page."""
    if not context.memory.trends.network_lost:
        return True
    peers = context.observation.peers
    return any(peer.alive and peer.page is Health.GOOD for peer in peers)


def better_off_here(context: Context) -> bool:
    """Return whether a hand-over that was begun is of no use any more.

    Less than `not cut_off`: a report that is missing for a moment, in the middle of the guest's
    shutdown, would leave the VM to end unasked, and to be started here again.
    """
    return is_reached(context) or not _with_network(context)


def hand_over_at(state: State, context: Context) -> Optional[Instant]:
    """Return when a healthy VM is handed over if nothing changes; None while it is not to be."""
    if state is not State.ENGINE_UP:
        return None
    grace_seconds = context.policy.bad_health_grace_seconds
    told = [
        peer.page_told_at + (grace_seconds - peer.page_bad_seconds)
        for peer in blind_hosts(context)
        if peer.page_told_at is not None
    ]
    if not told:
        return None
    again_at = hand_over_again_at(context)
    return min(told) if again_at is None else max(min(told), again_at)


def _with_network(context: Context) -> list[PeerView]:
    return [peer for peer in contenders(context.observation) if not peer.network_lost]
