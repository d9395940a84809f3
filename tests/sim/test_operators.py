# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ha_agent.broker.blocks.codec import decode_global
from tests.sim.sim_story import Story, story


def flag(told: Story) -> bool:
    block = decode_global(told.world.storage.read(0))
    return block is not None and block.maintenance


def test_global_maintenance_is_on_storage_when_it_is_answered_and_ends_by_itself() -> None:
    with story(seconds=30.0) as told:
        told.do("cluster global-maintenance on for 60")
        told.wait(1.0)
        assert "global maintenance on: set" in told.log
        assert flag(told)
        told.wait(70.0)
        assert not flag(told)


def test_an_operator_whose_host_fails_goes_to_the_next() -> None:
    with story(seconds=30.0) as told:
        told.do("h1 storage-eio for 20")
        told.do("cluster global-maintenance on")
        told.wait(30.0)
        assert "h1 global maintenance on: not set" in told.log
        assert "h2 global maintenance on: set" in told.log


def test_an_operator_whose_broker_dies_tries_again() -> None:
    with story(seconds=30.0) as told:
        told.do("h1 storage-slow 4 for 10")
        told.do("cluster global-maintenance on")
        told.do("h1 kill broker for 30")
        told.wait(10.0)
        assert "h2 global maintenance on: set" in told.log


def test_the_cluster_is_shut_down_and_resumed() -> None:
    with story(seconds=40.0) as told:
        told.do("cluster shutdown")
        told.wait(60.0)
        assert told.running_on == []
        told.do("cluster resume")
        told.wait(60.0)
        assert told.world.engine.healthy
