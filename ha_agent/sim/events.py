# SPDX-License-Identifier: Apache-2.0
"""What happens in the simulated world, as its checkers and its log hear of it. Values.

The world tells these as they happen, by its own truth (not by what any host believes): it
calls each subscriber with the event, and they read the true time from `at_seconds`. Nothing is
told while nothing happens, so watching a quiet cluster costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from ha_agent.broker.lease.rules import LeaseRecord


@dataclass(frozen=True)
class VmStarted:
    """A QEMU of the engine VM has the disk open from now on.

    `cause`: "agent" (VM.create of ours), "hand" (an administrator), "old" (the predecessor's
    agent), "twin" (a second agent with this host's id), "migration" (the target's QEMU has
    taken over from the source's).
    """

    at_seconds: float
    host_id: int
    cause: str


@dataclass(frozen=True)
class VmEnded:
    """A QEMU has let go of the disk.

    `cause`: "guest" (crash, power off from inside), "shutdown" and "destroy" (VDSM was asked
    to), "guard" (the fence), "sanlock" (its daemon, which can't renew), "power" (the host died),
    "migration" (it left).
    `healthy`: the engine's page was good until then. `asked_by`: for shutdown and destroy, the
    agent's reason, or "hand", "old", "twin".
    """

    at_seconds: float
    host_id: int
    cause: str
    healthy: bool
    asked_by: str = ""


@dataclass(frozen=True)
class StartRefused:
    """VM.create was refused or ended at once. `by_vm_lease`: for the VM lease is held by
    `holder`; else for a fault, such as start-refused. `cause` as in VmStarted."""

    at_seconds: float
    host_id: int
    cause: str
    by_vm_lease: bool
    holder: int = 0


@dataclass(frozen=True)
class LeaseLanded:
    """A write of the ownership lease has reached the storage; `before` is what it replaced."""

    at_seconds: float
    host_id: int
    record: LeaseRecord
    before: Optional[LeaseRecord]


@dataclass(frozen=True)
class FenceSet:
    """A host's guard has another deadline: in its own boot-time seconds, and by the true time
    that its clock shows them at as its rate is now. None: disarmed."""

    at_seconds: float
    host_id: int
    epoch: int
    fires_at_seconds: Optional[float]


@dataclass(frozen=True)
class FlagLanded:
    """A write of slot 0 has reached the storage: global maintenance is on or off."""

    at_seconds: float
    host_id: int
    enabled: bool


@dataclass(frozen=True)
class FlagAnswered:
    """A broker has answered that global maintenance is set so; `durable`: storage says so now."""

    at_seconds: float
    host_id: int
    enabled: bool
    durable: bool


@dataclass(frozen=True)
class StatusAnswered:
    """A live broker was asked for its picture, and how long the answer took by true time."""

    at_seconds: float
    host_id: int
    seconds: float


@dataclass(frozen=True)
class Decided:
    """A tick of an agent in which anything changed, with its score; `effect` is what it asks
    for: (serial, kind), or None."""

    at_seconds: float
    host_id: int
    state: str
    score: int
    effect: Optional[tuple[int, str]] = None


@dataclass(frozen=True)
class EffectEnded:
    """The outcome of an effect is in."""

    at_seconds: float
    host_id: int
    serial: int
    outcome: str


@dataclass(frozen=True)
class HealthChanged:
    """The engine's page, by the world's truth: good from now on, or not (or no VM runs)."""

    at_seconds: float
    good: bool


@dataclass(frozen=True)
class ProcessChanged:
    """A process of a host runs from now on ("up"), is stopped by SIGSTOP or sleeps with its
    host ("hung"), was stopped in order ("stopped"), or is dead ("down"). `process` is one of
    faults.PROCESSES."""

    at_seconds: float
    host_id: int
    process: str
    state: str


@dataclass(frozen=True)
class Ticked:
    """A look at an agent that runs: how long ago it ticked last."""

    at_seconds: float
    host_id: int
    ago_seconds: float


@dataclass(frozen=True)
class Ended:
    """The simulation is over."""

    at_seconds: float


Event = Union[
    VmStarted,
    VmEnded,
    StartRefused,
    LeaseLanded,
    FenceSet,
    FlagLanded,
    FlagAnswered,
    StatusAnswered,
    Decided,
    EffectEnded,
    HealthChanged,
    ProcessChanged,
    Ticked,
    Ended,
]
