# SPDX-License-Identifier: Apache-2.0
"""What one tick sees: a frozen picture of VM, lease, peers, definition, health and wishes.

Everything the state machine knows of the world comes through here, so that one tick decides
on one picture. Instants are this host's (agent and broker share its boot-time clock); a
peer's clock never appears: whether a peer lives is judged by whether its block changes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Optional

from ha_agent.instant import Instant


class VmCondition(enum.Enum):
    """What VDSM on this host says of the engine VM."""

    UNKNOWN = "unknown"  # VDSM does not answer, or is still recovering
    ABSENT = "absent"  # VDSM has no record of it
    DOWN = "down"  # a Down record is left, with how it ended
    STARTING = "starting"  # asked for; VDSM says WaitForLaunch or Powering up
    UP = "up"
    PAUSED = "paused"
    STOPPING = "stopping"  # Powering down
    MIGRATING_AWAY = "migrating away"
    MIGRATING_HERE = "migrating here"


class VmExit(enum.Enum):
    """How a VM that is Down ended."""

    CRASHED = "crashed"
    START_FAILED = "start failed"
    LEASE_HELD_ELSEWHERE = "VM lease held elsewhere"
    STOPPED = "stopped by an administrator"
    POWERED_OFF = "powered off from inside"
    MIGRATED = "migrated away"


@dataclass(frozen=True)
class VmView:
    """The engine VM on this host; `detail` is VDSM's own word. `launching`: asked for, and not
    yet seen to have its VM lease, so that a page that answers may be another host's VM's."""

    condition: VmCondition = VmCondition.UNKNOWN
    exit: Optional[VmExit] = None
    detail: str = ""
    launching: bool = False


class LeaseCondition(enum.Enum):
    """What this host's broker says of the ownership lease."""

    UNKNOWN = "unknown"  # broker or storage silent, or the record can't be read
    FREE = "free"
    OURS = "ours"
    HELD = "held"
    EXPIRED = "expired"  # held by somebody who has not renewed for the whole expiry


@dataclass(frozen=True)
class LeaseView:
    """The ownership lease as this host sees it.

    `available_since` is when it became free or expired by our clock (None otherwise); ranks
    count from it. `host_id` is the holder's, also of an expired lease.
    """

    condition: LeaseCondition = LeaseCondition.UNKNOWN
    host_id: Optional[int] = None
    host_name: str = ""
    epoch: int = 0
    available_since: Optional[Instant] = None
    detail: str = ""


class Health(enum.Enum):
    """The engine's own health page."""

    UNKNOWN = "unknown"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True)
class PeerView:
    """Another host, from its status block. `alive`: the block has changed lately. `fresh`: within
    a lease's life, which is less.

    `network_lost` is its own word on its network; `page` what it sees of the engine's page for
    an owner without network (sight.py), UNKNOWN where it does not say. `page_bad_seconds` is how
    long it had been bad there without a break when the block of `page_told_at` was written.
    """

    host_id: int
    host_name: str
    alive: bool
    score: int
    vm_up: bool
    maintenance: bool = False
    stopped: bool = False
    predecessor: bool = False  # its agent is the predecessor's: it never takes our lease
    network_lost: bool = False
    page: Health = Health.UNKNOWN
    page_bad_seconds: int = 0
    page_told_at: Optional[Instant] = None
    fresh: bool = True

    @property
    def able(self) -> bool:
        """Whether this host would take the engine VM, as far as its block tells."""
        return self.alive and self.score > 0 and not self.maintenance and not self.stopped


@dataclass(frozen=True)
class DefinitionView:
    """The engine VM's definition as the broker holds it.

    `identity` changes with the content; `stale` means that the store could not be read lately
    and this is the last good one. `fallback` is the newest other definition that an engine on
    this host once became healthy with, "" where there is none or no need of one.
    """

    available: bool = False
    identity: str = ""
    memory_mib: int = 0
    stale: bool = False
    problem: str = ""
    fallback: str = ""


@dataclass(frozen=True)
class HealthView:
    """The last sample of the engine's health page, taken on this host at `taken_at`.

    A sample from before the VM that runs now says nothing of this one.
    """

    health: Health = Health.UNKNOWN
    detail: str = ""
    taken_at: Optional[Instant] = None

    def of_vm_since(self, running_since: Optional[Instant]) -> HealthView:
        """Return what this says of a VM that runs since then; unknown when it is older."""
        if running_since is None or self.taken_at is None or self.taken_at < running_since:
            return HealthView()
        return self


@dataclass(frozen=True)
class HostFacts:
    """This host's own measurements; None where nothing was measured, which costs no points.

    The time of each tells one sample from the next: without it a value is no sample, and counts
    for nothing.
    """

    network_share_lost: Optional[float] = None  # of the last samples, 0..1
    bridge_up: Optional[bool] = None
    cpu_load: Optional[float] = None  # share of all CPUs, 0..1
    memory_free_mib: Optional[int] = None
    network_at: Optional[Instant] = None
    bridge_at: Optional[Instant] = None
    cpu_at: Optional[Instant] = None
    memory_at: Optional[Instant] = None


@dataclass(frozen=True)
class ShutdownView:
    """The order to shut the cluster down, in force only with global maintenance.

    `ready`: every live host has seen it and runs no other VM; `waiting_for` says who has not.
    """

    ordered: bool = False
    ready: bool = False
    waiting_for: str = ""


class VmOrderKind(enum.Enum):
    """What an operator may order under global maintenance."""

    START = "start"
    START_PAUSED = "start paused"
    RESUME = "resume"
    STOP = "stop"
    FORCE_STOP = "force stop"


@dataclass(frozen=True)
class VmOrder:
    """An operator's order for this host. `number` tells one from the next."""

    number: int
    kind: VmOrderKind


class OutcomeCode(enum.Enum):
    """How an effect ended."""

    OK = "ok"
    REFUSED = "refused"  # the lease was not ours to take, VDSM said no
    LEASE_HELD_ELSEWHERE = "VM lease held elsewhere"
    FAILED = "failed"
    UNKNOWN = "unknown"  # no answer in time; it may still take effect


@dataclass(frozen=True)
class Outcome:
    """The end of the effect with this serial. `definition`: what a start was asked with."""

    serial: int
    code: OutcomeCode
    detail: str = ""
    definition: str = ""

    @property
    def ok(self) -> bool:
        return self.code is OutcomeCode.OK


@dataclass(frozen=True)
class Observation:
    """One tick's picture of the world."""

    now: Instant
    host_id: int
    vm: VmView = field(default_factory=VmView)
    lease: LeaseView = field(default_factory=LeaseView)
    peers: tuple[PeerView, ...] = ()
    definition: DefinitionView = field(default_factory=DefinitionView)
    health: HealthView = field(default_factory=HealthView)
    facts: HostFacts = field(default_factory=HostFacts)
    local_maintenance: bool = False
    global_maintenance: Optional[bool] = None  # None: not known now
    shutdown: Optional[ShutdownView] = None  # None: not known now
    vm_order: Optional[VmOrder] = None
    stop_requested: bool = False
    outcomes: tuple[Outcome, ...] = ()
    published_score: Optional[int] = None  # ours, as the peers' brokers can read it now
    vm_asked_at: Optional[Instant] = None  # when the look that `vm` is from was asked for
