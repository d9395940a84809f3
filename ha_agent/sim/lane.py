# SPDX-License-Identifier: Apache-2.0
"""One host's way to the shared storage: what broker/storage/lane.py promises, and its faults.

A call runs in a storage worker, one at a time for each lane, in the order they came. The worker
is a process of its own: a broker that is stopped (SIGSTOP) does not stop it, one that is killed
takes it along, unless it is stuck in the kernel. A call over its deadline ends for the caller
(DeadlineExceeded); what it was doing may land later, after the storage has come back.

    call -> queue -> there (latency, slow, hang) -> lock -> failure or effect -> back -> answer
                                                             torn: some sectors now, the rest
                                                             a moment later, if the host lives

On a path without faults a call is one pause and one effect: that is nearly all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Optional

from ha_agent.broker.storage.lane import StorageFault
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.sim.dice import Dice
from ha_agent.sim.loop import Process, SimLoop
from ha_agent.sim.storage import LEASE, SLOT_BYTES, STATUS_BYTES, SharedStorage, slot_entries

LATENCY_SECONDS = (0.001, 0.012)
_LOCK_RETRY_SECONDS = 0.01
_STALE_SECONDS = 6.0
_TEAR_SECONDS = 0.3
_MAX_ABANDONED = 8
_SECTORS = SLOT_BYTES // 512
_WRITES = ("lease_swap", "write_slot", "lease_initialise", "lease_hold_host_id", "sanlock_swap")


class Path:
    """A host's way to storage and what is wrong with it now.

    `kernel` is the process in which work goes on whatever becomes of the broker; it ends with
    the host's power.
    """

    def __init__(self, storage: SharedStorage, host_id: int, dice: Dice) -> None:
        self.storage = storage
        self.host_id = host_id
        self.dice = dice
        self.kernel: Process
        self.calm = True
        self.slow_seconds = 0.0
        self.hung = False
        self.eio = False
        self.flaky = 0.0
        self.stale = False
        self.torn = False
        self.lost = False
        self.readonly = False
        self.stuck: list[_Call] = []
        """Calls that hang in the kernel until storage is back."""

    def set(self, faults: dict[str, float]) -> None:
        """Take the faults of kind "storage-..." that are in force, with their values."""
        self.slow_seconds = faults.get("storage-slow", 0.0)
        self.hung = "storage-hang" in faults
        self.eio = "storage-eio" in faults
        self.flaky = faults.get("storage-flaky", 0.0)
        self.stale = "storage-stale" in faults
        self.torn = "storage-torn" in faults
        self.lost = "storage-lost-write" in faults
        self.readonly = "storage-readonly" in faults
        self.calm = not faults
        if not self.hung:
            stuck, self.stuck = self.stuck, []
            for call in stuck:
                self.kernel.call_later(self.dice.uniform(0.0, 0.5), call.lane.arrive, call)

    def power_lost(self, kernel: Process) -> None:
        """The host has no power: nothing of what it had under way lands. `kernel` is its next."""
        self.kernel = kernel
        for call in self.stuck:
            call.dead = True
        self.stuck = []
        if isinstance(self.storage.lock_holder, _Call) and (
            self.storage.lock_holder.lane.path is self
        ):
            self.storage.lock_holder = None


class _Call:
    """One call under way."""

    def __init__(
        self,
        lane: SimLane,
        operation: str,
        args: dict[str, Any],
        answer: asyncio.Future[Any],
        late: DeadlineExceeded,
    ) -> None:
        self.lane = lane
        self.operation = operation
        self.args = args
        self.answer = answer
        self.late = late
        self.abandoned = False
        """Its worker was sent SIGKILL; nobody waits for the answer."""
        self.dead = False
        """Its host, or its worker, is gone for good."""
        self.lock_ends_at = 0.0
        self.worker: object = None
        """The process that does it."""

    def end(self, value: Any, error: Optional[Exception] = None) -> None:
        if self.answer.done():
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(value)


class SimLane:
    """StorageLane of a simulated broker. Implements `call` as the real one does."""

    def __init__(self, loop: SimLoop, path: Path, name: str) -> None:
        self.path = path
        self._loop = loop
        self._name = name
        self._dice = path.dice.stream(name)
        self._queue: deque[_Call] = deque()
        self._running: Optional[object] = None
        self._abandoned: list[_Call] = []
        self._worker = object()
        self.replaced = 0

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        """Do a storage worker's operation. Raises as StorageLane.call does."""
        if not self.path.calm or self._running is not None:
            return await self._call(operation, deadline_seconds, args)
        # The effect is at some moment between question and answer: here at one of the two.
        latency_seconds = self._dice.uniform(*LATENCY_SECONDS)
        first = self._dice.random() < 0.5
        locks = operation == "lease_swap"
        if locks and self.path.storage.lock_holder is not None:
            return await self._call(operation, deadline_seconds, args)
        self._running = self
        try:
            if first:
                value = self._do(operation, args)
            await self._loop.sleep(latency_seconds)
            # A torn write of another host may hold it, for a moment only.
            while not first and locks and self.path.storage.lock_holder is not None:
                await self._loop.sleep(_LOCK_RETRY_SECONDS)
            if not first:
                value = self._do(operation, args)
        finally:
            self._running = None
            if self._queue:
                self._next()
        return value

    def stuck(self) -> int:
        """Return how many lost workers hang in the kernel."""
        self._abandoned = [call for call in self._abandoned if call in self.path.stuck]
        return len(self._abandoned)

    def kill(self) -> None:
        """The broker is gone, and its worker with it, unless that is stuck in the kernel."""
        self._queue.clear()
        running = self._running
        if isinstance(running, _Call):
            self._abandon(running)
        else:
            self._forget_host_ids(self._worker)
        self._running = self

    async def _call(self, operation: str, deadline_seconds: float, args: dict[str, Any]) -> Any:
        place = f"{operation} {args.get('path', '')}".rstrip()
        if self.stuck() >= _MAX_ABANDONED:
            raise self._fault("stuck", operation, args, "refused: too many storage workers hang")
        answer: asyncio.Future[Any] = self._loop.create_future()
        call = _Call(self, operation, args, answer, DeadlineExceeded(place, deadline_seconds))
        timer = self._loop.call_later(deadline_seconds, self._expire, call)
        self._queue.append(call)
        if self._running is None:
            self._next()
        try:
            return await answer
        finally:
            timer.cancel()

    def _next(self) -> None:
        while self._queue and self._running is None:
            call = self._queue.popleft()
            if not call.answer.done():
                self._running = call
                self._there(call)

    def _there(self, call: _Call) -> None:
        call.worker = self._worker
        delay_seconds = self._latency()
        self.path.kernel.call_later(delay_seconds, self.arrive, call)

    def _latency(self) -> float:
        slow = self.path.slow_seconds
        return self._dice.uniform(*LATENCY_SECONDS) + slow * self._dice.random() ** 2

    def _expire(self, call: _Call) -> None:
        call.end(None, call.late)
        if self._running is call:
            self._abandon(call)
            self._running = None
            self._next()

    def _abandon(self, call: _Call) -> None:
        """SIGKILL to the worker: what it has sent may land all the same."""
        self.replaced += 1
        call.abandoned = True
        if call in self.path.stuck:
            self._abandoned.append(call)
        else:
            self._forget_host_ids(call.worker)
        if self._dice.chance(0.5):
            call.dead = True
            self._unlock(call)
            if call in self.path.stuck:
                call.dead = False  # what hangs in the kernel can't be killed
        self._worker = object()

    def _forget_host_ids(self, dead: object) -> None:
        """A worker's locks end with it."""
        held = self.path.storage.host_ids
        for host_id in [i for i, (worker, _, _) in held.items() if worker is dead]:
            del held[host_id]

    # In the worker -----------------------------------------------------------------------

    def arrive(self, call: _Call) -> None:
        """A call has come to the storage, or comes back to life with it."""
        if call.dead:
            return self._unlock(call)
        path, storage = self.path, self.path.storage
        if path.hung:
            path.stuck.append(call)
            return None
        if call.abandoned:
            # The worker has died now, if it was stuck; what it sent may land, its locks don't.
            self._forget_host_ids(call.worker)
            if call.operation == "lease_hold_host_id":
                return None
        if call.operation == "lease_swap" and storage.lock_holder is not call:
            if storage.lock_holder is not None:
                return self._wait_for_lock(call)
            storage.lock_holder = call
        try:
            self._fail(call)
            if path.torn and self._tears(call):
                return None
            value = self._do(call.operation, call.args)
        except EnvironmentFault as fault:
            return self._back(call, None, fault)
        return self._back(call, value, None)

    def _wait_for_lock(self, call: _Call) -> None:
        wait_seconds = call.args["lock_wait_seconds"]
        call.lock_ends_at = call.lock_ends_at or self._loop.now + wait_seconds
        if self._loop.now >= call.lock_ends_at:
            what = f"lock on the lease record of {call.args['path']}"
            late = DeadlineExceeded(what, wait_seconds)
            self._back(call, None, self._fault("fault", call.operation, call.args, str(late)))
        else:
            self.path.kernel.call_later(_LOCK_RETRY_SECONDS, self.arrive, call)

    def _fail(self, call: _Call) -> None:
        path = self.path
        if path.readonly and call.operation in _WRITES:
            raise self._fault("EROFS", call.operation, call.args, "Read-only file system")
        if path.eio or (path.flaky and self._dice.chance(path.flaky)):
            if call.operation in _WRITES and self._dice.chance(0.3):
                self._do(call.operation, call.args)  # it may have been written all the same
            raise self._fault("EIO", call.operation, call.args, "Input/output error")

    def _tears(self, call: _Call) -> bool:
        """Begin a write that is torn; tell whether this call is one."""
        if call.operation == "write_slot":
            place, data = call.args["slot"], call.args["data"]
        elif call.operation == "lease_swap":
            place, data = LEASE, call.args["new"]
            if self.path.storage.read(LEASE) != call.args["expected"]:
                return False
        else:
            return False
        sectors = [self._dice.chance(0.5) for _ in range(_SECTORS)]
        self.path.storage.write_sectors(self.path.host_id, place, data, sectors)
        self.path.kernel.call_later(
            self._dice.uniform(0.0, _TEAR_SECONDS), self._mend, call, place, data
        )
        return True

    def _mend(self, call: _Call, place: int, data: bytes) -> None:
        """The rest of a torn write lands; of a status block it may never do."""
        if place != LEASE and self._dice.chance(0.3):
            fault = self._fault("EIO", call.operation, call.args, "Input/output error")
            return self._back(call, None, fault)
        self.path.storage.write(self.path.host_id, place, data)
        equal = True if call.args.get("read_back") else None
        status = {"direct": True, "equal": equal}
        return self._back(call, {"done": True, "block": data} if place == LEASE else status, None)

    def _back(self, call: _Call, value: Any, error: Optional[Exception]) -> None:
        self._unlock(call)
        self.path.kernel.call_later(self._latency(), self._answer, call, value, error)

    def _unlock(self, call: _Call) -> None:
        if self.path.storage.lock_holder is call:
            self.path.storage.lock_holder = None

    def _answer(self, call: _Call, value: Any, error: Optional[Exception]) -> None:
        if call.abandoned:
            return
        call.end(value, error)
        if self._running is call:
            self._running = None
            self._next()

    # The operations ----------------------------------------------------------------------

    def _do(self, operation: str, args: dict[str, Any]) -> Any:
        storage = self.path.storage
        if operation == "read_slots":
            return slot_entries({slot: self._seen(slot) for slot in args["slots"]})
        if operation == "lease_read":
            return self._seen(LEASE)
        if operation == "lease_swap":
            current = storage.read(LEASE)
            if current != args["expected"]:
                return {"done": False, "block": current}
            storage.write(self.path.host_id, LEASE, args["new"])
            return {"done": True, "block": args["new"]}
        if operation == "write_slot":
            slot, data = args["slot"], args["data"]
            if not self.path.lost:
                storage.write(self.path.host_id, slot, data)
            equal = storage.read(slot) == data if args.get("read_back") else None
            return {"direct": True, "equal": equal}
        if operation == "scan_slots":
            found = {slot: self._seen(slot) for slot in storage.used_slots}
            return slot_entries({i: data for i, data in found.items() if any(data[:STATUS_BYTES])})
        if operation == "lease_hold_host_id":
            return self._hold(args["host_id"], args["host_name"], args["instance"])
        if operation == "sanlock_read":
            return {place: storage.read(place) for place in args["places"]}
        if operation == "sanlock_swap":
            if storage.read(args["place"]) != args["expected"]:
                return False
            storage.write(self.path.host_id, args["place"], args["new"])
            return True
        raise self._fault("internal", operation, args, "no such operation in the simulator")

    def _hold(self, host_id: int, host_name: str, instance: str) -> dict[str, Any]:
        worker, name, holder = self.path.storage.host_ids.setdefault(
            host_id, (self._worker, host_name, instance)
        )
        return {"held": worker is self._worker, "host_name": name, "instance": holder}

    def _seen(self, place: int) -> bytes:
        if self.path.stale and self._dice.chance(0.5):
            ago_seconds = self._dice.uniform(0.0, _STALE_SECONDS)
            return self.path.storage.read_old(place, ago_seconds)
        return self.path.storage.read(place)

    @staticmethod
    def _fault(code: str, operation: str, args: dict[str, Any], message: str) -> StorageFault:
        return StorageFault(code, operation, str(args.get("path", "")), message)
