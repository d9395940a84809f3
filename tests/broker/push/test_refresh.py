# SPDX-License-Identifier: Apache-2.0
"""A refresh that reaches all hosts: real monitors over one volume in memory, in hand-made time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, Callable

import pytest

from ha_agent.broker.blocks.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.push.refresh import RefreshRequests, SeenRequests
from ha_agent.broker.snapshot import DefinitionEntry, HostEntry, Snapshot
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from tests.broker.fake_blocks import FakeBlocks
from tests.fakes import FakeClock


class Volume:
    """The hosts' one status volume."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.blocks = FakeBlocks(self.clock.now)


class Host:
    """One broker's monitor, board and requests; its keeper only counts its looks."""

    def __init__(self, volume: Volume, number: int) -> None:
        self.looks = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.owns_id = True
        first = Snapshot(0, number, f"h{number}", "vm", volume.clock.now())
        self.board = Board(first, volume.clock.now, lambda: {"storage": self.monitor.storage})
        self.monitor = StatusMonitor(
            volume.blocks,
            self.board,
            number,
            f"h{number}",
            clock=volume.clock,
            times=MonitorTimes(1.0, 10.0, 20.0),
            may_write=lambda: self.owns_id,
        )
        self.requests = RefreshRequests(self, self.monitor, self.board, clock=volume.clock)
        self._tasks = [
            asyncio.ensure_future(work)
            for work in (self.requests.run(), self.requests.run_looks())
        ]

    async def refresh(self, *, read_again: bool = False) -> str:
        assert read_again
        self.looks += 1
        await self.gate.wait()
        return ""

    async def look(self) -> None:
        """Look at the status blocks, and let what follows happen."""
        await self.monitor.look()
        await settled()

    async def stop(self) -> None:
        for task in self._tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.wait(self._tasks)


async def settled() -> None:
    """Let the loops, which pause 50 ms between two looks at the board, do what there is to do."""
    await SystemClock().sleep(0.15)


async def eventually(look: Callable[[], Any]) -> None:
    clock = SystemClock()
    ends_at = clock.now() + 20.0
    while not look():
        assert clock.now() < ends_at
        await clock.sleep(0.01)


@pytest.fixture
async def hosts() -> AsyncIterator[list[Host]]:
    volume = Volume()
    hosts = [Host(volume, number) for number in (1, 2, 3)]
    for host in hosts:
        await host.look()
    yield hosts
    for host in hosts:
        await host.stop()


async def test_all_hosts_look_once_at_their_next_look_at_the_blocks(hosts: list[Host]) -> None:
    asker, *others = hosts
    refreshed = await asker.requests.everywhere("user 0")
    assert (refreshed.problem, refreshed.told, asker.looks) == ("", "", 1)
    for host in others:
        assert host.looks == 0
        await host.look()
        await eventually(lambda host=host: host.looks == 1)  # type: ignore[misc]
        await host.look()
        await host.look()
    await asker.look()
    assert [host.looks for host in hosts] == [1, 1, 1]


async def test_each_request_is_a_new_one_even_within_a_second(hosts: list[Host]) -> None:
    for number in (1, 2):
        await hosts[0].requests.everywhere("user 0")
        await hosts[1].look()
        await eventually(lambda number=number: hosts[1].looks == number)  # type: ignore[misc]


async def test_requests_that_come_together_are_one_write_and_one_to_follow(
    hosts: list[Host],
) -> None:
    await hosts[0].requests.everywhere("user 0")
    one = hosts[0].monitor.own.extra.refresh_asked
    await asyncio.gather(*(hosts[0].requests.everywhere(f"user {n}") for n in range(50)))
    assert hosts[0].monitor.own.extra.refresh_asked - one <= 2


async def test_requests_of_others_that_come_during_a_look_are_one_more_look(
    hosts: list[Host],
) -> None:
    hosts[2].gate.clear()
    for _ in range(3):
        for asker in hosts[:2]:
            await asker.requests.everywhere("user 0")
        await hosts[2].look()
    assert hosts[2].looks == 1
    hosts[2].gate.set()
    await eventually(lambda: hosts[2].looks == 2)
    await settled()
    assert hosts[2].looks == 2


async def test_what_stood_there_before_a_boot_starts_nothing() -> None:
    volume = Volume()
    asker = Host(volume, 1)
    await asker.look()
    await asker.requests.everywhere("user 0")
    later = Host(volume, 2)
    for _ in range(3):
        await later.look()
    assert later.looks == 0
    # The asker's broker starts anew, its number goes away and another one comes.
    await asker.stop()
    volume.clock.time = volume.clock.time + 100.0
    again = Host(volume, 1)
    await again.look()
    await again.monitor.write_lines()
    await later.look()
    assert later.looks == 0
    await again.requests.everywhere("user 0")
    await later.look()
    await eventually(lambda: later.looks == 1)
    for host in (again, later):
        await host.stop()


async def test_a_host_that_cant_write_says_so_and_tells_later(hosts: list[Host]) -> None:
    hosts[0].owns_id = False
    refreshed = await hosts[0].requests.everywhere("user 0")
    assert "next status block" in refreshed.told
    assert "not known to be this host's" in refreshed.told
    hosts[0].owns_id = True
    await hosts[0].monitor.write_lines()
    await hosts[1].look()
    await eventually(lambda: hosts[1].looks == 1)


async def test_what_is_put_on_one_host_is_looked_for_by_the_others(hosts: list[Host]) -> None:
    entry = DefinitionEntry(available=True, identity="a" * 12, how="put")
    hosts[0].board.update(definition=entry)  # what it remembers at its start
    await settled()
    assert hosts[0].monitor.own.extra.refresh_asked == 0
    for how, more in (("read", 0), ("pushed", 1), ("put", 2), ("rollback", 3)):
        put = dataclasses.replace(entry, identity=how.ljust(12, "-"), how=how)
        hosts[0].board.update(definition=put)
        await settled()
        await hosts[1].look()
        await eventually(lambda more=more: hosts[1].looks == more)  # type: ignore[misc]
    assert hosts[0].looks == 0


async def test_storage_that_fails_is_an_answer(hosts: list[Host]) -> None:
    blocks = hosts[0].monitor._store
    assert isinstance(blocks, FakeBlocks)
    blocks.fault = EnvironmentFault("gone")
    assert "gone" in (await hosts[0].requests.everywhere("user 0")).told
    blocks.fault = None


def test_a_host_that_appears_later_has_asked_just_now() -> None:
    seen = SeenRequests(1)
    assert seen.new_in([HostEntry(2, refresh_asked=5)]) == []
    new = HostEntry(3, refresh_asked=5)
    own = HostEntry(1, refresh_asked=9)
    assert seen.new_in([own, HostEntry(2, refresh_asked=5), new]) == [new]
    assert seen.new_in([HostEntry(2), new]) == []
    back = HostEntry(2, refresh_asked=4)  # its calendar was set back
    assert seen.new_in([back, new]) == [back]
