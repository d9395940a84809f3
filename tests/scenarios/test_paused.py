# SPDX-License-Identifier: Apache-2.0
"""The VM is paused by an I/O error on its disk. Each test is one story."""

from __future__ import annotations

from ha_agent.fsm.state import State
from tests.scenarios.cluster import Cluster, story


@story
async def test_paused_for_the_whole_grace_time() -> None:
    """A paused guest can't shut down in order: it is ended by force at once, and the best other
    host starts it. Until it is gone its host keeps the lease, for its VM lease is lost already."""
    cluster = Cluster()
    await cluster.up_on(1)
    paused_at = cluster.now
    cluster[1].hypervisor.pause()
    await cluster.until(State.ENGINE_UP_BAD_HEALTH, 1, seconds=3.0)
    assert cluster[1].cycle.memory.paused_since is not None
    await cluster.until(State.ENGINE_UP, 2, seconds=180.0)
    forced = cluster.seconds_of("h1 EngineForceStop [destroy VM]", after=paused_at)
    released = cluster.seconds_of("h1 EngineForceStop [release lease]", after=paused_at)
    started = cluster.seconds_of("h2 EngineStart [start VM]", after=paused_at)
    assert forced is not None
    assert released is not None
    assert started is not None
    assert 120.0 <= forced <= 122.0
    assert forced <= released <= started <= forced + 3.0
    assert "shutdown" not in cluster[1].hypervisor.calls
    assert cluster.running == [2]


@story
async def test_resumed_within_the_grace_time() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    for _ in range(3):
        cluster[1].hypervisor.pause()
        await cluster.pass_time(100.0)
        assert cluster.state(1) is State.ENGINE_UP_BAD_HEALTH
        cluster[1].hypervisor.go_on()
        await cluster.until(State.ENGINE_UP, 1, seconds=5.0)
    assert cluster[1].hypervisor.calls == ["create"]


@story
async def test_resumed_at_the_end_of_the_grace_time_the_page_has_its_own() -> None:
    """The page's last sample is from the pause, and the next one a moment away: the engine was
    asked to shut down seconds after it went on."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.pause()
    await cluster.pass_time(118.0)
    cluster[1].engine_hung = True
    cluster[1].hypervisor.go_on()
    await cluster.pass_time(10.0)
    assert cluster.state(1) is State.ENGINE_UP_BAD_HEALTH
    cluster[1].engine_hung = False
    await cluster.until(State.ENGINE_UP, 1, seconds=5.0)
    assert cluster[1].hypervisor.calls == ["create"]


@story
async def test_resumed_but_the_engine_does_not_come_to_itself() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.pause()
    await cluster.pass_time(60.0)
    cluster[1].engine_hung = True
    cluster[1].hypervisor.go_on()
    resumed_at = cluster.now
    await cluster.until(State.ENGINE_STOP, 1, seconds=125.0)
    assert cluster.now - resumed_at >= 120.0


@story
async def test_paused_while_it_is_being_stopped() -> None:
    """What was asked of the guest can't be done: it is ended without waiting any longer."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    cluster[1].maintenance(True)
    await cluster.until(State.ENGINE_STOP, 1, seconds=10.0)
    paused_at = cluster.now
    cluster[1].hypervisor.pause()
    await cluster.until(State.ENGINE_UP, 2, seconds=40.0)
    forced = cluster.seconds_of("h1 EngineForceStop [destroy VM]", after=paused_at)
    assert forced is not None
    assert forced <= 1.5
    assert cluster.running == [2]


@story
async def test_paused_on_the_only_host() -> None:
    cluster = Cluster(hosts=1)
    await cluster.up_on(1)
    cluster[1].hypervisor.pause()
    await cluster.pass_time(125.0)
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
    assert cluster[1].hypervisor.calls == ["create", "destroy", "create"]


@story
async def test_paused_in_global_maintenance_is_left_alone() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.global_maintenance = True
    await cluster.pass_time(5.0)
    cluster[1].hypervisor.pause()
    await cluster.pass_time(600.0)
    assert cluster[1].hypervisor.calls == ["create"]
    assert cluster.running == [1]
