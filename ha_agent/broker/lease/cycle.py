# SPDX-License-Identifier: Apache-2.0
"""Holds the lease for this host, or watches who does: the one task that reads and writes it.

It decides neither who should own the VM nor where it runs: the agent asks (`acquire`,
`release`), the keeper does it safely and says how things stand (`view`), without ever waiting
for storage to say it.

The order that makes it safe, and its duties towards lease/fence_deadline.py:
1. An Instant is read before a write is sent; the fence deadline counts from it.
2. The write is on storage, and confirmed. One that was refused, failed or came back after
   the deadline that was in force gives us nothing; it may have landed all the same.
3. The fence is armed with the new deadline. If it can't be, the write gives us nothing.
4. Only then `view` says `ours`, and only until that deadline.
5. Giving up is one way: after `release` was asked for, or a deadline passed, that epoch is never
   ours again. The agent asks for a release only when the VM is confirmed gone; so the fence is
   disarmed when the release is on storage.
6. When nobody can tell whether the VM runs here (VDSM silent, the engine's page bad), the agent
   asks to `abandon`. Nothing is written: the record runs out by itself, and the fence stays
   armed. Counted from the last renewal: 0 to 3 s abandoned; 11 s the guard, which needs no VDSM,
   ends the VM if there is one; 15 s the lease expires, ours too, and others start the VM.
   The deadline is marked final, so that a broker that restarts meanwhile adopts nothing.
7. An orderly stop of the broker disarms the deadline, unless renewals fail, and leaves the record:
   stopping our units does not stop a VM that is in order. Until the next start adopts the lease,
   or another host takes it at its expiry, only the VM lease forbids a second start.

A broker that comes back on the same boot finds a record with its own instance and adopts it:
it renews it like any other, within the deadline that its predecessor armed. A take that was
given up and landed later is adopted the same way. A record with our host id and another
instance (this host before a reboot) is waited for like anybody's.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.broker.lease.fence_deadline import Fence
from ha_agent.broker.lease.keeper_task import KeeperTask, OnChange
from ha_agent.broker.lease.renewal_tally import RenewalTally
from ha_agent.broker.lease.rhythm import RenewalRhythm
from ha_agent.broker.lease.rules import (
    LeaseFormatError,
    LeaseIdentity,
    LeaseObserver,
    LeaseRecord,
    LeaseTimes,
)
from ha_agent.broker.lease.storage import Clock, HostIdHold, HostIdWatch, LeaseStorage, Swap
from ha_agent.broker.lease.view import OwnedLease, watched_entry
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant

log = logging.getLogger(__name__)

READ_INTERVAL_SECONDS = 1.0
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class LeaseResult:
    """What became of an `acquire` or a `release`; `reason` says why not, or what was done."""

    ok: bool
    reason: str


class LeaseKeeper:
    """One host's part in the lease. Start it with `start`; end it with `stop`."""

    def __init__(
        self,
        storage: LeaseStorage,
        times: LeaseTimes,
        identity: LeaseIdentity,
        *,
        clock: Clock,
        fence: Fence,
        on_change: Optional[OnChange] = None,
    ) -> None:
        """`on_change(view)` is called when owner, state or epoch changed; it must not block.

        Raises ValueError when the times are not safe together.
        """
        if times.faults():
            raise ValueError("; ".join(times.faults()))
        self._storage = storage
        self._times = times
        self._identity = identity
        self._clock = clock
        self._fence = fence
        # The constants above suit the default times; shorter leases need shorter steps.
        self._read_interval_seconds = min(READ_INTERVAL_SECONDS, times.lease_expiry_seconds / 10)
        self._retry_seconds = min(RETRY_SECONDS, times.renew_interval_seconds / 3)
        self._observer = LeaseObserver(times)
        self._rhythm = RenewalRhythm(times.renew_interval_seconds)
        self._owned: Optional[OwnedLease] = None
        self._given_up_epoch = 0
        self._release_note: Optional[str] = None
        self._host_id = HostIdWatch(storage, clock, self._read_interval_seconds)
        self._last_success: Optional[Instant] = None
        self.renewals = RenewalTally()
        self._error = ""
        self._take_fault = ""  # of our last take; reads that are fine say nothing of it
        self._task = KeeperTask(
            self._step, failed=self._failed, wait=self._wait, view=self.view, on_change=on_change
        )

    def start(self) -> None:
        """Begin to watch; adopts a lease that this broker held before a restart."""
        self._task.start()

    async def stop(self) -> None:
        """Orderly end: the record stays ours, the deadline is disarmed unless renewals fail.

        Raises EnvironmentFault when it can't be disarmed.
        """
        await self._task.stop()
        owned, self._owned = self._owned, None
        due_seconds = 2 * self._times.renew_interval_seconds  # one may be under way
        if owned is not None and self._clock.now() < owned.renewed_at + due_seconds:
            self._fence.disarm()

    @property
    def host_id(self) -> HostIdHold:
        """Whether our host id is locked by us: another agent may have the same by mistake."""
        return self._host_id.hold

    def view(self) -> LeaseEntry:
        """Say how the lease stands now, from memory; `ours` ends by itself at `fence_at`."""
        owned = self._live()
        if owned is not None:
            return owned.entry(self._times, self._last_success, self._error)
        judged = self._observer.judge()
        record = judged.record
        own = record is not None and record.adoptable_by(self._identity, self._given_up_epoch)
        return watched_entry(
            judged,
            may_be_ours=own and self._owned is None,
            may_take=self.host_id.held,
            last_success=self._last_success,
            error=self._error or self._take_fault,
        )

    async def acquire(self, expected_epoch: int, why: str = "") -> LeaseResult:
        """Take the lease if it is free or expired and its record still has `expected_epoch`.

        `why` goes into the record's note. When it returns ok, the fence is armed. When it
        fails for storage's sake, the take may land later; `view` says so if it does.
        """
        async with self._task.busy:
            if self._live() is not None:
                return LeaseResult(True, "already ours")
            judged = self._observer.judge()
            record = judged.record
            if record is None or judged.state not in ("free", "expired"):
                return LeaseResult(False, f"lease is {judged.state}, not free or expired")
            if record.epoch != expected_epoch:
                return LeaseResult(False, f"epoch is {record.epoch}, not {expected_epoch}")
            if not self._host_id.hold.held:
                return LeaseResult(False, self._host_id.hold.reason)
            note = f"taken: {judged.state}" + (f": {why}" if why else "")
            self._release_note = None
            new = record.taken(self._identity, self._observer.highest_epoch, note)
            error = await self._write(self._storage.take, record, new, None)
            self._take_fault = self._error
            self._task.tell()
            if error:
                if self._given_up_epoch == new.epoch:
                    # It is on storage, but has no fence; no VM was started under it.
                    self._release_note = f"released: {error}"
                return LeaseResult(False, error)
            log.info("lease taken: epoch %d, it was %s", new.epoch, judged.state)
            return LeaseResult(True, f"epoch {new.epoch}")

    async def release(self, note: str) -> LeaseResult:
        """Give the lease up; to be called only when the engine VM is confirmed gone here.

        Also gives up a lease of ours whose deadline has passed. `ours` ends at once; when storage
        fails the release is tried again in the background, and the fence stays armed.
        """
        async with self._task.busy:
            record = self._owned.record if self._owned else self._observer.judge().record
            if record is None or not record.held_by(self._identity):
                self._fence.disarm()
                return LeaseResult(True, "was not ours")
            self._owned = None
            self._given_up_epoch = max(self._given_up_epoch, record.epoch)
            self._release_note = f"released: {note}"
            error = await self._write_release(record)
            self._task.tell()
            return LeaseResult(not error, error or f"released epoch {record.epoch}")

    async def abandon(self, why: str) -> LeaseResult:
        """Renew no more and never have this epoch again. The fence stays armed, for good.

        For when nobody can tell whether the engine VM runs here; `ours` ends at once. Refused
        while the lease is not ours: then the fence is armed already, or there is nothing to end.
        """
        async with self._task.busy:
            owned = self._live()
            if owned is None:
                return LeaseResult(False, "the lease is not ours now")
            self._lose(owned, f"abandoned: {why}")
            self._arm(owned.fence_at, owned.record.epoch, final=True)
            self._task.tell()
            return LeaseResult(True, f"abandoned epoch {owned.record.epoch}")

    async def _failed(self) -> None:
        self._error = "lease keeper failed; see the log"
        await self._clock.sleep(self._read_interval_seconds)

    async def _wait(self) -> None:
        await self._clock.sleep(self._pause_seconds())

    async def _step(self) -> None:
        if self._owned is not None:
            now = self._clock.now()
            if now >= self._owned.fence_at:
                self._lose(self._owned, f"not renewed in time: {self._error or 'was not asked'}")
            elif now >= self._owned.renewed_at + self._times.renew_interval_seconds:
                await self._renew(self._owned)
                if self._live() is not None and not self._error:
                    await self._host_id.keep(self._times.renew_interval_seconds / 3)
            return
        await self._host_id.keep(self._times.renew_deadline_seconds)
        await self._read()
        record = self._observer.judge().record
        if record is None or not record.held_by(self._identity):
            return
        if record.adoptable_by(self._identity, self._given_up_epoch):
            await self._adopt(record)
        elif self._release_note is not None and record.epoch == self._given_up_epoch:
            await self._write_release(record)

    async def _renew(self, owned: OwnedLease) -> None:
        sent, record = self._clock.now(), owned.record
        error = await self._write(self._storage.renew, record, record.renewed(), owned.fence_at)
        self.renewals.ended(self._clock.now() - sent, not error)
        if not error:
            return
        seen = self._observer.judge().record
        if self._clock.now() >= owned.fence_at:
            self._lose(owned, f"not renewed in time: {error}")
        elif seen is None or seen == owned.record:
            # Storage failed: tried again until the deadline, when a guard has to be there.
            self._arm(owned.fence_at, owned.record.epoch)
        elif seen.held_by(self._identity) and seen.epoch == owned.record.epoch:
            # A renewal of ours that was given up has landed: go on from it.
            self._owned = OwnedLease(seen, owned.renewed_at, owned.fence_at)
        else:
            # Somebody else may start the VM now, whatever our deadline says.
            self._lose(owned, f"taken by host {seen.host_id} {seen.host_name}: {seen.note}")
            self._arm(self._clock.now(), owned.record.epoch)

    async def _adopt(self, record: LeaseRecord) -> None:
        try:
            armed = self._fence.armed()
        except EnvironmentFault as fault:
            self._error = str(fault)
            return
        armed = armed if armed is not None and armed.epoch == record.epoch else None
        until = armed.fence_at if armed is not None else None
        if armed is not None and (armed.final or self._clock.now() >= armed.fence_at):
            self._given_up_epoch = record.epoch
        elif not await self._write(self._storage.renew, record, record.renewed(), until):
            log.info("lease adopted: epoch %d was ours before", record.epoch)

    async def _write_release(self, record: LeaseRecord) -> str:
        new = record.released(self._release_note or "")
        sent = self._clock.now()
        error, swap = await self._call(
            self._storage.release(record, new, self._times.renew_deadline_seconds), sent
        )
        if swap is None:
            return error
        self._observer.saw(swap.record, sent, self._clock.now())
        if not swap.done and swap.record.held_by(self._identity):
            return "an earlier renewal has just landed; the release is tried again"
        self._release_note = None
        self._fence.disarm()
        return "" if swap.done else "was taken before it was released"

    async def _write(
        self,
        call: Callable[[LeaseRecord, LeaseRecord, float], Awaitable[Swap]],
        expected: LeaseRecord,
        new: LeaseRecord,
        in_force: Optional[Instant],
    ) -> str:
        """Write a record that makes us the owner; return "" when it did, else why not.

        `in_force` is the deadline that the write has to beat, None when there is none yet.
        """
        sent = self._clock.now()
        fence_at = sent + self._times.fence_after_seconds
        must_end = in_force or fence_at
        deadline_seconds = min(self._times.renew_deadline_seconds, must_end - sent)
        error, swap = await self._call(call(expected, new, deadline_seconds), sent)
        received = self._clock.now()
        if swap is None:
            return error
        self._observer.saw(swap.record, sent, received)
        if not swap.done:
            return f"refused: storage has epoch {swap.record.epoch}, {swap.record.state}"
        if received >= must_end:
            self._error = f"the answer came {received - must_end:.1f} s after the deadline"
            return self._error
        if not self._arm(fence_at, new.epoch):
            if self._owned is None:
                # Renewing on without a fence would only keep the lease from other hosts.
                self._given_up_epoch = new.epoch
            return self._error
        self._owned = OwnedLease(new, sent, fence_at)
        self._take_fault = ""
        return ""

    def _arm(self, fence_at: Instant, epoch: int, *, final: bool = False) -> bool:
        try:
            self._fence.arm(fence_at, epoch, final=final)
        except EnvironmentFault as fault:
            self._error = str(fault)
            return False
        return True

    async def _call(self, call: Awaitable[Swap], sent: Instant) -> tuple[str, Optional[Swap]]:
        try:
            swap = await call
        except LeaseFormatError as fault:
            self._observer.saw_unreadable(str(fault))
            self._error = str(fault)
            return self._error, None
        except EnvironmentFault as fault:
            self._error = str(fault)
            return self._error, None
        self._last_success, self._error = sent, ""
        return "", swap

    async def _read(self) -> None:
        sent = self._clock.now()
        try:
            record = await self._storage.read(self._times.renew_deadline_seconds)
        except LeaseFormatError as fault:
            self._observer.saw_unreadable(str(fault))
            self._last_success, self._error = sent, str(fault)
        except EnvironmentFault as fault:
            self._error = str(fault)
        else:
            received = self._clock.now()
            self._observer.saw(record, sent, received)
            self._rhythm.looked(record, sent, received)
            self._last_success = sent
            self._error = "" if self._host_id.hold.held else self._host_id.hold.reason

    def _live(self) -> Optional[OwnedLease]:
        return self._owned if self._owned and self._clock.now() < self._owned.fence_at else None

    def _lose(self, owned: OwnedLease, reason: str) -> None:
        self._owned = None
        self._given_up_epoch = max(self._given_up_epoch, owned.record.epoch)
        self._error = f"lease lost: {reason}"
        log.warning("lease lost: epoch %d: %s", owned.record.epoch, reason)

    def _pause_seconds(self) -> float:
        now = self._clock.now()
        if self._owned is not None:
            due = self._owned.renewed_at + self._times.renew_interval_seconds
            if due <= now:
                due = now + self._retry_seconds
            return max(min(due, self._owned.fence_at) - now, 0.0)
        judged = self._observer.judge()
        if judged.state == "free":
            # The next host in rank takes a step after it saw this: it must see by then that the
            # one before it was there, though that one may have looked a whole pause later.
            return min(self._read_interval_seconds, 0.4 * self._times.takeover_step_seconds)
        if judged.state != "held" or judged.expires_at is None:
            return self._read_interval_seconds
        # The first read that may prove the expiry goes out at that moment.
        left_seconds = judged.expires_at - now
        pause_seconds = self._rhythm.pause_seconds(now)
        return min(pause_seconds, max(left_seconds, 0.001)) if left_seconds > 0 else pause_seconds
