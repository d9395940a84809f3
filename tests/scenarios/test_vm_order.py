# SPDX-License-Identifier: Apache-2.0
"""`vm start` and `vm stop` under global maintenance: through the state machine and the lease."""

from __future__ import annotations

import pytest

from ha_agent.broker.snapshot import VmOrderEntry
from ha_agent.cycle import Cycle
from ha_agent.fsm.memory import Memory
from ha_agent.fsm.state import State
from ha_agent.fsm.vm_order import OrderPhase, OrderProgress
from ha_agent.vdsm.errors import VdsmCallFailed
from tests.scenarios.cluster import LEASE_EXPIRY_SECONDS, Cluster, story

ALL = (1, 2, 3)


def order(cluster: Cluster, host_id: int, number: int, what: str) -> None:
    cluster[host_id].vm_order = VmOrderEntry(number, what, "root")


def progress(cluster: Cluster, host_id: int) -> OrderProgress:
    cycle: Cycle = cluster[host_id].cycle
    memory: Memory = cycle.memory
    return memory.vm_order


async def maintained(cluster: Cluster) -> None:
    cluster.global_maintenance = True
    for host_id in ALL:
        await cluster.until(State.GLOBAL_MAINTENANCE, host_id, seconds=10.0)


async def stopped(cluster: Cluster, host_id: int, what: str = "stop") -> None:
    order(cluster, host_id, 1, what)
    await cluster.pass_time(20.0)
    assert progress(cluster, host_id).phase is OrderPhase.DONE, cluster.story()


@story
async def test_a_stop_and_a_start_elsewhere_go_through_the_lease() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    await maintained(cluster)
    await stopped(cluster, 1)
    assert cluster[1].hypervisor.calls == ["create", "shutdown"]
    assert not cluster.running
    await cluster.pass_time(120.0)
    assert not cluster.running  # nobody starts it again
    order(cluster, 2, 7, "start")
    began = cluster.now
    await cluster.pass_time(20.0)
    assert progress(cluster, 2).phase is OrderPhase.DONE, cluster.story()
    assert cluster.running == [2]
    assert [line for line in cluster.log_since(began) if "[" in line] == [
        "h2 GlobalMaintenance [take lease]",
        "h2 GlobalMaintenance [start VM]",
    ]
    cluster.global_maintenance = False
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)
    assert cluster[2].hypervisor.calls == ["create"]


@story
async def test_a_start_beside_a_vm_that_runs_is_refused() -> None:
    """The lease is another host's: no start, and not even a try to take it."""
    cluster = Cluster()
    await cluster.up_on(1)
    await maintained(cluster)
    order(cluster, 2, 1, "start")
    await cluster.pass_time(20.0)
    told = progress(cluster, 2)
    assert (told.phase, told.detail) == (OrderPhase.REFUSED, "host 1 (h1) holds the lease")
    assert cluster[2].hypervisor.calls == []
    assert cluster.running == [1]


@story
async def test_two_hosts_are_told_to_start_at_once() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    await maintained(cluster)
    await stopped(cluster, 1, "force stop")
    assert cluster[1].hypervisor.calls == ["create", "destroy"]
    for host_id in (2, 3):
        order(cluster, host_id, 9, "start")
    await cluster.pass_time(30.0)
    phases = sorted(progress(cluster, host_id).phase.value for host_id in (2, 3))
    assert phases == ["done", "refused"], cluster.story()
    assert len(cluster.running) == 1


@story
async def test_a_stop_outside_of_maintenance_is_not_done() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    order(cluster, 1, 1, "stop")
    await cluster.pass_time(20.0)
    assert progress(cluster, 1).phase is OrderPhase.REFUSED
    assert cluster[1].hypervisor.calls == ["create"]


@story
async def test_a_lease_that_was_taken_for_a_start_that_fails_is_given_back() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    await maintained(cluster)
    await stopped(cluster, 1)
    # Somebody who knows nothing of our lease has the VM.
    cluster.vm_lease.holder = cluster[3].hypervisor
    cluster.vm_lease_may_refuse = True
    order(cluster, 2, 1, "start")
    began = cluster.now
    await cluster.pass_time(90.0)
    assert progress(cluster, 2).phase is OrderPhase.REFUSED, cluster.story()
    assert cluster[2].hypervisor.calls.count("create") == 1
    assert cluster.seconds_of("h2 GlobalMaintenance [release lease]", after=began) is not None
    assert not cluster.running


@story
async def test_an_order_is_done_once() -> None:
    """It stays on the board for a while; a VM that ends later is not started for it again."""
    cluster = Cluster()
    await cluster.up_on(1)
    await maintained(cluster)
    await stopped(cluster, 1)
    order(cluster, 1, 2, "start")
    await cluster.pass_time(20.0)
    assert cluster.running == [1]
    order(cluster, 1, 3, "force stop")
    await cluster.pass_time(20.0)
    assert not cluster.running
    await cluster.pass_time(60.0)
    assert cluster[1].hypervisor.calls == ["create", "shutdown", "destroy", "create", "destroy"]


@story
async def test_a_start_right_after_a_stop_waits_for_the_lease_that_is_being_given_up() -> None:
    """As `hosted-engine --vm-start` does with a paused VM; storage is slow to take the release."""
    for what in ("start", "start paused"):
        cluster = Cluster()
        await cluster.up_on(1)
        await maintained(cluster)
        cluster[1].storage.delay_seconds = 0.7
        order(cluster, 1, 1, "force stop")
        while progress(cluster, 1).phase is not OrderPhase.DONE:
            await cluster.pass_time(0.25)
        order(cluster, 1, 2, what)
        began = cluster.now
        await cluster.pass_time(20.0)
        assert progress(cluster, 1).phase is OrderPhase.DONE, cluster.story()
        given_up = "h1 GlobalMaintenance [release lease]"
        assert cluster.seconds_of(given_up) is not None
        assert [line for line in cluster.log_since(began) if "[" in line] == [
            "h1 GlobalMaintenance [take lease]",
            "h1 GlobalMaintenance [start VM]",
        ]


@story
async def test_a_guest_that_ignores_the_stop_is_left_alone_and_that_is_said() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    await maintained(cluster)
    order(cluster, 1, 1, "stop")
    await cluster.pass_time(130.0)
    told = progress(cluster, 1)
    assert told.phase is OrderPhase.REFUSED
    assert "by force" in told.detail
    assert cluster.running == [1]


@story
async def test_force_ends_a_guest_that_ignores_the_stop() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    await maintained(cluster)
    order(cluster, 1, 1, "stop")
    await cluster.pass_time(10.0)
    assert cluster.running == [1]
    order(cluster, 1, 2, "force stop")
    await cluster.pass_time(20.0)
    assert progress(cluster, 1).phase is OrderPhase.DONE, cluster.story()
    assert not cluster.running


@story
async def test_maintenance_that_ends_in_the_middle_of_a_start_leaves_one_vm() -> None:
    """At whatever moment it ends: the agents go on with what they find."""
    for seconds in (0.2, 1.0, 3.0):
        cluster = Cluster()
        await cluster.up_on(1)
        await maintained(cluster)
        await stopped(cluster, 1)
        order(cluster, 2, 7, "start")
        await cluster.pass_time(seconds)
        cluster.global_maintenance = False
        await cluster.pass_time(60.0)
        assert len(cluster.running) == 1, cluster.story()
        assert not progress(cluster, 2).is_open


@story
async def test_orders_again_and_again_on_two_hosts_never_make_two_vms() -> None:
    """Whoever of the two is asked, and whatever for, in the middle of the other's order."""
    cluster = Cluster()
    await cluster.up_on(1)
    await maintained(cluster)
    await stopped(cluster, 1)
    for host_id in (2, 3):
        order(cluster, host_id, 9, "start")
    await cluster.pass_time(2.0)
    for host_id in (3, 2):
        order(cluster, host_id, 10, "start")
        await cluster.pass_time(30.0)
        assert len(cluster.running) <= 1, cluster.story()
    owner = cluster.running[0]
    order(cluster, owner, 11, "force stop")
    order(cluster, 5 - owner, 11, "start")  # at once: refused, the lease is still held
    await cluster.pass_time(30.0)
    assert len(cluster.running) <= 1, cluster.story()
    assert not any(progress(cluster, host_id).is_open for host_id in (2, 3))


async def started_paused(cluster: Cluster, host_id: int) -> None:
    await cluster.up_on(1)
    await maintained(cluster)
    await stopped(cluster, 1)
    order(cluster, host_id, 7, "start paused")
    await cluster.pass_time(20.0)
    assert progress(cluster, host_id).phase is OrderPhase.DONE, cluster.story()
    assert cluster[host_id].hypervisor.calls[-1] == "create paused"


def resume_behind_the_agent(cluster: Cluster, host_id: int) -> None:
    """As with `vdsm-client VM cont`: only the VM lease is in the way."""
    hypervisor = cluster[host_id].hypervisor
    with pytest.raises(VdsmCallFailed, match="Failed to acquire lock"):
        hypervisor.resume().send(None)


@story
async def test_a_vm_that_is_started_paused_stays_until_it_is_resumed() -> None:
    """It holds no VM lease, so only the ownership lease keeps others from starting a second."""
    cluster = Cluster()
    await started_paused(cluster, 2)
    await cluster.pass_time(200.0)
    assert cluster[2].hypervisor.calls == ["create paused"]
    assert cluster.vm_lease.holder is None
    order(cluster, 3, 8, "start")
    await cluster.pass_time(20.0)
    told = progress(cluster, 3)
    assert (told.phase, told.detail) == (OrderPhase.REFUSED, "host 2 (h2) holds the lease")
    order(cluster, 2, 9, "resume")
    await cluster.pass_time(20.0)
    assert progress(cluster, 2).phase is OrderPhase.DONE, cluster.story()
    assert cluster.running == [2]
    cluster.global_maintenance = False
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)
    await cluster.pass_time(200.0)
    assert cluster[2].hypervisor.calls == ["create paused", "resume"]


@story
async def test_a_vm_left_paused_has_its_grace_time_from_the_end_of_maintenance() -> None:
    """Somebody may have looked at it for long; who ends the maintenance may be about to resume
    it. Then the agents do what they do with any paused VM, and one runs in the end."""
    cluster = Cluster()
    await started_paused(cluster, 2)
    await cluster.pass_time(200.0)
    ended_at = cluster.now
    cluster.global_maintenance = False
    await cluster.pass_time(110.0)
    assert cluster[2].hypervisor.calls == ["create paused"]
    await cluster.pass_time(200.0)
    forced = cluster.seconds_of("h2 EngineForceStop [destroy VM]", after=ended_at)
    assert forced is not None
    assert 120.0 <= forced <= 124.0
    assert len(cluster.running) == 1, cluster.story()


@story
async def test_maintenance_that_ends_in_the_middle_of_a_paused_start_leaves_one_vm() -> None:
    for seconds in (0.2, 1.0, 3.0):
        cluster = Cluster()
        await cluster.up_on(1)
        await maintained(cluster)
        await stopped(cluster, 1)
        order(cluster, 2, 7, "start paused")
        await cluster.pass_time(seconds)
        cluster.global_maintenance = False
        await cluster.pass_time(300.0)
        assert len(cluster.running) == 1, cluster.story()
        assert not progress(cluster, 2).is_open


@story
async def test_a_paused_vm_whose_host_has_lost_the_lease_never_goes_on_beside_another() -> None:
    """Its broker is dead and the guard gone with it; the operator starts the VM elsewhere."""
    cluster = Cluster()
    await started_paused(cluster, 2)
    cluster[2].guard.cancel()
    cluster[2].kill_broker()
    await cluster.pass_time(LEASE_EXPIRY_SECONDS + 40.0)  # its status block is old, too
    order(cluster, 3, 8, "start")
    await cluster.pass_time(30.0)
    assert cluster.running == [3], cluster.story()
    resume_behind_the_agent(cluster, 2)
    cluster[2].start_broker()
    await cluster.pass_time(10.0)
    order(cluster, 2, 9, "resume")
    await cluster.pass_time(30.0)
    told = progress(cluster, 2)
    assert told.phase is OrderPhase.REFUSED, cluster.story()
    assert "host 3 (h3) holds the lease" in told.detail
    assert cluster[2].hypervisor.calls.count("resume") == 1
    assert cluster.running == [3]


@story
async def test_a_vm_lease_that_is_held_elsewhere_is_told_and_leaves_it_paused() -> None:
    """Somebody has started it with other tools, past every lease but this one."""
    cluster = Cluster()
    await started_paused(cluster, 2)
    cluster.vm_lease.holder = cluster[3].hypervisor
    order(cluster, 2, 8, "resume")
    await cluster.pass_time(20.0)
    told = progress(cluster, 2)
    assert told.phase is OrderPhase.REFUSED, cluster.story()
    assert "the VM lease is held elsewhere" in told.detail
    assert not cluster.running
    cluster.vm_lease.holder = None
    order(cluster, 2, 9, "resume")
    await cluster.pass_time(20.0)
    assert progress(cluster, 2).phase is OrderPhase.DONE
    assert cluster.running == [2]


@story
async def test_a_paused_vm_is_stopped_by_force_or_not_at_all() -> None:
    cluster = Cluster()
    await started_paused(cluster, 2)
    order(cluster, 2, 8, "stop")
    await cluster.pass_time(10.0)
    assert "can't shut down" in progress(cluster, 2).detail
    order(cluster, 2, 9, "force stop")
    await cluster.pass_time(10.0)
    assert progress(cluster, 2).phase is OrderPhase.DONE, cluster.story()
    order(cluster, 3, 10, "start")
    await cluster.pass_time(20.0)
    assert cluster.running == [3]
