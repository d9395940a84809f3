# SPDX-License-Identifier: Apache-2.0
"""The VM seems to be somewhere else: its VM lease is held there, or a host says so. What is
acted on is the hypervisor's answer; a host's word alone stops nothing. Each test is one story."""

from __future__ import annotations

from dataclasses import replace

from ha_agent.broker.snapshot import Report
from ha_agent.fsm.observation import VmExit
from ha_agent.fsm.state import State
from tests.fakes import FakeHypervisor
from tests.scenarios.cluster import Cluster, story


@story
async def test_a_host_that_says_that_the_vm_runs_there_too() -> None:
    """An agent that hangs, say, and goes on publishing what it saw last."""
    cluster = Cluster()
    await cluster.up_on(1)
    cluster[2].kill_agent()
    for _ in range(60):
        claim = replace(cluster.blocks[2][0], engine_status={"vm": "up", "health": "good"})
        cluster.blocks[2] = (claim, cluster.now)
        await cluster.pass_time(1.0)
    assert cluster.state(1) is State.ENGINE_UP
    assert cluster[1].hypervisor.calls == ["create"]
    assert cluster.blocks[1][0].second_vm_on == ("h2",)
    cluster.blocks[2] = (replace(claim, engine_status={"vm": "down"}), cluster.now)
    await cluster.pass_time(10.0)
    assert not cluster.blocks[1][0].second_vm_on


@story
async def test_nobody_starts_the_vm_where_a_live_host_says_that_it_has_it() -> None:
    cluster = Cluster()
    cluster[1].kill_agent()
    claim = Report(state="EngineUp", score=3400, engine_status={"vm": "up", "health": "good"})
    for _ in range(60):
        cluster.blocks[1] = (claim, cluster.now)
        await cluster.pass_time(1.0)
    assert not cluster.running


@story
async def test_the_vm_lease_is_lost_to_a_stranger_between_two_starts() -> None:
    """The start is refused by the hypervisor: no failure of this host, and nobody hammers."""
    cluster = Cluster(vm_lease_may_refuse=True)
    await cluster.up_on(1)
    stranger = FakeHypervisor(cluster.vm_lease)
    cluster[1].hypervisor.end(VmExit.CRASHED)
    cluster.vm_lease.holder = stranger
    await cluster.pass_time(60.0)
    assert "h1 refused by the VM lease" in cluster.log_since(0.0)
    assert not cluster.running
    assert len(cluster[1].cycle.memory.failures) == 1, "the crash, and not the refusals"
    cluster.vm_lease.holder = None
    await cluster.pass_time(60.0)
    assert len(cluster.running) == 1
