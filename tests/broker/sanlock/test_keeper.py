# SPDX-License-Identifier: Apache-2.0
"""The keeper over sanlock in virtual time: its scenarios, each with the VM and the guard."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Callable

import pytest

from ha_agent.broker.sanlock.keeper import SanlockKeeper
from ha_agent.broker.sanlock.times import SanlockTimes
from tests.broker.lease_world import FakeFence, HostClock, run_virtual
from tests.broker.sanlock_world import (
    TIMES,
    Area,
    FakeDaemon,
    FakeSanlock,
    HolderOf,
    SanlockHost,
    until_renewed,
)


def now() -> float:
    return asyncio.get_running_loop().time()


async def two_hosts() -> tuple[SanlockHost, SanlockHost]:
    area = Area()
    alpha, beta = SanlockHost(area, 1, 1000.0), SanlockHost(area, 2, 5.0)
    await alpha.take()
    await beta.until("held", ours=False)
    return alpha, beta


def test_taken_seen_and_released() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        view = beta.keeper.view()
        assert (view.host_id, view.host_name, view.epoch) == (1, "host1", 1)
        assert not (await beta.keeper.acquire(1)).ok
        alpha.vm_running = False
        assert (await alpha.keeper.release("moves")).ok
        assert alpha.fence.armed() is None
        await beta.until("free")
        assert not (await beta.keeper.acquire(0)).ok
        await beta.take()
        assert beta.keeper.view().epoch == 2

    run_virtual(scenario())


def test_what_is_being_released_says_so_until_the_record_is_seen_free() -> None:
    """Else the picture in between would be that of a lease that was lost."""

    async def scenario() -> None:
        alpha, _ = await two_hosts()
        alpha.vm_running = False
        task = asyncio.ensure_future(alpha.keeper.release("moves"))
        seen = []
        while not task.done():
            seen.append(alpha.keeper.view())
            await asyncio.sleep(0.001)
        between = [view for view in seen if view.state == "held" and not view.ours]
        assert between
        assert {view.detail for view in between} == {"released: moves"}
        await alpha.until("free")
        assert alpha.keeper.view().detail == ""

    run_virtual(scenario())


def test_of_two_takers_one_has_it() -> None:
    async def scenario() -> None:
        area = Area()
        hosts = [SanlockHost(area, 1), SanlockHost(area, 2)]
        for host in hosts:
            await host.until("free")
            await until_renewed(host)
        results = await asyncio.gather(*(host.keeper.acquire(0) for host in hosts))
        assert [result.ok for result in results].count(True) == 1
        assert [host.keeper.view().ours for host in hosts] == [result.ok for result in results]

    run_virtual(scenario())


def test_the_deadline_follows_the_renewals_and_no_look_reads_storage() -> None:
    async def scenario() -> None:
        alpha, _ = await two_hosts()
        for _ in range(20):
            armed = alpha.fence.armed()
            assert armed is not None
            left_seconds = armed.fence_at - alpha.clock.now()
            assert 4 <= left_seconds <= TIMES.fence_after_seconds
            assert alpha.keeper.view().ours
            await asyncio.sleep(2.3)

    run_virtual(scenario())


def test_lost_renewals_end_the_vm_before_another_host_can_take_it() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        await asyncio.sleep(20)
        alpha.daemon.hung = True
        await beta.until("expired")
        assert alpha.vm_ended_at is not None
        assert now() - alpha.vm_ended_at >= 3.0
        assert not alpha.keeper.view().ours
        view = beta.keeper.view()
        assert view.available_since is not None
        assert (await beta.keeper.acquire(view.epoch)).ok
        assert beta.keeper.view().epoch == 2
        alpha.daemon.hung = False  # it comes back: the epoch is not its own again
        await asyncio.sleep(60)
        assert beta.keeper.view().ours
        assert not alpha.keeper.view().ours

    run_virtual(scenario())


@pytest.mark.parametrize("daemon_too", [False, True])
def test_a_hung_broker_ends_the_vm_and_the_lease_gets_free_after_it(daemon_too: bool) -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        alpha.kill_broker()
        alpha.daemon.hung = daemon_too
        while beta.keeper.view().state not in ("free", "expired"):
            assert beta.keeper.view().state == "held"
            vm_ran = alpha.vm_running
            await asyncio.sleep(0.1)
        assert not vm_ran
        assert alpha.vm_ended_at is not None
        assert now() - alpha.vm_ended_at >= 2.0
        assert (await beta.keeper.acquire(1)).ok

    run_virtual(scenario())


def test_a_dead_host_is_seen_dead_within_a_second_of_the_daemon() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        await asyncio.sleep(20)
        alpha.kill()
        await beta.until("expired")
        seen_at = now()
        _, changed_at = beta.daemon.seen[1]
        # The daemon counts whole seconds, and says dead when one more has passed.
        assert seen_at <= int(changed_at) + TIMES.host_dead_seconds + 1 + 0.5
        assert (await beta.keeper.acquire(1)).ok

    run_virtual(scenario())


def test_a_holder_that_is_killed_is_mended_and_the_vm_runs_on() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        assert alpha.holder is not None
        alpha.holder.die()
        await asyncio.sleep(0.5)
        view = alpha.keeper.view()
        assert (view.ours, view.epoch) == (True, 2)
        armed = alpha.fence.armed()
        assert armed is not None
        assert armed.epoch == 2
        await asyncio.sleep(60)
        assert alpha.vm_running
        assert beta.keeper.view().state == "held"
        assert beta.keeper.view().epoch == 2

    run_virtual(scenario())


def _refuse(alpha: SanlockHost) -> None:
    alpha.sanlock.acquires_fail = True


def _taken_by_another(alpha: SanlockHost) -> None:
    area = alpha.daemon.area
    area.leader = replace(area.leader, host_id=2, generation=1, epoch=2, held=True)


@pytest.mark.parametrize("what", [_refuse, _taken_by_another])
def test_a_killed_holder_that_cant_be_mended_ends_the_vm(
    what: Callable[[SanlockHost], None],
) -> None:
    async def scenario() -> None:
        alpha, _ = await two_hosts()
        assert alpha.holder is not None
        alpha.holder.die()
        what(alpha)
        await asyncio.sleep(4)
        assert not alpha.vm_running
        assert not alpha.keeper.view().ours

    run_virtual(scenario())


def test_sanlocks_word_to_the_holder_ends_the_vm_before_the_lease_is_free() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        assert alpha.holder is not None
        alpha.holder.holding.lost = True
        await asyncio.sleep(1.0)
        assert not alpha.vm_running
        assert beta.daemon.area.leader.held
        assert alpha.vm_ended_at is not None
        await beta.until("free")
        assert now() - alpha.vm_ended_at >= 2.0

    run_virtual(scenario())


def test_a_restarted_broker_adopts_the_lease_also_after_an_orderly_stop() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        alpha.kill_broker()
        await asyncio.sleep(1.0)
        alpha.start_broker()
        await alpha.until("held", ours=True)
        assert alpha.keeper.view().epoch == 1
        await alpha.keeper.stop()
        assert alpha.fence.armed() is None
        await asyncio.sleep(100)  # stopped for long: holder and VM go on, nobody else may start it
        assert alpha.vm_running
        assert beta.keeper.view().state == "held"
        alpha.start_broker()
        states = set()
        while not alpha.keeper.view().ours:
            states.add(alpha.keeper.view().state)
            await asyncio.sleep(0.05)
        assert states == {"unknown"}  # "held, not ours" would have the agent end the VM
        assert alpha.vm_running

    run_virtual(scenario())


def test_a_broker_that_comes_back_just_before_the_deadline_adopts_and_the_vm_runs_on() -> None:
    async def scenario() -> None:
        alpha, _beta = await two_hosts()
        await asyncio.sleep(30.0)
        alpha.kill_broker()
        armed = alpha.fence.armed()
        assert armed is not None
        # Less than a renewal interval is left: there is no time to wait for one.
        await asyncio.sleep(armed.fence_at - alpha.clock.now() - 0.5)
        alpha.start_broker()
        await alpha.until("held", ours=True)
        await asyncio.sleep(30.0)
        assert alpha.vm_running
        assert alpha.keeper.view().ours

    run_virtual(scenario())


def test_a_stopped_broker_whose_vm_went_down_lets_others_have_the_lease() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        await alpha.keeper.stop()
        alpha.vm_running = False
        await beta.until("free")

    run_virtual(scenario())


def test_abandoned_is_for_good_and_free_once_the_vm_is_gone() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        assert (await alpha.keeper.abandon("nobody knows")).ok
        assert not alpha.keeper.view().ours
        assert alpha.vm_running
        alpha.kill_broker()
        alpha.start_broker()
        await asyncio.sleep(2)
        assert not alpha.keeper.view().ours
        await beta.until("free")
        assert alpha.vm_ended_at is not None
        assert (await beta.keeper.acquire(1)).ok
        assert (await alpha.keeper.abandon("again")).reason == "the lease is not ours now"

    run_virtual(scenario())


def test_a_fence_that_cant_be_armed_gives_nothing() -> None:
    async def scenario() -> None:
        area = Area()
        alpha, beta = SanlockHost(area, 1), SanlockHost(area, 2)
        await alpha.until("free")
        await until_renewed(alpha)
        alpha.fence.broken = True
        result = await alpha.keeper.acquire(0)
        assert not result.ok
        assert "no space left" in result.reason
        assert not alpha.keeper.view().ours
        await asyncio.sleep(5)
        assert beta.keeper.view().state == "free"

    run_virtual(scenario())


def test_a_second_host_with_our_host_id_gets_nothing() -> None:
    async def scenario() -> None:
        area = Area()
        alpha = SanlockHost(area, 1)
        await alpha.take()
        twin = SanlockHost(area, 1)
        twin.daemon.name = "twin"
        for _ in range(30):
            await asyncio.sleep(1)
            assert not twin.keeper.host_id.held
            assert twin.keeper.view().state == "unknown"
        assert "host id 1 is being joined" in twin.keeper.host_id.reason
        assert alpha.keeper.view().ours

    run_virtual(scenario())


def test_another_io_timeout_is_a_problem_that_is_shown() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        deltas = alpha.daemon.area.deltas
        beta.daemon.leave()
        beta.kill_broker()
        deltas[2] = replace(deltas[2], timestamp=int(now()) + 1, io_timeout_seconds=5)
        await asyncio.sleep(10)
        assert "host 2 5 s" in alpha.keeper.view().detail
        assert alpha.keeper.view().ours

    run_virtual(scenario())


def test_no_daemon_is_said_and_nothing_is_taken() -> None:
    async def scenario() -> None:
        alpha = SanlockHost(Area(), 1)
        alpha.daemon.die()
        await asyncio.sleep(5)
        view = alpha.keeper.view()
        assert view.state == "unknown"
        assert "no sanlock daemon answers" in view.detail
        assert not (await alpha.keeper.acquire(0)).ok

    run_virtual(scenario())


def test_unsafe_times_are_refused() -> None:
    async def scenario() -> None:
        host = SanlockHost(Area(), 1)
        with pytest.raises(ValueError, match="must be at least 7"):
            SanlockKeeper(
                FakeSanlock(FakeDaemon(Area(), 1, "x")),
                SanlockTimes(2, 6),
                host_id=1,
                holder=HolderOf(host),
                clock=HostClock(),
                fence=FakeFence(),
            )

    run_virtual(scenario())


def test_nothing_is_taken_with_a_daemon_whose_watchdog_makes_the_times_unsafe() -> None:
    async def scenario() -> None:
        alpha = SanlockHost(Area(), 1)
        alpha.daemon.watchdog_fire_seconds = 5
        await alpha.until("free")
        await until_renewed(alpha)
        assert "daemon counts with 5" in alpha.keeper.view().detail
        result = await alpha.keeper.acquire(0)
        assert (result.ok, "must be at least 7" in result.reason) == (False, True)

    run_virtual(scenario())


def test_nothing_is_taken_while_our_own_renewals_are_not_seen() -> None:
    async def scenario() -> None:
        alpha = SanlockHost(Area(), 1)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if alpha.keeper.host_id.held:
                break  # it is in the lockspace, and has not been seen to renew yet
        # "free" would have the agent try again and again.
        assert alpha.keeper.view().state == "unknown"
        assert "waited for" in alpha.keeper.view().detail
        assert not (await alpha.keeper.acquire(0)).ok
        await alpha.until("free")
        assert alpha.daemon._task is not None
        alpha.daemon._task.cancel()  # it answers, and renews no more
        await asyncio.sleep(20)
        assert alpha.keeper.view().state == "unknown"
        assert "waited for" in (await alpha.keeper.acquire(0)).reason
        assert not alpha.daemon.area.leader.held

    run_virtual(scenario())


def test_a_daemon_that_was_restarted_is_not_joined_before_the_vm_has_ended() -> None:
    async def scenario() -> None:
        alpha, beta = await two_hosts()
        alpha.daemon.die()
        alpha.daemon.up = True  # a new one, which knows of nothing
        while alpha.daemon.joined is False:
            assert beta.keeper.view().state == "held"
            vm_ran = alpha.vm_running
            await asyncio.sleep(0.1)
        assert not vm_ran
        assert not alpha.keeper.view().ours
        await beta.until("expired")

    run_virtual(scenario())
