# SPDX-License-Identifier: Apache-2.0
"""The broker's calls to a simulated daemon, and its holder."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.sim.lane import SimLane
from ha_agent.sim.sanlock_port import SimSanlockPort, leader_of
from ha_agent.sim.spec import SANLOCK
from ha_agent.sim.storage import LEASE
from tests.sim.sim_story import Story, story

T = TypeVar("T")
BACK_END = {"lease_backend": SANLOCK}


def port_of(told: Story, host_id: int) -> SimSanlockPort:
    broker = told.world[host_id].broker
    assert broker is not None
    return SimSanlockPort(told.world[host_id], broker.lanes[0])


def lone_port(told: Story, host_id: int) -> SimSanlockPort:
    host = told.world[host_id]
    return SimSanlockPort(host, SimLane(told.world.loop, host.path, "lone"))


def ask(told: Story, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = told.world.outside.spawn(work, daemon=False)
    told.wait(3.0)
    assert task.done()
    return task


def test_a_look_tells_of_hosts_holder_and_leader() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        holder = told.world[1].holder
        assert holder is not None
        look = ask(told, port_of(told, 1).look(holder.pid, True, 2.0)).result()
        assert (look.joined, look.held) == (True, 1)
        assert [sight.flag for sight in look.hosts.values()] == ["LIVE", "LIVE"]
        assert look.leader == leader_of(told.world.storage.read(LEASE))
        assert look.leader is not None
        assert (look.leader.host_id, look.leader.held) == (1, True)


def test_no_daemon_and_one_that_is_stopped_are_told_apart() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        port = port_of(told, 2)
        told.do("h2 hang sanlock for 5")
        with pytest.raises(DeadlineExceeded):
            ask(told, port.watchdog_fire_seconds(1.0)).result()
        told.do("h2 kill sanlock for 60")
        with pytest.raises(EnvironmentFault, match="no sanlock daemon"):
            ask(told, port.look(0, False, 1.0)).result()


def test_a_live_host_s_lease_is_refused_and_a_released_one_is_had() -> None:
    with story(seconds=9.0, **BACK_END) as told:
        for host_id in (1, 2):
            told.do(f"h{host_id} kill broker for 60")
        taker = told.world[2].start_holder()
        port, other = lone_port(told, 2), lone_port(told, 1)
        assert ask(told, port.acquire(taker.pid, 1, 2.0)).result() == "another host has it"
        owner = told.world[1].holder
        assert owner is not None
        ask(told, other.release(owner.pid, 2.0))
        assert "no longer" in ask(told, port.acquire(taker.pid, 9, 2.0)).result()
        assert ask(told, port.acquire(taker.pid, 1, 2.0)).result() == ""
        assert leader_of(told.world.storage.read(LEASE)).host_id == 2


def test_a_killed_holder_is_replaced_and_the_vm_runs_on() -> None:
    with story(seconds=12.0, **BACK_END) as told:
        told.do("h1 kill holder")
        told.wait(60.0)
        assert told.running_on == [1]
        assert "h1 lease ours, epoch 2" in told.log


def test_a_killed_broker_adopts_when_it_comes_back() -> None:
    with story(seconds=12.0, **BACK_END) as told:
        told.do("h1 kill broker")
        told.wait(30.0)
        assert told.running_on == [1]
        assert "epoch 2" not in told.log
