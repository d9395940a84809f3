# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.snapshot import DefinitionEntry
from tests.sim.sim_story import Story, story


def entry(told: Story, host_id: int = 1) -> DefinitionEntry:
    broker = told.world[host_id].broker
    assert broker is not None
    return broker.board.current.definition


def test_a_pushed_one_is_on_every_host_at_once_and_proven_by_a_healthy_engine() -> None:
    with story(seconds=10.0) as told:
        told.do("cluster definition-change")
        told.wait(2.0)
        assert [entry(told, i).identity for i in (1, 2)] == ["definition-2"] * 2
        assert entry(told).fallback == "definition-1"
        told.do("cluster guest-crash")
        told.wait(40.0)
        assert entry(told).running == "definition-2"
        assert entry(told).fallback == ""
        assert told.world[1].proven_definitions == ["definition-1", "definition-2"]


def test_while_the_store_is_gone_the_last_one_stays() -> None:
    with story(seconds=10.0) as told:
        told.do("h1 definition-gone for 200")
        told.do("cluster definition-change")
        told.wait(80.0)
        assert (entry(told).identity, entry(told).stale) == ("definition-1", True)
        told.wait(200.0)
        assert (entry(told).identity, entry(told).stale) == ("definition-2", False)


def test_a_bad_one_gives_way_to_the_last_that_started() -> None:
    with story(seconds=10.0) as told:
        told.do("cluster definition-bad")
        told.wait(2.0)
        told.do("cluster guest-crash")
        told.wait(60.0)
        assert told.world.engine.vms[0].definition == "definition-1"
        assert told.world.engine.healthy
