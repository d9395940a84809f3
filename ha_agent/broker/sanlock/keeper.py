# SPDX-License-Identifier: Apache-2.0
"""Holds the ownership lease for this host through sanlock, or watches who does.

The same face as LeaseKeeper (lease/cycle.py): the agent asks (`acquire`, `release`, `abandon`),
the keeper does it safely and says how things stand (`view`), without waiting for storage for it.
The times, and why they are safe, are in sanlock/times.py.

Who does what:
- The daemon renews, decides who is dead, and gives the lease to one holder in the cluster.
- The holder process (sanlock/holder.py) has the lease, and outlives the broker.
- The keeper joins the lockspace, acquires and releases for the holder's pid, and arms the guard's
  deadline (fence_deadline.py) anew for each renewal that it sees, while the holder has the lease.
- The VM lease is not ours: it is QEMU's own (vdsm/vm/sanlock.py).

Its duties, as the lock file's keeper has them:
1. The deadline counts from `sight` (sanlock/times.py), which is before w + 4 io.
2. The lease is the holder's, the daemon confirms it; the fence is armed; only then `view` says
   `ours`, and only until that deadline.
3. Giving up is one way: after a release was asked for, an abandon, or a deadline that passed, that
   epoch is never ours again.
4. Abandoned, or past its deadline: the guard ends the VM, then the holder ends by itself, and the
   lease is free. It is not given up before the VM is gone.
5. A holder that dies, or that the daemon does not know, while the VM runs: nothing keeps other
   hosts from the lease. It is taken again with a new holder if still nobody had it (the epoch then
   goes up by one and stays ours), within MEND_SECONDS; otherwise the deadline is now.
6. An orderly stop of the broker disarms the deadline, unless renewals fail, and leaves holder and
   lease: the VM stays ours. The next start finds the holder and adopts the lease.
7. While a deadline is armed, it never joins the lockspace anew: that would set the lease free.
8. A record that names this host, which has nothing, is freed, and never adopted (orphan.py).
Any doubt about the daemon (no answer, no renewal seen) changes nothing until the deadline.
"""

from __future__ import annotations

import logging
from typing import Optional

from ha_agent.broker.lease.cycle import LeaseResult
from ha_agent.broker.lease.fence_deadline import Fence, FenceDeadline
from ha_agent.broker.lease.keeper_task import KeeperTask, OnChange
from ha_agent.broker.lease.renewal_tally import RenewalTally
from ha_agent.broker.lease.storage import Clock, HostIdHold
from ha_agent.broker.sanlock.hold import Holder
from ha_agent.broker.sanlock.judge import LOOK_SECONDS, QUICK_SECONDS, OwnerWatch, OwnRenewals
from ha_agent.broker.sanlock.member import Membership, WatchdogCheck
from ha_agent.broker.sanlock.orphan import OrphanWatch
from ha_agent.broker.sanlock.port import Look, Sanlock
from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.broker.sanlock.view import (
    HostName,
    OwnedEpoch,
    io_timeout_mismatch,
    owned_entry,
    watched_entry,
)
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant

log = logging.getLogger(__name__)

MEND_SECONDS = 2.0
_CALL_SECONDS = 4.0


class SanlockKeeper:
    """One host's part in the lease. Start it with `start`; end it with `stop`."""

    def __init__(
        self,
        sanlock: Sanlock,
        times: SanlockTimes,
        *,
        host_id: int,
        holder: Holder,
        clock: Clock,
        fence: Fence,
        takeover_step_seconds: float = 1.0,
        host_name: HostName = lambda _host_id: "",
        on_change: Optional[OnChange] = None,
        renewals: Optional[OwnRenewals] = None,
    ) -> None:
        """`on_change(view)`: owner, state or epoch changed; it must not block.

        Raises ValueError when the times are not safe.
        """
        if times.faults():
            raise ValueError("; ".join(times.faults()))
        self._sanlock = sanlock
        self._times = times
        self._id = host_id
        self._holder = holder
        self._clock = clock
        self._fence = fence
        # An acquire is a few reads and writes; the agent's call has to end before 15 s.
        self._acquire_seconds = min(8.0, 2.0 * times.io_timeout_seconds)
        self._free_look_seconds = min(LOOK_SECONDS, 0.4 * takeover_step_seconds)
        self._host_name = host_name
        self._watch = OwnerWatch(times)
        self._watchdog = WatchdogCheck(sanlock, times)
        self._renewals = renewals or OwnRenewals()
        self.renewals = RenewalTally()
        self._member = Membership(sanlock, host_id, clock, fence)
        self._orphan = OrphanWatch(sanlock, host_id, clock, fence)
        self._owned: Optional[OwnedEpoch] = None
        self._held: Optional[int] = None
        self._given_up_epoch = 0
        self._releasing = ""
        self._unreleased = ""
        self._mend_until: Optional[Instant] = None
        self._last_success: Optional[Instant] = None
        self._error = ""
        self._task = KeeperTask(
            self._step, failed=self._failed, wait=self._wait, view=self.view, on_change=on_change
        )

    def start(self) -> None:
        """Begin to watch; adopts a lease whose holder has lived on through a restart."""
        self._task.start()

    async def stop(self) -> None:
        """Orderly end: holder and lease stay, the deadline is disarmed unless renewals fail.

        Raises EnvironmentFault when it can't be disarmed.
        """
        await self._task.stop()
        owned, self._owned = self._owned, None
        # A sight that is older than two renewals: they fail.
        fail_seconds = self._times.fence_after_seconds - 2 * self._times.renew_interval_seconds
        if owned is not None and self._clock.now() < owned.fence_at - fail_seconds:
            self._fence.disarm()

    @property
    def host_id(self) -> HostIdHold:
        """Whether our host id in the lockspace is ours."""
        return self._member.hold

    def view(self) -> LeaseEntry:
        """Say how the lease stands now, from memory; `ours` ends by itself at `fence_at`."""
        owned = self._live()
        if owned is not None:
            return owned_entry(
                owned, self._times, self._id, self._host_name, self._last_success, self._error
            )
        held = self._held is not None and self._held > self._given_up_epoch
        return watched_entry(
            self._watch.judge(),
            self._host_name,
            may_be_ours=held and self._owned is None,
            obstacle=self._member.hold.reason or self._staleness(),
            last_success=self._last_success,
            error=self._error or self._releasing,
        )

    async def acquire(self, expected_epoch: int, why: str = "") -> LeaseResult:
        """Take the lease if it is free or expired and still has `expected_epoch`.

        When it returns ok, the fence is armed. When it fails for storage's sake it may be ours
        later, as `view` says then. `why` goes to the log; sanlock has no place for it.
        """
        async with self._task.busy:
            if self._live() is not None:
                return LeaseResult(True, "already ours")
            judged, hold = self._watch.judge(), self._member.hold
            error = judged.refusal(expected_epoch) or hold.reason or self._watchdog.refusal
            error = error or self._staleness() or await self._take(expected_epoch)
            self._task.tell()
            if error or self._owned is None:
                return LeaseResult(False, error)
            epoch = self._owned.epoch
            log.info("lease taken: epoch %d, it was %s: %s", epoch, judged.state, why or "-")
            return LeaseResult(True, f"epoch {epoch}")

    async def release(self, note: str) -> LeaseResult:
        """Give the lease up; to be called only when the engine VM is confirmed gone here.

        `ours` ends at once; if the daemon fails, it is tried again, and the fence stays armed.
        """
        async with self._task.busy:
            held = self._owned.epoch if self._owned is not None else self._held
            if held is None or not self._holder.pid:
                self._fence.disarm()
                return LeaseResult(True, "was not ours")
            self._give_up(held)
            self._releasing = f"released: {note}"
            error = await self._release()
            self._task.tell()
            return LeaseResult(not error, error or f"released epoch {held}")

    async def abandon(self, why: str) -> LeaseResult:
        """Never have this epoch again; the lease gets free when the guard has ended the VM.

        For when nobody can tell whether the engine VM runs here; `ours` ends at once. Refused
        while the lease is not ours: then the fence is armed already, or there is nothing to end.
        """
        async with self._task.busy:
            owned = self._live()
            if owned is None:
                return LeaseResult(False, "the lease is not ours now")
            self._end(owned, owned.fence_at, f"abandoned: {why}")
            self._task.tell()
            return LeaseResult(True, f"abandoned epoch {owned.epoch}")

    async def _failed(self) -> None:
        self._error = "lease keeper failed; see the log"
        await self._clock.sleep(LOOK_SECONDS)

    async def _wait(self) -> None:
        await self._holder.gone(self._pause_seconds())

    async def _step(self) -> None:
        owned = self._owned
        if owned is not None and self._clock.now() >= owned.fence_at:
            why = f"no renewal was seen in time: {self._error or 'daemon is silent'}"
            self._end(owned, owned.fence_at, why)
        elif owned is not None and self._is_ended():
            self._end(owned, self._clock.now(), "sanlock has told its holder to end")
        owned = self._owned
        look = await self._look(read=owned is None)
        if look is None:
            return
        if owned is not None:
            await self._keep(owned, look)
            return
        self._error = self._error or await self._watchdog.problem()
        if look.joined is False:
            await self._member.join()
            self._error = self._member.problem or self._error
        await self._orphan.saw(look, is_renewed=not self._staleness())
        self._error = self._error or self._orphan.problem
        held = look.held
        if held is None:
            if self._releasing:
                self._released()
        elif held > self._given_up_epoch:
            self._adopt(held)
        elif self._releasing:
            await self._release()

    async def _look(self, *, read: bool) -> Optional[Look]:
        """Look, and take in what is seen; None when it failed. An owner does not read storage."""
        sent = self._clock.now()
        pid = self._holder.pid
        # One that hangs must leave an owner time for another before the deadline.
        deadline_seconds = min(_CALL_SECONDS, self._times.io_timeout_seconds)
        try:
            look = await self._sanlock.look(pid, read, deadline_seconds)
        except (BadInput, EnvironmentFault) as fault:
            self._error = str(fault)
            if isinstance(fault, BadInput):
                self._watch.forget()
            elif self._owned is not None:
                self.renewals.ended(self._clock.now() - sent, False)
            return None
        self._last_success, self._error = sent, io_timeout_mismatch(look, self._times)
        self._held = look.held
        self._watch.saw(look, self._clock.now())
        self._renewals.saw(look.hosts.get(self._id), sent, self._owned is not None)
        self._member.saw(look)
        return look

    async def _keep(self, owned: OwnedEpoch, look: Look) -> None:
        if look.held == owned.epoch and look.joined:
            self._mend_until = None
            fence_at = self._deadline()
            newer = fence_at is not None and fence_at > owned.fence_at
            if fence_at is not None and newer and self._arm(fence_at, owned.epoch):
                self._owned = OwnedEpoch(owned.epoch, fence_at)
                self.renewals.ended(0.0, True)
            return
        if not look.joined:
            self._error = "sanlock has left the lockspace"
            return
        await self._mend(owned)

    async def _mend(self, owned: OwnedEpoch) -> None:
        """The holder has not got the lease any more: have it again, or end the VM now."""
        if self._mend_until is None:
            self._mend_until = self._clock.now() + MEND_SECONDS
            log.error("lease epoch %d has lost its holder; it is taken again", owned.epoch)
        self._holder.end()
        error = await self._take(owned.epoch)
        self._error, now = error, self._clock.now()
        if not error:
            self._mend_until = None
        elif now >= self._mend_until:
            self._end(owned, now, f"its holder ended: {error}")

    async def _take(self, epoch: int) -> str:
        """Acquire for a holder; return "" when the lease is ours, else why not."""
        try:
            pid = await self._holder.ensure(_CALL_SECONDS)
            refused = await self._sanlock.acquire(pid, epoch, self._acquire_seconds)
        except (BadInput, EnvironmentFault) as fault:
            refused = self._error = str(fault)
        if refused:
            return refused
        look = await self._look(read=True)
        if look is None or look.held is None:
            return self._error or "the holder has not got it"
        return self._own(look.held)

    def _own(self, epoch: int) -> str:
        """Its holder has it: arm the fence, then it is ours. Returns why it is not."""
        fence_at = self._deadline()
        if fence_at is None or self._clock.now() >= fence_at:
            return self._staleness()
        if not self._arm(fence_at, epoch):
            # Nothing was started under it: better another host's than one without a fence.
            self._give_up(epoch)
            self._releasing = f"released: {self._error}"
            return self._error
        self._releasing = ""
        self._owned = OwnedEpoch(epoch, fence_at)
        return ""

    def _is_ended(self) -> bool:
        """Whether the holder has set the deadline for good: nobody else does while we own."""
        armed = self._armed()
        return armed is not None and armed.final

    def _armed(self) -> Optional[FenceDeadline]:
        try:
            return self._fence.armed()
        except EnvironmentFault as fault:
            self._error = str(fault)
            return None

    def _adopt(self, epoch: int) -> None:
        armed = self._armed()
        over = armed is not None and (armed.final or self._clock.now() >= armed.fence_at)
        if armed is not None and armed.epoch == epoch and over:
            self._given_up_epoch = epoch
        elif not self._own(epoch):
            log.info("lease adopted: epoch %d was ours before", epoch)

    async def _release(self) -> str:
        try:
            if self._holder.pid:
                await self._sanlock.release(self._holder.pid, _CALL_SECONDS)
        except EnvironmentFault as fault:
            self._error = str(fault)
            if self._error != self._unreleased:
                epoch = self._given_up_epoch
                log.error("lease not released: epoch %d: %s", epoch, self._error)
            self._unreleased = self._error
            return self._error
        self._unreleased = ""
        self._held = None
        self._fence.disarm()
        await self._look(read=True)
        self._releasing = ""  # until then the picture is older than the release
        return ""

    def _released(self) -> None:
        self._releasing = ""
        self._fence.disarm()

    def _staleness(self) -> str:
        fence_at = self._deadline()
        if fence_at is not None and self._clock.now() < fence_at:
            return ""
        return "no renewal of our own host id was seen in time; it is waited for"

    def _deadline(self) -> Optional[Instant]:
        sight = self._renewals.sight
        return None if sight is None else sight + self._times.fence_after_seconds

    def _live(self) -> Optional[OwnedEpoch]:
        return self._owned if self._owned and self._clock.now() < self._owned.fence_at else None

    def _give_up(self, epoch: int) -> None:
        self._owned = None
        self._given_up_epoch = max(self._given_up_epoch, epoch)

    def _end(self, owned: OwnedEpoch, fence_at: Instant, reason: str) -> None:
        """This epoch is over for good: by then the VM is ended, if there is one."""
        self._mend_until = None
        self._give_up(owned.epoch)
        self._arm(fence_at, owned.epoch, final=True)
        self._error = f"lease lost: {reason}"
        log.warning("lease lost: epoch %d: %s", owned.epoch, reason)

    def _arm(self, fence_at: Instant, epoch: int, *, final: bool = False) -> bool:
        try:
            self._fence.arm(fence_at, epoch, final=final)
        except EnvironmentFault as fault:
            self._error = str(fault)
            return False
        return True

    def _pause_seconds(self) -> float:
        now = self._clock.now()
        if self._owned is not None:
            usual_seconds = QUICK_SECONDS if self._mend_until is not None else LOOK_SECONDS
            return max(min(usual_seconds, self._owned.fence_at - now), 0.0)
        return self._watch.judge().pause_seconds(now, self._free_look_seconds)
