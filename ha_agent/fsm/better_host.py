# SPDX-License-Identifier: Apache-2.0
"""Which other host would be far better for the engine VM: to be said, never to be acted on.

The predecessor stopped a healthy engine when another host led by 800 points, which since 2019
meant an outage of minutes for a worse ping (facts/predecessor-and-peers.md 1.2). The engine can
migrate its VM without one, so all that is left to do here is to name the host: after it has
led for a while, and until its lead is gone, so that the word does not change with each sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from ha_agent.fsm.observation import Observation
from ha_agent.fsm.policy import Hysteresis
from ha_agent.fsm.takeover import able_hosts
from ha_agent.instant import Instant, reached


@dataclass(frozen=True)
class Lead:
    """The host that is far better, and since when; `named` once that has lasted."""

    host_id: Optional[int] = None
    since: Optional[Instant] = None
    named: bool = False

    @property
    def better_host(self) -> Optional[int]:
        """Return the host to be named."""
        return self.host_id if self.named else None


_NOBODY = Lead()


def follow_lead(
    lead: Lead, healthy_here: bool, score: int, observation: Observation, rules: Hysteresis
) -> Lead:
    """Return what is known of the lead now; `score` is ours. `since` of a named host is when
    it was named. Nobody is better while no healthy engine runs here: it can't migrate."""
    leads = {}
    if lead.host_id is None:
        enter = score + rules.lead_enter
        if not healthy_here or not any(peer.score >= enter for peer in observation.peers):
            return lead
    if healthy_here:
        leads = {peer.host_id: peer.score - score for peer in able_hosts(observation)}
    now = observation.now
    if lead.host_id is not None and lead.since is not None:
        points = leads.get(lead.host_id)
        lasted = now >= reached(lead.since, rules.lead_seconds)
        if lead.named and points is not None and (points >= rules.lead_leave or not lasted):
            return lead
        if not lead.named and points is not None and points >= rules.lead_enter:
            return Lead(lead.host_id, now, named=True) if lasted else lead
    best = min(leads, key=lambda host_id: (-leads[host_id], host_id), default=None)
    if best is not None and leads[best] >= rules.lead_enter:
        return Lead(best, now)
    return lead if lead == _NOBODY else _NOBODY


def lead_dues(lead: Lead, rules: Hysteresis) -> Iterator[Instant]:
    """Yield when time alone may name the host that leads, or end that."""
    if lead.since is not None:
        yield reached(lead.since, rules.lead_seconds)
