# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is when the lease is free: in order of merit, one step apart.

    the best host with network    at once
    each next one                 a step later
    a host without network        after the time that other hosts have to take over, while there
                                  is one with network: nobody would reach the engine there

At expiry the best host goes at once and each next one waits its rank times a step, so that
contenders don't collide; where pictures differ (a peer's block is some seconds old) they may
all the same, and then the lock decides. Every host compares scores as they stand in the status
blocks, its own too: with its score of this moment against others of some seconds ago, two
hosts whose scores fall together would each wait for the other. Ties go to the lower host id,
so that hosts of equal score do not all start at once, as the predecessor's did.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from ha_agent.fsm.observation import LeaseCondition, Observation, PeerView
from ha_agent.fsm.policy import Policy
from ha_agent.instant import Instant


def able_hosts(observation: Observation) -> list[PeerView]:
    """Return the peers that could run the VM, those of the predecessor's version among them;
    the holder of an expired lease is none, unless it has gone back to that version since."""
    lease = observation.lease
    dead_holder = lease.host_id if lease.condition is LeaseCondition.EXPIRED else None
    return [
        peer
        for peer in observation.peers
        if peer.able and (peer.predecessor or peer.host_id != dead_holder)
    ]


def contenders(observation: Observation) -> list[PeerView]:
    """Return the peers that would take the lease, before or after this host.

    To let another one go first would only be a wait for nobody: a host of the predecessor's
    version knows nothing of the lease, and one that has not written its block for a lease's life
    can't write the lease either, as the owner whose storage hangs.
    """
    return [peer for peer in able_hosts(observation) if peer.fresh and not peer.predecessor]


def peers_with_vm(observation: Observation) -> list[PeerView]:
    """Return the live peers that are believed that the VM runs there, while the lease is free or
    expired, or held by this host.

    The holder of an expired lease is dead, and who released it saw the VM gone before: their
    blocks are older. So is one that has not changed for a lease's life: it may be that of the
    owner whose storage hangs, after another host has taken its lease and given it up. Not if it
    is the predecessor's, which renews no lease: that block tells.
    """
    free = (LeaseCondition.FREE, LeaseCondition.EXPIRED)
    lease = observation.lease
    holder = lease.host_id if lease.condition in free else None
    return [
        peer
        for peer in observation.peers
        if peer.alive and peer.vm_up
        if peer.predecessor or (peer.host_id != holder and peer.fresh)
    ]


def rank(host_id: int, score: int, peers: Iterable[PeerView]) -> int:
    """Return how many of `peers` are better than this host: 0 is the best."""
    mine = (-score, host_id)
    return sum(1 for peer in peers if (-peer.score, peer.host_id) < mine)


def turn_at(
    observation: Observation,
    score: int,
    policy: Policy,
    ready_since: Optional[Instant],
    *,
    network_lost: bool = False,
) -> Optional[Instant]:
    """Return when this host may take the lease, or None while it is not to be had.

    Ranks count from when the lease became available, but not from before this host was ready
    (`ready_since`, when its state began): at the end of a global maintenance all hosts see at
    once a lease that has been free for long, and would all go together.
    """
    since = observation.lease.available_since
    if since is None:
        return None
    if ready_since is not None and ready_since > since:
        since = ready_since
    known = observation.published_score
    mine = score if known is None else known
    others = contenders(observation)
    place = rank(observation.host_id, mine, others)
    wait_seconds = place * policy.takeover_step_seconds
    if network_lost and any(not peer.network_lost for peer in others):
        wait_seconds = max(wait_seconds, policy.unexpected_down_seconds)
    return since + wait_seconds
