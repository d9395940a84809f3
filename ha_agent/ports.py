# SPDX-License-Identifier: Apache-2.0
"""What the agent needs of the world, as small Protocols. Tests and simulator replace these.

Every call ends within a deadline of the implementation's; what fails raises an
`errors.EnvironmentFault`. A refusal that is to be expected is a value, not an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ha_agent.broker.snapshot import Report, Snapshot
from ha_agent.fsm.observation import VmView
from ha_agent.instant import Instant, WallTime


class Clock(Protocol):
    """This host's clocks."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


@dataclass(frozen=True)
class LeaseAnswer:
    """What became of taking or releasing the lease, with the broker's picture after it."""

    ok: bool
    detail: str
    snapshot: Snapshot


@dataclass(frozen=True)
class DomainDefinition:
    """The domain XML to start the engine VM from, and what it was made from."""

    identity: str
    xml: str
    notes: tuple[str, ...] = ()


class Broker(Protocol):
    """This host's broker: lease, status blocks, definition, probes."""

    async def snapshot(self, since_version: int, wait_seconds: float) -> Snapshot:
        """Return the broker's picture as soon as it is newer than `since_version`."""
        ...

    async def publish(self, report: Report) -> None:
        """Hand over this host's own state, for its status block and for operators."""
        ...

    async def take_lease(self, expected_epoch: int, why: str) -> LeaseAnswer: ...

    async def release_lease(self, why: str) -> LeaseAnswer: ...

    async def abandon_lease(self, why: str) -> LeaseAnswer:
        """Let the lease run out with its fence armed: where the VM may run unseen."""
        ...

    async def domain_definition(self, fallback: bool = False, why: str = "") -> DomainDefinition:
        """Return what to start from; with `fallback` the last other one that did start."""
        ...


class Hypervisor(Protocol):
    """VDSM of this host, reduced to the one VM."""

    async def look(self) -> VmView:
        """Return the VM as it is now; a silent or recovering VDSM gives UNKNOWN."""
        ...

    async def create(self, xml: str, *, paused: bool = False) -> None:
        """Start the VM. VmLeaseHeldElsewhere, VdsmError.

        `paused`: as far as its first instruction. It may hold no VM lease until `resume`.
        """
        ...

    async def resume(self) -> None:
        """Let a paused VM go on, with its VM lease. No VM, and a lease that is held elsewhere,
        are faults; the VM stays paused then."""
        ...

    async def shutdown(self) -> None:
        """Ask the guest to shut down; returns when VDSM has taken the request."""
        ...

    async def destroy(self) -> None:
        """End the VM by force, or clear its Down record. No VM is success."""
        ...
