# SPDX-License-Identifier: Apache-2.0
"""Host ids in a lockspace, taken for hosts that join and given back, with real daemons.

Each story has a lockspace of its own, and all are told at once by two daemons: what takes time is
sanlock's I/O timeouts. The tests then say how each one ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Callable, Optional
from unittest import mock

import pytest

from ha_agent.broker.sanlock.times import SanlockTimes
from ha_agent.broker.storage.lane import StorageLane, WorkerProcess, launch_worker
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.setup.join.host_register import HostRegister
from ha_agent.setup.join.sanlock_id import SanlockSpace
from ha_agent.setup.step import SetupRefused
from tests.loop_device import loop_device
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock
from tests.setup.register_world import joiner, make_place, mute, read_block, read_raw, write_raw

pytestmark = [pytest.mark.sanlock, needs_sanlock]

TIMES = SanlockTimes(1, 60)


class Member:
    """A host with a daemon of its own."""

    def __init__(self, folder: Path, name: str, variables: Mapping[str, str], space: str) -> None:
        self.space = space
        self._variables = variables
        self.folder = folder
        self.name = name
        self.lane = StorageLane("t", str(folder), clock=SystemClock(), launch=self._launch)
        self.path = str(folder / "lease")

    def _launch(self, python: str, name: str, run_dir: str) -> tuple[WorkerProcess, socket.socket]:
        with mock.patch.dict(os.environ, self._variables):
            return launch_worker(python, name, run_dir)

    async def ask(self, operation: str, **args: Any) -> Any:
        return await self.lane.call(operation, 60, lockspace=self.space, path=self.path, **args)

    def register(self, **changes: Any) -> HostRegister:
        space = SanlockSpace(self.path, self.space, TIMES)
        place = make_place(self.folder, sanlock=space, lease_path="", **changes)
        return HostRegister(self.lane, place, joiner(self.name), clock=SystemClock())

    async def take(self, wanted: Any = None, **changes: Any) -> int:
        return await self.register(**changes).take(wanted, None, mute)

    async def own_id(self) -> int:
        return int(await self.ask("sanlock_own_id"))


async def two_that_join_at_once_get_different_ids(members: list[Member], **how: Any) -> None:
    ids = await asyncio.gather(*(member.take(**how) for member in members))
    assert sorted(ids) == [1, 2]
    for member, host_id in zip(members, ids):
        block = read_block(member.folder, host_id)
        assert block is not None
        assert block.host_name == f"{member.name}.example.com"
        assert await member.own_id() == host_id
        assert await member.take() == host_id


async def two_that_join_at_once_on_block_storage(members: list[Member]) -> None:
    await two_that_join_at_once_get_different_ids(members, hosts_path="", settle_seconds=0.5)


async def a_join_that_was_killed_before_its_slot(members: list[Member]) -> None:
    one, two = members
    join = {"host_id": 5, "io_timeout_seconds": 1}
    await one.ask("sanlock_join", **join)
    assert await one.own_id() == 5
    assert await two.take() == 1
    assert await one.take() == 2
    assert await one.own_id() == 2


async def an_id_that_is_held_without_a_slot(members: list[Member]) -> None:
    one, two = members
    assert await one.take() == 1
    write_raw(one.folder, 1, b"")
    assert await two.take() == 2


async def the_id_is_free_after_leaving(members: list[Member]) -> None:
    one, two = members
    assert await one.take(3) == 3
    with pytest.raises(SetupRefused, match="host id 3 is host1"):
        await two.take(3)
    assert await one.register().give_back(3) == "host id 3 is free"
    assert await one.own_id() == 0
    assert not any(read_raw(one.folder, 3))
    await one.ask("sanlock_leave", host_id=3)  # again is harmless
    assert await two.take(3) == 3


async def a_lockspace_of_the_same_name_elsewhere(members: list[Member]) -> None:
    await members[0].take()
    with pytest.raises(EnvironmentFault, match=f"has the lockspace {members[0].space} already"):
        await members[0].lane.call(
            "sanlock_own_id",
            30,
            lockspace=members[0].space,
            path=str(members[0].folder / "other"),
        )


async def sectors_of_4096_bytes_have_room_for_250(members: list[Member]) -> None:
    image = members[0].folder / "image"
    with image.open("wb") as file:
        file.truncate(2 << 20)
    with loop_device(image, 4096) as device:
        one = members[0]
        one.path = device
        await one.ask("sanlock_initialise", resource="vm", io_timeout_seconds=1)
        space = SanlockSpace(device, one.space, TIMES)
        place = make_place(one.folder, sanlock=space, lease_path="", max_hosts=300)
        register = HostRegister(one.lane, place, joiner("host1"), clock=SystemClock())
        with pytest.raises(SetupRefused, match="251 is above 250"):
            await register.take(251, None, mute)
        assert await register.take(None, None, mute) == 1
        await register.give_back(1)


STORIES: tuple[Callable[[list[Member]], Coroutine[Any, Any, None]], ...] = (
    two_that_join_at_once_get_different_ids,
    two_that_join_at_once_on_block_storage,
    a_join_that_was_killed_before_its_slot,
    an_id_that_is_held_without_a_slot,
    the_id_is_free_after_leaving,
    a_lockspace_of_the_same_name_elsewhere,
)
AS_ROOT = (sectors_of_4096_bytes_have_room_for_250,) if os.geteuid() == 0 else ()


async def told(
    story: Callable[[list[Member]], Coroutine[Any, Any, None]],
    number: int,
    folder: Path,
    daemons: list[SanlockDaemon],
) -> None:
    """Tell a story, and leave its lockspace however it ended."""
    folder.mkdir()
    members = [
        Member(folder, f"host{n}", daemon.variables, f"space-{number}")
        for n, daemon in enumerate(daemons, 1)
    ]
    try:
        await members[0].ask("sanlock_initialise", resource="vm", io_timeout_seconds=1)
        await story(members)
    finally:
        await asyncio.gather(*(left(member) for member in members))


async def left(member: Member) -> None:
    try:
        host_id = await member.own_id()
        if host_id:
            await member.ask("sanlock_leave", host_id=host_id)
    finally:
        await member.lane.close()


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Optional[BaseException]]:
    """How each story ended, by its name."""
    folder = tmp_path_factory.mktemp("stories")
    stories = (*STORIES, *AS_ROOT)

    async def all_told(daemons: list[SanlockDaemon]) -> list[Optional[BaseException]]:
        telling = [
            told(story, number, folder / str(number), daemons)
            for number, story in enumerate(stories)
        ]
        return await asyncio.gather(*telling, return_exceptions=True)

    with contextlib.ExitStack() as stack:
        daemons = [stack.enter_context(SanlockDaemon(folder / n, n)) for n in ("one", "two")]
        ended = asyncio.run(all_told(daemons))
    return {story.__name__: error for story, error in zip(stories, ended)}


@pytest.mark.parametrize("name", [story.__name__ for story in STORIES])
def test_story(endings: dict[str, Optional[BaseException]], name: str) -> None:
    error = endings[name]
    if error is not None:
        raise error


@pytest.mark.root
def test_sectors_of_4096_bytes(endings: dict[str, Optional[BaseException]]) -> None:
    error = endings[sectors_of_4096_bytes_have_room_for_250.__name__]
    if error is not None:
        raise error
