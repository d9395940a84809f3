# SPDX-License-Identifier: Apache-2.0
"""The store has a definition that no VM can be started from. Each test is one story."""

from __future__ import annotations

from dataclasses import replace

from ha_agent.fsm.observation import VmExit
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from tests.scenarios.cluster import Cluster, story


def new_definition(cluster: Cluster, identity: str, *, good: bool) -> None:
    """The engine writes a new definition; the one before did start."""
    cluster.identity, cluster.fallback = identity, "d1"
    for host in cluster.hosts.values():
        host.hypervisor.unable_to_start = set() if good else {f"<domain>{identity}</domain>"}


def xml(cluster: Cluster, host_id: int) -> str:
    return cluster[host_id].hypervisor.xml


@story
async def test_after_two_failed_starts_the_last_that_did_start() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    new_definition(cluster, "d2", good=False)
    await cluster.pass_time(5.0)
    assert cluster.running == [1], "what runs is left alone"
    ended_at = cluster.now
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.until(State.ENGINE_START, 1, seconds=5.0)
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
    starts = [line for line in cluster.log_since(ended_at) if line.endswith("[start VM]")]
    assert len(starts) == 3
    assert xml(cluster, 1) == "<domain>d1</domain>"
    assert cluster.blocks[1][0].running_definition == "d1"
    assert not cluster[2].hypervisor.calls


@story
async def test_a_new_definition_is_tried_again() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    new_definition(cluster, "d2", good=False)
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.until(State.ENGINE_DOWN, 2, seconds=5.0)
    await cluster.pass_time(60.0)
    new_definition(cluster, "d3", good=True)
    await cluster.pass_time(5.0)
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.pass_time(60.0)
    assert xml(cluster, 1) == "<domain>d3</domain>"
    assert cluster.state(1) is State.ENGINE_UP


@story
async def test_an_engine_that_never_becomes_healthy_counts_as_a_failed_start() -> None:
    cluster = Cluster(hosts=1, policy=replace(Policy(), start_timeout_seconds=100.0))
    await cluster.up_on(1)
    new_definition(cluster, "d2", good=True)
    cluster[1].engine_hung = True
    cluster[1].hypervisor.end(VmExit.CRASHED)
    while xml(cluster, 1) != "<domain>d1</domain>":
        await cluster.pass_time(5.0)
        assert cluster.now < 400.0, cluster.story()
    cluster[1].engine_hung = False
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)


@story
async def test_without_a_definition_that_did_start_the_one_in_use_is_tried_on() -> None:
    cluster = Cluster(hosts=1)
    new_definition(cluster, "d2", good=False)
    cluster.fallback = ""
    await cluster.pass_time(120.0)
    assert cluster[1].hypervisor.calls.count("create") >= 5
    assert xml(cluster, 1) == "<domain>d2</domain>"


@story
async def test_a_crash_of_an_engine_that_was_healthy_is_not_its_definitions_fault() -> None:
    cluster = Cluster()
    await cluster.up_on(1)
    cluster.fallback = "d0"
    for _ in range(3):
        cluster[1].hypervisor.end(VmExit.CRASHED)
        await cluster.pass_time(60.0)
        assert cluster.state(1) is State.ENGINE_UP
    assert xml(cluster, 1) == "<domain>d1</domain>"


@story
async def test_when_the_fallback_fails_as_well_the_definition_in_use_has_its_turn_again() -> None:
    cluster = Cluster(hosts=1)
    await cluster.up_on(1)
    new_definition(cluster, "d2", good=False)
    cluster[1].hypervisor.unable_to_start.add("<domain>d1</domain>")
    cluster[1].hypervisor.end(VmExit.CRASHED)
    for asked in ("<domain>d2</domain>", "<domain>d1</domain>"):
        while xml(cluster, 1) != asked:
            await cluster.pass_time(0.1)
            assert cluster.now < 100.0, cluster.story()
    cluster[1].hypervisor.unable_to_start = {"<domain>d1</domain>"}
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
    assert xml(cluster, 1) == "<domain>d2</domain>"
