# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path

import pytest

from ha_agent import maintenance_file
from ha_agent.broker.maintenance.local import LocalMaintenanceKeeper, note_of
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.maintenance_file import LocalMaintenance
from tests.fakes import FakeClock


class CountingClock(FakeClock):
    def __init__(self) -> None:
        super().__init__()
        self.slept_often = asyncio.Event()
        self._sleeps = 0

    async def sleep(self, duration_seconds: float) -> None:
        await super().sleep(duration_seconds)
        self._sleeps += 1
        if self._sleeps == 3:
            self.slept_often.set()


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / maintenance_file.FILE_NAME
        self.clock = CountingClock()
        self.notes: list[str] = []
        self.keeper = self.on_boot("b1")

    def on_boot(self, boot_id: str) -> LocalMaintenanceKeeper:
        return LocalMaintenanceKeeper(
            self.folder, clock=self.clock, boot_id=boot_id, on_note=self.notes.append
        )

    @property
    def state(self) -> LocalMaintenance:
        return maintenance_file.read(self.path)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_it_is_in_the_file_with_who_when_why_and_until(world: World) -> None:
    found = await world.keeper.set(True, who="root", reason="disks", for_seconds=60.0)
    assert found == world.state
    assert (found.by_operator, found.who, found.why) == (True, "root", "disks")
    assert (found.ends_boottime_seconds, found.boot_id) == (1060.0, "b1")
    assert world.notes == [f"since {found.when} by root until {found.until}: disks"]


async def test_clearing_it_clears_the_engines_flag_and_keeps_what_is_not_ours(
    world: World,
) -> None:
    old = LocalMaintenance(by_engine=True, by_operator=True, others=(("vm_down", "False"),))
    maintenance_file.write(world.path, old)
    found = await world.keeper.set(False, who="root")
    assert not found.active
    assert found.others == old.others
    assert world.notes == [""]


async def test_its_end_clears_the_operators_wish_only(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.keeper.set(True, who="root", for_seconds=60.0)
    world.clock.time = world.clock.time + 59.0
    await world.keeper.look()
    assert world.state.by_operator
    maintenance_file.write(world.path, dataclasses.replace(world.state, by_engine=True))
    world.clock.time = world.clock.time + 1.0
    with caplog.at_level(logging.WARNING):
        await world.keeper.look()
    assert (world.state.by_operator, world.state.by_engine) == (False, True)
    assert "its time has come" in caplog.text
    assert world.notes[-1] == "by the engine"


async def test_after_a_reboot_the_calendar_tells(world: World) -> None:
    await world.keeper.set(True, who="root", for_seconds=60.0)
    again = world.on_boot("b2")
    await again.look()
    assert world.state.active
    world.clock.time = world.clock.time + 61.0
    await again.look()
    assert not world.state.active


async def test_whether_it_is_on_is_known_from_the_first_look(world: World) -> None:
    assert world.keeper.active is None
    await world.keeper.set(True, who="root")
    again = world.on_boot("b1")
    await again.look()
    assert again.active is True
    await again.set(False, who="root")
    assert again.active is False


async def test_without_an_end_it_stays(world: World) -> None:
    await world.keeper.set(True, who="root")
    world.clock.time = world.clock.time + 1e9
    await world.keeper.look()
    assert world.state.active


async def test_what_others_write_is_seen(world: World) -> None:
    await world.keeper.look()
    maintenance_file.write(world.path, LocalMaintenance(by_operator=True, why="by hand"))
    await world.keeper.look()
    assert world.notes == ["", "by the engine: by hand"]


async def test_a_file_that_can_not_be_used_is_an_error_and_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.path.write_text("local_maintenance=maybe\n")
    with pytest.raises(BadInput, match="maybe"):
        await world.keeper.set(True, who="root")
    running = asyncio.ensure_future(world.keeper.run())
    await asyncio.wait_for(world.clock.slept_often.wait(), 10)
    running.cancel()
    await asyncio.wait({running})
    assert caplog.text.count("maybe") == 1
    world.path.unlink()
    world.path.mkdir()
    with pytest.raises(EnvironmentFault):
        await world.keeper.set(True, who="root")


@pytest.mark.parametrize(
    ("state", "note"),
    [
        (LocalMaintenance(who="root", why="x"), ""),
        (LocalMaintenance(by_engine=True), "by the engine"),
        (LocalMaintenance(by_operator=True, who="root"), "by root"),
    ],
)
def test_the_note(state: LocalMaintenance, note: str) -> None:
    assert note_of(state) == note


def test_a_long_reason_in_the_file_does_not_fill_the_block() -> None:
    state = LocalMaintenance(by_operator=True, who="root", why="\u20ac" * 20_000)
    note = note_of(state)
    assert note.startswith("by root: \u20ac")
    assert len(note.encode()) <= 1000


async def test_the_engines_flag_and_the_operators_are_set_one_by_one(world: World) -> None:
    """`set` clears both, as the predecessor's --mode=none; its tools set one key at a time."""
    await world.keeper.set(True, who="root", reason="disks", for_seconds=60.0)
    set_by_root = world.state
    await world.keeper.set_key("local_maintenance", "True", who="vdsm")
    await world.keeper.set_key("local_maintenance", "False", who="vdsm")
    assert world.state == set_by_root == await world.keeper.read()
    assert world.keeper.active is True
    await world.keeper.set_key("local_maintenance_manual", "False", who="root")
    assert world.state == LocalMaintenance()
    assert (world.keeper.active, world.notes[-1]) == (False, "")
    await world.keeper.set_key("local_maintenance_manual", "True", who="root")
    assert (world.state.who, world.state.ends_boottime_seconds) == ("root", None)
    with pytest.raises(BadInput):
        await world.keeper.set_key("local_maintenance", "perhaps", who="vdsm")
    assert world.keeper.active is True
