# SPDX-License-Identifier: Apache-2.0
"""VDSM of the VM's host says nothing, and the VM is in whatever state. Each test is one story."""

from __future__ import annotations

from ha_agent.fsm.observation import VmExit
from ha_agent.fsm.state import State
from tests.scenarios.cluster import FENCE_SECONDS, LEASE_EXPIRY_SECONDS, Cluster, story

ABANDONED = "h1 UnknownLocalVmState [abandon lease]"


@story
async def test_vdsm_silent_while_the_engine_is_healthy() -> None:
    """Nothing is known, nothing is done; when VDSM is back the VM is taken up again."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.answers = False
    await cluster.pass_time(300.0)
    assert cluster.state(1) is State.UNKNOWN_LOCAL_VM
    assert cluster.running == [1]
    cluster[1].hypervisor.answers = True
    await cluster.until(State.ENGINE_UP, 1, seconds=5.0)
    assert cluster[1].hypervisor.calls.count("create") == 1


@story
async def test_vdsm_silent_and_engine_hung() -> None:
    """After the grace time the lease runs out, the guard ends the VM, another host starts it.

    A lease that was released would leave the VM running, and its VM lease in every host's way.
    """
    cluster = Cluster()
    await cluster.up_on(1)
    hung_at = cluster.now
    cluster[1].hypervisor.answers = False
    cluster[1].engine_hung = True
    await cluster.until(State.ENGINE_UP, 2, seconds=200.0)
    abandoned = cluster.seconds_of(ABANDONED, after=hung_at)
    fenced = cluster.seconds_of("h1 fenced", after=hung_at)
    started = cluster.seconds_of("h2 EngineStart [start VM]", after=hung_at)
    assert abandoned is not None
    assert fenced is not None
    assert started is not None
    assert 120.0 <= abandoned <= 123.0
    assert abandoned < fenced <= abandoned + FENCE_SECONDS + 0.5
    assert fenced < started <= abandoned + LEASE_EXPIRY_SECONDS + 1.0
    assert cluster.running == [2]
    assert cluster.refusals == 0
    cluster[1].hypervisor.answers = True
    await cluster.until(State.ENGINE_DOWN, 1, seconds=10.0)
    await cluster.pass_time(60.0)
    assert cluster.running == [2]


@story
async def test_vdsm_silent_and_vm_gone() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    dead_at = cluster.now
    cluster[1].hypervisor.answers = False
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.until(State.ENGINE_UP, 2, seconds=170.0)
    assert cluster.seconds_of(ABANDONED, after=dead_at) is not None
    assert cluster.running == [2]


@story
async def test_vdsm_back_before_the_fence() -> None:
    """What was abandoned stays so: the guard ends the VM, and the best host starts it."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.answers = False
    cluster[1].engine_hung = True
    while cluster.seconds_of(ABANDONED) is None:
        await cluster.pass_time(0.5)
    cluster[1].hypervisor.answers = True
    cluster[1].engine_hung = False
    await cluster.pass_time(60.0)
    assert len(cluster.running) == 1, cluster.story()
    assert cluster.seconds_of("h1 fenced") is not None
    assert cluster.refusals == 0


@story
async def test_no_other_host_is_able() -> None:
    """The VM here, bad as it looks, is all there is: it is left alone, and recovers."""
    cluster = Cluster()
    await cluster.up_on(1)
    for other in (2, 3):
        cluster[other].maintenance(True)
    await cluster.pass_time(10.0)
    cluster[1].hypervisor.answers = False
    cluster[1].engine_hung = True
    await cluster.pass_time(600.0)
    assert cluster.running == [1]
    cluster[1].engine_hung = False
    cluster[1].hypervisor.answers = True
    await cluster.until(State.ENGINE_UP, 1, seconds=10.0)
    assert cluster[1].hypervisor.calls == ["create"]


@story
async def test_another_host_becomes_able_later() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    for other in (2, 3):
        cluster[other].maintenance(True)
    await cluster.pass_time(10.0)
    cluster[1].hypervisor.answers = False
    cluster[1].engine_hung = True
    await cluster.pass_time(600.0)
    cluster[3].maintenance(False)
    await cluster.until(State.ENGINE_UP, 3, seconds=90.0)
    assert cluster.running == [3]


@story
async def test_vdsm_falls_silent_while_the_engine_boots() -> None:
    """A page that is not there yet is no fault: the whole start time has to pass."""
    cluster = Cluster()
    cluster.boot_seconds = 300.0
    await cluster.up_on(1, State.ENGINE_STARTING)
    cluster[1].hypervisor.answers = False
    await cluster.pass_time(330.0)
    assert cluster.running == [1]
    assert cluster.seconds_of("h1 fenced") is None
    cluster[1].hypervisor.answers = True
    await cluster.until(State.ENGINE_UP, 1, seconds=10.0)


@story
async def test_engine_that_never_boots_with_vdsm_silent() -> None:
    cluster = Cluster()
    cluster[1].engine_hung = True
    await cluster.up_on(1, State.ENGINE_STARTING)
    begun = cluster.now
    cluster[1].hypervisor.answers = False
    await cluster.until(State.ENGINE_UP, 2, seconds=700.0)
    abandoned = cluster.seconds_of(ABANDONED, after=begun)
    assert abandoned is not None
    assert 590.0 <= abandoned <= 602.0


@story
async def test_agent_is_restarted_while_vdsm_is_silent() -> None:
    """It has not seen the VM itself: the page alone tells whether there is something to lose."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].hypervisor.answers = False
    await cluster.pass_time(10.0)
    cluster[1].kill_agent()
    cluster[1].start_agent()
    await cluster.pass_time(600.0)
    assert cluster.running == [1], cluster.story()
    cluster[1].engine_hung = True
    await cluster.until(State.ENGINE_UP, 2, seconds=200.0)
    assert cluster.running == [2]
