# SPDX-License-Identifier: Apache-2.0
"""Shared storage is lost, for one host or for all, or lacks what is wanted of it. Each test is
one story."""

from __future__ import annotations

from ha_agent.fsm.state import State
from tests.scenarios.cluster import FENCE_SECONDS, LEASE_EXPIRY_SECONDS, Cluster, story


@story
async def test_the_owner_loses_storage() -> None:
    """The guard ends its VM at 11 s, the best other host starts it at 15 to 16 s; when storage
    is back the host is a host like any other."""
    cluster = Cluster()
    await cluster.up_on(1)
    lost_at = cluster.now
    cluster[1].lose_storage()
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)
    fenced = cluster.seconds_of("h1 fenced", after=lost_at)
    created = cluster.seconds_of("h2 EngineStart [start VM]", after=lost_at)
    assert fenced is not None
    assert created is not None
    renew_interval_seconds = 3.0
    assert FENCE_SECONDS - renew_interval_seconds <= fenced <= FENCE_SECONDS + 0.5
    assert LEASE_EXPIRY_SECONDS - renew_interval_seconds <= created <= LEASE_EXPIRY_SECONDS + 1.0
    await cluster.pass_time(120.0)
    cluster[1].regain_storage()
    await cluster.until(State.ENGINE_DOWN, 1, seconds=10.0)
    await cluster.pass_time(30.0)
    assert cluster.running == [2]
    assert cluster[1].hypervisor.calls.count("create") == 1


@story
async def test_storage_hiccup_of_the_owner() -> None:
    """Two renewals may fail: the VM is not touched."""
    cluster = Cluster()
    await cluster.up_on(1)
    begun = cluster.now
    cluster[1].lose_storage()
    await cluster.pass_time(7.0)
    cluster[1].regain_storage()
    await cluster.pass_time(60.0)
    assert cluster.log_since(begun) == []
    assert cluster.running == [1]


@story
async def test_a_host_without_the_vm_loses_storage() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[2].lose_storage()
    await cluster.pass_time(120.0)
    cluster[2].regain_storage()
    await cluster.pass_time(30.0)
    assert cluster.running == [1]
    assert cluster.state(1) is State.ENGINE_UP
    assert cluster.state(2) is State.ENGINE_DOWN
    assert not cluster[2].hypervisor.calls


@story
async def test_storage_is_lost_for_all_and_comes_back() -> None:
    """The VM is ended and nobody starts it: nobody can know. With storage the engine is back."""
    cluster = Cluster()
    await cluster.up_on(1)
    lost_at = cluster.now
    for host in cluster.hosts.values():
        host.lose_storage()
    await cluster.pass_time(300.0)
    assert cluster.seconds_of("h1 fenced", after=lost_at) is not None
    assert not cluster.running
    creates = sum(host.hypervisor.calls.count("create") for host in cluster.hosts.values())
    assert creates == 1
    for host in cluster.hosts.values():
        host.regain_storage()
    await cluster.pass_time(45.0)
    (owner,) = cluster.running
    assert cluster.state(owner) is State.ENGINE_UP


@story
async def test_the_definition_is_missing_on_one_host() -> None:
    """A host that has no definition is not chosen, be its id the lowest; with it, it may be."""
    cluster = Cluster()
    await cluster.up_on(3)
    cluster[1].definition = False
    await cluster.pass_time(10.0)
    cluster[3].kill()
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)
    assert not cluster[1].hypervisor.calls
    cluster[1].definition = True
    await cluster.pass_time(10.0)
    cluster[2].kill()
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)


@story
async def test_a_lease_that_comes_late_to_a_host_in_local_maintenance() -> None:
    """A take that was given up may still land on storage: the host hands the lease on."""
    cluster = Cluster()
    cluster.definition = False  # so that nobody starts the VM yet
    cluster[1].maintenance(True)
    await cluster.until(State.LOCAL_MAINTENANCE, 1, seconds=10.0)
    keeper = cluster[1].keeper
    assert keeper is not None
    assert (await keeper.acquire(keeper.view().epoch, "late")).ok
    cluster.definition = True
    await cluster.pass_time(40.0)
    (owner,) = cluster.running
    assert owner in (2, 3)
    assert cluster.state(owner) is State.ENGINE_UP
    assert cluster.seconds_of("h1 LocalMaintenance [release lease]") is not None
    assert cluster.state(1) is State.LOCAL_MAINTENANCE
    assert not cluster[1].hypervisor.calls
