# SPDX-License-Identifier: Apache-2.0
"""A host whose VDSM answers, but gets nowhere: neither a start nor the record of an ended VM that
stands in its way may keep the lease there for ever. Each test is one story."""

from __future__ import annotations

from ha_agent.fsm.observation import VmExit
from ha_agent.fsm.policy import Policy
from ha_agent.fsm.state import State
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmCode
from tests.fakes import ABSENT
from tests.scenarios.cluster import Cluster, story

POLICY = Policy(start_timeout_seconds=60.0, stop_timeout_seconds=20.0)


@story
async def test_the_record_of_an_ended_vm_that_can_t_be_cleared() -> None:
    cluster = Cluster(policy=POLICY)
    await cluster.up_on(1)
    cluster[1].hypervisor.refusal = VdsmCallFailed("VM.destroy", VdsmCode.GENERAL_EXCEPTION, "no")
    cluster[1].hypervisor.end(VmExit.CRASHED)
    await cluster.pass_time(POLICY.start_timeout_seconds + POLICY.stop_timeout_seconds + 20.0)
    (owner,) = cluster.running
    assert owner != 1, cluster.story()


@story
async def test_a_vm_that_exists_for_create_alone() -> None:
    """No look shows it, so there is nothing to clear, and no answer that counts as a failure."""
    cluster = Cluster(policy=POLICY)
    await cluster.up_on(1)
    cluster[1].hypervisor.end(VmExit.CRASHED)
    cluster[1].hypervisor.view = ABSENT
    cluster[1].hypervisor.refusal = VdsmCallFailed("VM.create", VdsmCode.VM_EXISTS, "exists")
    await cluster.pass_time(POLICY.start_timeout_seconds + POLICY.start_open_seconds + 20.0)
    (owner,) = cluster.running
    assert owner != 1, cluster.story()


@story
async def test_without_another_host_it_is_tried_on() -> None:
    cluster = Cluster(hosts=1, policy=POLICY)
    cluster[1].hypervisor.refusal = VdsmCallFailed("VM.create", VdsmCode.VM_EXISTS, "exists")
    await cluster.pass_time(POLICY.start_timeout_seconds + POLICY.start_open_seconds + 20.0)
    cluster[1].hypervisor.refusal = None
    await cluster.until(State.ENGINE_UP, 1, seconds=60.0)
