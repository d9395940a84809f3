# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.blocks.codec import decode
from tests.sim.sim_story import story


def test_a_host_is_moved_over_with_the_vm_on_it_and_back() -> None:
    with story(hosts=1, engine_on=1, old_hosts=(1,), seconds=30.0) as told:
        told.do("h1 software new")
        told.wait(5.0)
        block = decode(told.world.storage.read(1), slot=1)
        assert block is not None
        assert (block.stopped, block.score, block.lines["state"]) == (True, 0, "AgentStopped")
        told.wait(40.0)
        assert told.state(1) == "EngineUp"
        told.do("h1 software old")
        told.wait(60.0)
        assert told.world[1].agent is None
        assert "(old) EngineStarting -> EngineUp" in told.log
        assert told.running_on == [1]
        assert not told.world.outages


def test_a_second_order_meanwhile_changes_nothing() -> None:
    with story(hosts=1, engine_on=1, seconds=30.0) as told:
        told.do("h1 software old")
        told.do("h1 software new")
        told.wait(40.0)
        assert told.world[1].old
