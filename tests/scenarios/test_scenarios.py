# SPDX-License-Identifier: Apache-2.0
"""What the cluster does when something goes wrong, and how fast. Each test is one story."""

from __future__ import annotations

from ha_agent.fsm.observation import VmExit
from ha_agent.fsm.state import State
from tests.fakes import FakeHypervisor
from tests.scenarios.cluster import LEASE_EXPIRY_SECONDS, Cluster, story


@story
async def test_first_start() -> None:
    """Three hosts that know nothing of each other yet: all ask, the lease lets one through."""
    cluster = Cluster()
    await cluster.pass_time(40.0)
    (owner,) = cluster.running
    assert cluster.state(owner) is State.ENGINE_UP
    for host in cluster.hosts.values():
        assert host.hypervisor.calls == (["create"] if host.host_id == owner else [])


@story
async def test_host_death() -> None:
    """VM.create goes out on the best host within lease_expiry + 1 s of the last renewal."""
    cluster = Cluster()
    await cluster.up_on(1)
    dead_at = cluster.now
    cluster[1].kill()
    await cluster.until(State.ENGINE_STARTING, 2, seconds=30.0)
    created = cluster.seconds_of("h2 EngineStart [start VM]", after=dead_at)
    assert created is not None
    assert created <= LEASE_EXPIRY_SECONDS + 1.0
    await cluster.until(State.ENGINE_UP, 2, seconds=40.0)
    assert cluster.running == [2]
    assert not cluster[3].hypervisor.calls


@story
async def test_qemu_crash_restarts_at_once() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    killed_at = cluster.now
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.until(State.ENGINE_STARTING, 1, seconds=5.0)
    created = cluster.seconds_of("h1 EngineStart [start VM]", after=killed_at)
    assert created is not None
    assert created < 0.5
    await cluster.until(State.ENGINE_UP, 1, seconds=40.0)


@story
async def test_crashes_are_held_back_then_another_host() -> None:
    """Starts 0, 1, 5 and 15 s after each failure; the fifth failure is another host's turn."""
    cluster = Cluster()
    await cluster.up_on(1)
    begun = cluster.now
    cluster[1].hypervisor.crashes_at_start = True
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.until(State.ENGINE_UP, 2, seconds=120.0)
    starts = [
        at - begun
        for at, line in cluster.times
        if at >= begun and line == "h1 EngineStart [start VM]"
    ]
    pauses = [later - sooner for sooner, later in zip(starts, starts[1:])]
    assert starts[0] < 0.5
    assert len(starts) == 4
    for pause, (least, most) in zip(pauses, ((1.0, 3.0), (5.0, 7.0), (15.0, 17.0))):
        assert least <= pause <= most
    assert cluster.state(1) is State.ENGINE_UNEXPECTEDLY_DOWN
    await cluster.until(State.ENGINE_DOWN, 1, seconds=cluster.policy.unexpected_down_seconds + 5)


@story
async def test_last_host_keeps_trying() -> None:
    cluster = Cluster(hosts=1)
    cluster[1].hypervisor.crashes_at_start = True
    await cluster.pass_time(1200.0)
    creates = cluster[1].hypervisor.calls.count("create")
    assert 40 <= creates <= 90, cluster.story()  # every 15 s or so, for ever
    cluster[1].hypervisor.crashes_at_start = False
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)


@story
async def test_two_hosts_that_both_fail_keep_trying() -> None:
    """Each leaves it to the other for a while, and never are both without points for long."""
    cluster = Cluster(hosts=2)
    for host in cluster.hosts.values():
        host.hypervisor.crashes_at_start = True
    await cluster.pass_time(60.0)
    pointless_seconds = 0.0
    for _ in range(600):
        await cluster.pass_time(1.0)
        points = [report.score for report, _at in cluster.blocks.values()]
        pointless_seconds = 0.0 if any(points) else pointless_seconds + 1.0
        assert pointless_seconds < 6.0, cluster.story()
    tries = [cluster[number].hypervisor.calls.count("create") for number in (1, 2)]
    assert all(times >= 5 for times in tries), tries
    cluster[2].hypervisor.crashes_at_start = False
    await cluster.until(State.ENGINE_UP, 2, seconds=cluster.policy.unexpected_down_seconds + 60.0)


@story
async def test_the_last_host_never_says_that_it_is_unable() -> None:
    """With the other host in maintenance its points are only fewer."""
    cluster = Cluster(hosts=2)
    cluster[2].maintenance(True)
    cluster[1].hypervisor.crashes_at_start = True
    await cluster.pass_time(5.0)
    for _ in range(300):
        await cluster.pass_time(1.0)
        assert cluster.blocks[1][0].score > 0, cluster.story()


@story
async def test_local_maintenance_moves_the_vm() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].maintenance(True)
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)
    assert cluster.state(1) is State.LOCAL_MAINTENANCE
    assert cluster[1].hypervisor.calls[-2:] == ["shutdown", "destroy"]
    cluster[1].maintenance(False)
    await cluster.pass_time(30.0)
    assert cluster.state(1) is State.ENGINE_DOWN
    assert cluster.running == [2]


@story
async def test_local_maintenance_without_another_host_leaves_the_vm() -> None:
    cluster = Cluster(hosts=1)
    await cluster.up_on(1)
    cluster[1].maintenance(True)
    await cluster.pass_time(300.0)
    assert cluster.state(1) is State.LOCAL_MAINTENANCE_MIGRATE_VM
    assert cluster.running == [1]


@story
async def test_global_maintenance_leaves_a_killed_vm_alone() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.global_maintenance = True
    await cluster.pass_time(5.0)
    begun = [list(cluster[i].hypervisor.calls) for i in (1, 2, 3)]
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.pass_time(600.0)
    assert [cluster[i].hypervisor.calls for i in (1, 2, 3)] == begun
    assert all(cluster.state(i) is State.GLOBAL_MAINTENANCE for i in (1, 2, 3))
    cluster.global_maintenance = False
    await cluster.pass_time(60.0)
    assert len(cluster.running) == 1


@story
async def test_global_maintenance_outlives_a_restart_of_agent_and_broker() -> None:
    cluster = Cluster()
    cluster.global_maintenance = True
    await cluster.pass_time(30.0)
    host = cluster[1]
    host.kill_agent()
    host.kill_broker()
    await cluster.pass_time(20.0)
    host.start_broker()
    host.start_agent()
    await cluster.pass_time(60.0)
    assert not cluster.running
    assert cluster.state(1) is State.GLOBAL_MAINTENANCE


@story
async def test_broker_dead_for_good() -> None:
    """The guard ends the VM at 11 s, another host starts it after 15 s."""
    cluster = Cluster()
    await cluster.up_on(1)
    dead_at = cluster.now
    cluster[1].kill_broker()
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)
    fenced = cluster.seconds_of("h1 fenced", after=dead_at)
    created = cluster.seconds_of("h2 EngineStart [start VM]", after=dead_at)
    assert fenced is not None
    assert created is not None
    assert fenced < created <= LEASE_EXPIRY_SECONDS + 1.0
    cluster[1].fence.disarm()
    cluster[1].start_broker()
    await cluster.pass_time(30.0)
    assert cluster.state(1) is State.ENGINE_DOWN
    assert cluster.running == [2]


@story
async def test_agent_restart_adopts_the_vm() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].kill_agent()
    await cluster.pass_time(120.0)
    assert cluster.running == [1]
    cluster[1].start_agent()
    await cluster.until(State.ENGINE_UP, 1, seconds=5.0)
    assert cluster[1].hypervisor.calls.count("create") == 1


@story
async def test_vm_lease_held_elsewhere() -> None:
    """A VM that nobody's agent knows of: starts are refused, nobody counts them as crashes, and
    nobody hammers."""
    cluster = Cluster(vm_lease_may_refuse=True)
    stranger = FakeHypervisor(cluster.vm_lease)
    cluster.vm_lease.holder = stranger
    await cluster.pass_time(120.0)
    assert not cluster.running
    creates = sum(host.hypervisor.calls.count("create") for host in cluster.hosts.values())
    assert 3 <= creates <= 40, cluster.story()
    assert all(not host.cycle.memory.failures for host in cluster.hosts.values())
    cluster.vm_lease.holder = None
    await cluster.pass_time(60.0)
    assert len(cluster.running) == 1


@story
async def test_definition_missing() -> None:
    cluster = Cluster()
    cluster.definition = False
    await cluster.pass_time(60.0)
    assert not any(host.hypervisor.calls for host in cluster.hosts.values())
    cluster.definition = True
    await cluster.pass_time(60.0)
    assert len(cluster.running) == 1


@story
async def test_definition_lost_while_the_vm_runs() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.definition = False
    await cluster.pass_time(300.0)
    assert cluster.running == [1]
    assert cluster.state(1) is State.ENGINE_UP


@story
async def test_two_equal_hosts_lose_the_owner() -> None:
    """Ties go to the lower id; the other one does not even ask for the lease."""
    cluster = Cluster()
    await cluster.up_on(3)
    cluster[3].kill()
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
    assert not any(line.startswith("h2 EngineStart") for _, line in cluster.times)
