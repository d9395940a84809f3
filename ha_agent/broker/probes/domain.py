# SPDX-License-Identifier: Apache-2.0
"""Whether this host reaches the hosted engine's storage domain, as the broker and VDSM see it.

Two that do not share a fate: the broker's workers read the status blocks every few seconds,
and VDSM reads the domain's metadata on paths of its own. Nothing is read for this probe: a
reader more would only be one more to hang. It takes no points: a host that can't reach the
domain holds no lease and publishes no score.

    broker   VDSM           accessible
    reads    says valid     yes
    reads    says nothing   yes (VDSM's silence is not the storage's)
    reads    says invalid   no: the VM's disks are VDSM's to prepare
    late     anything       no
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.vdsm.client.answers import DomainVitals


@dataclass(frozen=True)
class OwnReads:
    """How the broker's own reading of the status blocks does."""

    read_at: Optional[Instant]
    problem: str = ""
    latency_seconds: Optional[float] = None


@dataclass(frozen=True)
class DomainState:
    """`latency_seconds` is the broker's last call, `vdsm_seconds` VDSM's last read."""

    accessible: bool
    detail: str
    latency_seconds: Optional[float] = None
    vdsm_seconds: Optional[float] = None


def judge(
    own: OwnReads, vitals: Optional[DomainVitals], now: Instant, late_seconds: float
) -> DomainState:
    """Return the state; `vitals` None: VDSM does not tell. Raises EnvironmentFault before the
    first read was tried."""
    if own.read_at is None and not own.problem:
        raise EnvironmentFault("the status blocks have not been read yet")
    vdsm_seconds = None if vitals is None else vitals.delay_seconds
    if own.read_at is None or now - own.read_at > late_seconds:
        detail = own.problem or "the status blocks are not read in time"
        return DomainState(False, detail, None, vdsm_seconds)
    if vitals is None:
        detail = "the broker reads it; VDSM does not tell"
    elif not vitals.actual:
        detail = "the broker reads it; VDSM has not looked yet"
    elif not vitals.valid:
        detail = f"the broker reads it, but VDSM does not (code {vitals.code})"
        return DomainState(False, detail, own.latency_seconds, vdsm_seconds)
    else:
        detail = "the broker and VDSM read it"
    return DomainState(True, detail, own.latency_seconds, vdsm_seconds)
