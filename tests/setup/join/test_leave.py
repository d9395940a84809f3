# SPDX-License-Identifier: Apache-2.0
"""The steps of a leave: what keeps a host, what is undone, and that a kill anywhere ends well."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent import maintenance_file
from ha_agent.broker.snapshot import HostEntry, LeaseEntry, Report, Snapshot
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.maintenance_file import LocalMaintenance
from ha_agent.setup.join.host_id import FREE_SLOT
from ha_agent.setup.join.leave import LeavePlan, is_maintained, leave_steps, why_not
from ha_agent.setup.journal import open_journal
from ha_agent.setup.runner import run_steps
from ha_agent.setup.services import OUR_UNITS
from ha_agent.setup.step import SetupFailed, SetupRefused
from tests.setup.join_world import FakeServices
from tests.setup.register_world import JumpClock, read_raw, register, write_block

ALL = ("maintenance", "units", "host-id", "storage", "conf")
NOW = Instant(500.0)
OTHER = HostEntry(1, "other", alive=True)
QUIET = Report(made_at=NOW, engine_status={"vm": "down"}, local_maintenance=False)
FREE = LeaseEntry(state="held", host_id=1)


def picture(**changes: Any) -> Snapshot:
    base = Snapshot(1, 3, "alpha.example.com", "vm", NOW, lease=FREE, hosts=(OTHER,), agent=QUIET)
    return dataclasses.replace(base, **changes)


class FakeBroker:
    """Answers from `snapshot`; the agent takes notice of maintenance at the second look."""

    def __init__(self, state_dir: Path) -> None:
        self.snapshot = picture()
        self.path = state_dir / maintenance_file.FILE_NAME
        self.is_up = True
        self.notices = True

    async def picture(self) -> Snapshot:
        if not self.is_up:
            raise EnvironmentFault("no such socket")
        return self.snapshot

    async def set_local_maintenance(self) -> None:
        maintenance_file.write(self.path, LocalMaintenance(by_operator=True, who="root"))
        if self.notices:
            agent = dataclasses.replace(self.snapshot.agent, local_maintenance=True)
            self.snapshot = dataclasses.replace(self.snapshot, agent=agent)


class FakeStorage:
    def __init__(self) -> None:
        self.released = 0
        self.away: Optional[tuple[Path, Path]] = None
        self.connected = 0

    async def connect(self) -> str:
        self.connected += 1
        if self.away is not None:
            self.away[0].rename(self.away[1])
        return "it is connected"

    async def release(self) -> str:
        self.released += 1
        return "it is disconnected"


class World:
    """A host with id 3 in its cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.state_dir.mkdir()
        self.conf = folder / "hosted-engine.conf"
        self.conf.write_text("host_id=3\n")
        self.broker = FakeBroker(self.state_dir)
        self.storage = FakeStorage()
        self.services = FakeServices()
        self.services.running = set(OUR_UNITS)
        self.services.enabled = set(OUR_UNITS)
        self.said: list[str] = []
        write_block(folder, 3, "alpha")
        write_block(folder, 1, "other")

    def plan(self, journal: Any, **changes: Any) -> LeavePlan:
        plan = LeavePlan(
            conf_path=self.conf,
            state_dir=self.state_dir,
            host_id=3,
            broker=self.broker,
            storage=self.storage,
            register=register(self.folder, "alpha", clock=JumpClock()),
            journal=journal,
            clock=JumpClock(),
            services=self.services,
        )
        return dataclasses.replace(plan, **changes)

    async def leave(self, *, dry_run: bool = False, wrap: Any = None, **changes: Any) -> Any:
        with open_journal(
            self.state_dir, "leave", "host 3", write=not dry_run, anew=True
        ) as journal:
            plan = self.plan(journal, **changes)
            steps = [step if wrap is None else wrap(step) for step in leave_steps(plan)]
            return await run_steps(
                steps, journal=journal, say=self.said.append, dry_run=dry_run, clock=plan.clock
            )

    def is_gone(self) -> bool:
        assert read_raw(self.folder, 1) != FREE_SLOT
        return (
            read_raw(self.folder, 3) == FREE_SLOT
            and not self.conf.exists()
            and self.conf.with_name("hosted-engine.conf.left-1").read_text() == "host_id=3\n"
            and not self.services.running
            and not self.services.enabled
            and self.storage.released > 0
            and not maintenance_file.read(self.broker.path).active
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_host_leaves(world: World) -> None:
    assert await world.leave() == ALL
    assert world.is_gone()


async def test_a_dry_run_changes_nothing(world: World) -> None:
    assert await world.leave(dry_run=True) == ALL
    assert world.conf.exists()
    assert world.services.running
    assert not world.storage.released
    assert not (world.state_dir / "setup").exists()


async def test_a_host_that_left_and_joined_again_leaves_again(world: World) -> None:
    await world.leave()
    world.conf.write_text("host_id=3\n")
    write_block(world.folder, 3, "alpha")
    await world.services.enable(OUR_UNITS)
    await world.services.start(OUR_UNITS)
    world.broker.snapshot = picture(lease=LeaseEntry(state="held", ours=True))
    with pytest.raises(SetupRefused, match="owns the engine VM"):
        await world.leave()
    world.broker.snapshot = picture()
    assert await world.leave() == ALL


class Killed(BaseException):
    """SIGKILL, as far as Python code can see it."""


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_in_each_step(world: World, name: str, when: str) -> None:
    class Dying:
        def __init__(self, step: Any) -> None:
            self.step, self.name, self.title, self.look = step, step.name, step.title, step.look

        async def do(self, say: Any) -> str:
            if when == "before" and self.name == name:
                raise Killed
            text = await self.step.do(say)
            if self.name == name:
                raise Killed
            return str(text)

    with pytest.raises(Killed):
        await world.leave(wrap=Dying)
    world.broker.is_up = "ha-broker.service" in world.services.running
    await world.leave()
    assert world.is_gone()


@pytest.mark.parametrize("name", ["units", "connect"])
async def test_killed_and_then_the_host_was_booted(world: World, name: str) -> None:
    """Nothing connects the storage of a host whose daemons are disabled."""

    class Dying:
        def __init__(self, step: Any) -> None:
            self.step, self.name, self.title, self.look = step, step.name, step.title, step.look

        async def do(self, say: Any) -> str:
            text = await self.step.do(say)
            if self.name == name:
                raise Killed
            return str(text)

    there, away = world.folder / "status", world.folder / "status-away"
    world.storage.away = (away, there)
    if name == "connect":
        there.rename(away)
    with pytest.raises(Killed):
        await world.leave(wrap=Dying)
    world.broker.is_up = False
    there.rename(away)
    await world.leave()
    assert world.storage.connected > 0
    assert world.is_gone()


async def test_a_storage_that_can_not_be_connected_is_told(world: World) -> None:
    class Gone(FakeStorage):
        async def connect(self) -> str:
            raise SetupFailed("VDSM: the server does not answer")

    (world.folder / "status").rename(world.folder / "status-away")
    with pytest.raises(SetupFailed, match="the server does not answer"):
        await world.leave(storage=Gone())
    assert world.conf.exists()


async def test_killed_between_stop_and_disable(world: World) -> None:
    class Dying(FakeServices):
        async def disable(self, names: Any) -> None:
            raise Killed

    dying = Dying()
    dying.running, dying.enabled = set(OUR_UNITS), set(OUR_UNITS)
    with pytest.raises(Killed):
        await world.leave(services=dying)
    assert not dying.running
    world.services.running, world.broker.is_up = set(), False
    await world.leave()
    assert world.is_gone()


async def test_the_vm_came_back_after_a_leave_that_was_killed(world: World) -> None:
    """Somebody ended the maintenance and started the agent again; it stopped with the VM here."""

    class Dying(FakeServices):
        async def disable(self, names: Any) -> None:
            raise Killed

    dying = Dying()
    dying.running, dying.enabled = set(OUR_UNITS), set(OUR_UNITS)
    with pytest.raises(Killed):
        await world.leave(services=dying)
    maintenance_file.write(world.broker.path, LocalMaintenance())
    world.services.running = {"ha-broker.service"}
    world.broker.snapshot = picture(
        agent=dataclasses.replace(QUIET, stopped=True, engine_status={"vm": "up"})
    )
    with pytest.raises(SetupRefused, match="on this host"):
        await world.leave()
    world.broker.is_up = False
    with pytest.raises(SetupRefused, match="broker does not answer"):
        await world.leave()
    assert read_raw(world.folder, 3) != FREE_SLOT


async def test_killed_between_the_end_of_maintenance_and_of_the_file(world: World) -> None:
    class Dying:
        def __init__(self, step: Any) -> None:
            self.step, self.name, self.title, self.look = step, step.name, step.title, step.look

        async def do(self, say: Any) -> str:
            if self.name == "conf":
                maintenance_file.write(world.broker.path, LocalMaintenance())
                raise Killed
            return str(await self.step.do(say))

    with pytest.raises(Killed):
        await world.leave(wrap=Dying)
    world.broker.is_up = False
    await world.leave()
    assert world.is_gone()


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lease": LeaseEntry(state="held", ours=True)}, "owns the engine VM"),
        ({"agent": dataclasses.replace(QUIET, engine_status={"vm": "up"})}, "on this host"),
        ({"agent": dataclasses.replace(QUIET, vm_seen="up")}, "on this host"),
        ({"lease": LeaseEntry(state="unreadable", detail="EIO")}, "EIO"),
        ({"hosts": (dataclasses.replace(OTHER, alive=False),)}, "--last"),
        ({"hosts": (HostEntry(3, "alpha", alive=True),)}, "--last"),
    ],
)
async def test_a_host_that_is_needed_stays(world: World, changes: Any, told: str) -> None:
    world.broker.snapshot = picture(**changes)
    with pytest.raises(SetupRefused, match=told):
        await world.leave()
    assert read_raw(world.folder, 3) != FREE_SLOT
    assert not world.broker.path.exists()
    assert world.services.running == set(OUR_UNITS)


async def test_the_last_host_leaves_when_that_is_meant(world: World) -> None:
    world.broker.snapshot = picture(hosts=())
    assert await world.leave(last=True) == ALL


async def test_without_an_answer_of_the_broker(world: World) -> None:
    world.broker.is_up = False
    with pytest.raises(SetupRefused, match=r"start ha-broker\.service"):
        await world.leave()


async def test_the_vm_comes_while_maintenance_is_awaited(world: World) -> None:
    class Late(FakeBroker):
        async def set_local_maintenance(self) -> None:
            await super().set_local_maintenance()
            self.snapshot = dataclasses.replace(
                self.snapshot, lease=LeaseEntry(state="held", ours=True)
            )

    world.broker = Late(world.state_dir)
    with pytest.raises(SetupRefused, match="owns the engine VM"):
        await world.leave()
    assert world.services.running == set(OUR_UNITS)


async def test_an_agent_that_takes_no_notice(world: World) -> None:
    world.broker.notices = False
    with pytest.raises(SetupFailed, match="takes no notice"):
        await world.leave()


async def test_a_slot_that_is_another_hosts_by_now(world: World) -> None:
    world.broker.snapshot = picture()
    write_block(world.folder, 3, "thief")
    before = read_raw(world.folder, 3)
    with pytest.raises((SetupRefused, SetupFailed), match="not this host's"):
        await world.leave()
    assert read_raw(world.folder, 3) == before


async def test_storage_that_does_not_answer(world: World) -> None:
    class Hanging(FakeStorage):
        async def release(self) -> str:
            raise DeadlineExceeded("VDSM", 180)

    with pytest.raises(SetupFailed, match="VDSM"):
        await world.leave(storage=Hanging())
    assert world.conf.exists()
    world.broker.is_up = False
    await world.leave()
    assert world.is_gone()


async def test_without_units_the_operator_stops_the_daemons(world: World) -> None:
    with pytest.raises(SetupFailed, match="stop agent and broker yourself"):
        await world.leave(services=None)
    assert read_raw(world.folder, 3) != FREE_SLOT
    world.broker.is_up = False
    assert await world.leave(services=None) == ("host-id", "storage", "conf")
    assert world.services.running == set(OUR_UNITS)


async def test_a_broker_that_hangs_is_not_taken_for_stopped(world: World) -> None:
    class Hanging(FakeBroker):
        hangs = False

        async def picture(self) -> Snapshot:
            if self.hangs:
                raise DeadlineExceeded("broker", 10)
            return await super().picture()

    broker = world.broker = Hanging(world.state_dir)
    with pytest.raises(SetupFailed, match="stop agent and broker yourself"):
        await world.leave(services=None)
    broker.hangs = True
    with pytest.raises(SetupRefused, match="broker does not answer"):
        await world.leave(services=None)
    assert read_raw(world.folder, 3) != FREE_SLOT


def test_what_keeps_a_host() -> None:
    assert why_not(picture(), last=False) == ""
    assert "--last" in why_not(picture(hosts=()), last=False)
    assert why_not(picture(hosts=()), last=True) == ""


def test_what_the_agent_knows() -> None:
    assert not is_maintained(picture())
    assert is_maintained(picture(agent=dataclasses.replace(QUIET, local_maintenance=True)))
    assert is_maintained(picture(agent=dataclasses.replace(QUIET, stopped=True)))
    assert is_maintained(picture(agent=Report()))
    assert is_maintained(picture(made_at=Instant(9999.0)))
