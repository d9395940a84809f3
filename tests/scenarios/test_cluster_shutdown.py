# SPDX-License-Identifier: Apache-2.0
"""`cluster shutdown` and `cluster resume`: global maintenance with an order. Each test is one
story; every host has seen the order at once here, that is the broker's part."""

from __future__ import annotations

from ha_agent.broker.snapshot import OrderEntry
from ha_agent.fsm.observation import VmCondition, VmExit, VmView
from ha_agent.fsm.state import State
from tests.scenarios.cluster import Cluster, story

ALL = (1, 2, 3)


def order(cluster: Cluster, what: str = "shutdown") -> None:
    """`cluster shutdown`: the flag and the order; or plain maintenance after it."""
    number = cluster.order.number + 1 if cluster.order else 1
    cluster.global_maintenance = True
    cluster.order = OrderEntry(number, what, "root", in_force=True)


def resume(cluster: Cluster) -> None:
    """`cluster resume`."""
    cluster.global_maintenance, cluster.order = False, OrderEntry(9, "none", "root")


async def shut_down(cluster: Cluster, owner: int = 1) -> None:
    order(cluster)
    await cluster.until(State.ENGINE_STOP, owner, seconds=5.0)
    await cluster.until(State.GLOBAL_MAINTENANCE, owner, seconds=20.0)


@story
async def test_the_engine_stops_last_and_nobody_starts_it() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.other_vms[3] = 2
    order(cluster)
    await cluster.pass_time(300.0)
    assert cluster.running == [1]
    assert cluster[1].hypervisor.calls == ["create"]
    ready_at = cluster.now
    cluster.other_vms[3] = 0
    await cluster.until(State.ENGINE_STOP, 1, seconds=5.0)
    await cluster.until(State.GLOBAL_MAINTENANCE, 1, seconds=20.0)
    assert cluster[1].hypervisor.calls == ["create", "shutdown", "destroy"]
    assert cluster.seconds_of("h1 EngineStop [release lease]", after=ready_at) is not None
    await cluster.pass_time(300.0)
    assert not cluster.running
    assert [cluster.state(i) for i in ALL] == [State.GLOBAL_MAINTENANCE] * 3
    assert [cluster[i].hypervisor.calls for i in (2, 3)] == [[], []]


@story
async def test_resume_has_the_best_host_start_it() -> None:
    cluster = Cluster()
    await cluster.up_on(2)
    await shut_down(cluster, owner=2)
    await cluster.pass_time(60.0)
    resume(cluster)
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
    assert cluster.running == [1]


@story
async def test_hosts_are_powered_off_and_on_again() -> None:
    """The order stands until it is taken back, whatever is restarted meanwhile."""
    cluster = Cluster()
    await cluster.up_on(1)
    await shut_down(cluster)
    for host in cluster.hosts.values():
        host.kill_agent()
        host.kill_broker()
    await cluster.pass_time(300.0)
    for host in cluster.hosts.values():
        host.start_broker()
        host.start_agent()
    await cluster.pass_time(120.0)
    assert not cluster.running
    resume(cluster)
    await cluster.pass_time(60.0)
    assert len(cluster.running) == 1


@story
async def test_a_guest_that_ignores_the_stop_is_ended_by_force() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    begun = cluster.now
    order(cluster)
    await cluster.until(State.ENGINE_STOP, 1, seconds=5.0)
    await cluster.until(State.GLOBAL_MAINTENANCE, 1, seconds=130.0)
    forced = cluster.seconds_of("h1 EngineForceStop [destroy VM]", after=begun)
    assert forced is not None
    assert 120.0 <= forced <= 124.0
    assert not cluster.running


@story
async def test_resume_during_the_stop_keeps_a_healthy_engine() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    order(cluster)
    await cluster.until(State.ENGINE_STOP, 1, seconds=5.0)
    await cluster.pass_time(30.0)
    resume(cluster)
    await cluster.until(State.ENGINE_UP, 1, seconds=5.0)
    await cluster.pass_time(300.0)
    assert cluster[1].hypervisor.calls == ["create", "shutdown"]
    assert cluster.running == [1]


@story
async def test_resume_when_the_guest_has_gone_down() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    order(cluster)
    await cluster.until(State.ENGINE_STOP, 1, seconds=5.0)
    cluster[1].engine_hung = True
    await cluster.pass_time(2.0)
    resume(cluster)
    await cluster.pass_time(60.0)
    assert len(cluster.running) == 1


@story
async def test_plain_maintenance_instead_of_the_order_leaves_the_vm_alone() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    order(cluster)
    await cluster.until(State.ENGINE_STOP, 1, seconds=5.0)
    order(cluster, "maintenance")
    await cluster.until(State.GLOBAL_MAINTENANCE, 1, seconds=5.0)
    await cluster.pass_time(300.0)
    assert cluster[1].hypervisor.calls == ["create", "shutdown"]
    assert cluster.running == [1]


@story
async def test_a_vm_that_was_started_by_hand_is_stopped_too() -> None:
    """Its host has no lease for it, and takes none to stop it."""
    cluster = Cluster()
    cluster.global_maintenance = True
    await cluster.pass_time(10.0)
    by_hand = cluster[2].hypervisor
    await by_hand.create("<domain/>")
    order(cluster)
    await cluster.until(State.ENGINE_STOP, 2, seconds=10.0)
    await cluster.until(State.GLOBAL_MAINTENANCE, 2, seconds=20.0)
    assert not cluster.running


@story
async def test_local_maintenance_of_the_owner() -> None:
    """It has nobody to move the VM to: the VM is stopped here, and started where it may be."""
    cluster = Cluster()
    await cluster.up_on(1)
    for other in (2, 3):
        cluster[other].maintenance(True)
    await cluster.pass_time(10.0)
    cluster[1].maintenance(True)
    await cluster.until(State.LOCAL_MAINTENANCE_MIGRATE_VM, 1, seconds=5.0)
    await shut_down(cluster)
    assert not cluster.running
    cluster[3].maintenance(False)
    resume(cluster)
    await cluster.until(State.ENGINE_UP, 3, seconds=60.0)
    assert cluster.state(1) is State.LOCAL_MAINTENANCE


@story
async def test_the_owners_broker_restarts_during_the_stop() -> None:
    """What is not known for a moment is not taken back."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 60.0
    order(cluster)
    await cluster.until(State.ENGINE_STOP, 1, seconds=5.0)
    cluster[1].kill_broker()
    await cluster.pass_time(8.0)
    cluster[1].start_broker()
    await cluster.until(State.GLOBAL_MAINTENANCE, 1, seconds=90.0)
    assert cluster[1].hypervisor.calls == ["create", "shutdown", "destroy"]


@story
async def test_the_lease_expires_during_the_stop() -> None:
    """Nobody takes over in global maintenance: the stop goes on, without a turn of states."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    order(cluster)
    await cluster.until(State.ENGINE_STOP, 1, seconds=5.0)
    await cluster[1].stop_broker()
    await cluster.pass_time(20.0)
    cluster[1].start_broker()
    await cluster.until(State.GLOBAL_MAINTENANCE, 1, seconds=150.0)
    assert not cluster.running


@story
async def test_the_vm_is_migrating_when_the_order_comes() -> None:
    """The migration ends first."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.begin_migration(1, 2)
    await cluster.pass_time(2.0)
    order(cluster)
    await cluster.pass_time(10.0)
    assert cluster.running == [1]
    cluster.end_migration(1, 2)
    await cluster.until(State.ENGINE_STOP, 2, seconds=10.0)
    await cluster.until(State.GLOBAL_MAINTENANCE, 2, seconds=20.0)
    await cluster.pass_time(60.0)
    assert not cluster.running
    assert cluster[1].hypervisor.view in (
        VmView(VmCondition.ABSENT, detail="no such VM"),
        VmView(VmCondition.DOWN, VmExit.MIGRATED, detail="Down"),
    )
