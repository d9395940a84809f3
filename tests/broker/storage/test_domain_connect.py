# SPDX-License-Identifier: Apache-2.0
"""What is asked of VDSM, in which order, and what is done about each way that it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional, Union

import pytest

from ha_agent.broker.storage.domain_connect import (
    HANG_PAUSE_SECONDS,
    UNREAD_SECONDS,
    DomainConnect,
    Wanted,
    WantedVolume,
)
from ha_agent.errors import DeadlineExceeded, EnvironmentFault
from ha_agent.vdsm.client.answers import DomainVitals
from ha_agent.vdsm.client.answers_connect import BlockDevice, ConnectionStatus, DomainSpace
from ha_agent.vdsm.client.storage_server import DomainType, Portal, StorageServer, fc, iscsi, nfs
from ha_agent.vdsm.errors import VdsmCallFailed, VdsmConnectionLost, VdsmUnreachable
from tests.fakes import FakeClock

SD, IMAGE, VOLUME = "sd", "img", "vol"
FILE_PATH = f"/rhev/{SD}/images/{IMAGE}/{VOLUME}"
LINK = f"/run/vdsm/storage/{SD}/{IMAGE}/{VOLUME}"
LEASE = WantedVolume("img2", "vol2", f"/run/vdsm/storage/{SD}/img2/vol2")
NFS = nfs("host:/export", "4")
TWO = iscsi([Portal("10.0.0.1"), Portal("10.0.0.2")], "iqn.a:b")
VITALS = DomainVitals(0, True, True, True, 0.001, 2.0, 5)

Fault = Union[EnvironmentFault, None]


class Vdsm:
    """Storage that is there once it is connected; what is in `faults` is raised instead."""

    def __init__(self, *, connected: bool = False) -> None:
        self.connected = connected
        self.monitored: Optional[DomainVitals] = None
        self.faults: dict[str, EnvironmentFault] = {}
        self.bad: dict[str, int] = {}  # connection id: code
        self.calls: list[str] = []
        self.asked: list[tuple[str, ...]] = []
        self.path, self.lease_path = LINK, LEASE.path
        self.hang, self.reached = asyncio.Event(), asyncio.Event()
        self.hangs = ""
        self.in_pool = False

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.hangs == name:
            self.reached.set()
            await self.hang.wait()
        if name in self.faults:
            raise self.faults[name]

    async def storage_vitals(self, domain_ids: Sequence[str] = ()) -> Mapping[str, DomainVitals]:
        await self._call("vitals")
        return {} if self.monitored is None else {SD: self.monitored}

    async def domain_space(self, domain_id: str) -> DomainSpace:
        await self._call("space")
        if not self.connected:
            raise VdsmCallFailed("StorageDomain.getStats", 358, "Storage domain does not exist")
        return DomainSpace(2, 1)

    async def storage_domains(self) -> list[str]:
        await self._call("domains")
        return ["another"]

    async def block_devices(self, domain_type: DomainType) -> list[BlockDevice]:
        await self._call(f"devices {domain_type.name}")
        return [BlockDevice("3600a", "FCP", 1, 2, 1)]

    async def connect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]:
        await self._call("connect")
        ids = tuple(one.id for one in server.connections)
        self.asked.append(ids)
        statuses = [ConnectionStatus(one, self.bad.get(one, 0)) for one in ids]
        self.connected = self.connected or any(not one.code for one in statuses)
        return statuses[::-1]

    async def disconnect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]:
        await self._call("disconnect")
        self.connected = False
        return [ConnectionStatus(one.id, self.bad.get(one.id, 0)) for one in server.connections]

    async def prepare_image(self, domain_id: str, image_id: str, volume_id: str) -> str:
        if (domain_id, image_id, volume_id) == (SD, LEASE.image, LEASE.volume):
            await self._call("prepare lease")
            return self.lease_path
        await self._call("prepare")
        assert (domain_id, image_id, volume_id) == (SD, IMAGE, VOLUME)
        return self.path

    async def teardown_image(self, domain_id: str, image_id: str, volume_id: str = "") -> None:
        assert (image_id, volume_id) in ((IMAGE, VOLUME), (LEASE.image, LEASE.volume))
        await self._call("teardown" if volume_id == VOLUME else "teardown lease")

    async def stop_monitoring_domain(self, domain_id: str) -> bool:
        await self._call("stop")
        return not self.in_pool


async def nobody() -> None:
    """Nobody needs the storage."""


class World:
    """A keeper with its VDSM; time passes only by `later`."""

    def __init__(self, server: Optional[StorageServer] = NFS, **wanted: Any) -> None:
        self.vdsm = Vdsm()
        self.clock = FakeClock()
        self.maintenance = self.unread = False
        values: dict[str, Any] = {"status_path": FILE_PATH, "is_block": False, **wanted}
        self.keeper = DomainConnect(
            self.vdsm,
            Wanted(SD, IMAGE, VOLUME, server=server, **values),
            clock=self.clock,
            in_maintenance=lambda: self.maintenance,
            is_unread=lambda: self.unread,
        )

    async def keep(self, later_seconds: float = 0.0) -> list[str]:
        """Let time pass, have one look, and return what VDSM was asked."""
        self.clock.time = self.clock.time + later_seconds
        self.vdsm.calls.clear()
        await self.keeper.keep()
        return list(self.vdsm.calls)


async def test_after_a_boot_it_is_connected_and_prepared_once() -> None:
    world = World()
    assert not world.keeper.may_monitor()
    assert await world.keep() == ["vitals", "space", "connect", "vitals", "space", "prepare"]
    assert world.keeper.problem == ""
    assert world.keeper.may_monitor()
    assert await world.keep(3600) == []


async def test_where_all_is_there_it_is_quick_and_connects_only_for_further_paths() -> None:
    world = World()
    world.vdsm.connected = True
    world.vdsm.monitored = VITALS
    assert await world.keep() == ["vitals", "prepare", "connect"]
    nothing_to_connect = World(None)
    nothing_to_connect.vdsm.connected = True
    assert await nothing_to_connect.keep() == ["vitals", "space", "prepare"]
    assert nothing_to_connect.keeper.problem == ""


async def test_a_monitor_that_does_not_see_the_domain_is_not_believed() -> None:
    world = World()
    world.vdsm.monitored = DomainVitals(358, False, False, True, None, None, -1)
    assert (await world.keep())[:3] == ["vitals", "space", "connect"]


async def test_each_start_of_vdsm_has_it_done_again() -> None:
    world = World()
    await world.keep()
    world.vdsm.connected = False
    world.keeper.connected()
    assert not world.keeper.may_monitor()
    assert "connect" in await world.keep()
    assert world.keeper.may_monitor()


async def test_a_restart_half_way_begins_anew_and_claims_nothing() -> None:
    world = World()
    world.vdsm.hangs = "connect"
    looking = asyncio.ensure_future(world.keeper.keep())
    await world.vdsm.reached.wait()
    world.vdsm.faults["connect"] = VdsmConnectionLost("vdsm", "EOF", may_have_executed=True)
    world.keeper.connected()
    world.vdsm.hang.set()
    await looking
    assert not world.keeper.may_monitor()
    world.vdsm.faults.clear()
    assert "connect" in await world.keep()
    assert world.keeper.problem == ""


async def test_one_portal_of_two() -> None:
    world = World(TWO, status_path=LINK, is_block=True)
    _, second = TWO.connections
    world.vdsm.bad = {second.id: 465}
    assert (await world.keep())[-1] == "prepare"
    assert world.keeper.may_monitor()
    assert world.keeper.problem == "portal 10.0.0.2:3260 is not connected: code 465, unknown"
    # Only what failed is tried again, and later each time.
    assert await world.keep(1) == []
    assert await world.keep(1) == ["vitals", "space", "prepare", "connect"]
    assert world.vdsm.asked[-1] == (second.id,)
    assert await world.keep(3) == []
    world.vdsm.bad = {}
    assert "connect" in await world.keep(1)
    assert world.keeper.problem == ""
    assert await world.keep(3600) == []


@pytest.mark.parametrize("code", [451, 477, 464])
async def test_a_server_that_can_not_be_reached_is_said_with_its_code(code: int) -> None:
    world = World()
    world.vdsm.bad = {NFS.connections[0].id: code}
    assert "prepare" not in await world.keep()
    assert "code 358" in world.keeper.problem
    assert "VDSM sees another" in world.keeper.problem
    assert f"host:/export is not connected: code {code}" in world.keeper.problem
    assert world.keeper.may_monitor()  # its monitor tells what VDSM sees
    waits = []
    for _ in range(8):
        waited = 1
        while not await world.keep(1):
            waited += 1
        waits.append(waited)
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    world.vdsm.bad = {}
    await world.keep(60)
    assert world.keeper.problem == ""


@pytest.mark.parametrize("code", [358, 360, 379])
async def test_a_domain_that_is_gone_is_connected_again(code: int) -> None:
    """As after somebody has unmounted it: the blocks can't be read any more."""
    world = World()
    await world.keep()
    world.unread, world.vdsm.connected = True, False
    assert await world.keep(UNREAD_SECONDS - 1) == []
    world.vdsm.faults["space"] = VdsmCallFailed("StorageDomain.getStats", code, "gone")
    asked = await world.keep(2)
    assert "connect" in asked
    assert f"code {code}" in world.keeper.problem
    world.vdsm.faults.clear()
    await world.keep(2)
    assert world.keeper.problem == ""


@pytest.mark.parametrize("code", [201, 254])
async def test_a_status_volume_that_is_not_there(code: int) -> None:
    world = World()
    world.vdsm.faults["prepare"] = VdsmCallFailed("Image.prepare", code, "no")
    await world.keep()
    assert f"the status volume {VOLUME}: VDSM refused Image.prepare" in world.keeper.problem
    assert f"code {code}" in world.keeper.problem
    assert world.keeper.may_monitor()


@pytest.mark.parametrize("verb", ["vitals", "space", "connect", "domains", "prepare"])
async def test_a_vdsm_that_recovers_is_asked_again_soon(verb: str) -> None:
    world = World()
    if verb == "domains":
        world.vdsm.bad = {NFS.connections[0].id: 477}
    world.vdsm.faults[verb] = VdsmCallFailed("a verb", 99, "Recovering")
    for _ in range(9):
        assert (await world.keep(2))[-1] == verb
    world.vdsm.faults.clear()
    world.vdsm.bad = {}
    await world.keep(2)
    assert world.keeper.problem == ""


@pytest.mark.parametrize("verb", ["space", "connect", "prepare"])
async def test_a_call_that_hangs_is_not_repeated_for_minutes(verb: str) -> None:
    """VDSM has eight threads for all of its callers; each repetition would take one more."""
    world = World()
    world.vdsm.faults[verb] = DeadlineExceeded("a verb", 180.0)
    await world.keep()
    assert "no answer within 180 s" in world.keeper.problem
    assert world.keeper.may_monitor()
    assert await world.keep(HANG_PAUSE_SECONDS - 1) == []
    assert await world.keep(1) != []
    assert await world.keep(HANG_PAUSE_SECONDS + 1) == []
    world.vdsm.faults.clear()
    world.keeper.connected()  # a new VDSM has all of its threads
    assert await world.keep() != []
    assert world.keeper.problem == ""


async def test_further_portals_that_hang_keep_neither_monitor_nor_blocks_waiting() -> None:
    world = World(TWO, status_path=LINK, is_block=True)
    world.vdsm.connected, world.vdsm.hangs = True, "connect"
    looking = asyncio.ensure_future(world.keeper.keep())
    await world.vdsm.reached.wait()
    assert "prepare" in world.vdsm.calls
    assert world.keeper.may_monitor()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking


async def test_a_vdsm_that_is_away_is_waited_for() -> None:
    world = World()
    world.vdsm.faults["vitals"] = VdsmUnreachable("vdsm:54321", "refused")
    assert await world.keep() == ["vitals"]
    assert "refused" in world.keeper.problem
    world.vdsm.faults.clear()
    world.keeper.connected()
    await world.keep()
    assert world.keeper.problem == ""


async def test_block_storage_is_looked_for_before_it_is_given_up() -> None:
    world = World(fc(), status_path=LINK, is_block=True)
    world.vdsm.faults["space"] = VdsmCallFailed("StorageDomain.getStats", 358, "none")
    asked = await world.keep()
    assert asked[-3:] == ["devices FCP", "vitals", "space"]
    assert "VDSM sees 3600a (1 of 2 paths)" in world.keeper.problem


async def test_the_path_of_a_block_volume_must_be_the_one_that_the_broker_reads() -> None:
    world = World(TWO, status_path=f"/elsewhere/{SD}", is_block=True)
    await world.keep()
    assert f"VDSM has the status volume at {LINK}, but" in world.keeper.problem
    right = World(TWO, status_path=LINK, is_block=True)
    await right.keep()
    assert right.keeper.problem == ""


async def test_nothing_is_begun_in_local_maintenance() -> None:
    world = World()
    world.maintenance = True
    assert await world.keep(100) == []
    assert not world.keeper.may_monitor()
    world.maintenance = False
    assert "connect" in await world.keep()
    # The engine may have had VDSM disconnect everything meanwhile.
    world.maintenance = True
    await world.keep()
    world.maintenance, world.vdsm.connected = False, False
    assert "connect" in await world.keep()


async def test_maintenance_that_begins_half_way_ends_it_at_the_next_step() -> None:
    world = World()
    world.vdsm.hangs = "space"
    looking = asyncio.ensure_future(world.keeper.keep())
    await world.vdsm.reached.wait()
    world.maintenance = True
    world.vdsm.hang.set()
    await looking
    assert "connect" not in world.vdsm.calls


async def test_what_is_wrong_with_the_configuration_stays_said() -> None:
    world = World(None, fault="hosted-engine.conf, line 3: is not KEY=VALUE")
    world.vdsm.connected = True
    assert "prepare" in await world.keep()
    assert world.keeper.problem == "hosted-engine.conf, line 3: is not KEY=VALUE"


async def test_an_operator_may_connect_in_maintenance_and_disconnect() -> None:
    world = World()
    world.maintenance = True
    assert await world.keeper.connect_now() == ""
    assert world.vdsm.connected
    world.vdsm.calls.clear()
    assert await world.keeper.release(nobody) == ""
    assert world.vdsm.calls == ["stop", "teardown", "disconnect"]
    assert await world.keep(100) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda vdsm: setattr(vdsm, "in_pool", True), "the engine has the domain in its pool"),
        (lambda vdsm: vdsm.bad.update({NFS.connections[0].id: 477}), "host:/export: code 477"),
    ],
)
async def test_what_is_not_disconnected_is_said(change: Callable[[Vdsm], Any], said: str) -> None:
    world = World()
    change(world.vdsm)
    assert said in await world.keeper.release(nobody)
    assert ("disconnect" in world.vdsm.calls) != world.vdsm.in_pool


async def test_the_domain_without_its_image_is_disconnected_all_the_same() -> None:
    world = World()
    world.vdsm.faults["teardown"] = VdsmCallFailed("Image.teardown", 254, "no image")
    assert await world.keeper.release(nobody) == ""
    assert world.vdsm.calls[-1] == "disconnect"


def of_a_block_domain() -> World:
    """A host whose lease has a volume of its own there."""
    return World(TWO, status_path=LINK, is_block=True, lease=LEASE)


async def test_the_leases_own_volume_is_prepared_each_time_that_vdsm_came_up() -> None:
    world = of_a_block_domain()
    assert (await world.keep())[-2:] == ["prepare", "prepare lease"]
    assert world.keeper.problem == ""
    world.keeper.connected()  # a VDSM that starts takes away what nobody has open
    assert "prepare lease" in await world.keep()
    assert await world.keep(3600) == []


async def test_the_leases_volume_that_was_taken_away_is_prepared_again() -> None:
    world = of_a_block_domain()
    await world.keep()
    world.unread = True
    assert "prepare lease" in await world.keep(UNREAD_SECONDS)


@pytest.mark.parametrize("refused", ["prepare", "prepare lease"])
async def test_one_volume_that_is_refused_does_not_keep_the_other_away(refused: str) -> None:
    world = of_a_block_domain()
    world.vdsm.faults[refused] = VdsmCallFailed("Image.prepare", 201, "no")
    asked = await world.keep()
    assert {"prepare", "prepare lease"} <= set(asked)
    name = f"lease's volume {LEASE.volume}" if "lease" in refused else f"status volume {VOLUME}"
    assert f"the {name}: VDSM refused Image.prepare" in world.keeper.problem
    world.vdsm.faults.clear()
    await world.keep(2)
    assert world.keeper.problem == ""


async def test_the_leases_volume_must_be_where_the_lease_is_looked_for() -> None:
    world = of_a_block_domain()
    world.vdsm.lease_path = "/elsewhere"
    await world.keep()
    assert (
        f"VDSM has the lease's volume at /elsewhere, but [sanlock] path is {LEASE.path}"
        in world.keeper.problem
    )


async def test_the_leases_volume_is_torn_down_with_the_other() -> None:
    world = of_a_block_domain()
    await world.keep()
    # sanlock has it open still: the daemon lets go when the device is gone.
    world.vdsm.faults["teardown lease"] = VdsmCallFailed("Image.teardown", 1, "in use")
    world.vdsm.calls.clear()
    assert await world.keeper.release(nobody) == ""
    assert world.vdsm.calls == ["stop", "teardown", "teardown lease", "disconnect"]
