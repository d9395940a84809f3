# SPDX-License-Identifier: Apache-2.0
"""The agent's calls to its broker, as the socket would have them."""

from __future__ import annotations

import pytest

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.sim.broker import BrokerCalls
from tests.sim.sim_story import Story, story


def calls(told: Story) -> BrokerCalls:
    return BrokerCalls(told.world[1], 15.0)


def test_a_snapshot_comes_as_soon_as_it_is_newer_or_after_the_wait() -> None:
    with story(seconds=30.0) as told:
        loop = told.world.loop
        known = loop.run(calls(told).snapshot(-1, 2.0))
        assert known.lease.ours
        assert told.now == 30.0
        same = loop.run(calls(told).snapshot(known.version, 1.0))
        assert same.version == known.version
        assert told.now == pytest.approx(31.0)
        told.world.outside.call_later(0.5, told.do, "cluster global-maintenance on")
        newer = loop.run(calls(told).snapshot(known.version, 20.0))
        assert newer.version > known.version
        assert told.now < 33.0


def test_a_hung_broker_makes_calls_run_into_their_deadline() -> None:
    with story() as told:
        told.do("h1 hang broker for 60")
        for call in (calls(told).snapshot(-1, 2.0), calls(told).domain_definition()):
            with pytest.raises(DeadlineExceeded):
                told.world.loop.run(call)
        assert told.now == pytest.approx(5.0 + 7.0 + 10.0)


def test_a_dead_broker_refuses_and_one_that_dies_ends_its_calls() -> None:
    with story(seconds=30.0) as told:
        loop = told.world.loop
        version = loop.run(calls(told).snapshot(-1, 0.0)).version
        told.world.outside.call_later(0.1, told.do, "h1 kill broker for 60")
        with pytest.raises(EnvironmentFault, match="connection ended"):
            loop.run(calls(told).snapshot(version, 60.0))
        before = told.now
        with pytest.raises(EnvironmentFault, match="refused"):
            loop.run(calls(told).snapshot(-1, 2.0))
        assert told.now == before


def test_the_lease_can_be_given_and_taken() -> None:
    with story(seconds=20.0) as told:
        told.do("h1 stop agent")
        told.do("h2 stop agent")
        told.wait(5.0)
        loop = told.world.loop
        released = loop.run(calls(told).release_lease("test"))
        assert (released.ok, released.snapshot.lease.state) == (True, "free")
        taken = loop.run(calls(told).take_lease(released.snapshot.lease.epoch, "test"))
        assert (taken.ok, taken.snapshot.lease.ours) == (True, True)
        told.wait(30.0)
        assert loop.run(calls(told).snapshot(-1, 0.0)).lease.ours
        assert loop.run(calls(told).abandon_lease("test")).ok
        told.wait(12.0)
        assert told.running_on == []


def test_probes_see_page_and_network() -> None:
    with story(seconds=60.0) as told:
        loop = told.world.loop
        assert loop.run(calls(told).snapshot(-1, 0.0)).health.health == "good"
        told.do("h1 network-lost for 60")
        told.wait(30.0)
        seen = loop.run(calls(told).snapshot(-1, 0.0))
        assert (seen.health.health, seen.network.share_lost) == ("bad", 0.6)


def test_hosts_see_each_other_s_blocks() -> None:
    with story(hosts=3, old_hosts=(3,), seconds=40.0) as told:
        hosts = told.world.loop.run(calls(told).snapshot(-1, 0.0)).hosts
        assert [(h.host_id, h.alive, h.predecessor) for h in hosts] == [
            (1, True, False),
            (2, True, False),
            (3, True, True),
        ]
