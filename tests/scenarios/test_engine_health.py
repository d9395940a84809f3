# SPDX-License-Identifier: Apache-2.0
"""The VM runs and the engine in it does not: hung, or never come up. Each test is one story."""

from __future__ import annotations

from dataclasses import replace

from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from tests.scenarios.cluster import Cluster, story

HOURS = 3600.0


@story
async def test_hung_engine_in_a_guest_that_still_obeys() -> None:
    """Two minutes of grace, an orderly stop, and another host's turn."""
    cluster = Cluster()
    await cluster.up_on(1)
    hung_at = cluster.now
    cluster[1].engine_hung = True
    await cluster.until(State.ENGINE_UP, 2, seconds=180.0)
    stopped = cluster.seconds_of("h1 EngineStop [shut VM down]", after=hung_at)
    started = cluster.seconds_of("h2 EngineStart [start VM]", after=hung_at)
    assert stopped is not None
    assert started is not None
    assert 120.0 <= stopped <= 121.5
    assert stopped + 4.0 <= started <= stopped + 7.0  # the guest needs 4 s to shut down
    assert cluster.seconds_of("h1 EngineForceStop") is None
    assert cluster.running == [2]


@story
async def test_hung_guest() -> None:
    """The guest ignores the orderly stop: it is ended by force after another two minutes, the
    lease goes, the best other host starts the VM."""
    cluster = Cluster()
    await cluster.up_on(1)
    hung_at = cluster.now
    cluster[1].engine_hung = True
    cluster[1].hypervisor.shutdown_seconds = 1 * HOURS
    await cluster.until(State.ENGINE_UP, 2, seconds=300.0)
    forced = cluster.seconds_of("h1 EngineForceStop [destroy VM]", after=hung_at)
    released = cluster.seconds_of("h1 EngineForceStop [release lease]", after=hung_at)
    started = cluster.seconds_of("h2 EngineStart [start VM]", after=hung_at)
    assert forced is not None
    assert released is not None
    assert started is not None
    assert 240.0 <= forced <= 243.0
    assert forced <= released <= started <= forced + 3.0
    assert cluster.running == [2]
    assert cluster.state(1) is State.ENGINE_DOWN
    assert not cluster[3].hypervisor.calls


@story
async def test_engine_that_hangs_for_less_than_the_grace_is_left_alone() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    for _ in range(3):
        cluster[1].engine_hung = True
        await cluster.pass_time(110.0)
        assert cluster.state(1) is State.ENGINE_UP_BAD_HEALTH
        cluster[1].engine_hung = False
        await cluster.pass_time(10.0)
    assert cluster.state(1) is State.ENGINE_UP
    assert cluster[1].hypervisor.calls == ["create"]


@story
async def test_engine_recovers_while_its_guest_ignores_the_stop() -> None:
    """Nothing is left to stop it for: it is not ended by force."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].engine_hung = True
    cluster[1].hypervisor.shutdown_seconds = 1 * HOURS
    await cluster.until(State.ENGINE_STOP, 1, seconds=130.0)
    await cluster.pass_time(60.0)
    cluster[1].engine_hung = False
    await cluster.until(State.ENGINE_UP, 1, seconds=5.0)
    await cluster.pass_time(120.0)
    assert cluster[1].hypervisor.calls == ["create", "shutdown"]
    assert cluster.running == [1]


@story
async def test_engine_never_healthy_on_one_host() -> None:
    """The start time passes, then another host tries, and the engine comes up there."""
    cluster = Cluster()
    begun = cluster.now
    cluster[1].engine_hung = True
    await cluster.up_on(1, State.ENGINE_STARTING)
    await cluster.until(State.ENGINE_UP, 2, seconds=700.0)
    stopped = cluster.seconds_of("h1 EngineStop [shut VM down]", after=begun)
    assert stopped is not None
    assert 600.0 <= stopped <= 602.0
    assert cluster.running == [2]
    assert cluster.state(1) is State.ENGINE_DOWN


@story
async def test_engine_never_healthy_anywhere() -> None:
    """A broken engine is no host's fault: each gets its try, none is stopped before its time."""
    cluster = Cluster(policy=replace(Policy(), start_timeout_seconds=100.0))
    for host in cluster.hosts.values():
        host.engine_hung = True
    await cluster.pass_time(350.0)
    stops = [line for _, line in cluster.times if line.endswith("EngineStop [shut VM down]")]
    assert sorted(stop[:2] for stop in stops) == ["h1", "h2", "h3"]
    assert len(cluster.running) == 1
    for host in cluster.hosts.values():
        host.engine_hung = False
    await cluster.pass_time(30.0)
    (owner,) = cluster.running
    assert cluster.state(owner) is State.ENGINE_UP


@story
async def test_hung_engine_on_the_only_host() -> None:
    """Nobody else is waited for: the VM is stopped and started again here."""
    cluster = Cluster(hosts=1)
    await cluster.up_on(1)
    hung_at = cluster.now
    cluster[1].engine_hung = True
    await cluster.until(State.ENGINE_STARTING, 1, seconds=140.0)
    cluster[1].engine_hung = False
    stopped = cluster.seconds_of("h1 EngineStop [shut VM down]", after=hung_at)
    started = cluster.seconds_of("h1 EngineStart [start VM]", after=hung_at)
    assert stopped is not None
    assert started is not None
    assert 4.0 <= started - stopped <= 8.0
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)


@story
async def test_the_starting_limit_is_the_policys() -> None:
    cluster = Cluster(policy=replace(Policy(), start_timeout_seconds=40.0))
    cluster[1].engine_hung = True
    begun = cluster.now
    await cluster.up_on(1, State.ENGINE_STARTING)
    await cluster.until(State.ENGINE_UP, 2, seconds=120.0)
    stopped = cluster.seconds_of("h1 EngineStop [shut VM down]", after=begun)
    assert stopped is not None
    assert 40.0 <= stopped <= 42.0
