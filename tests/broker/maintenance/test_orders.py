# SPDX-License-Identifier: Apache-2.0
"""Brokers of several hosts over one volume in memory, in hand-made time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Optional

import pytest

from ha_agent.broker.blocks.codec import StatusBlock, encode, line_values
from ha_agent.broker.blocks.codec import decode as decode_block
from ha_agent.broker.blocks.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.blocks.own import NotOurSlot
from ha_agent.broker.blocks.store import StatusVolume
from ha_agent.broker.maintenance import order as orders
from ha_agent.broker.maintenance.order import Order
from ha_agent.broker.maintenance.order_file import KeptOrder
from ha_agent.broker.maintenance.orders import US, MaintenanceKeeper, Overtaken
from ha_agent.broker.snapshot import OrderEntry, Report, Snapshot
from ha_agent.broker.timeline import changes
from ha_agent.broker.watch import Board
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant, WallTime
from tests.broker.fake_blocks import FakeBlocks
from tests.fakes import FakeClock

ALIVE_SECONDS = 10.0
ROOT = "root (uid 0)"


class HostClock(FakeClock):
    """This host's own: `offset_seconds` from the test's, and a calendar that may be wrong."""

    def __init__(self, base: FakeClock, offset_seconds: float) -> None:
        self._base = base
        self.offset_seconds = offset_seconds
        self.calendar_seconds = 0.0

    @property
    def time(self) -> Instant:  # type: ignore[override]
        return self._base.time + self.offset_seconds

    def wall(self) -> WallTime:
        return self._base.wall() + self.calendar_seconds

    async def sleep(self, duration_seconds: float) -> None:
        await self._base.sleep(duration_seconds)


class Kept:
    """A local disk."""

    def __init__(self) -> None:
        self.order: Optional[KeptOrder] = None
        self.fault: Optional[EnvironmentFault] = None

    async def save(self, kept: Optional[KeptOrder]) -> None:
        if self.fault is not None:
            raise self.fault
        self.order = kept


class HostBroker:
    """One host's broker, as far as orders go; with an agent that reports or not."""

    def __init__(
        self, blocks: FakeBlocks, base: FakeClock, number: int, disk: Optional[Kept] = None
    ) -> None:
        self.number = number
        self.clock = HostClock(base, 10_000.0 * number)
        self.disk = disk or Kept()
        self.id_is_ours = True
        self.agent_lives = True
        self.vms: Optional[int] = 0
        self.blocks = blocks
        name = f"h{number}"
        first = Snapshot(0, number, name, "vm", self.clock.now())
        self.board = Board(first, self.clock.now, dict)
        self.monitor = StatusMonitor(
            blocks,
            self.board,
            number,
            name,
            clock=self.clock,
            times=MonitorTimes(1.0, ALIVE_SECONDS, 20.0),
            may_write=lambda: self.id_is_ours,
        )
        self.keeper = MaintenanceKeeper(
            self.monitor,
            self.board,
            number,
            name,
            clock=self.clock,
            host_alive_seconds=ALIVE_SECONDS,
            file=self.disk,
            kept=self.disk.order,
            count_other_vms=self._count,
        )
        self.tasks = [
            asyncio.ensure_future(work) for work in (self.keeper.run(), self.monitor.run_writer())
        ]

    async def _count(self) -> Optional[int]:
        return self.vms

    async def look(self) -> None:
        """One turn of the broker: the agent reports, the volume is looked at, work is done."""
        if self.agent_lives:
            self.monitor.report(Report(state="EngineDown", score=3400, made_at=self.clock.now()))
        await settle()
        await self.monitor.look()
        await settle()

    @property
    def order(self) -> Optional[OrderEntry]:
        return self.board.read().order

    @property
    def in_force(self) -> str:
        order = self.order
        return order.what if order is not None and order.in_force else ""

    def flag(self) -> Optional[bool]:
        return self.board.read().global_maintenance

    def lines(self) -> dict[str, str]:
        block = decode_block(self.blocks.slots[self.number], slot=self.number)
        assert block is not None
        return line_values(block.extra)

    async def stop(self) -> None:
        for task in self.tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.wait(self.tasks)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.base = FakeClock()
        self.blocks = FakeBlocks(lambda: self.base.time)
        self.hosts: dict[int, HostBroker] = {}

    def add(self, number: int, disk: Optional[Kept] = None) -> HostBroker:
        # Each broker stamps its reads by its own clock.
        host = HostBroker(ClockedBlocks(self.blocks, number), self.base, number, disk)
        self.hosts[number] = host
        return host

    async def restart(self, number: int) -> HostBroker:
        old = self.hosts.pop(number)
        await old.stop()
        return self.add(number, old.disk)

    async def turns(self, seconds: float, step_seconds: float = 1.0) -> None:
        ends_at = self.base.time + seconds
        while self.base.time < ends_at:
            self.base.time = self.base.time + step_seconds
            for host in list(self.hosts.values()):
                await host.look()


class ClockedBlocks(FakeBlocks):
    """The one volume, read by one host."""

    def __init__(self, shared: FakeBlocks, number: int) -> None:
        super().__init__(lambda: shared._now() + 10_000.0 * number)
        self.slots = shared.slots


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    for number in (1, 2, 3):
        world.add(number)
    await world.turns(ALIVE_SECONDS + 2)
    yield world
    for host in world.hosts.values():
        await host.stop()


async def test_everybody_knows_who_when_why_and_until(world: World) -> None:
    given = await world.hosts[2].keeper.give(
        orders.MAINTENANCE, who=ROOT, reason="new switch", for_seconds=600.0
    )
    await world.turns(2)
    for host in world.hosts.values():
        order = host.order
        assert host.flag() is True
        assert order is not None
        assert (order.what, order.in_force, order.host_name) == ("maintenance", True, "h2")
        assert (order.who, order.reason, order.number) == (ROOT, "new switch", given.number)
        assert order.until_unix_seconds == int(given.at_unix_seconds) + 600 or (
            order.until_unix_seconds == given.until_unix_seconds
        )
    assert world.blocks.slots[0].rstrip(b"\0") == b"maintenance=1"


async def test_no_publish_loses_it(world: World) -> None:
    await world.hosts[2].keeper.give(orders.MAINTENANCE, who=ROOT)
    await world.turns(30)
    assert [host.in_force for host in world.hosts.values()] == ["maintenance"] * 3


async def test_clearing_it_is_known_to_all_and_leaves_no_order(world: World) -> None:
    await world.hosts[2].keeper.give(orders.MAINTENANCE, who=ROOT)
    await world.turns(2)
    before = await world.hosts[3].keeper.clear(who=ROOT, reason="done")
    assert before is not None
    assert before.what == "maintenance"
    await world.turns(2)
    for host in world.hosts.values():
        assert (host.flag(), host.in_force) == (False, "")
        assert host.order is not None
        assert host.order.what == "none"
    assert await world.hosts[3].keeper.clear(who=ROOT) is None


async def test_a_silent_agent_does_not_keep_an_order_from_storage_nor_come_to_life(
    world: World,
) -> None:
    setter = world.hosts[2]
    setter.agent_lives = False
    await world.turns(ALIVE_SECONDS + 1)
    before = setter.blocks.slots[2]
    await setter.keeper.give(orders.MAINTENANCE, who=ROOT, reason="why not")
    assert setter.blocks.slots[2][:512] == before[:512]
    assert "why not" in setter.lines()["order"]
    await world.turns(3)
    seen = next(h for h in world.hosts[1].board.read().hosts if h.host_id == 2)
    assert not seen.alive
    assert world.hosts[1].in_force == "maintenance"


async def test_a_host_whose_agent_never_ran_can_give_orders(world: World) -> None:
    new = world.add(4)
    new.agent_lives = False
    await new.look()
    await new.keeper.give(orders.MAINTENANCE, who=ROOT)
    await world.turns(2)
    seen = next(h for h in world.hosts[1].board.read().hosts if h.host_id == 4)
    assert (seen.stopped, seen.score, seen.predecessor) == (True, 0, False)
    assert world.hosts[1].in_force == "maintenance"


# Errors -----------------------------------------------------------------------------------


async def test_without_the_host_id_nothing_is_ordered(world: World) -> None:
    host = world.hosts[2]
    host.id_is_ours = False
    with pytest.raises(NotOurSlot, match="host id 2"):
        await host.keeper.give(orders.MAINTENANCE, who=ROOT)
    assert host.flag() is False


async def test_the_host_id_is_waited_for(world: World) -> None:
    host = world.hosts[2]
    host.id_is_ours = False
    giving = asyncio.ensure_future(host.keeper.give(orders.MAINTENANCE, who=ROOT))
    await asyncio.sleep(0)
    host.id_is_ours = True
    await giving
    assert host.flag() is True


async def test_an_order_that_is_not_written_does_not_set_the_flag(world: World) -> None:
    host = world.hosts[2]
    host.blocks.write_fault = EnvironmentFault("EIO")
    with pytest.raises(EnvironmentFault, match="EIO"):
        await host.keeper.give(orders.SHUTDOWN, who=ROOT)
    host.blocks.write_fault = None
    await world.turns(3)
    assert [h.in_force for h in world.hosts.values()] == [""] * 3
    assert "order" not in host.lines()
    assert host.disk.order is None


async def test_a_full_local_disk_is_an_error(world: World) -> None:
    host = world.hosts[2]
    host.disk.fault = EnvironmentFault("order.json: can't be written")
    with pytest.raises(EnvironmentFault, match=r"order\.json"):
        await host.keeper.give(orders.SHUTDOWN, who=ROOT)
    assert host.flag() is False


async def test_of_two_at_once_the_loser_is_told(world: World) -> None:
    """Both looked before either wrote: same number, and the lower host id counts."""
    one, three = world.hosts[1], world.hosts[3]
    gate = asyncio.Event()
    look = three.blocks.read_all

    async def slow() -> StatusVolume:
        volume = await look()
        await gate.wait()
        return volume

    three.blocks.read_all = slow  # type: ignore[method-assign]
    late = asyncio.ensure_future(three.keeper.give(orders.MAINTENANCE, who="c"))
    await settle()
    await one.keeper.give(orders.SHUTDOWN, who="a")
    three.blocks.read_all = look  # type: ignore[method-assign]
    gate.set()
    with pytest.raises(Overtaken, match="shutdown was ordered on h1"):
        await late
    await world.turns(2)
    assert {host.in_force for host in world.hosts.values()} == {"shutdown"}


# Its end ----------------------------------------------------------------------------------


async def test_the_setter_ends_it_in_time(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.hosts[2].keeper.give(orders.MAINTENANCE, who=ROOT, for_seconds=60.0)
    await world.turns(58)
    assert world.hosts[1].flag() is True
    with caplog.at_level(logging.WARNING):
        await world.turns(4)
    assert world.hosts[1].flag() is False
    assert world.hosts[1].order is not None
    assert world.hosts[1].order.who == US
    assert "its time has come" in caplog.text


async def test_a_restart_of_the_broker_changes_nothing(world: World) -> None:
    await world.hosts[2].keeper.give(orders.MAINTENANCE, who=ROOT, reason="why", for_seconds=60.0)
    await world.turns(30)
    again = await world.restart(2)
    await world.turns(28)
    assert again.in_force == "maintenance"
    assert again.order is not None
    assert again.order.reason == "why"
    await world.turns(4)
    assert again.flag() is False


async def test_a_lost_disk_is_no_lost_order(world: World) -> None:
    await world.hosts[2].keeper.give(orders.MAINTENANCE, who=ROOT, for_seconds=60.0)
    await world.turns(10)
    world.hosts[2].disk.order = None
    again = await world.restart(2)
    await world.turns(40)
    assert again.in_force == "maintenance"
    await world.turns(15)
    assert again.flag() is False


@pytest.mark.parametrize("calendar_seconds", [0.0, -86_400.0, 86_400.0])
async def test_when_the_setter_is_gone_the_lowest_of_us_ends_it(
    world: World, calendar_seconds: float
) -> None:
    """By what it counted itself: its calendar may be a day off."""
    for number in (1, 2):
        world.hosts[number].clock.calendar_seconds = calendar_seconds
    await world.hosts[3].keeper.give(orders.MAINTENANCE, who=ROOT, for_seconds=60.0)
    await world.turns(5)
    await world.hosts.pop(3).stop()
    await world.turns(55)
    assert world.hosts[1].flag() is True
    await world.turns(2 * ALIVE_SECONDS)
    assert [host.flag() for host in world.hosts.values()] == [False, False]
    assert world.hosts[2].order is not None
    assert world.hosts[2].order.host_id == 1


async def test_a_live_setter_is_not_forestalled(world: World) -> None:
    """Its broker can't write; the others leave it to it as long as it lives."""
    setter = world.hosts[3]
    await setter.keeper.give(orders.MAINTENANCE, who=ROOT, for_seconds=20.0)
    await world.turns(5)
    fail = EnvironmentFault("EIO")

    async def no_flag(maintenance: bool) -> None:
        raise fail

    setter.blocks.write_global = no_flag  # type: ignore[method-assign]
    await world.turns(40)
    assert world.hosts[1].flag() is True
    del setter.blocks.write_global
    await world.turns(2)
    assert world.hosts[1].flag() is False


async def test_after_all_were_restarted_the_calendar_shortens_what_is_left(world: World) -> None:
    await world.hosts[3].keeper.give(orders.MAINTENANCE, who=ROOT, for_seconds=60.0)
    await world.turns(5)
    await world.hosts.pop(3).stop()
    for number in (1, 2):
        await world.hosts.pop(number).stop()
    world.base.time = world.base.time + 3600.0
    one = world.add(1)
    await world.turns(3 * ALIVE_SECONDS + 5)
    assert one.flag() is False


# The predecessor --------------------------------------------------------------------------


async def test_an_order_whose_flag_a_predecessor_cleared_is_over(world: World) -> None:
    await world.hosts[2].keeper.give(orders.SHUTDOWN, who=ROOT)
    await world.turns(2)
    await world.blocks.write_global(False)
    await world.turns(3)
    assert {host.in_force for host in world.hosts.values()} == {""}
    # And its next maintenance is not our shutdown.
    await world.blocks.write_global(True)
    await world.turns(3)
    assert {host.in_force for host in world.hosts.values()} == {""}
    assert {host.flag() for host in world.hosts.values()} == {True}


async def test_the_order_of_a_dead_host_is_taken_back_for_it(world: World) -> None:
    await world.hosts[3].keeper.give(orders.SHUTDOWN, who=ROOT)
    await world.turns(2)
    await world.hosts.pop(3).stop()
    await world.blocks.write_global(False)
    await world.turns(3 * ALIVE_SECONDS)
    assert world.hosts[2].order is not None
    assert (world.hosts[2].order.what, world.hosts[2].order.host_id) == ("none", 1)


async def test_a_flag_without_an_order_has_none(world: World) -> None:
    await world.blocks.write_global(True)
    await world.turns(20)
    assert [host.order for host in world.hosts.values()] == [None] * 3
    assert {host.flag() for host in world.hosts.values()} == {True}


# What is told of them ----------------------------------------------------------------------


class Timeline:
    """What a host's timeline tells of maintenance."""

    def __init__(self, host: HostBroker) -> None:
        self._board = host.board
        self.texts: list[str] = []
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        last = self._board.read()
        while True:
            now = await self._board.newer_than(last.version, 3600.0)
            self.texts += [e.text for e in changes(last, now) if e.kind == "maintenance"]
            last = now

    async def stop(self) -> list[str]:
        self._task.cancel()
        await asyncio.wait([self._task])
        return self.texts


@pytest.mark.parametrize("watcher", [1, 2])
async def test_every_set_and_end_is_told_with_who_and_why(world: World, watcher: int) -> None:
    two, calm = world.hosts[2], "Global maintenance is off."
    timeline = Timeline(world.hosts[watcher])
    await settle()
    await two.keeper.give(orders.MAINTENANCE, who="kim", reason="disks", for_seconds=5.0)
    await world.turns(8)
    await two.keeper.give(orders.MAINTENANCE, who="kim")
    await world.turns(2)
    await two.keeper.clear(who="lee", reason="done")
    await world.turns(2)
    await two.keeper.give(orders.MAINTENANCE, who="kim")
    await world.turns(2)
    await world.blocks.write_global(False)
    await world.turns(2)
    await world.blocks.write_global(True)
    await world.turns(2)
    await two.keeper.clear(who="lee")
    await world.turns(2)
    texts = [text for text in await timeline.stop() if text != calm]
    assert texts[0].startswith("Global maintenance is on by kim on h2 (id 2), until ")
    assert texts[0].endswith(": disks.")
    rest = [text.replace("is off, ended", "was ended") for text in texts[1:]]
    assert rest == [
        f"Global maintenance was ended by {US} on h2 (id 2): its time was over.",
        "Global maintenance is on by kim on h2 (id 2).",
        "Global maintenance was ended by lee on h2 (id 2): done.",
        "Global maintenance is on by kim on h2 (id 2).",
        f"Global maintenance was ended by {US} on h2 (id 2): the flag on storage is off, cleared "
        "there by another program or never set.",
        "Global maintenance is on; who set it is not known: a predecessor's host does not tell.",
        "Global maintenance was ended by lee on h2 (id 2).",
    ]


async def test_the_highest_number_is_said_to_be_the_end(world: World) -> None:
    line = orders.encode(Order(orders.MAX_NUMBER, "none", host_id=9), None)
    world.blocks.slots[9] = encode(
        StatusBlock(9, "h9", 1, 0, {"vm": "down", "health": "bad"}),
        ["agent=ha-agent 1", f"order={line}"],
    )
    await world.turns(2)
    with pytest.raises(EnvironmentFault, match="damaged"):
        await world.hosts[1].keeper.give(orders.MAINTENANCE, who=ROOT)
    assert {host.flag() for host in world.hosts.values()} == {False}


# Taking notice ----------------------------------------------------------------------------


async def test_hosts_take_notice_of_a_shutdown_with_their_vms(world: World) -> None:
    world.hosts[1].vms, world.hosts[3].vms = 2, None
    order = await world.hosts[2].keeper.give(orders.SHUTDOWN, who=ROOT)
    await world.turns(3)
    seen = {h.host_id: (h.order_seen, h.other_vms) for h in world.hosts[2].board.read().hosts}
    number = order.number
    assert seen == {1: (number, 2), 2: (number, 0), 3: (number, None)}
    assert orders.shutdown_waits(world.hosts[2].board.read()) == ("2 other VMs on h1 to end",)
    world.hosts[1].vms = 0
    await world.turns(4)
    assert orders.shutdown_waits(world.hosts[2].board.read()) == ()
    await world.hosts[2].keeper.clear(who=ROOT)
    await world.turns(3)
    assert "other_vms" not in world.hosts[1].lines()


async def test_a_broker_just_started_does_not_say_that_nobody_is_waited_for(
    world: World,
) -> None:
    """Nobody lives in its eyes yet: it must not have the engine stopped under others' VMs."""
    world.hosts[1].vms = 2
    await world.hosts[2].keeper.give(orders.SHUTDOWN, who=ROOT)
    await world.turns(3)
    again = await world.restart(2)
    for _ in range(int(ALIVE_SECONDS) + 5):
        await world.turns(1)
        assert orders.shutdown_waits(again.board.read()) != ()
    assert orders.shutdown_waits(again.board.read()) == ("2 other VMs on h1 to end",)


async def test_a_block_of_ours_that_lost_the_order_gets_it_back(world: World) -> None:
    setter = world.hosts[2]
    await setter.keeper.give(orders.MAINTENANCE, who=ROOT)
    setter.agent_lives = False
    old = StatusBlock(2, "h2", 1, 3400, {"vm": "down", "health": "bad"})
    await world.turns(1)
    setter.blocks.slots[2] = encode(old, ["agent=ha-agent 1"])
    await world.turns(3)
    assert "order" in setter.lines()


async def test_what_is_left_goes_down(world: World) -> None:
    await world.hosts[2].keeper.give(orders.MAINTENANCE, who=ROOT, for_seconds=60.0)
    await world.turns(20)
    for host in world.hosts.values():
        left = host.keeper.remaining_seconds()
        assert left is not None
        assert 35 < left <= 41


def test_an_order_without_a_wish_for_the_flag() -> None:
    assert not Order(1, orders.NONE).wants_flag
