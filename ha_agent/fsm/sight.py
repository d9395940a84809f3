# SPDX-License-Identifier: Apache-2.0
"""What a host without the engine VM sees of the engine's page, while the owner says that it has
lost its network. Pure; evidence for the owner (cut_off.py), never to be acted on here.

    the owner's network is lost, ours is good   from now on this host asks for the page
    page bad    said with for how long without a break, by our clock: a duration, as no host's
                clock is compared with another's
    page good   said, too: then somebody reaches the engine, and it stays where it is
    the owner's network is back, ours is lost, or the lease is another's, free or unknown
                this host asks no more, and says nothing

A host that has no network itself, or does not test it, could not tell the owner's fault from its
own, so it has nothing to say. Neither has a sample from before this host began to ask: it may be
of the VM that was here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.fsm.observation import (
    Health,
    HealthView,
    LeaseCondition,
    Observation,
    VmCondition,
)
from ha_agent.fsm.trends import Trends
from ha_agent.instant import Instant

_NOT_HERE = (VmCondition.ABSENT, VmCondition.DOWN)


@dataclass(frozen=True)
class Sight:
    """The page as it is seen from here. `since`: asked for since then, None while it is not;
    `bad_since`: without a good answer since then."""

    since: Optional[Instant] = None
    page: Health = Health.UNKNOWN
    bad_since: Optional[Instant] = None


_NONE = Sight()


def follow_sight(sight: Sight, trends: Trends, observation: Observation) -> Sight:
    """Return what is seen now; the same object where that is what was seen before."""
    if not _is_asked(trends, observation):
        return sight if sight == _NONE else _NONE
    now = observation.now
    since = sight.since or now
    page = page_since(since, observation.health)
    bad_since = (sight.bad_since or now) if page is Health.BAD else None
    seen = Sight(since, page, bad_since)
    return sight if sight == seen else seen


def page_since(since: Optional[Instant], health: HealthView) -> Health:
    """Return the page by samples taken since then."""
    return health.of_vm_since(since).health


def _is_asked(trends: Trends, observation: Observation) -> bool:
    lease = observation.lease
    if lease.condition is not LeaseCondition.HELD or not trends.network_good:
        return False
    if observation.vm.condition not in _NOT_HERE:
        return False
    return any(
        peer.host_id == lease.host_id and peer.alive and peer.network_lost
        for peer in observation.peers
    )
