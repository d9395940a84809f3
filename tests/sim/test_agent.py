# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.sim.sim_story import story


def test_it_adopts_the_engine_that_runs() -> None:
    with story(seconds=10.0) as told:
        assert [told.state(i) for i in (1, 2)] == ["EngineUp", "EngineDown"]
        assert told.running_on == [1]


def test_an_event_of_vdsm_wakes_it() -> None:
    with story(seconds=30.0) as told:
        told.do("cluster guest-crash")
        told.wait(1.0)
        assert "asks for the engine VM to start" in told.log


def test_local_maintenance_reaches_it_through_its_file() -> None:
    with story(seconds=30.0) as told:
        told.do("h2 local-maintenance on for 20")
        told.wait(1.0)
        assert told.state(2) == "LocalMaintenance"
        told.wait(25.0)
        assert told.state(2) == "EngineDown"


def test_an_orderly_stop_is_told_to_the_others() -> None:
    with story(seconds=30.0) as told:
        told.do("h2 stop agent")
        told.wait(5.0)
        assert told.world[2].agent is None
        broker = told.world[1].broker
        assert broker is not None
        stopped = {host.host_id: host.stopped for host in broker.board.current.hosts}
        assert stopped == {1: False, 2: True}


def test_a_killed_one_comes_back_and_takes_up_what_it_finds() -> None:
    with story(seconds=30.0) as told:
        told.do("h1 kill agent")
        told.wait(10.0)
        assert told.state(1) == "EngineUp"
        assert not told.world.outages
