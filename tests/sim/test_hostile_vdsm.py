# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ha_agent.sim.hostile_vdsm import events
from ha_agent.sim.vdsm import SimVdsmCalls
from ha_agent.vdsm.errors import VdsmUnreachable
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm.vm_status import VmStatus
from tests.sim.sim_story import Story, story
from tests.sim.test_vdsm import Client


def flooded(told: Story) -> list[Event]:
    """Return where the events that host 1's agent gets from now on are kept."""
    agent = told.world[1].agent
    assert agent is not None
    kept: list[Event] = []
    agent.vdsm = SimVdsmCalls(told.world[1], told.world.outside, lambda: None, kept.extend)
    return kept


def test_a_flood_has_so_many_events_a_second_and_ends() -> None:
    with story() as told:
        kept = flooded(told)
        told.do("h1 vdsm-flood 1000 for 2")
        told.wait(1.0)
        assert len(kept) == pytest.approx(1000, abs=20)
        told.wait(2.0)
        assert len(kept) == pytest.approx(2000, abs=20)


def test_its_events_are_of_all_sorts() -> None:
    with story() as told:
        vdsm = told.world[1].vdsm
        assert vdsm is not None
        told_of = events(vdsm, 0, 8)
        texts = [str(event.params) for event in told_of]
        assert len(set(texts)) == 7  # one comes twice
        assert any(VmStatus.DOWN.value in text for text in texts)
        assert [told.world.vm_uuid in event.method for event in told_of] == [False] + 7 * [True]
        assert events(vdsm, 3, 2) == told_of[3:5]


def test_nothing_comes_of_one_that_lies() -> None:
    with story() as told:
        told.do("h1 vdsm-flood 1000 for 3")
        told.wait(5.0)
        assert told.running_on == [1]
        assert told.state(1) == "EngineUp"


def test_one_that_restarts_every_five_seconds_is_never_ready() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 vdsm-restarts 5 for 30")
        for _ in range(25):
            told.wait(1.0)
            with pytest.raises(VdsmUnreachable):
                client.stats()
        told.wait(20.0)
        assert client.stats().status is VmStatus.UP


def test_one_that_restarts_every_half_minute_is_ready_between() -> None:
    with story(seconds=1.0) as told:
        client = Client(told)
        told.do("h1 vdsm-restarts 30 for 90")
        told.wait(20.0)
        assert client.stats().status is VmStatus.UP
        told.wait(11.0)
        with pytest.raises(VdsmUnreachable):
            client.stats()
