# SPDX-License-Identifier: Apache-2.0
"""The monitor in hand-made time over a volume in memory, and that volume's contract."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Callable, Optional, Union

import pytest

from ha_agent.broker.blocks.codec import (
    BlockError,
    GlobalBlock,
    StatusBlock,
    encode,
    human_values,
    key_value_lines,
    line_values,
)
from ha_agent.broker.blocks.monitor import MonitorTimes, StatusMonitor
from ha_agent.broker.blocks.store import BlockProblem, BlockStore
from ha_agent.broker.rpc.codec import Response
from ha_agent.broker.rpc.codec import encode as encode_message
from ha_agent.broker.snapshot import DefinitionEntry, HostEntry, Report, Snapshot, to_wire
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.vdsm.client.answers import HostCapabilities
from tests.broker.fake_blocks import FakeBlocks
from tests.fakes import FakeClock

OURS = 1
ALIVE_SECONDS = 10.0
REPORT_SECONDS = 20.0
LEASE_SECONDS = 4.0


def block_of(host_id: int, timestamp_seconds: int = 77, score: int = 3400) -> StatusBlock:
    status = {"vm": "down", "health": "bad", "detail": "unknown"}
    return StatusBlock(host_id, f"h{host_id}.example", timestamp_seconds, score, status)


# What the fake and the real store have in common ------------------------------------------


@dataclasses.dataclass
class Volume:
    """A store, and the volume under it as another host writes it."""

    store: Union[FakeBlocks, BlockStore]
    put: Callable[[int, bytes], None]
    go_away: Callable[[], None]


@pytest.fixture(params=["fake", "real"])
async def volume(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Volume]:
    if request.param == "fake":
        fake = FakeBlocks(SystemClock().now)

        def fail() -> None:
            fake.fault = EnvironmentFault("gone")

        yield Volume(fake, fake.slots.__setitem__, fail)
        return
    path = tmp_path / "status"
    path.write_bytes(bytes(30 * 4096))
    lane = StorageLane("status", "/run/of/test", clock=SystemClock())

    def put(slot: int, data: bytes) -> None:
        with path.open("r+b") as file:
            file.seek(slot * 4096)
            file.write(data)

    try:
        yield Volume(BlockStore(lane, str(path), clock=SystemClock()), put, path.unlink)
    finally:
        await lane.close()


class TestContractOfStores:
    async def test_nobody_has_written(self, volume: Volume) -> None:
        before = SystemClock().now()
        look = await volume.store.read_all()
        assert (look.hosts, look.global_block) == ({}, None)
        assert before <= look.read_at <= SystemClock().now()

    async def test_what_is_written_is_read_and_what_others_write(self, volume: Volume) -> None:
        volume.put(2, encode(block_of(2)))
        await volume.store.write(block_of(1), ["state=EngineDown"])
        await volume.store.write_global(True)
        look = await volume.store.read_all()
        assert look.hosts == {1: block_of(1), 2: block_of(2)}
        ours = look.hosts[1]
        assert isinstance(ours, StatusBlock)
        assert ours.extra == "state=EngineDown\n"
        assert look.global_block == GlobalBlock(True)

    async def test_a_damaged_slot_is_its_own_problem(self, volume: Volume) -> None:
        for slot in (1, 2):
            volume.put(slot, encode(block_of(slot)))
        volume.put(2, b"\xff".ljust(4096, b"\0"))
        volume.put(0, b"\xff".ljust(4096, b"\0"))
        look = await volume.store.read_all()
        assert look.hosts[1] == block_of(1)
        assert look.hosts[2] == BlockProblem(2, "slot 2, byte 0: not UTF-8")
        assert look.global_block == BlockProblem(0, "slot 0, byte 0: not UTF-8")

    async def test_a_cleaned_slot_is_nobodys(self, volume: Volume) -> None:
        volume.put(2, encode(block_of(2)))
        await volume.store.read_all()
        volume.put(2, bytes(4096))
        assert (await volume.store.read_all()).hosts == {}

    async def test_a_block_without_a_form_is_not_written(self, volume: Volume) -> None:
        with pytest.raises(BlockError, match="host name"):
            await volume.store.write(dataclasses.replace(block_of(5), host_name="a|b"))
        assert (await volume.store.read_all()).hosts == {}

    async def test_a_read_asked_for_after_a_write_has_it(self, volume: Volume) -> None:
        await volume.store.read_all()
        writing = asyncio.ensure_future(volume.store.write(block_of(1)))
        await asyncio.sleep(0)
        look = await volume.store.read_all()
        await writing
        assert look.hosts == {1: block_of(1)}
        assert (await volume.store.read_all()).hosts == {1: block_of(1)}

    async def test_a_first_write_during_a_scan_is_not_lost(self, volume: Volume) -> None:
        await asyncio.gather(volume.store.read_all(), volume.store.write(block_of(1)))
        assert (await volume.store.read_all()).hosts == {1: block_of(1)}

    async def test_what_fails_is_an_environment_fault(self, volume: Volume) -> None:
        await volume.store.write(block_of(1))
        volume.go_away()
        with pytest.raises(EnvironmentFault):
            await volume.store.read_all()
        with pytest.raises(EnvironmentFault):
            await volume.store.write(block_of(1))
        with pytest.raises(EnvironmentFault):
            await volume.store.write_global(True)


# The monitor ------------------------------------------------------------------------------


class TurnClock(FakeClock):
    """Sleeps until the test has the next turn."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = asyncio.Event()
        self.slept: list[float] = []
        self._turn = asyncio.Event()

    async def sleep(self, duration_seconds: float) -> None:
        self.slept.append(duration_seconds)
        self.asleep.set()
        await self._turn.wait()
        self._turn.clear()

    async def turn(self, after_seconds: float) -> None:
        self.time = self.time + after_seconds
        self.asleep.clear()
        self._turn.set()


class World:
    def __init__(self) -> None:
        self.clock = TurnClock()
        self.blocks = FakeBlocks(self.clock.now)
        first = Snapshot(0, OURS, "h1.example", "vm", self.clock.now())
        self.board = Board(first, self.clock.now, dict)
        self.id_is_ours = True
        self.capacity: Optional[HostCapabilities] = None
        self.monitor = StatusMonitor(
            self.blocks,
            self.board,
            OURS,
            "h1.example",
            clock=self.clock,
            times=MonitorTimes(1.0, ALIVE_SECONDS, REPORT_SECONDS, LEASE_SECONDS),
            may_write=lambda: self.id_is_ours,
            capacity=lambda: self.capacity,
        )
        self.tasks: list[asyncio.Task[None]] = []

    async def first_look(self) -> None:
        loops = (self.monitor.run(), self.monitor.run_writer())
        self.tasks = [asyncio.ensure_future(loop) for loop in loops]
        await asyncio.wait_for(self.clock.asleep.wait(), 5)

    async def look(self, after_seconds: float = 1.0) -> None:
        await self.clock.turn(after_seconds)
        await asyncio.wait_for(self.clock.asleep.wait(), 5)

    async def report(self, report: Report) -> None:
        self.monitor.report(report)
        for _ in range(5):
            await asyncio.sleep(0)

    def put(self, block: StatusBlock, state: str = "EngineDown", **more: str) -> None:
        """As a host of our version; `more` are lines for people."""
        values = human_values(block, state=state, timestamp_text="", conf_refresh_text="")
        lines = key_value_lines({**values, "agent": "ha-agent 1.0", **more})
        self.blocks.slots[block.host_id] = encode(block, lines)

    def host(self, host_id: int) -> HostEntry:
        return next(h for h in self.board.read().hosts if h.host_id == host_id)

    @property
    def fresh(self) -> list[int]:
        return [h.host_id for h in self.board.read().hosts if h.fresh]

    @property
    def alive(self) -> list[int]:
        return [h.host_id for h in self.board.read().hosts if h.alive]

    def now_report(self, **more: Any) -> Report:
        values: dict[str, Any] = {"state": "EngineDown", "score": 3400, **more}
        return Report(made_at=self.clock.now(), **values)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    for task in world.tasks:
        assert not task.done(), task.exception()
        task.cancel()
    if world.tasks:
        await asyncio.wait(world.tasks)


class TestWhoLives:
    async def test_what_the_first_look_finds_may_be_a_year_old(self, world: World) -> None:
        world.put(block_of(2))
        world.put(block_of(3))
        await world.first_look()
        await world.look()
        assert [h.host_id for h in world.board.read().hosts] == [2, 3]
        assert world.alive == []
        world.put(block_of(2, timestamp_seconds=78))
        await world.look()
        assert world.alive == [2]
        assert world.host(2).changed_at == world.clock.now()
        assert world.host(3).changed_at is None

    async def test_a_block_that_appears_later_is_a_live_host(self, world: World) -> None:
        await world.first_look()
        world.put(block_of(2))
        await world.look()
        assert world.alive == [2]

    async def test_who_does_not_change_any_more_is_dead(self, world: World) -> None:
        await world.first_look()
        world.put(block_of(2))
        await world.look()
        await world.look(ALIVE_SECONDS - 0.1)
        assert world.alive == [2]
        await world.look(0.1)
        assert world.alive == []
        assert world.host(2).score == 3400

    async def test_a_block_is_fresh_for_as_long_as_a_lease_lasts(self, world: World) -> None:
        await world.first_look()
        world.put(block_of(2))
        world.put(block_of(3))
        await world.look()
        assert (world.alive, world.fresh) == ([2, 3], [2, 3])
        await world.look(LEASE_SECONDS - 0.1)
        world.put(block_of(3, timestamp_seconds=78))
        assert world.fresh == [2, 3]
        await world.look(0.1)
        assert (world.alive, world.fresh) == ([2, 3], [3])
        world.put(block_of(2, timestamp_seconds=79))
        await world.look(0.1)
        assert world.fresh == [2, 3]
        await world.look(ALIVE_SECONDS)
        assert (world.alive, world.fresh) == ([], [])

    async def test_a_host_that_nobody_has_seen_change_is_not_fresh(self, world: World) -> None:
        world.put(block_of(2))
        await world.first_look()
        await world.look()
        assert world.fresh == []

    async def test_a_predecessors_block_is_fresh_for_its_whole_minute(self, world: World) -> None:
        await world.first_look()
        world.blocks.slots[2] = encode(block_of(2), ["state=EngineUp"])
        await world.look()
        await world.look(59.9)
        assert world.fresh == [2]
        await world.look(0.1)
        assert world.fresh == []

    async def test_a_host_of_the_predecessors_version_has_a_minute(self, world: World) -> None:
        """It writes every 10 s when all is well, and its own peers give it 60 s."""
        await world.first_look()
        world.blocks.slots[2] = encode(block_of(2), ["state=EngineUp"])
        world.put(block_of(3))
        await world.look()
        assert world.host(2).predecessor
        assert not world.host(3).predecessor
        await world.look(59.9)
        assert world.alive == [2]
        await world.look(0.1)
        assert world.alive == []

    async def test_a_predecessor_that_says_it_has_the_vm_is_believed_at_first(
        self, world: World
    ) -> None:
        """A host of ours that boots must not start the VM because it has seen nobody live yet."""
        up = {"vm": "up", "health": "good", "detail": "Up"}
        world.blocks.slots[2] = encode(dataclasses.replace(block_of(2), engine_status=up))
        down = {"vm": "down", "health": "bad", "detail": "Down"}
        world.blocks.slots[3] = encode(dataclasses.replace(block_of(3), engine_status=down))
        world.put(dataclasses.replace(block_of(4), engine_status=up))
        await world.first_look()
        await world.look()
        assert world.alive == [2]
        await world.look(60.0)
        assert world.alive == []

    async def test_new_lines_are_read_but_are_no_sign_of_life(self, world: World) -> None:
        world.put(block_of(2))
        await world.first_look()
        world.put(block_of(2), order_seen="7")
        await world.look()
        assert (world.alive, world.host(2).order_seen) == ([], 7)

    async def test_who_has_not_changed_is_the_same_entry(self, world: World) -> None:
        world.put(block_of(2))
        await world.first_look()
        look = await world.blocks.read_all()
        world.monitor.take(look)
        before = world.host(2)
        world.monitor.take(dataclasses.replace(look, read_at=look.read_at + 1.0))
        assert world.host(2) is before

    async def test_a_look_that_comes_late_does_not_bring_the_past_back(self, world: World) -> None:
        await world.first_look()
        world.put(block_of(2))
        old = await world.blocks.read_all()
        world.put(block_of(2, timestamp_seconds=78))
        await world.look()
        changed_at = world.host(2).changed_at
        world.monitor.take(old)
        assert (world.host(2).timestamp_seconds, world.host(2).changed_at) == (78, changed_at)

    async def test_a_read_from_before_our_write_does_not_bring_our_old_block_back(
        self, world: World
    ) -> None:
        await world.first_look()
        await world.report(world.now_report(score=1))
        world.clock.time = world.clock.time + 1.0
        old = await world.blocks.read_all()
        world.clock.time = world.clock.time + 1.0
        await world.report(world.now_report(score=2))
        world.monitor.take(old)
        assert world.host(OURS).score == 2

    async def test_a_peers_clock_is_compared_with_nothing_of_ours(self, world: World) -> None:
        """It was set back, or its host booted: any change is a sign of life."""
        world.put(block_of(2, timestamp_seconds=900_000))
        await world.first_look()
        world.put(block_of(2, timestamp_seconds=5))
        await world.look()
        assert world.alive == [2]

    async def test_silent_storage_makes_everybody_older_and_is_told_once(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        await world.first_look()
        world.put(block_of(2))
        await world.look()
        read_at = world.monitor.storage.read_at
        world.blocks.fault = EnvironmentFault("no answer within 5 s")
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                await world.look()
        assert world.alive == [2]
        assert world.monitor.storage.read_at == read_at
        assert "no answer within 5 s" in world.monitor.storage.problem
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        await world.look(ALIVE_SECONDS)
        assert world.alive == []
        world.blocks.fault = None
        with caplog.at_level(logging.INFO):
            await world.look()
        assert world.monitor.storage.problem == ""
        assert "fine again" in caplog.text

    async def test_a_slow_read_shortens_the_pause(self, world: World) -> None:
        world.blocks.gate = asyncio.Event()
        loop = asyncio.ensure_future(world.monitor.run())
        world.tasks.append(loop)
        await asyncio.sleep(0)
        world.clock.time = world.clock.time + 0.7
        world.blocks.gate.set()
        await asyncio.wait_for(world.clock.asleep.wait(), 5)
        assert world.clock.slept == [pytest.approx(0.3)]


class TestBlocks:
    async def test_what_a_block_says_is_on_the_board(self, world: World) -> None:
        block = dataclasses.replace(
            block_of(2), maintenance=True, stopped=True, local_conf_timestamp=70
        )
        world.put(block, state="LocalMaintenance")
        await world.first_look()
        entry = world.host(2)
        assert (entry.host_name, entry.score, entry.state) == (
            "h2.example",
            3400,
            "LocalMaintenance",
        )
        assert entry.maintenance
        assert entry.stopped
        assert (entry.timestamp_seconds, entry.local_conf_timestamp_seconds) == (77, 70)
        assert entry.engine_status == {"vm": "down", "health": "bad", "detail": "unknown"}
        assert len(entry.crc32) == 8

    @pytest.mark.parametrize(
        ("text", "memory_mib", "cpu_threads"),
        [
            ("memory_mib=16384\ncpu_threads=8\n", 16384, 8),
            ("memory_mib=16384\nmemory_mib=1\n", 16384, None),
            ("memory_mib=\ncpu_threads=0\n", None, None),
            ("memory_mib=-5\ncpu_threads=08\n", None, None),
            ("memory_mib=99999999999\ncpu_threads=\u0668\n", None, None),
            ("reason=memory_mib=1\nmemory_mib", None, None),
            ("", None, None),
        ],
    )
    async def test_what_a_peer_has_is_read_or_unknown(
        self, world: World, text: str, memory_mib: Optional[int], cpu_threads: Optional[int]
    ) -> None:
        data = bytearray(encode(block_of(2)))
        data[512 : 512 + len(text.encode())] = text.encode()
        world.blocks.slots[2] = bytes(data)
        await world.first_look()
        entry = world.host(2)
        assert (entry.memory_mib, entry.cpu_threads, entry.problem) == (
            memory_mib,
            cpu_threads,
            "",
        )

    @pytest.mark.parametrize(("memory_mib", "cpu_threads"), [(16384, 8), (None, 8), (16384, None)])
    async def test_what_this_host_has_stands_in_its_block(
        self, world: World, memory_mib: Optional[int], cpu_threads: Optional[int]
    ) -> None:
        await world.first_look()
        await world.report(world.now_report(reason="r"))
        without = world.blocks.slots[OURS]
        entry = world.host(OURS)
        assert (entry.memory_mib, entry.cpu_threads) == (None, None)
        assert not {"memory_mib", "cpu_threads"} & set(line_values(entry.extra))
        machines = frozenset({"q35"})
        world.capacity = HostCapabilities(memory_mib, cpu_threads, machines, "", frozenset())
        await world.report(world.now_report(reason="r"))
        entry = world.host(OURS)
        assert (entry.memory_mib, entry.cpu_threads) == (memory_mib, cpu_threads)
        # The predecessor's part is the same to the byte, and so are its lines for people.
        assert world.blocks.slots[OURS][:512] == without[:512]
        assert world.blocks.slots[OURS][512:].startswith(without[512:].rstrip(b"\0"))

    async def test_a_bad_block_is_one_hosts_problem(self, world: World) -> None:
        for host_id in (2, 3):
            world.put(block_of(host_id))
        await world.first_look()
        world.blocks.slots[2] = b"\xff".ljust(4096, b"\0")
        world.blocks.slots[4] = b"\xff".ljust(4096, b"\0")
        world.put(block_of(3, timestamp_seconds=78))
        await world.look()
        bad, never_good = world.host(2), world.host(4)
        assert (bad.problem, bad.score, bad.host_name) == (
            "slot 2, byte 0: not UTF-8",
            3400,
            "h2.example",
        )
        assert (never_good.problem, never_good.score) == ("slot 4, byte 0: not UTF-8", 0)
        assert world.alive == [3]
        assert world.monitor.storage.problem == ""

    async def test_no_block_makes_a_picture_that_can_not_be_sent(self, world: World) -> None:
        """Half a character, escaped, is sound JSON, but MessagePack has no bytes for it."""
        status = {"vm": "up", "health": "bad", "detail": "a\ud800b", "\udc00": "c"}
        world.put(StatusBlock(2, "h2.example", 1, 3400, status))
        await world.first_look()
        encode_message(Response(1, result=to_wire(world.board.read())))
        read = world.host(2).engine_status
        assert read == {"vm": "up", "health": "bad", "detail": "a?b", "?": "c"}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("2;{};what comes then", "too new: format version 2, this software reads up to 1"),
            ("1|0|{}|2|3400|{{}}|h2", "too old: feature version 0, this software reads from 1 on"),
        ],
    )
    async def test_another_version_lives_while_it_changes_and_nothing_is_known_of_it(
        self, world: World, text: str, reason: str
    ) -> None:
        def put(number: int) -> None:
            world.blocks.slots[2] = text.format(number).encode().ljust(4096, b"\0")

        world.put(block_of(2))
        await world.first_look()
        put(1)
        await world.look()
        host = world.host(2)
        assert (host.problem, host.host_name, host.score) == (f"slot 2: {reason}", "h2.example", 0)
        assert host.engine_status["vm"] == "unknown"
        assert world.alive == [2]
        world.clock.time = world.clock.time + 0.6 * ALIVE_SECONDS
        put(2)
        await world.look()
        world.clock.time = world.clock.time + 0.6 * ALIVE_SECONDS
        await world.look()
        assert world.alive == [2]
        world.clock.time = world.clock.time + 0.5 * ALIVE_SECONDS
        await world.look()
        assert world.alive == []
        world.put(block_of(2, timestamp_seconds=79))
        await world.look()
        assert (world.alive, world.host(2).problem) == ([2], "")

    async def test_a_block_that_is_whole_again_has_no_problem(self, world: World) -> None:
        world.put(block_of(2))
        await world.first_look()
        good = world.blocks.slots[2]
        world.blocks.slots[2] = b"\xff".ljust(4096, b"\0")
        await world.look()
        world.blocks.slots[2] = good
        await world.look()
        assert world.host(2).problem == ""
        assert world.alive == [], "the same block as before the damage is no sign of life"

    async def test_a_cleaned_slot_goes_and_its_next_block_is_a_new_host(
        self, world: World
    ) -> None:
        world.put(block_of(2))
        await world.first_look()
        block = world.blocks.slots.pop(2)
        await world.look()
        assert world.board.read().hosts == ()
        world.blocks.slots[2] = block
        await world.look()
        assert world.alive == [2]


class TestGlobalMaintenance:
    async def test_it_is_unknown_before_the_first_look(self, world: World) -> None:
        assert world.board.read().global_maintenance is None
        await world.first_look()
        assert world.board.read().global_maintenance is False

    async def test_what_another_host_sets_is_seen(self, world: World) -> None:
        await world.first_look()
        await world.blocks.write_global(True)
        await world.look()
        assert world.board.read().global_maintenance is True
        await world.blocks.write_global(False)
        await world.look()
        assert world.board.read().global_maintenance is False

    async def test_a_set_flag_is_known_at_once(self, world: World) -> None:
        await world.first_look()
        version = world.board.read().version
        await world.monitor.set_global_maintenance(True)
        assert world.board.read().global_maintenance is True
        assert world.board.read().version > version

    async def test_a_set_that_failed_changes_nothing(self, world: World) -> None:
        await world.first_look()
        world.blocks.write_fault = EnvironmentFault("reads back something else")
        with pytest.raises(EnvironmentFault, match="something else"):
            await world.monitor.set_global_maintenance(True)
        assert world.board.read().global_maintenance is False

    async def test_a_read_sent_before_a_set_does_not_bring_the_old_flag_back(
        self, world: World
    ) -> None:
        await world.first_look()
        world.blocks.gate = asyncio.Event()
        await world.clock.turn(1.0)
        for _ in range(5):
            await asyncio.sleep(0)
        world.clock.time = world.clock.time + 0.1
        await world.monitor.set_global_maintenance(True)
        world.blocks.gate.set()
        await asyncio.wait_for(world.clock.asleep.wait(), 5)
        assert world.board.read().global_maintenance is True
        await world.look()
        assert world.board.read().global_maintenance is True

    @pytest.mark.parametrize("known", [False, True])
    async def test_a_damaged_slot_0_leaves_the_flag(
        self, world: World, known: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        await world.blocks.write_global(known)
        await world.first_look()
        world.blocks.slots[0] = b"maintenance=perhaps".ljust(4096, b"\0")
        for _ in range(3):
            await world.look()
        assert world.board.read().global_maintenance is known
        assert f"taken as {'on' if known else 'off'}" in world.monitor.storage.problem
        assert len(caplog.records) == 1
        await world.monitor.set_global_maintenance(known)
        assert world.monitor.storage.problem == ""
        await world.look()
        assert world.monitor.storage.problem == ""

    async def test_damaged_from_the_first_look_on_it_is_off(self, world: World) -> None:
        """One bad byte must not keep the whole cluster from starting its engine."""
        world.blocks.slots[0] = b"\xff".ljust(4096, b"\0")
        await world.first_look()
        assert world.board.read().global_maintenance is False
        assert "taken as off" in world.monitor.storage.problem


class TestOurBlock:
    async def test_what_stands_in_our_slot_is_seen_before_it_is_written_over(
        self, world: World
    ) -> None:
        """An order of ours would be lost with it."""
        world.put(block_of(OURS), order='{"number": 7, "what": "shutdown", "at": 5}')
        seen: list[int] = []
        world.monitor.on_look = lambda: seen.extend(o.number for o in world.monitor.orders)
        writer = asyncio.ensure_future(world.monitor.run_writer())
        await world.report(world.now_report())
        writer.cancel()
        await asyncio.wait({writer})
        assert seen == [7]
        assert len(world.blocks.writes) == 1
        assert world.monitor.order_on_storage is None

    async def test_a_report_is_written_and_known_without_a_read(self, world: World) -> None:
        world.board.update(
            definition=DefinitionEntry(
                accepted_at_unix_seconds=world.clock.wall().unix_seconds - 60
            )
        )
        await world.first_look()
        status = {"vm": "up", "health": "good", "detail": "Up"}
        report = world.now_report(
            state="EngineUp", reason="all is well", engine_status=status, local_maintenance=True
        )
        await world.report(report)
        assert world.board.read().agent == report
        (block,) = world.blocks.writes
        assert (block.host_id, block.host_name, block.score) == (1, "h1.example", 3400)
        assert (block.timestamp_seconds, block.local_conf_timestamp) == (1000, 940)
        assert (block.maintenance, block.stopped) == (True, False)
        entry = world.host(OURS)
        assert (entry.state, entry.engine_status, entry.alive) == ("EngineUp", status, True)
        assert "reason=all is well\n" in entry.extra
        assert world.monitor.storage.written_at == world.clock.now()

    async def test_every_report_is_a_sign_of_life(self, world: World) -> None:
        await world.first_look()
        for _ in range(4):
            await world.look(ALIVE_SECONDS / 2)
            await world.report(world.now_report())
        assert world.alive == [OURS]
        assert world.host(OURS).changed_at == world.clock.now()

    async def test_the_newest_report_wins(self, world: World) -> None:
        await world.first_look()
        world.monitor.report(world.now_report(score=1))
        await world.report(world.now_report(score=2))
        assert [block.score for block in world.blocks.writes] == [2]

    async def test_a_slot_that_is_not_ours_is_not_written(self, world: World) -> None:
        world.id_is_ours = False
        await world.first_look()
        await world.report(world.now_report())
        assert world.blocks.slots == {}
        assert world.board.read().agent.score == 3400
        assert world.monitor.storage.written_at is None

    @pytest.mark.parametrize(
        ("age_seconds", "written"), [(REPORT_SECONDS, 1), (REPORT_SECONDS + 0.1, 0)]
    )
    async def test_a_report_that_is_too_old_is_not_written(
        self, world: World, age_seconds: float, written: int
    ) -> None:
        """Peers must see a hung agent as they see a dead host."""
        await world.first_look()
        report = world.now_report()
        world.clock.time = world.clock.time + age_seconds
        await world.report(report)
        assert len(world.blocks.writes) == written

    async def test_a_report_without_a_time_is_not_written(self, world: World) -> None:
        await world.first_look()
        await world.report(Report(score=3400))
        assert world.blocks.writes == []

    async def test_failed_writes_are_told_once(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        await world.first_look()
        world.blocks.write_fault = EnvironmentFault("EIO")
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                await world.report(world.now_report())
        assert world.monitor.storage.problem == "our block can't be written: EIO"
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert world.board.read().hosts == ()
        world.blocks.write_fault = None
        with caplog.at_level(logging.INFO):
            await world.report(world.now_report())
        assert world.monitor.storage.problem == ""
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]

    async def test_a_report_that_fits_no_block_does_not_end_the_writer(self, world: World) -> None:
        await world.first_look()
        await world.report(
            world.now_report(engine_status={"vm": "down", "health": "bad", "x" * 5000: ""})
        )
        assert "can't be written" in world.monitor.storage.problem
        await world.report(world.now_report(reason="short"))
        assert len(world.blocks.writes) == 1

    async def test_before_a_definition_there_is_no_time_of_it(self, world: World) -> None:
        await world.first_look()
        await world.report(world.now_report())
        assert world.blocks.writes[0].local_conf_timestamp == 0

    async def test_a_definition_from_before_the_boot_has_no_negative_time(
        self, world: World
    ) -> None:
        world.board.update(definition=DefinitionEntry(accepted_at_unix_seconds=1.0))
        await world.first_look()
        await world.report(world.now_report())
        assert world.blocks.writes[0].local_conf_timestamp == 0
