# SPDX-License-Identifier: Apache-2.0
"""What the lease keeper needs of shared storage, and how a lock file gives it.

`FileLeaseStorage` sends each call to a storage worker (lease_file.py's operations through a
StorageLane of its own, which nothing else may delay) and decodes what comes back. It holds no
state: everything that matters is in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ha_agent.broker.lease import LeaseIdentity, LeaseRecord, decode, encode


@dataclass(frozen=True)
class Swap:
    """The answer to a take, renewal or release: done, or refused with what is there now."""

    done: bool
    record: LeaseRecord


@dataclass(frozen=True)
class HostIdHold:
    """Whether this host has its host id for itself, and if not, who has it."""

    held: bool
    reason: str = ""


class LeaseStorage(Protocol):
    """The lease on shared storage.

    Every call ends within its deadline and raises EnvironmentFault (the call may take effect
    later) or LeaseFormatError (what is there is not a lease record; nothing was written).
    Each write happens only if the record is exactly `expected`, in one step for all hosts.
    """

    async def read(self, deadline_seconds: float) -> LeaseRecord: ...

    async def take(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap: ...

    async def renew(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap: ...

    async def release(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap: ...

    async def hold_host_id(self, deadline_seconds: float) -> HostIdHold:
        """Hold our host id against every other agent; asking again is cheap."""
        ...


class Lane(Protocol):
    """What is needed of storage_lane.StorageLane."""

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any: ...


class FileLeaseStorage:
    """The lease in a lock file; implements LeaseStorage."""

    def __init__(self, lane: Lane, path: str, identity: LeaseIdentity) -> None:
        self._lane = lane
        self._path = path
        self._identity = identity

    async def read(self, deadline_seconds: float) -> LeaseRecord:
        """Return the record. Raises as LeaseStorage says."""
        block = await self._lane.call("lease_read", deadline_seconds, path=self._path)
        return decode(block, self._path)

    async def take(self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float) -> Swap:
        """Write the record of a new owner."""
        return await self._swap(expected, new, deadline_seconds)

    async def renew(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap:
        """Write the owner's next record."""
        return await self._swap(expected, new, deadline_seconds)

    async def release(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap:
        """Write the record that gives the lease up."""
        return await self._swap(expected, new, deadline_seconds)

    async def hold_host_id(self, deadline_seconds: float) -> HostIdHold:
        """Hold our host id through the worker's life."""
        identity = self._identity
        answer = await self._lane.call(
            "lease_hold_host_id",
            deadline_seconds,
            path=self._path,
            host_id=identity.host_id,
            host_name=identity.host_name,
            instance=identity.instance,
        )
        # A worker that hangs in the kernel keeps its lock until it is gone: that one is ours.
        if answer["held"] or answer["instance"] == identity.instance:
            return HostIdHold(True)
        other = f"host {answer['host_name']!r}" if answer["host_name"] else "another agent"
        return HostIdHold(
            False,
            f"host id {identity.host_id} is in use by {other} (lock in {self._path});"
            " every host needs an id of its own",
        )

    async def _swap(
        self, expected: LeaseRecord, new: LeaseRecord, deadline_seconds: float
    ) -> Swap:
        answer = await self._lane.call(
            "lease_swap",
            deadline_seconds,
            path=self._path,
            expected=encode(expected),
            new=encode(new),
            lock_wait_seconds=deadline_seconds / 2,
        )
        return Swap(answer["done"], decode(answer["block"], self._path))
