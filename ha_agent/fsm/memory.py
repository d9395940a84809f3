# SPDX-License-Identifier: Apache-2.0
"""What the state machine carries from tick to tick, besides the state itself. A value."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from ha_agent.fsm.better_host import Lead
from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.observation import Outcome, ShutdownView
from ha_agent.fsm.sight import Sight
from ha_agent.fsm.trends import Trends
from ha_agent.fsm.vm_order import OrderProgress
from ha_agent.instant import Instant


class StopReason(enum.Enum):
    """Why the VM is being stopped or the lease given up: decides where that leads."""

    HUNG = "the engine did not answer for the whole grace time"
    START_TIMEOUT = "the engine did not become healthy in time"
    FAILED_TOO_OFTEN = "the VM failed too often on this host"
    LEASE_LOST = "the ownership lease is no longer ours"
    LEASE_ELSEWHERE = "another host holds the VM lease"
    MIGRATED = "the VM has migrated to another host"
    MAINTENANCE = "local maintenance"
    UNABLE = "this host can't start the VM now"
    PAUSED = "the VM was paused for the whole grace time"
    CLUSTER_SHUTDOWN = "the cluster is being shut down"
    CUT_OFF = "this host has lost its network, and other hosts don't reach the engine"


@dataclass(frozen=True)
class Memory:
    """State that outlives a tick.

    `running_since` is when the VM that runs here now was first seen running, `bad_since` since
    when its health page has been bad, `vm_unknown_since` since when VDSM has been silent.
    `paused_since` since when it has been paused
    outside of global maintenance. `was_healthy`: the engine became healthy since
    the VM was last started. `started_from` is the definition that it was started from, ""
    where nobody knows; `failing` one of which the last `failed_starts` starts failed, and
    `start_fault` why the last one did. `global_maintenance` and `shutdown` are what was last
    known of them. `failures` are the Instants of VM failures on this host within the restart
    window. `not_before` holds back the next start. `elsewhere_until`: the VM lease was held by
    another host, so until then a good page means that the VM runs there.
    `start_open_since`: a VM.create asked for then (perhaps by the agent before this one, which
    ended) has no answer that tells its fate, so it may still take effect.
    `vm_order` is an operator's last order, and how far it has come.
    `trends` are the last measurements and what they cost, `lead` another host's better score,
    `sight` the engine's page as seen from here for an owner without network. `handed_over_at` is
    when the VM was last stopped here for that.
    `settled` is the outcome that this tick brought for `settled_effect`; it is there for one
    tick only.
    """

    state_since: Optional[Instant] = None
    serial: int = 0
    pending: Optional[Effect] = None
    pending_since: Optional[Instant] = None
    settled_effect: Optional[Effect] = None
    settled: Optional[Outcome] = None
    running_since: Optional[Instant] = None
    bad_since: Optional[Instant] = None
    vm_unknown_since: Optional[Instant] = None
    paused_since: Optional[Instant] = None
    was_healthy: bool = False
    started_from: str = ""
    failing: str = ""
    failed_starts: int = 0
    start_fault: str = ""
    shutdown: ShutdownView = field(default_factory=ShutdownView)
    global_maintenance: Optional[bool] = None
    failures: tuple[Instant, ...] = ()
    not_before: Optional[Instant] = None
    elsewhere_until: Optional[Instant] = None
    start_open_since: Optional[Instant] = None
    stop_reason: Optional[StopReason] = None
    shutdown_asked: bool = False
    last_kind: Optional[EffectKind] = None
    last_at: Optional[Instant] = None
    vm_order: OrderProgress = field(default_factory=OrderProgress)
    trends: Trends = field(default_factory=Trends)
    lead: Lead = field(default_factory=Lead)
    sight: Sight = field(default_factory=Sight)
    handed_over_at: Optional[Instant] = None

    def having(self, **fields: Any) -> Memory:
        """Return the memory with these fields: itself where that is what it has already."""
        # Most ticks change nothing, and a copy costs more than all the rest of a tick.
        for name, value in fields.items():
            before = getattr(self, name)
            if before is not value and before != value:
                return replace(self, **fields)
        return self

    def forget_stop(self) -> Memory:
        """Return the memory of a host that stops nothing."""
        return replace(self, stop_reason=None, shutdown_asked=False)
