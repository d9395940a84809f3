# SPDX-License-Identifier: Apache-2.0
"""The owner's broker is away or silent while the VM runs. Each test is one story."""

from __future__ import annotations

from ha_agent.fsm.state import State
from tests.scenarios.cluster import FENCE_SECONDS, LEASE_EXPIRY_SECONDS, Cluster, story


@story
async def test_broker_is_restarted() -> None:
    """systemctl restart: the lease is adopted, nobody notices."""
    cluster = Cluster()
    await cluster.up_on(1)
    begun = cluster.now
    epoch = cluster[1].lease_epoch
    await cluster[1].stop_broker()
    await cluster.pass_time(3.0)
    cluster[1].start_broker()
    await cluster.pass_time(60.0)
    assert cluster.log_since(begun) == []
    assert cluster[1].lease_epoch == epoch
    assert cluster.running == [1]


@story
async def test_broker_is_killed_and_comes_back_before_the_fence() -> None:
    """SIGKILL leaves the fence armed: the broker that systemd starts renews in time."""
    cluster = Cluster()
    await cluster.up_on(1)
    begun = cluster.now
    cluster[1].kill_broker()
    await cluster.pass_time(5.0)
    cluster[1].start_broker()
    await cluster.pass_time(60.0)
    assert cluster.log_since(begun) == []
    assert cluster.running == [1]


@story
async def test_broker_is_stopped_for_minutes() -> None:
    """An orderly stop of a broker ends no VM: others take the expired lease, the VM lease refuses
    their starts, they give it up again; the broker that returns takes it."""
    cluster = Cluster(vm_lease_may_refuse=True)
    await cluster.up_on(1)
    begun = cluster.now
    await cluster[1].stop_broker()
    await cluster.pass_time(180.0)
    assert cluster.running == [1]
    refused = [line for line in cluster.log_since(begun) if "refused by the VM lease" in line]
    assert 2 <= len(refused) <= 40, cluster.story()  # they try, and don't hammer
    assert all(not host.cycle.memory.failures for host in cluster.hosts.values())
    back_at = cluster.now
    cluster[1].start_broker()
    await cluster.pass_time(40.0)
    assert cluster.state(1) is State.ENGINE_UP, cluster.story()
    here = cluster.seconds_of("h1 EngineMigratingHere", after=back_at)
    took = cluster.seconds_of("h1 EngineMigratingHere [take lease]", after=back_at)
    assert here is not None
    assert took is not None
    assert here <= took <= 15.0
    assert cluster.running == [1]
    assert cluster[1].hypervisor.calls == ["create"]
    assert [cluster.state(i) for i in (2, 3)] == [State.ENGINE_DOWN] * 2


@story
async def test_the_only_host_restarts_its_broker_after_minutes() -> None:
    """Nobody wanted the lease meanwhile: it is still ours on storage, and adopted."""
    cluster = Cluster(hosts=1)
    await cluster.up_on(1)
    begun = cluster.now
    await cluster[1].stop_broker()
    await cluster.pass_time(300.0)
    cluster[1].start_broker()
    await cluster.pass_time(30.0)
    assert cluster.log_since(begun) == []
    assert cluster.state(1) is State.ENGINE_UP


@story
async def test_broker_hangs_past_the_fence() -> None:
    """It can't renew and can't say so: the guard ends the VM at 11 s, another host starts it at
    15 to 16 s; the broker that goes on again finds the lease taken and stands back."""
    cluster = Cluster()
    await cluster.up_on(1)
    hung_at = cluster.now
    cluster[1].hang_broker()
    await cluster.until(State.ENGINE_STARTING, 2, seconds=30.0)
    fenced = cluster.seconds_of("h1 fenced", after=hung_at)
    created = cluster.seconds_of("h2 EngineStart [start VM]", after=hung_at)
    assert fenced is not None
    assert created is not None
    assert fenced <= FENCE_SECONDS + 0.5
    assert fenced < created <= LEASE_EXPIRY_SECONDS + 1.0
    await cluster.until(State.ENGINE_UP, 2, seconds=40.0)
    cluster[1].resume_broker()
    await cluster.until(State.ENGINE_DOWN, 1, seconds=10.0)
    await cluster.pass_time(30.0)
    assert cluster.running == [2]
    assert cluster[1].hypervisor.calls.count("create") == 1


@story
async def test_broker_hangs_for_a_moment() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    begun = cluster.now
    cluster[1].hang_broker()
    await cluster.pass_time(7.0)
    cluster[1].resume_broker()
    await cluster.pass_time(60.0)
    assert cluster.log_since(begun) == []
    assert cluster.running == [1]
