# SPDX-License-Identifier: Apache-2.0
"""What to simulate, and what came of it. Values; `runner.run` makes one of the other.

Scenarios, seeds, the shrinker and the benchmarks all go through these two, so that whatever one
of them finds can be repeated by any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ha_agent.broker.lease.rules import LeaseTimes
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.fsm.policy import Policy
from ha_agent.sim.faults import Fault

LOCKFILE, SANLOCK = "lockfile", "sanlock"


@dataclass(frozen=True)
class Spec:
    """One simulation: everything that it depends on.

    `hosts` are host ids 1..n; those in `old_hosts` run the predecessor. `seed` draws what is
    left open: latencies, clock offsets and rates (`clock_spread`: rates within 1 +- it), the
    order of what happens at once. `engine_on`: the engine is up on this host when the log
    begins (0: a cold start). `calm_seconds`: the last so many seconds have no fault, and the
    engine must be up within the budget (checkers.py).
    """

    seconds: float
    hosts: int = 3
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    engine_on: int = 0
    old_hosts: tuple[int, ...] = ()
    boot_seconds: float = 20.0
    host_boot_seconds: float = 60.0
    clock_spread: float = 0.0
    calm_seconds: float = 0.0
    vm_lease_expiry_seconds: float = 0.0
    """How long after its host's death the VM lease is still held: 0 for the kernel's locks,
    140 for sanlock with its defaults."""
    policy: Policy = field(default_factory=Policy)
    times: LeaseTimes = field(default_factory=LeaseTimes)
    lease_backend: str = LOCKFILE
    """What has ownership and VM lease: "sanlock", or "lockfile" with the kernel's locks."""
    sanlock: SanlockTimes = field(default_factory=lambda: SanlockTimes(2, 10))
    """The profile "fast"."""

    @property
    def is_sanlock(self) -> bool:
        """Whether sanlock has the leases."""
        return self.lease_backend == SANLOCK

    @property
    def lease_expiry_seconds(self) -> float:
        """How long after a dead owner's last renewal others may have its leases."""
        if self.is_sanlock:
            return float(self.sanlock.host_dead_seconds)
        return self.times.lease_expiry_seconds


@dataclass(frozen=True)
class Violation:
    """A rule that was broken: which checker says so, when, and what it saw."""

    at_seconds: float
    checker: str
    what: str


@dataclass(frozen=True)
class Outage:
    """A time without a healthy engine, from its first second to its last."""

    began_seconds: float
    ended_seconds: float


@dataclass(frozen=True)
class Result:
    """`log` has a line for each change that an operator would care for:
    "   15.12 h2 EngineDown -> EngineStart: nobody holds the lease ... (take lease)".
    `steps` counts the callbacks that ran, `ticks` the agents' ticks."""

    spec: Spec
    log: tuple[str, ...]
    violations: tuple[Violation, ...]
    outages: tuple[Outage, ...]
    steps: int = 0
    ticks: int = 0
    digest: str = ""
    """SHA-256 over the log and every write that reached the storage: equal runs, equal digests."""
