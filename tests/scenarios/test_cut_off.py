# SPDX-License-Identifier: Apache-2.0
"""The owner's cable is out: its engine is good over its own bridge, and nobody else reaches it.

One story of the hand-over, and one for each reason to leave the engine alone. Where the VM stays,
nobody has asked for anything since its start.
"""

from __future__ import annotations

from ha_agent.fsm.observation import VmExit
from ha_agent.fsm.policy import Policy, ScoreWeights
from ha_agent.fsm.state import State
from tests.scenarios.cluster import Cluster, story

# The network's penalty after 30 to 50 s, a look at the page, the grace, and some reports.
LATE_SECONDS = 190.0
LONG_SECONDS = 320.0
HAND_OVER = "h1 EngineStop"


async def begin(hosts: int = 3) -> Cluster:
    """Return a cluster with the engine on h1, tested for long, whose cable is now out."""
    cluster = Cluster(hosts)
    await cluster.up_on(1)
    await cluster.pass_time(60.0)
    cluster[1].cable_out = True
    return cluster


def stays(cluster: Cluster) -> None:
    assert cluster.running == [1], cluster.story()
    assert cluster[1].hypervisor.calls == ["create"], cluster.story()
    assert cluster.seconds_of(HAND_OVER) is None


@story
async def test_a_host_with_network_takes_it_and_it_does_not_come_back() -> None:
    cluster = await begin()
    out_at = cluster.now
    await cluster.until(State.ENGINE_UP, 2, seconds=LATE_SECONDS + 40.0)
    handed = cluster.seconds_of(HAND_OVER, after=out_at)
    stopped = cluster.seconds_of("h1 EngineStop [shut VM down]", after=out_at)
    started = cluster.seconds_of("h2 EngineStart [start VM]", after=out_at)
    assert handed is not None
    assert stopped is not None
    assert started is not None
    assert 120.0 + 20.0 <= handed <= stopped <= LATE_SECONDS
    assert started <= stopped + 4.0 + 5.0  # the guest needs 4 s to shut down
    await cluster.pass_time(LONG_SECONDS)
    assert cluster.running == [2]
    cluster[1].cable_out = False
    await cluster.pass_time(LONG_SECONDS)
    assert cluster.running == [2]
    assert cluster[1].hypervisor.calls.count("create") == 1
    assert cluster[3].hypervisor.calls == []


@story
async def test_two_hosts_are_enough() -> None:
    cluster = await begin(hosts=2)
    await cluster.until(State.ENGINE_UP, 2, seconds=LATE_SECONDS + 40.0)
    assert cluster.running == [2]


@story
async def test_the_others_go_first_whatever_the_scores_are() -> None:
    """Weights may be set so that the network costs nothing: this host waits all the same."""
    policy = Policy(weights=ScoreWeights(network=0))
    cluster = Cluster(policy=policy)
    await cluster.up_on(1)
    await cluster.pass_time(60.0)
    cluster[1].cable_out = True
    await cluster.until(State.ENGINE_STOP, 1, seconds=LATE_SECONDS)
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)
    assert cluster[1].hypervisor.calls.count("create") == 1


@story
async def test_nobody_is_better_off_when_the_switch_is_dead() -> None:
    cluster = await begin()
    for host in cluster.hosts.values():
        host.cable_out = True
    await cluster.pass_time(LONG_SECONDS)
    stays(cluster)


@story
async def test_a_host_that_still_reaches_the_engine_is_believed() -> None:
    """The owner's own tests fail, its cable is in: one host can't reach the engine, one can."""
    cluster = await begin()
    cluster[1].cable_out, cluster[1].network_test_fails = False, True
    cluster[2].page_blocked = True
    await cluster.pass_time(LONG_SECONDS)
    assert cluster.blocks[2][0].engine_page == "bad"
    assert cluster.blocks[3][0].engine_page == "good"
    stays(cluster)


@story
async def test_an_owner_whose_network_is_fine_believes_nobody() -> None:
    """One host begins to see a bad page while the owner's tests fail; they do no more."""
    cluster = await begin(hosts=2)
    cluster[1].cable_out, cluster[1].network_test_fails = False, True
    cluster[2].page_blocked = True
    await cluster.pass_time(100.0)
    assert cluster.blocks[2][0].engine_page == "bad"
    cluster[1].network_test_fails = False
    await cluster.pass_time(LONG_SECONDS)
    assert cluster.blocks[2][0].engine_page == ""
    stays(cluster)


@story
async def test_a_cable_that_is_soon_in_again() -> None:
    cluster = await begin()
    await cluster.pass_time(120.0)
    cluster[1].cable_out = False
    await cluster.pass_time(LONG_SECONDS)
    stays(cluster)


@story
async def test_reports_of_hosts_that_fell_silent_are_stale() -> None:
    cluster = await begin()
    await cluster.pass_time(120.0)
    for number in (2, 3):
        assert cluster.blocks[number][0].engine_page == "bad"
        cluster[number].kill_agent()
    await cluster.pass_time(LONG_SECONDS)
    stays(cluster)


@story
async def test_hosts_of_older_software_say_nothing() -> None:
    cluster = await begin()
    for number in (2, 3):
        cluster[number].older_software = True
    await cluster.pass_time(LONG_SECONDS)
    stays(cluster)


@story
async def test_no_host_could_take_it() -> None:
    """In maintenance, or without a definition: not able. Once one is, it does."""
    cluster = await begin()
    cluster[2].maintenance(True)
    cluster[3].definition = False
    await cluster.pass_time(LONG_SECONDS)
    stays(cluster)
    cluster[2].maintenance(False)
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)


@story
async def test_hands_off_in_global_maintenance() -> None:
    cluster = await begin()
    cluster.global_maintenance = True
    await cluster.pass_time(LONG_SECONDS)
    stays(cluster)
    cluster.global_maintenance = False
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)


@story
async def test_a_migration_is_not_disturbed() -> None:
    cluster = await begin()
    await cluster.pass_time(100.0)
    cluster.begin_migration(1, 2)
    await cluster.pass_time(LONG_SECONDS)
    assert cluster.state(1) is State.ENGINE_MIGRATING_AWAY
    stays(cluster)
    cluster.end_migration(1, 2)
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)


@story
async def test_a_guest_that_ignores_the_stop_stays_when_the_cable_is_in_again() -> None:
    cluster = await begin()
    cluster[1].hypervisor.shutdown_seconds = 3600.0
    await cluster.until(State.ENGINE_STOP, 1, seconds=LATE_SECONDS)
    await cluster.pass_time(20.0)
    cluster[1].cable_out = False
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
    await cluster.pass_time(LONG_SECONDS)
    assert cluster[1].hypervisor.calls == ["create", "shutdown"]


@story
async def test_a_report_that_is_late_in_the_middle_of_the_stop_changes_nothing() -> None:
    cluster = await begin(hosts=2)
    cluster[1].hypervisor.shutdown_seconds = 40.0
    await cluster.until(State.ENGINE_STOP, 1, seconds=LATE_SECONDS)
    cluster[2].page_blocked = True  # it forgets what it saw
    cluster[2].kill_agent()
    cluster[2].start_agent()
    await cluster.until(State.ENGINE_UP, 2, seconds=120.0)
    assert cluster[1].hypervisor.calls.count("create") == 1


@story
async def test_where_no_other_host_can_start_it_it_comes_back_and_stays_for_a_while() -> None:
    cluster = await begin()
    for number in (2, 3):
        cluster[number].hypervisor.crashes_at_start = True
    await cluster.until(State.ENGINE_STOP, 1, seconds=LATE_SECONDS)
    handed_at = cluster.now
    await cluster.until(State.ENGINE_UP, 1, seconds=180.0)
    for number in (2, 3):
        cluster[number].hypervisor.crashes_at_start = False
    await cluster.pass_time(handed_at + cluster.policy.restart_window_seconds - cluster.now - 5.0)
    assert cluster.running == [1]
    await cluster.until(State.ENGINE_UP, 2, seconds=60.0)


@story
async def test_a_vm_that_dies_meanwhile_is_started_where_there_is_network_in_the_end() -> None:
    """A crash is the owner's to mend first; that it has no network is seen anew afterwards."""
    cluster = await begin()
    await cluster.pass_time(60.0)
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.until(State.ENGINE_UP, 2, seconds=LATE_SECONDS + 60.0)
