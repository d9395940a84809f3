# SPDX-License-Identifier: Apache-2.0
"""Check and repair of lockspaces, with a real sanlock daemon and real files; time is ours."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent.broker.lease.file import lease_initialise
from ha_agent.broker.lease.rules import decode
from ha_agent.broker.sanlock.lockspace_codec import LOCKSPACE_BYTES
from ha_agent.broker.sanlock.lockspaces import Lockspaces, NotProven, spaces_of
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from tests.sanlock_daemon import SanlockDaemon, needs_sanlock
from tests.small_config import NOWHERE, VM, write_config

SANLOCK = "[lease]\nbackend = sanlock\n[sanlock]\npath = {path}\nprofile = fast\n"
DEAD_SECONDS = 8 * 10 + 60.0  # of what is damaged; sound records here say 76


class Lane:
    """A real lane; `fault` is raised in its place, and `before` runs before an operation."""

    def __init__(self, folder: Path) -> None:
        self.fault: Optional[Exception] = None
        self.before: dict[str, Any] = {}
        self.real = StorageLane("test", str(folder), clock=SystemClock())

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        self.before.get(operation, lambda: None)()
        return await self.real.call(operation, max(20.0, deadline_seconds), **args)


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> Instant:
        return Instant(self.seconds)

    async def sleep(self, duration_seconds: float) -> None:
        self.seconds += duration_seconds


class World:
    """A host's lockspaces."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.config = layers.load([write_config(folder, more)], NOWHERE)
        self.lane, self.clock = Lane(folder), Clock()
        self.snapshot = Snapshot(0, 1, "alpha", VM, Instant(0.0), hosts=(HostEntry(2, "beta"),))
        self.lockspaces = Lockspaces(
            self.config, self.lane, clock=self.clock, picture=lambda: self.snapshot
        )

    async def space(self) -> dict[str, Any]:
        answer = await self.lockspaces.check()
        found: dict[str, Any] = answer["spaces"][0]
        return found

    async def pass_by(self, seconds: float) -> None:
        """Look, let time pass, and look again."""
        await self.lockspaces.check()
        self.clock.seconds += seconds
        await self.lockspaces.check()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SanlockDaemon]:
    with SanlockDaemon(tmp_path_factory.mktemp("sanlock"), "alpha") as made:
        yield made


@pytest.fixture
async def world(
    tmp_path: Path, daemon: SanlockDaemon, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    # For the lane's worker: in one process the binding remembers its first daemon.
    for name, value in daemon.variables.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "place"
    made = World(tmp_path, SANLOCK.format(path=path))
    await made.lane.call(
        "sanlock_initialise",
        20.0,
        lockspace="ha-agent",
        path=str(path),
        resource=VM,
        io_timeout_seconds=2,
    )
    yield made
    await made.lane.real.close()


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.lane.real.close()


def damage(world: World, at: int = 3) -> Path:
    path = Path(world.lockspaces.spaces[0].path)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"garbage")
    return path


needs = [pytest.mark.sanlock, needs_sanlock]


class TestSanlock:
    pytestmark = needs

    async def test_a_sound_lockspace_is_fine_and_not_repaired(self, world: World) -> None:
        answer = await world.lockspaces.check()
        assert (answer["verdict"], answer["daemon"], answer["problems"]) == ("fine", "", [])
        [space] = answer["spaces"]
        assert (space["owner"], space["hosts"]) == ("nobody yet", [])
        path = Path(space["path"])
        before = path.read_bytes()
        [sentence] = await world.lockspaces.repair(False)
        assert "nothing to repair" in sentence
        assert path.read_bytes() == before

    async def test_garbage_is_repaired_once_nobody_renewed_for_long_enough(
        self, world: World
    ) -> None:
        path = damage(world)
        answer = await world.lockspaces.check()
        assert answer["verdict"] == "problem"
        assert "1 of 2000 host ids can't be read (host id 1" in answer["problems"][0]
        assert answer["spaces"][0]["wait_seconds"] == DEAD_SECONDS
        garbage = path.read_bytes()
        for dry_run in (True, False):
            with pytest.raises(NotProven) as refused:
                await world.lockspaces.repair(dry_run)
            assert refused.value.wait_seconds == DEAD_SECONDS
        await world.pass_by(DEAD_SECONDS - 0.1)
        with pytest.raises(NotProven):
            await world.lockspaces.repair(False)
        world.clock.seconds += 0.1
        [sentence] = await world.lockspaces.repair(True)
        assert "would make" in sentence
        assert path.read_bytes() == garbage
        [sentence] = await world.lockspaces.repair(False)
        assert "made anew" in sentence
        assert (await world.lockspaces.check())["verdict"] == "fine"

    async def test_a_host_id_that_changes_is_refused(self, world: World) -> None:
        path = damage(world)
        await world.pass_by(DEAD_SECONDS)
        damage(world, at=4)  # somebody writes there
        with pytest.raises(NotProven, match=r"host id 1 .* is live"):
            await world.lockspaces.repair(False)
        assert b"garbage" in path.read_bytes()

    async def test_a_write_between_look_and_repair_is_found(self, world: World) -> None:
        path = damage(world)
        await world.pass_by(DEAD_SECONDS)
        world.lane.before["lockspace_rewrite"] = lambda: damage(world, at=600)
        with pytest.raises(NotProven, match="has changed since"):
            await world.lockspaces.repair(False)
        assert b"garbage" in path.read_bytes()

    async def test_a_live_host_forbids_it(self, world: World, daemon: SanlockDaemon) -> None:
        path = damage(world, at=512 * 4)  # host id 5
        place = f"ha-agent:2:{path}:0"
        daemon.client("add_lockspace", "-s", place, "-o", "2")
        try:
            await world.pass_by(DEAD_SECONDS - 1)
            data = bytearray(path.read_bytes())
            data[512 + 152] ^= 1  # a renewal, which is damaged: it must count all the same
            path.write_bytes(data)
            await world.lockspaces.check()
            world.clock.seconds += 1
            with pytest.raises(NotProven, match="host id 2"):
                await world.lockspaces.repair(False)
        finally:
            daemon.client("rem_lockspace", "-s", place, check=False)

    async def test_storage_that_fails_is_no_proof(self, world: World) -> None:
        damage(world)
        await world.pass_by(DEAD_SECONDS)
        world.lane.fault = EnvironmentFault("EIO")
        answer = await world.lockspaces.check()
        assert (answer["verdict"], answer["spaces"][0]["readable"]) == ("unknown", False)
        with pytest.raises(EnvironmentFault):
            await world.lockspaces.repair(False)

    async def test_zeros_and_a_short_file_need_the_same_proof(self, world: World) -> None:
        path = Path(world.lockspaces.spaces[0].path)
        os.truncate(path, 0)
        os.truncate(path, 2 * LOCKSPACE_BYTES)
        with pytest.raises(NotProven):
            await world.lockspaces.repair(False)
        await world.pass_by(DEAD_SECONDS)
        assert "made anew" in (await world.lockspaces.repair(False))[0]

    async def test_who_holds_a_host_id(self, world: World, daemon: SanlockDaemon) -> None:
        assert await world.lockspaces.why_held(2) == ""
        assert await world.lockspaces.host_id_states([2, 3]) == {2: "free", 3: "free"}
        path = world.lockspaces.spaces[0].path
        daemon.client("add_lockspace", "-s", f"ha-agent:2:{path}:0", "-o", "2")
        try:
            assert "host id 2 (beta)" in await world.lockspaces.why_held(2)
            assert await world.lockspaces.why_held(3) == ""
            [host] = (await world.space())["hosts"]
            assert (host["host_id"], host["host_name"], host["daemon"]) == (2, "beta", "alpha")
        finally:
            daemon.client("rem_lockspace", "-s", f"ha-agent:2:{path}:0", check=False)
        assert await world.lockspaces.why_held(2) == ""


class TestLockFile:
    async def test_a_record_that_can_not_be_read_is_repaired(self, plain: World) -> None:
        world = plain
        path = world.config.lease.path
        path.parents[1].mkdir()
        lease_initialise(str(path))
        assert (await world.lockspaces.check())["verdict"] == "fine"
        with path.open("r+b") as file:
            file.write(b"x")
        assert (await world.lockspaces.check())["verdict"] == "problem"
        with pytest.raises(NotProven):
            await world.lockspaces.repair(False)
        world.clock.seconds += world.config.lease.lease_expiry_seconds
        assert "would write" in (await world.lockspaces.repair(True))[0]
        with path.open("r+b") as file:
            file.write(b"y")  # somebody else writes
        with pytest.raises(NotProven):
            await world.lockspaces.repair(False)
        world.clock.seconds += world.config.lease.lease_expiry_seconds
        assert "written" in (await world.lockspaces.repair(False))[0]
        assert decode(path.read_bytes()[:4096]).state == "free"
        assert "nothing to repair" in (await world.lockspaces.repair(False))[0]

    async def test_a_missing_file_can_not_be_told(self, plain: World) -> None:
        world = plain
        assert (await world.lockspaces.check())["verdict"] == "unknown"
        with pytest.raises(EnvironmentFault):
            await world.lockspaces.repair(False)


def test_which_lockspaces_are_in_use(tmp_path: Path) -> None:
    made = World(tmp_path, "[vdsm-server]\nvm_lease = sanlock\n").config
    [domain] = spaces_of(made)
    assert domain.kind == "domain"
    assert domain.path.endswith("/dom_md/ids")
    assert spaces_of(World(tmp_path).config) == ()
