# SPDX-License-Identifier: Apache-2.0
"""One or two keepers over the in-memory storage, in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Coroutine
from typing import Any, Callable, Optional

import pytest

from ha_agent.broker.lease.cycle import LeaseKeeper, LeaseResult
from ha_agent.broker.lease.fence_deadline import FenceDeadline
from ha_agent.broker.lease.rules import (
    LeaseIdentity,
    LeaseRecord,
    LeaseTimes,
    decode,
    encode,
    initial_record,
)
from ha_agent.broker.snapshot import LeaseEntry
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from tests.broker.lease_world import (
    VM,
    Disk,
    FakeFence,
    FakeLeaseStorage,
    HostClock,
    Weather,
    run_virtual,
)

TIMES = LeaseTimes()
ALPHA = LeaseIdentity(1, "alpha", "inst-a", VM)
BETA = LeaseIdentity(2, "beta", "inst-b", VM)


class Switch(Weather):
    """Storage that hangs or fails on command, at a place: there, write, back."""

    def __init__(self) -> None:
        self.hang = ""
        self.fail = ""
        self.calls = 0
        self.fault: Exception = EnvironmentFault("EIO")
        self._go_on = asyncio.Event()

    async def travel(self, what: str) -> None:
        self.calls += what == "there"
        if self.fail == what:
            raise self.fault
        if self.hang == what:
            await self._go_on.wait()

    def mend(self) -> None:
        self.hang = self.fail = ""
        self._go_on.set()
        self._go_on = asyncio.Event()


class Side:
    """A keeper with all that is around it."""

    def __init__(
        self, disk: Disk, identity: LeaseIdentity, fence: Optional[FakeFence] = None
    ) -> None:
        self.identity = identity
        self.clock = HostClock(offset_seconds=1000.0 * identity.host_id)
        self.fence = fence or FakeFence()
        self.weather = Switch()
        self.changes: list[LeaseEntry] = []
        self.keeper = LeaseKeeper(
            FakeLeaseStorage(disk, identity, self.weather),
            TIMES,
            identity,
            clock=self.clock,
            fence=self.fence,
            on_change=self.changes.append,
        )
        self.keeper.start()

    @property
    def view(self) -> LeaseEntry:
        return self.keeper.view()

    def fence_in_seconds(self) -> float:
        assert self.fence.deadline is not None
        return self.fence.deadline.fence_at - self.clock.now()


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        run_virtual(test())

    # pytest looks through __wrapped__ and would run the coroutine in a loop of its own.
    del run.__wrapped__
    return run


async def owner(disk: Disk) -> Side:
    side = Side(disk, ALPHA)
    await asyncio.sleep(0.5)
    assert (await side.keeper.acquire(side.view.epoch, "test")).ok
    return side


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(what: Callable[[], bool], limit_seconds: float = 60.0) -> float:
    """Wait in small steps; return how long it took."""
    began = now()
    while not what():
        assert now() - began < limit_seconds
        await asyncio.sleep(0.01)
    return now() - began


@virtual
async def test_a_free_lease_is_taken_and_renewed_for_good() -> None:
    disk = Disk()
    alpha = await owner(disk)
    assert alpha.view.ours
    assert (alpha.view.state, alpha.view.epoch, alpha.view.host_name) == ("held", 1, "alpha")
    for _ in range(60):
        await asyncio.sleep(1.0)
        assert alpha.view.ours
        assert alpha.fence_in_seconds() > 7.9  # 11 s less one renewal interval
    # The first sight, the take, then one renewal in 3 s: no more.
    assert 19 <= decode(disk.block).counter <= 22
    assert decode(disk.block).note == "taken: free: test"
    told = [(view.state, view.ours) for view in alpha.changes]
    assert told == [("free", False), ("held", True)]


@virtual
async def test_others_see_the_owner_and_take_over_at_expiry() -> None:
    disk = Disk()
    alpha, beta = await owner(disk), Side(disk, BETA)
    await asyncio.sleep(20.0)
    assert (beta.view.state, beta.view.host_id, beta.view.ours) == ("held", 1, False)
    assert beta.weather.calls < 50  # it knows the rhythm: without, it is a look each 0.2 s
    assert not (await beta.keeper.acquire(1)).ok
    last_renewal = alpha.view.last_success
    assert last_renewal is not None
    alpha.weather.hang = "there"
    began = last_renewal - alpha.clock.now()  # seconds ago, negative
    waited = await until(lambda: beta.view.state == "expired")
    # 15 s after it was first seen, which is at most one read later than it was written.
    assert TIMES.lease_expiry_seconds <= waited - began <= TIMES.lease_expiry_seconds + 1.2
    assert not alpha.view.ours
    assert alpha.fence_in_seconds() < -2.8
    assert (await beta.keeper.acquire(1)).ok
    assert (beta.view.ours, beta.view.epoch) == (True, 2)


@virtual
async def test_expiry_is_noticed_at_once_when_it_comes() -> None:
    disk = Disk(encode(initial_record().taken(ALPHA, 4, "free")))
    beta = Side(disk, BETA)
    await asyncio.sleep(0.1)
    assert beta.view.expires_at is not None
    expires_in = beta.view.expires_at - beta.clock.now()
    assert await until(lambda: beta.view.state == "expired") <= expires_in + 0.2
    assert beta.view.available_since == beta.view.expires_at


@virtual
async def test_our_word_ends_at_the_deadline_though_storage_hangs() -> None:
    alpha = await owner(Disk())
    alpha.weather.hang = "there"
    left = alpha.fence_in_seconds()
    changes = len(alpha.changes)
    took = await until(lambda: not alpha.view.ours)
    assert took == pytest.approx(left, abs=0.02)
    await asyncio.sleep(0.3)
    assert not alpha.changes[-1].ours  # and those who listen were told
    assert len(alpha.changes) > changes
    assert alpha.fence.deadline is not None  # the guard's deadline stays in force


@virtual
async def test_a_host_that_slept_says_at_once_that_its_lease_is_lost() -> None:
    """It was ours, so there may be a VM to end: "unknown" would have the agent wait."""
    alpha = await owner(Disk())
    alpha.clock.offset_seconds += 60.0
    assert (alpha.view.state, alpha.view.ours) == ("held", False)


@virtual
async def test_a_renewal_that_lands_too_late_gives_nothing() -> None:
    disk = Disk()
    alpha = await owner(disk)
    before = decode(disk.block)
    alpha.weather.hang = "back"
    await until(lambda: not alpha.view.ours)
    assert decode(disk.block).counter > before.counter  # it was written
    alpha.weather.mend()
    for _ in range(14):
        await asyncio.sleep(1.0)
        assert not alpha.view.ours
    assert alpha.fence_in_seconds() < 0


@pytest.mark.parametrize("suspended_seconds", [9.0, 60.0])
def test_a_suspended_host_does_not_count_what_it_heard_too_late(suspended_seconds: float) -> None:
    async def main() -> None:
        alpha = await owner(Disk())
        await asyncio.sleep(2.9)
        alpha.weather.hang = "back"  # the renewal at 3 s is written; its answer is on the way
        await asyncio.sleep(0.5)
        # With 9 s its own deadline, 14 s, is still ahead, but that of 11 s was in force.
        alpha.clock.offset_seconds += suspended_seconds
        alpha.weather.mend()
        for _ in range(20):
            assert not alpha.view.ours
            await asyncio.sleep(0.1)
        assert alpha.fence_in_seconds() < 0

    run_virtual(main())


@virtual
async def test_the_deadline_counts_from_before_the_write_was_sent() -> None:
    disk = Disk()
    alpha = Side(disk, ALPHA)
    await asyncio.sleep(0.5)
    alpha.weather.hang = "write"
    asyncio.get_running_loop().call_later(3.0, alpha.weather.mend)
    assert (await alpha.keeper.acquire(0)).ok
    assert alpha.fence_in_seconds() == pytest.approx(TIMES.fence_after_seconds - 3.0)


@virtual
async def test_one_lost_answer_costs_nothing() -> None:
    disk = Disk()
    alpha = await owner(disk)
    alpha.weather.hang = "back"
    await asyncio.sleep(7.2)  # the renewal at 3 s is on storage; it was given up at 7 s
    alpha.weather.mend()
    for _ in range(40):
        await asyncio.sleep(0.5)
        assert alpha.view.ours
    assert alpha.fence_in_seconds() > 7.5


@virtual
async def test_a_taken_lease_is_lost_at_once_and_fenced_now() -> None:
    disk = Disk()
    alpha = await owner(disk)
    disk.write(encode(decode(disk.block).taken(BETA, 0, "by force")))
    await asyncio.sleep(3.1)
    assert not alpha.view.ours
    assert (alpha.view.host_name, alpha.view.state) == ("beta", "held")
    assert -3.0 < alpha.fence_in_seconds() <= 0


@virtual
async def test_release_frees_it_and_disarms() -> None:
    disk = Disk()
    alpha = await owner(disk)
    assert (await alpha.keeper.release("local maintenance")).ok
    assert not alpha.view.ours
    assert alpha.fence.deadline is None
    record = decode(disk.block)
    assert (record.state, record.note) == ("free", "released: local maintenance")
    beta = Side(disk, BETA)
    assert await until(lambda: beta.view.state == "free") < 0.1
    assert (await beta.keeper.acquire(1)).ok


@virtual
async def test_a_release_in_doubt_is_one_way_and_is_finished_later() -> None:
    disk = Disk()
    alpha = await owner(disk)
    alpha.weather.hang = "there"
    result = await alpha.keeper.release("moves")
    assert not result.ok
    assert not alpha.view.ours
    assert alpha.fence.armed()
    await asyncio.sleep(5.0)
    assert decode(disk.block).state == "held"
    alpha.weather.mend()
    assert await until(lambda: decode(disk.block).state == "free") < 6.0
    assert not alpha.fence.armed()
    assert not alpha.view.ours


@virtual
async def test_a_release_that_is_done_is_not_written_again_where_storage_went_back() -> None:
    """Somebody who took the lease meanwhile may run the VM: a free record would hide it."""
    disk = Disk()
    alpha = await owner(disk)
    ours = disk.block
    assert (await alpha.keeper.release("moves")).ok
    disk.write(encode(decode(disk.block).taken(BETA, 1, "taken")))
    await asyncio.sleep(2.0)
    disk.write(ours)
    await asyncio.sleep(5.0)
    assert disk.block == ours
    assert (alpha.view.state, alpha.view.ours) == ("held", False)


@virtual
async def test_what_was_asked_for_is_told_at_once() -> None:
    disk = Disk()
    alpha = await owner(disk)
    assert alpha.changes[-1].ours
    assert await alpha.keeper.acquire(1) == LeaseResult(True, "already ours")
    assert await alpha.keeper.release("moves") == LeaseResult(True, "released epoch 1")
    assert (alpha.changes[-1].ours, alpha.changes[-1].state) == (False, "free")
    assert (await alpha.keeper.acquire(1)).ok
    alpha.weather.fail = "there"
    assert await alpha.keeper.release("moves") == LeaseResult(False, "EIO")
    assert not alpha.changes[-1].ours


@virtual
async def test_a_lease_of_another_host_is_not_ours_to_release() -> None:
    disk = Disk()
    alpha, beta = await owner(disk), Side(disk, BETA)
    await asyncio.sleep(1.0)
    left = disk.block
    beta.fence.arm(Instant(9e9), 1)  # of a lease that is lost; its VM is confirmed gone
    assert await beta.keeper.release("moves") == LeaseResult(True, "was not ours")
    assert disk.block == left
    assert not beta.fence.armed()
    assert alpha.view.ours


@virtual
async def test_a_release_that_meets_an_earlier_renewal_is_tried_again() -> None:
    disk = Disk()
    alpha = await owner(disk)
    alpha.weather.hang = "back"
    await asyncio.sleep(7.2)  # the renewal at 3 s is on storage; it was given up at 7 s
    alpha.weather.mend()
    result = await alpha.keeper.release("moves")
    assert (result.ok, "just landed" in result.reason) == (False, True)
    assert alpha.fence.armed()
    await until(lambda: decode(disk.block).state == "free")
    assert not alpha.fence.armed()


@virtual
async def test_a_fault_that_is_over_is_said_no_longer() -> None:
    alpha = await owner(Disk())
    alpha.weather.fail = "there"
    await until(lambda: alpha.view.detail == "EIO")
    alpha.weather.mend()
    await until(lambda: alpha.view.detail == "")
    assert alpha.view.ours


@virtual
async def test_why_a_take_failed_is_said_until_one_works() -> None:
    alpha = Side(Disk(), ALPHA)
    await asyncio.sleep(0.5)
    alpha.weather.fail = "write"
    assert (await alpha.keeper.acquire(0)).reason == "EIO"
    alpha.weather.mend()
    began = alpha.clock.now()
    await until(lambda: (alpha.view.last_success or began) > began + 3)
    assert (alpha.view.state, alpha.view.detail) == ("free", "EIO")
    assert (await alpha.keeper.acquire(0)).ok
    assert alpha.view.detail == ""
    assert (await alpha.keeper.release("moves")).ok
    assert alpha.view.detail == "released: moves"


@virtual
async def test_a_take_that_was_only_refused_leaves_no_fault() -> None:
    disk = Disk()
    alpha, beta = Side(disk, ALPHA), Side(disk, BETA)
    await asyncio.sleep(0.5)
    results = await asyncio.gather(alpha.keeper.acquire(0), beta.keeper.acquire(0))
    loser = beta if results[0].ok else alpha
    await asyncio.sleep(2.0)
    assert "taken: free" in loser.view.detail


@virtual
async def test_what_was_never_read_is_not_ours_to_release() -> None:
    alpha = Side(Disk(), ALPHA)
    assert await alpha.keeper.release("moves") == LeaseResult(True, "was not ours")


@virtual
async def test_a_release_in_doubt_says_nothing_of_a_later_lease() -> None:
    """One that runs out has an end that nobody confirmed: it must never be written free."""
    disk = Disk()
    alpha = await owner(disk)
    alpha.weather.hang = "there"
    assert not (await alpha.keeper.release("moves")).ok
    free = decode(disk.block).released("somebody else did it")
    disk.write(encode(free.taken(BETA, 1, "taken")))
    alpha.weather.mend()
    await asyncio.sleep(2.0)
    disk.write(encode(decode(disk.block).released("moves")))
    await until(lambda: alpha.view.state == "free")
    assert (await alpha.keeper.acquire(alpha.view.epoch)).ok
    alpha.weather.fail = "there"
    await until(lambda: not alpha.view.ours)
    alpha.weather.mend()
    await until(lambda: alpha.view.state == "expired")
    assert decode(disk.block).state == "held"


@virtual
async def test_release_after_the_fence_frees_without_waiting() -> None:
    disk = Disk()
    alpha = await owner(disk)
    alpha.weather.fail = "there"
    await until(lambda: not alpha.view.ours)
    alpha.weather.mend()
    assert (await alpha.keeper.release("VM was fenced")).ok
    assert decode(disk.block).state == "free"


@virtual
async def test_an_abandoned_lease_runs_out_with_its_fence_armed() -> None:
    """The fence ends a VM that nobody sees before any other host can have the lease."""
    disk = Disk()
    alpha, beta = await owner(disk), Side(disk, BETA)
    await asyncio.sleep(4.0)
    deadline = alpha.fence.deadline
    assert deadline is not None
    result = await alpha.keeper.abandon("VDSM is silent")
    assert result.ok
    assert (alpha.view.state, alpha.view.ours) == ("held", False)
    assert alpha.changes[-1].detail == "lease lost: abandoned: VDSM is silent"
    await until(lambda: beta.view.state == "expired")
    final = dataclasses.replace(deadline, final=True)
    assert alpha.fence.deadline == final, "nothing is renewed, nothing disarmed"
    assert alpha.clock.now() > deadline.fence_at
    await until(lambda: alpha.view.state == "expired")
    assert (await beta.keeper.acquire(1)).ok


@virtual
async def test_an_orderly_stop_after_that_does_not_call_off_the_fence() -> None:
    alpha = await owner(Disk())
    assert (await alpha.keeper.abandon("VDSM is silent")).ok
    await alpha.keeper.stop()
    assert alpha.fence.armed()


@virtual
async def test_a_broker_that_restarts_does_not_adopt_what_was_abandoned() -> None:
    """It would be renewed again, with a VM that nobody sees and a page that is bad."""
    disk = Disk()
    alpha, beta = await owner(disk), Side(disk, BETA)
    await asyncio.sleep(4.0)
    assert (await alpha.keeper.abandon("VDSM is silent")).ok
    alpha.keeper._task.cancel()  # killed: nothing orderly
    await asyncio.sleep(2.0)
    again = Side(disk, ALPHA, alpha.fence)
    await until(lambda: beta.view.state == "expired")
    assert not any(view.ours for view in again.changes)
    assert again.fence.armed(), "it ends a VM that is here"
    assert (await beta.keeper.acquire(1)).ok


@virtual
async def test_an_abandoned_lease_stays_so_where_the_fence_file_can_not_be_written() -> None:
    alpha = await owner(Disk())
    alpha.fence.broken = True
    assert (await alpha.keeper.abandon("VDSM is silent")).ok
    await asyncio.sleep(5.0)
    assert not alpha.view.ours
    assert alpha.fence.armed()


@virtual
async def test_who_has_abandoned_takes_the_next_epoch_only() -> None:
    alpha = await owner(Disk())
    assert (await alpha.keeper.abandon("VDSM is silent")).ok
    await until(lambda: alpha.view.state == "expired")
    assert (await alpha.keeper.acquire(1, "back")).ok
    assert (alpha.view.ours, alpha.view.epoch) == (True, 2)


@virtual
async def test_only_a_lease_of_ours_is_abandoned() -> None:
    disk = Disk()
    await owner(disk)
    beta = Side(disk, BETA)
    await asyncio.sleep(1.0)
    assert not (await beta.keeper.abandon("VDSM is silent")).ok
    await asyncio.sleep(30.0)
    assert beta.view.state == "held"


@virtual
async def test_a_fence_that_can_not_be_armed_gives_the_lease_back() -> None:
    disk = Disk()
    alpha = Side(disk, ALPHA)
    await asyncio.sleep(0.5)
    alpha.fence.broken = True
    result = await alpha.keeper.acquire(0)
    assert not result.ok
    assert "can't be armed" in result.reason
    assert not alpha.view.ours
    await asyncio.sleep(1.5)
    assert decode(disk.block).state == "free"
    assert not any(view.ours for view in alpha.changes)


@virtual
async def test_a_renewal_whose_deadline_can_not_be_armed_does_not_count() -> None:
    alpha = await owner(Disk())
    alpha.fence.broken = True
    left = alpha.fence_in_seconds()
    assert await until(lambda: not alpha.view.ours) == pytest.approx(left, abs=0.02)


@virtual
async def test_a_restarted_broker_adopts_its_lease_within_its_deadline() -> None:
    disk = Disk()
    alpha = await owner(disk)
    await asyncio.sleep(2.0)
    alpha.keeper._task.cancel()  # killed: nothing orderly
    await asyncio.sleep(5.0)
    again = Side(disk, ALPHA, alpha.fence)
    assert await until(lambda: again.view.ours) < 0.2
    assert again.view.epoch == 1
    assert again.fence_in_seconds() > 10.8


@virtual
async def test_the_deadline_of_another_epoch_says_nothing_of_this_one() -> None:
    disk = Disk(encode(initial_record().taken(ALPHA, 4, "free")))
    fence = FakeFence()
    fence.arm(Instant(1.0), 3, final=True)
    alpha = Side(disk, ALPHA, fence)
    assert await until(lambda: alpha.view.ours) < 0.2
    assert alpha.fence_in_seconds() > 10.8


class TornFence(FakeFence):
    def armed(self) -> Optional[FenceDeadline]:
        raise EnvironmentFault("fence file is torn")


@virtual
async def test_nothing_is_adopted_under_a_deadline_that_can_not_be_read() -> None:
    disk = Disk(encode(initial_record().taken(ALPHA, 4, "free")))
    alpha = Side(disk, ALPHA, TornFence())
    await asyncio.sleep(5.0)
    assert (alpha.view.ours, alpha.view.detail) == (False, "fence file is torn")


@virtual
async def test_a_lease_that_is_being_adopted_is_not_said_to_be_lost() -> None:
    """The agent ends the VM at "held, but not ours"; a restart of the broker must not say so."""
    disk = Disk()
    alpha = await owner(disk)
    alpha.keeper._task.cancel()
    again = Side(disk, ALPHA, alpha.fence)
    again.weather.hang = "write"
    await asyncio.sleep(2.0)  # it has read, and can't renew yet
    assert (again.view.state, again.view.ours) == ("unknown", False)
    again.weather.mend()
    await until(lambda: again.view.ours)


@virtual
async def test_an_adoption_that_ends_after_the_old_deadline_gives_nothing() -> None:
    disk = Disk()
    alpha = await owner(disk)
    alpha.keeper._task.cancel()
    await asyncio.sleep(8.5)
    again = Side(disk, ALPHA, alpha.fence)
    again.weather.hang = "write"
    await asyncio.sleep(3.0)  # the guard has ended the VM meanwhile
    again.weather.mend()
    for _ in range(10):
        await asyncio.sleep(0.5)
        assert not again.view.ours


@virtual
async def test_a_broker_that_comes_back_after_its_deadline_waits_like_anybody() -> None:
    disk = Disk()
    alpha = await owner(disk)
    alpha.keeper._task.cancel()
    await asyncio.sleep(12.0)
    again = Side(disk, ALPHA, alpha.fence)
    await asyncio.sleep(1.0)
    assert (again.view.ours, again.view.state) == (False, "held")
    assert await until(lambda: again.view.state == "expired") > 13.5
    assert (await again.keeper.acquire(1)).ok
    assert again.view.epoch == 2


@virtual
async def test_the_same_host_after_a_reboot_waits_like_anybody() -> None:
    disk = Disk()
    alpha = await owner(disk)
    alpha.keeper._task.cancel()
    disk.host_ids.clear()
    rebooted = Side(disk, dataclasses.replace(ALPHA, instance="inst-a2"))
    await asyncio.sleep(10.0)
    assert (rebooted.view.ours, rebooted.view.state) == (False, "held")


@virtual
async def test_an_orderly_stop_disarms_and_the_next_start_adopts() -> None:
    disk = Disk()
    alpha = await owner(disk)
    await alpha.keeper.stop()
    assert alpha.fence.deadline is None
    assert decode(disk.block).state == "held"
    await asyncio.sleep(30.0)
    again = Side(disk, ALPHA, alpha.fence)
    assert await until(lambda: again.view.ours) < 0.2


@virtual
async def test_an_orderly_stop_disarms_while_a_renewal_is_under_way() -> None:
    alpha = await owner(Disk())
    alpha.weather.hang = "there"
    await asyncio.sleep(3.5)  # the one at 3 s may well succeed
    await alpha.keeper.stop()
    assert alpha.fence.deadline is None


@virtual
async def test_an_orderly_stop_while_renewals_fail_does_not_call_off_the_fence() -> None:
    alpha = await owner(Disk())
    alpha.weather.hang = "there"
    await asyncio.sleep(8.0)
    assert alpha.view.ours
    await alpha.keeper.stop()
    assert alpha.fence.deadline is not None


@virtual
async def test_a_guard_that_died_is_back_while_renewals_fail() -> None:
    """Nothing else starts it again, and the deadline comes just then."""
    alpha = await owner(Disk())
    alpha.weather.hang = "there"
    alpha.fence.guarded = False
    armed = alpha.fence.deadline
    await until(lambda: not alpha.view.ours)
    assert alpha.fence.guarded
    assert armed == alpha.fence.deadline, "the deadline is what it was"


@virtual
async def test_an_orderly_stop_after_the_deadline_does_not_call_off_the_fence() -> None:
    alpha = await owner(Disk())
    alpha.weather.hang = "there"
    await until(lambda: not alpha.view.ours)
    await alpha.keeper.stop()
    assert alpha.fence.deadline is not None


@virtual
async def test_a_take_that_lands_late_is_adopted_with_a_fence() -> None:
    disk = Disk()
    alpha = Side(disk, ALPHA)
    await asyncio.sleep(0.5)
    alpha.weather.hang = "write"
    began = now()
    assert not (await alpha.keeper.acquire(0)).ok
    assert now() - began == pytest.approx(TIMES.renew_deadline_seconds)
    assert not alpha.view.ours
    alpha.weather.mend()
    await until(lambda: alpha.view.ours)
    assert alpha.fence_in_seconds() > 10.5


@virtual
async def test_a_take_whose_answer_comes_too_late_gives_nothing() -> None:
    alpha = Side(Disk(), ALPHA)
    await asyncio.sleep(0.5)
    alpha.weather.hang = "back"
    take = asyncio.get_running_loop().create_task(alpha.keeper.acquire(0))
    await asyncio.sleep(0.5)
    alpha.clock.offset_seconds += 60.0  # the host was suspended
    alpha.weather.mend()
    result = await take
    assert (result.ok, "after the deadline" in result.reason) == (False, True)


@virtual
async def test_a_free_lease_is_looked_at_often_enough_for_the_ranks() -> None:
    disk = Disk()
    alpha, beta = Side(disk, ALPHA), Side(disk, BETA)
    await asyncio.sleep(0.45)
    assert (await alpha.keeper.acquire(0)).ok
    took = await until(lambda: beta.view.state == "held")
    assert took < TIMES.takeover_step_seconds / 2
    assert beta.view.last_success is not None
    assert beta.clock.now() - beta.view.last_success < 0.1


@virtual
async def test_of_two_that_take_at_once_one_is_refused() -> None:
    disk = Disk()
    alpha, beta = Side(disk, ALPHA), Side(disk, BETA)
    await asyncio.sleep(0.5)
    results = await asyncio.gather(alpha.keeper.acquire(0), beta.keeper.acquire(0))
    assert sorted(result.ok for result in results) == [False, True]
    assert (alpha.view.ours, beta.view.ours) in ((True, False), (False, True))


@virtual
async def test_an_epoch_that_moved_on_is_refused() -> None:
    alpha = Side(Disk(), ALPHA)
    await asyncio.sleep(0.5)
    result = await alpha.keeper.acquire(5)
    assert (result.ok, result.reason) == (False, "epoch is 0, not 5")


@virtual
async def test_a_second_agent_with_our_host_id_never_takes() -> None:
    disk = Disk()
    alpha, twin = Side(disk, ALPHA), Side(disk, LeaseIdentity(1, "gamma", "inst-g", VM))
    await asyncio.sleep(0.5)
    result = await twin.keeper.acquire(0)
    assert not result.ok
    assert "host id 1 is in use by host 'alpha'" in result.reason
    assert "in use" in twin.view.detail
    # Free or not: this host can't have it, and must not try again and again.
    assert twin.view.state == "unknown"
    assert (await alpha.keeper.acquire(0)).ok


@virtual
async def test_an_owner_whose_host_id_is_lost_comes_to_know_it() -> None:
    disk = Disk()
    alpha = await owner(disk)
    assert alpha.keeper.host_id.held
    disk.host_ids[1] = LeaseIdentity(1, "gamma", "inst-g", VM)
    await until(lambda: not alpha.keeper.host_id.held)
    assert alpha.view.ours


@pytest.mark.parametrize("block", [bytes(4096), b"x" * 4096, b"ha-agent-lease 9\n" + bytes(4079)])
def test_what_can_not_be_read_is_never_taken(block: bytes) -> None:
    async def main() -> None:
        disk = Disk(block)
        alpha = Side(disk, ALPHA)
        for _ in range(40):
            await asyncio.sleep(1.0)
            assert alpha.view.state == "unreadable"
            assert alpha.view.detail
            assert alpha.view.last_success is not None  # storage answers, whatever it has
            assert not (await alpha.keeper.acquire(alpha.view.epoch)).ok
        assert disk.block == block

    run_virtual(main())


@virtual
async def test_a_take_that_finds_no_record_says_so_at_once() -> None:
    """Not at the next look: until then the lease would seem to be free, and be tried again."""
    disk = Disk()
    alpha = Side(disk, ALPHA)
    await until(lambda: alpha.view.state == "free")
    disk.history.append(b"x" * 4096)
    result = await alpha.keeper.acquire(0)
    assert (result.ok, alpha.view.state) == (False, "unreadable")
    assert "not a lease record" in result.reason
    assert alpha.changes[-1].state == "unreadable"


@virtual
async def test_what_can_not_be_read_is_said_in_place_of_an_earlier_fault() -> None:
    alpha = Side(Disk(b"x" * 4096), ALPHA)
    alpha.weather.fail = "there"
    await until(lambda: alpha.view.detail == "EIO")
    alpha.weather.mend()
    await until(lambda: alpha.view.state == "unreadable")
    assert "not a lease record" in alpha.view.detail


@virtual
async def test_unreadable_while_we_own_is_fenced_in_time() -> None:
    disk = Disk()
    alpha = await owner(disk)
    disk.history.append(b"x" * 4096)
    left = alpha.fence_in_seconds()
    await asyncio.sleep(5.0)
    assert alpha.view.detail
    assert "see the log" not in alpha.view.detail
    waited = 5.0 + await until(lambda: not alpha.view.ours)
    assert waited == pytest.approx(left, abs=0.02)
    assert disk.block == b"x" * 4096


@virtual
async def test_failing_storage_is_not_asked_without_pause() -> None:
    alpha = Side(Disk(), ALPHA)
    alpha.weather.fail = "there"
    await asyncio.sleep(60.0)
    assert alpha.view.state == "unknown"
    assert "EIO" in alpha.view.detail
    assert alpha.weather.calls < 200


@virtual
async def test_a_fault_of_the_program_is_said_and_survived() -> None:
    alpha = Side(Disk(), ALPHA)
    alpha.weather.fail, alpha.weather.fault = "there", RuntimeError("never expected")
    await asyncio.sleep(10.0)
    assert "see the log" in alpha.view.detail
    assert alpha.weather.calls < 40
    alpha.weather.mend()
    await until(lambda: alpha.view.state == "free")


@virtual
async def test_a_read_that_fails_does_not_expire_a_lease() -> None:
    disk = Disk(encode(LeaseRecord("held", 1, "alpha", "inst-a", VM, 3, 9, "")))
    beta = Side(disk, BETA)
    await asyncio.sleep(0.5)
    beta.weather.fail = "back"
    await asyncio.sleep(30.0)
    assert beta.view.state == "held"
    assert beta.weather.calls < 200
    beta.weather.mend()
    assert await until(lambda: beta.view.state == "expired") < 0.3


def test_unsafe_times_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="renew_interval"):
            LeaseKeeper(
                FakeLeaseStorage(Disk(), ALPHA),
                LeaseTimes(renew_interval_seconds=5.0),
                ALPHA,
                clock=HostClock(),
                fence=FakeFence(),
            )

    run_virtual(main())


@virtual
async def test_a_keeper_that_was_stopped_writes_no_more() -> None:
    disk = Disk()
    alpha = await owner(disk)
    await alpha.keeper.stop()
    assert "lease keeper" not in {task.get_name() for task in asyncio.all_tasks()}
    left = disk.block
    await asyncio.sleep(30.0)
    assert disk.block == left
    assert not alpha.view.ours
    await alpha.keeper.stop()  # a second time does no harm
