# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.sim.sim_story import story


def test_a_host_that_dies_loses_the_engine_to_one_other() -> None:
    with story(hosts=3, seconds=30.0) as told:
        told.do("h1 power-off")
        told.wait(60.0)
        assert len(told.running_on) == 1
        assert told.running_on != [1]
        starts = [line for line in told.world.log if "engine VM runs here" in line]
        assert len(starts) == 1
        (outage,) = told.world.outages
        assert outage.began_seconds == 30.0
        assert outage.ended_seconds < 70.0


def test_a_cold_cluster_starts_its_engine_once() -> None:
    with story(hosts=3, engine_on=0, seconds=60.0) as told:
        assert len(told.running_on) == 1
        assert told.log.count("engine VM runs here") == 1


def test_a_quiet_cluster_says_nothing() -> None:
    with story(hosts=3, seconds=60.0) as told:
        said = len(told.world.log)
        told.wait(600.0)
        assert told.world.log[said:] == []
        assert told.world.outages == []


def test_a_twin_is_kept_out() -> None:
    with story(seconds=30.0) as told:
        told.do("h1 twin for 200")
        told.wait(150.0)
        assert told.running_on == [1]
        twin = told.world.twins[0]
        assert twin.broker is not None
        assert not twin.broker.lease.host_id.held
        assert not told.world.outages


def test_the_page_is_silent_where_the_network_is_lost() -> None:
    with story(seconds=30.0) as told:
        assert told.world.page(told.world[2]) == "good"
        told.do("h2 network-lost for 10")
        assert told.world.page(told.world[2]) == "silent"
        told.do("cluster engine-stop for 5")
        assert told.world.page(told.world[1]) == "bad"


def test_a_cable_that_is_out_cuts_a_host_off_but_not_from_its_own_vm() -> None:
    with story(seconds=40.0) as told:
        pages = [told.world.page(host) for host in told.world.hosts.values()]
        assert pages == ["good"] * len(pages)
        told.do("h1 cable-out for 30")
        assert told.world.page(told.world[1]) == "good"
        assert told.world.page(told.world[2]) == "silent"
        told.wait(31.0)
        told.do("h2 cable-out for 5")
        assert [told.world.page(told.world[number]) for number in (1, 2)] == ["good", "silent"]


def test_the_digest_is_of_log_and_storage() -> None:
    with story(seconds=1.0) as told:
        before = told.world.digest()
        told.world.say("something")
        assert told.world.digest() != before
