# SPDX-License-Identifier: Apache-2.0
"""What the state machine carries from tick to tick, besides the state itself. A value."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Optional

from ha_agent.fsm.effect import Effect, EffectKind
from ha_agent.fsm.observation import Outcome
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


@dataclass(frozen=True)
class Memory:
    """State that outlives a tick.

    `running_since` is when the VM that runs here now was first seen running, `bad_since` since
    when its health page has been bad, `vm_unknown_since` since when VDSM has been silent.
    `global_maintenance` is what was last known of it. `failures` are the Instants of VM
    failures on this host within the restart window. `not_before` holds back the next start.
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
    global_maintenance: Optional[bool] = None
    failures: tuple[Instant, ...] = ()
    not_before: Optional[Instant] = None
    stop_reason: Optional[StopReason] = None
    shutdown_asked: bool = False
    last_kind: Optional[EffectKind] = None
    last_at: Optional[Instant] = None

    def forget_stop(self) -> Memory:
        """Return the memory of a host that stops nothing."""
        return replace(self, stop_reason=None, shutdown_asked=False)
