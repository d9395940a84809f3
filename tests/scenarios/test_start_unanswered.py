# SPDX-License-Identifier: Apache-2.0
"""A VM.create that nobody has an answer to: it may still take effect, minutes of work for VDSM
later. The ownership is kept until a look has shown what became of it, also by an agent that
does not know what the one before it asked for. Each test is one story."""

from __future__ import annotations

from ha_agent.fsm.observation import VmExit
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from tests.scenarios.cluster import Cluster, story

OPEN_SECONDS = Policy().start_open_seconds
POLL_SECONDS = 1.0


async def asked(cluster: Cluster, create_seconds: float) -> float:
    """Begin with a VM.create under way on host 1, which VDSM will take so late."""
    for other in (2, 3):
        cluster[other].maintenance(True)
    cluster[1].hypervisor.create_seconds = create_seconds
    while "create" not in cluster[1].hypervisor.calls:
        await cluster.pass_time(0.25)
    for other in (2, 3):
        cluster[other].maintenance(False)
    await cluster.pass_time(1.0)
    return cluster.now


@story
async def test_an_agent_that_restarts_keeps_the_lease_for_the_start_under_way() -> None:
    """With a release the VM would start here while another host starts it, too."""
    cluster = Cluster()
    await asked(cluster, 20.0)
    cluster[1].kill_agent()
    cluster[1].maintenance(True)
    await cluster.pass_time(2.0)
    cluster[1].start_agent()
    await cluster.pass_time(16.0)
    assert cluster[1].lease_epoch, cluster.story()
    await cluster.pass_time(5.0)
    assert cluster.running == [1], cluster.story()
    await cluster.until(State.LOCAL_MAINTENANCE, 1, seconds=150.0)
    await cluster.pass_time(40.0)
    (owner,) = cluster.running
    assert owner != 1


@story
async def test_an_agent_that_restarts_gives_the_lease_up_when_no_start_comes() -> None:
    cluster = Cluster()
    await asked(cluster, 1e6)
    cluster[1].kill_agent()
    cluster[1].maintenance(True)
    cluster[1].start_agent()
    again_at = cluster.now
    await cluster.until(State.LOCAL_MAINTENANCE, 1, seconds=OPEN_SECONDS + 10.0)
    released = cluster.seconds_of("h1 EngineDown [release lease]", after=again_at)
    assert released is not None
    assert OPEN_SECONDS <= released <= OPEN_SECONDS + 2 * POLL_SECONDS
    await cluster.pass_time(30.0)
    (owner,) = cluster.running
    assert owner != 1


@story
async def test_a_start_that_comes_after_its_deadline_finds_the_lease_kept() -> None:
    cluster = Cluster()
    asked_at = await asked(cluster, 36.0)
    await cluster.pass_time(28.0)
    cluster[1].maintenance(True)
    await cluster.pass_time(asked_at + 35.5 - cluster.now)
    assert cluster[1].lease_epoch, cluster.story()
    assert cluster[1].hypervisor.calls.count("create") == 1
    await cluster.until(State.LOCAL_MAINTENANCE, 1, seconds=150.0)
    await cluster.pass_time(40.0)
    (owner,) = cluster.running
    assert owner != 1


@story
async def test_an_agent_that_stops_meanwhile_lets_the_lease_run_out() -> None:
    """The fence stays armed: a release would disarm it, and to wait would take too long."""
    cluster = Cluster()
    await asked(cluster, 20.0)
    cluster[1].kill_agent()
    cluster[1].start_agent()
    cluster[1].definition = False  # so that it does not ask again
    await cluster.pass_time(1.0)
    stopped_at = cluster.now
    cluster[1].cycle.request_stop()
    await cluster.until(State.AGENT_STOPPED, 1, seconds=3.0)
    abandoned = cluster.seconds_of("h1 AgentStopped [abandon lease]", after=stopped_at)
    assert abandoned is not None, cluster.story()
    assert cluster[1].fence.deadline is not None


@story
async def test_a_start_without_an_answer_is_asked_for_again_only_after_a_look() -> None:
    """It is safe at any time: VDSM has one record of the VM, and refuses the second."""
    cluster = Cluster()
    await asked(cluster, 34.0)
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
    await cluster.pass_time(120.0)
    assert cluster.running == [1]
    assert set(cluster[1].hypervisor.calls) == {"create"}, "neither stopped nor cleared"


@story
async def test_a_refusal_of_the_second_start_says_nothing_of_the_first() -> None:
    cluster = Cluster()
    await asked(cluster, 20.0)
    cluster[1].kill_agent()
    cluster[1].hypervisor.refusal = VdsmCallFailed("VM.create", VdsmCode.CANNOT_CREATE_VM, "no")
    cluster[1].start_agent()
    await cluster.pass_time(3.0)
    assert cluster[1].hypervisor.calls.count("create") >= 2, cluster.story()
    cluster[1].hypervisor.refusal = None
    cluster[1].maintenance(True)
    await cluster.pass_time(12.0)
    assert cluster[1].lease_epoch, cluster.story()
    await cluster.pass_time(5.0)
    assert cluster.running == [1], cluster.story()


@story
async def test_a_vm_that_ended_while_the_agent_was_away_is_restarted_at_once() -> None:
    """What the agent before may have asked for holds up no start, only a release."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[1].kill_agent()
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.pass_time(1.0)
    cluster[1].start_agent()
    await cluster.until(State.ENGINE_STARTING, 1, seconds=5.0)
