# SPDX-License-Identifier: Apache-2.0
"""The engine moves its own VM from host to host. Each test is one story."""

from __future__ import annotations

from ha_agent.broker.snapshot import CpuEntry
from ha_agent.fsm.state import State
from tests.scenarios.cluster import Cluster, story


@story
async def test_the_engine_migrates_the_vm() -> None:
    """The source gives the lease up, the target takes it; nobody else tries."""
    cluster = Cluster()
    await cluster.up_on(1)
    begun = cluster.now
    cluster.begin_migration(1, 2)
    await cluster.pass_time(10.0)
    assert cluster.state(1) is State.ENGINE_MIGRATING_AWAY
    assert cluster.state(2) is State.ENGINE_MIGRATING_HERE
    cluster.end_migration(1, 2)
    await cluster.until(State.ENGINE_UP, 2, seconds=10.0)
    await cluster.pass_time(30.0)
    assert cluster.state(1) is State.ENGINE_DOWN
    assert cluster.running == [2]
    assert "create" not in cluster[2].hypervisor.calls
    assert not cluster[1].cycle.memory.failures
    assert not any(line.startswith("h3") for line in cluster.log_since(begun))


@story
async def test_a_better_host_does_not_grab_a_vm_that_migrates() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    for _sample in range(3):
        for host_id in (1, 3):
            cluster[host_id].broker.cpu = CpuEntry(0.9, "", cluster[host_id].clock.now())
        await cluster.pass_time(5.0)
    await cluster.pass_time(65.0)
    assert cluster.blocks[1][0].better_host == 2
    begun = cluster.now
    cluster.begin_migration(1, 3)
    await cluster.pass_time(10.0)
    cluster.end_migration(1, 3)
    await cluster.until(State.ENGINE_UP, 3, seconds=10.0)
    await cluster.pass_time(30.0)
    assert cluster.running == [3]
    assert not any(line.startswith("h2") for line in cluster.log_since(begun))


@story
async def test_a_migration_fails() -> None:
    """The VM is still at the source, and so is the lease."""
    cluster = Cluster()
    await cluster.up_on(1)
    epoch = cluster[1].lease_epoch
    cluster.begin_migration(1, 2)
    await cluster.pass_time(10.0)
    cluster.fail_migration(1, 2)
    await cluster.pass_time(30.0)
    assert cluster.state(1) is State.ENGINE_UP
    assert cluster.state(2) is State.ENGINE_DOWN
    assert cluster[1].lease_epoch == epoch
    assert cluster.running == [1]


@story
async def test_the_source_dies_in_a_migration() -> None:
    """VDSM at the target sees the migration fail; then it is a host's death like any other."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.begin_migration(1, 2)
    await cluster.pass_time(5.0)
    dead_at = cluster.now
    cluster[1].kill()
    cluster.fail_migration(1, 2)
    await cluster.pass_time(60.0)
    created = cluster.seconds_of("h2 EngineStart [start VM]", after=dead_at)
    assert created is not None
    assert created <= 16.0
    assert cluster.running == [2]


@story
async def test_the_target_dies_in_a_migration() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.begin_migration(1, 2)
    await cluster.pass_time(5.0)
    cluster[2].kill()
    cluster.fail_migration(1, 2)
    await cluster.pass_time(60.0)
    assert cluster.state(1) is State.ENGINE_UP
    assert cluster.running == [1]


@story
async def test_the_agent_of_the_target_is_not_there() -> None:
    """Nobody takes the lease for a VM that runs at the target: others ask, the VM lease refuses
    them; when the agent is back it takes the VM up."""
    cluster = Cluster(vm_lease_may_refuse=True)
    await cluster.up_on(1)
    cluster[2].kill_agent()
    cluster.begin_migration(1, 2)
    await cluster.pass_time(5.0)
    cluster.end_migration(1, 2)
    await cluster.pass_time(60.0)
    assert cluster.running == [2]
    cluster[2].start_agent()
    await cluster.until(State.ENGINE_UP, 2, seconds=40.0)
    assert "create" not in cluster[2].hypervisor.calls
