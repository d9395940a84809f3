# SPDX-License-Identifier: Apache-2.0
"""Host ids in a lockspace, taken for hosts that join and given back, with real daemons."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.broker.storage.lane import StorageLane, WorkerProcess, launch_worker
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.setup.host_register import HostRegister
from ha_agent.setup.sanlock_id import SanlockSpace
from ha_agent.setup.step import SetupRefused
from tests.loop_device import loop_device
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock
from tests.setup.register_world import joiner, make_place, mute, read_block, read_raw, write_raw

pytestmark = [pytest.mark.sanlock, needs_sanlock]

SPACE = "ha-agent"
TIMES = SanlockTimes(1, 60)


class Member:
    """A host with a daemon of its own."""

    def __init__(self, folder: Path, name: str, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.folder = folder
        self.name = name
        self.lane = StorageLane("t", str(folder), clock=SystemClock(), launch=self._launch)
        self.path = str(folder / "lease")

    def _launch(self, python: str, name: str, run_dir: str) -> tuple[WorkerProcess, socket.socket]:
        with mock.patch.dict(os.environ, self._variables):
            return launch_worker(python, name, run_dir)

    async def ask(self, operation: str, **args: Any) -> Any:
        return await self.lane.call(operation, 60, lockspace=SPACE, path=self.path, **args)

    def register(self, **changes: Any) -> HostRegister:
        space = SanlockSpace(self.path, SPACE, TIMES)
        place = make_place(self.folder, sanlock=space, lease_path="", **changes)
        return HostRegister(self.lane, place, joiner(self.name), clock=SystemClock())

    async def take(self, wanted: Any = None, **changes: Any) -> int:
        return await self.register(**changes).take(wanted, None, mute)

    async def own_id(self) -> int:
        return int(await self.ask("sanlock_own_id"))


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SanlockDaemon]]:
    folder = tmp_path_factory.mktemp("daemons")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(SanlockDaemon(folder / n, n)) for n in ("one", "two")]


@pytest.fixture
async def members(tmp_path: Path, daemons: list[SanlockDaemon]) -> AsyncIterator[list[Member]]:
    made = [
        Member(tmp_path, f"host{number}", daemon.variables)
        for number, daemon in enumerate(daemons, 1)
    ]
    await made[0].ask("sanlock_initialise", resource="vm", io_timeout_seconds=1)
    yield made
    for member in made:
        host_id = await member.own_id()
        if host_id:
            await member.ask("sanlock_leave", host_id=host_id)
        await member.lane.close()


@pytest.mark.parametrize("has_locks", [True, False], ids=["locks", "block"])
async def test_two_that_join_at_once_get_different_ids(
    members: list[Member], has_locks: bool
) -> None:
    how = {} if has_locks else {"hosts_path": "", "settle_seconds": 0.5}
    ids = await asyncio.gather(*(member.take(**how) for member in members))
    assert sorted(ids) == [1, 2]
    for member, host_id in zip(members, ids):
        block = read_block(member.folder, host_id)
        assert block is not None
        assert block.host_name == f"{member.name}.example.com"
        assert await member.own_id() == host_id
        assert await member.take() == host_id


async def test_a_join_that_was_killed_before_its_slot(members: list[Member]) -> None:
    one, two = members
    join = {"host_id": 5, "io_timeout_seconds": 1}
    await one.ask("sanlock_join", **join)
    assert await one.own_id() == 5
    assert await two.take() == 1
    assert await one.take() == 2
    assert await one.own_id() == 2


async def test_an_id_that_is_held_without_a_slot(members: list[Member]) -> None:
    one, two = members
    assert await one.take() == 1
    write_raw(one.folder, 1, b"")
    assert await two.take() == 2


async def test_the_id_is_free_after_leaving(members: list[Member]) -> None:
    one, two = members
    assert await one.take(3) == 3
    with pytest.raises(SetupRefused, match="host id 3 is host1"):
        await two.take(3)
    assert await one.register().give_back(3) == "host id 3 is free"
    assert await one.own_id() == 0
    assert not any(read_raw(one.folder, 3))
    await one.ask("sanlock_leave", host_id=3)  # again is harmless
    assert await two.take(3) == 3


async def test_a_lockspace_of_the_same_name_elsewhere(members: list[Member]) -> None:
    await members[0].take()
    with pytest.raises(EnvironmentFault, match="has the lockspace ha-agent already"):
        await members[0].lane.call(
            "sanlock_own_id", 30, lockspace=SPACE, path=str(members[0].folder / "other")
        )


@pytest.mark.root
async def test_sectors_of_4096_bytes_have_room_for_250(
    tmp_path: Path, members: list[Member]
) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(2 << 20)
    with loop_device(image, 4096) as device:
        one = members[0]
        one.path = device
        await one.ask("sanlock_initialise", resource="vm", io_timeout_seconds=1)
        space = SanlockSpace(device, SPACE, TIMES)
        place = make_place(tmp_path, sanlock=space, lease_path="", max_hosts=300)
        register = HostRegister(one.lane, place, joiner("host1"), clock=SystemClock())
        with pytest.raises(SetupRefused, match="251 is above 250"):
            await register.take(251, None, mute)
        assert await register.take(None, None, mute) == 1
        await register.give_back(1)
