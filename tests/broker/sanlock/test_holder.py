# SPDX-License-Identifier: Apache-2.0
"""When the holder may end; with VM, guard and daemon it is in test_keeper.py."""

from __future__ import annotations

from ha_agent.broker.sanlock.holder import IDLE_SECONDS, LEAVE_AFTER_SECONDS, Holding
from ha_agent.instant import Instant
from tests.broker.lease_world import FakeFence


class Vm:
    """The VM's processes."""

    def __init__(self, *, runs: bool) -> None:
        self.runs = runs

    def scan(self) -> None:
        """As fence.VmProcesses."""

    def alive(self) -> list[int]:
        return [1] if self.runs else []


def first_end(holding: Holding, begin: float, limit: float) -> float:
    """Look every half second; return when it may end, `limit` if not before."""
    now = begin
    while now < limit and not holding.look(Instant(now)):
        now += 0.5
    return now


def test_it_holds_while_a_deadline_lies_ahead() -> None:
    fence = FakeFence()
    fence.arm(Instant(100.0), 7)
    holding = Holding(fence, Vm(runs=False))
    assert first_end(holding, 0.0, 99.5) == 99.5
    assert first_end(holding, 100.0, 500.0) == 100.0 + LEAVE_AFTER_SECONDS


def test_a_vm_that_has_not_ended_keeps_it_past_the_deadline() -> None:
    fence, vm = FakeFence(), Vm(runs=True)
    fence.arm(Instant(100.0), 7)
    holding = Holding(fence, vm)
    assert first_end(holding, 0.0, 300.0) == 300.0
    vm.runs = False
    assert first_end(holding, 300.0, 500.0) <= 300.0 + LEAVE_AFTER_SECONDS


def test_a_deadline_that_was_put_off_begins_the_wait_anew() -> None:
    fence = FakeFence()
    fence.arm(Instant(100.0), 7)
    holding = Holding(fence, Vm(runs=False))
    assert not holding.look(Instant(100.0))
    fence.arm(Instant(200.0), 7)
    assert not holding.look(Instant(150.0))
    assert first_end(holding, 200.0, 500.0) == 200.0 + LEAVE_AFTER_SECONDS


def test_with_nothing_armed_it_outlives_the_vm_by_a_while() -> None:
    vm = Vm(runs=True)
    holding = Holding(FakeFence(), vm)
    assert first_end(holding, 0.0, 1000.0) == 1000.0
    vm.runs = False
    ended_at = first_end(holding, 1000.0, 5000.0)
    assert IDLE_SECONDS - 0.5 <= ended_at - 1000.0 <= IDLE_SECONDS


def test_sanlocks_word_sets_the_deadline_for_good_again_and_again() -> None:
    fence, vm = FakeFence(), Vm(runs=True)
    fence.arm(Instant(100.0), 7)
    holding = Holding(fence, vm)
    holding.look(Instant(10.0))
    holding.lost = True
    assert not holding.look(Instant(11.0))
    assert fence.deadline is not None
    assert (fence.deadline.fence_at, fence.deadline.epoch) == (Instant(11.0), 7)
    assert fence.deadline.final
    fence.arm(Instant(120.0), 7)  # a broker that does not know yet
    assert not holding.look(Instant(11.5))
    assert fence.deadline.fence_at == Instant(11.5)
    vm.runs = False
    assert first_end(holding, 12.0, 500.0) <= 12.0 + LEAVE_AFTER_SECONDS


def test_sanlocks_word_counts_also_while_the_broker_was_stopped_in_order() -> None:
    fence = FakeFence()
    holding = Holding(fence, Vm(runs=True))
    holding.lost = True
    assert not holding.look(Instant(5.0))
    assert fence.guarded  # arming starts a guard: the broker's has left with it
