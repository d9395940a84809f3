# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.blocks.codec import decode, line_values
from ha_agent.sim.old_peer import old_block
from tests.sim.sim_story import story


def test_its_block_is_the_predecessor_s() -> None:
    status = '{"vm": "up", "health": "good", "detail": "Up"}'
    block = decode(old_block(2, "h2", 777, 3400, status, False, "EngineUp"), slot=2)
    assert block is not None
    assert (block.host_name, block.timestamp_seconds, block.score) == ("h2", 777, 3400)
    assert block.crc32
    lines = line_values(block.extra)
    assert lines["state"] == "EngineUp"
    assert "agent" not in lines


def test_it_starts_the_engine_a_minute_after_our_host_died() -> None:
    with story(hosts=3, old_hosts=(2, 3), seconds=100.0) as told:
        told.do("h1 power-off")
        told.wait(55.0)
        assert told.running_on == []
        told.wait(40.0)
        assert len(told.running_on) == 1
        assert told.running_on != [1]


def test_two_of_them_race_and_the_vm_lease_decides() -> None:
    with story(hosts=2, engine_on=0, old_hosts=(1, 2), seconds=200.0) as told:
        assert len(told.running_on) == 1
        assert "the VM lease is held elsewhere" in told.log


def test_it_keeps_its_hands_off_in_global_maintenance_and_takes_a_minute_after_a_restart() -> None:
    with story(hosts=2, old_hosts=(2,), seconds=100.0) as told:
        told.do("cluster global-maintenance on")
        told.wait(15.0)
        told.do("h1 power-off")
        told.wait(200.0)
        assert told.running_on == []


def test_it_ends_an_engine_that_hangs_after_five_minutes_and_five_more() -> None:
    with story(hosts=1, old_hosts=(1,), seconds=100.0) as told:
        told.do("cluster guest-hang")
        told.wait(290.0)
        assert told.running_on == [1]
        told.wait(40.0)
        assert "EngineUpBadHealth -> EngineStop" in told.log
        told.wait(400.0)
        assert "the guest did not shut down" in told.log
        assert told.world.engine.healthy


def test_a_crash_costs_it_its_score_for_nine_minutes() -> None:
    with story(hosts=1, old_hosts=(1,), seconds=100.0) as told:
        told.do("cluster guest-crash")
        told.wait(550.0)
        assert told.running_on == []
        told.wait(60.0)
        assert told.running_on == [1]


def test_our_host_takes_over_from_it() -> None:
    with story(hosts=2, engine_on=1, old_hosts=(1,), seconds=100.0) as told:
        told.do("h1 power-off")
        told.wait(120.0)
        assert told.running_on == [2]
