# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.snapshot import DefinitionEntry
from tests.sim.sim_story import Story, story

FIRST, SECOND = "000000000001", "000000000002"


def entry(told: Story, host_id: int = 1) -> DefinitionEntry:
    broker = told.world[host_id].broker
    assert broker is not None
    return broker.board.current.definition


def test_a_pushed_one_is_on_every_host_at_once_and_proven_by_a_healthy_engine() -> None:
    with story(seconds=10.0) as told:
        told.do("cluster definition-change")
        told.wait(2.0)
        assert [entry(told, i).identity for i in (1, 2)] == [SECOND] * 2
        assert entry(told).fallback == FIRST
        told.do("cluster guest-crash")
        told.wait(40.0)
        assert entry(told).running == SECOND
        assert entry(told).fallback == ""
        assert told.world[1].proven_definitions == [FIRST, SECOND]


def test_while_the_store_is_gone_the_last_one_stays() -> None:
    with story(seconds=10.0) as told:
        told.do("h1 definition-gone for 200")
        told.do("cluster definition-change")
        told.wait(80.0)
        assert (entry(told).identity, entry(told).stale) == (FIRST, True)
        told.wait(200.0)
        assert (entry(told).identity, entry(told).stale) == (SECOND, False)


def test_a_bad_one_gives_way_to_the_last_that_started() -> None:
    with story(seconds=10.0) as told:
        told.do("cluster definition-bad")
        told.wait(2.0)
        told.do("cluster guest-crash")
        told.wait(60.0)
        assert told.world.engine.vms[0].definition == FIRST
        assert told.world.engine.healthy


def test_what_a_block_says_is_proven_counts_on_another_host_for_ever() -> None:
    with story(seconds=10.0) as told:
        told.do("cluster definition-bad")
        told.wait(2.0)
        assert entry(told, 2).fallback == FIRST
        told.do("h1 power-off")
        told.do("h2 kill broker")
        told.wait(10.0)
        assert entry(told, 2).fallback == FIRST


def test_a_broker_that_starts_later_learns_it_from_a_dead_hosts_block() -> None:
    with story(seconds=0.0) as told:
        told.do("h2 power-off for 10")
        told.wait(30.0)
        told.do("h1 power-off")
        told.wait(80.0)
        assert told.world[2].proven_elsewhere == {FIRST}
