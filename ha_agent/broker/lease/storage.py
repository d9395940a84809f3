# SPDX-License-Identifier: Apache-2.0
"""What the lease keeper needs of shared storage, and how a lock file gives it.

`FileLeaseStorage` sends each call to a storage worker (lease/file.py's operations through a
StorageLane of its own, which nothing else may delay) and decodes what comes back. It holds no
state: everything that matters is in the file. (A block that it has decoded before, byte for byte,
it does not decode again: most looks find what the look before found.) `HostIdWatch` keeps our
host id locked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ha_agent.broker.lease.rules import (
    LeaseFormatError,
    LeaseIdentity,
    LeaseRecord,
    decode,
    encode,
)
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.journal_messages import HOST_ID_LOST
from ha_agent.log import fields

log = logging.getLogger(__name__)

HOLD_INTERVAL_SECONDS = 5.0


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


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class HostIdWatch:
    """Keeps our host id held: what was held goes with a worker process that was lost."""

    def __init__(self, storage: LeaseStorage, clock: Clock, retry_seconds: float) -> None:
        self._storage = storage
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._due: Optional[Instant] = None
        self.hold = HostIdHold(False, "host id not held yet")

    async def keep(self, deadline_seconds: float) -> None:
        """Ask for the host id again when it is time to; `hold` has the answer."""
        now = self._clock.now()
        if self._due is not None and now < self._due:
            return
        before = self.hold
        try:
            self.hold = await self._storage.hold_host_id(deadline_seconds)
        except EnvironmentFault as fault:
            self.hold = HostIdHold(False, str(fault))
        if self.hold != before:
            if self.hold.held:
                log.info("our host id is held")
            else:
                log.error("%s", self.hold.reason, extra=fields(HOST_ID_LOST))
        self._due = now + (HOLD_INTERVAL_SECONDS if self.hold.held else self._retry_seconds)


class Lane(Protocol):
    """What is needed of storage_lane.StorageLane."""

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any: ...


class FileLeaseStorage:
    """The lease in a lock file; implements LeaseStorage."""

    def __init__(self, lane: Lane, path: str, identity: LeaseIdentity) -> None:
        self._lane = lane
        self._path = path
        self._identity = identity
        self._known: Optional[tuple[bytes, LeaseRecord]] = None

    async def initialise(self, deadline_seconds: float) -> tuple[bool, str]:
        """Make the lock file with a free record, once for the cluster.

        Returns whether it did, and what the file holds now; a file that holds anything but
        zeros is left as it is. Raises as LeaseStorage says.
        """
        answer = await self._lane.call("lease_initialise", deadline_seconds, path=self._path)
        try:
            record = decode(answer["block"], self._path)
        except LeaseFormatError as fault:
            return bool(answer["done"]), str(fault)
        found = f"{record.state}, epoch {record.epoch}"
        if record.host_name:
            found += f", last held by {record.host_name}"
        return bool(answer["done"]), found

    async def read(self, deadline_seconds: float) -> LeaseRecord:
        """Return the record. Raises as LeaseStorage says."""
        block = await self._lane.call("lease_read", deadline_seconds, path=self._path)
        return self._decoded(block)

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
        block = self._encoded(expected)
        new_block = encode(new)
        answer = await self._lane.call(
            "lease_swap",
            deadline_seconds,
            path=self._path,
            expected=block,
            new=new_block,
            lock_wait_seconds=deadline_seconds / 2,
        )
        if answer["block"] == new_block:
            self._known = new_block, new
        return Swap(answer["done"], self._decoded(answer["block"]))

    def _decoded(self, block: bytes) -> LeaseRecord:
        if self._known is None or self._known[0] != block:
            self._known = block, decode(block, self._path)
        return self._known[1]

    def _encoded(self, record: LeaseRecord) -> bytes:
        if self._known is not None and self._known[1] == record:
            return self._known[0]
        return encode(record)
