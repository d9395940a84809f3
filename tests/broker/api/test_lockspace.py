# SPDX-License-Identifier: Apache-2.0
"""host.list and host.remove with a real status volume and lock file; the picture is given."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.lockspace import lockspace_part
from ha_agent.broker.lease import file as lease_file
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import HostEntry, LeaseEntry, Snapshot
from ha_agent.broker.storage.worker import OPERATIONS, SLOT_BYTES
from ha_agent.config import layers
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from tests.small_config import NOWHERE, VM, write_config

ROOT, STRANGER = Peer(1, 0, 0), Peer(2, 99, 99)
BETA = HostEntry(2, "beta", state="down", score=3400, extra="agent=ha-agent 1.2.3\n")


class Clock:
    def now(self) -> Instant:
        return Instant(100.0)

    async def sleep(self, duration_seconds: float) -> None:
        raise AssertionError(duration_seconds)


class World:
    """Hosts 2 and 3 have blocks; nobody holds a host id."""

    def __init__(self, folder: Path) -> None:
        self.config = layers.load([write_config(folder)], NOWHERE)
        storage = self.config.storage
        self.volume = storage.domain_path / "images" / storage.status_image / storage.status_volume
        self.volume.parent.mkdir(parents=True)
        self.volume.write_bytes(b"x" * SLOT_BYTES * 4)
        self.lease = str(self.config.lease.path)
        lease_file.lease_initialise(self.lease)
        hosts = (
            dataclasses.replace(BETA, changed_at=Instant(40.0)),
            HostEntry(3, problem="slot 3: not a status block"),
        )
        self.snapshot = Snapshot(0, 1, "alpha", VM, Instant(0.0), hosts=hosts)
        part = lockspace_part(
            self.config, self, clock=Clock(), picture=lambda: self.snapshot, access=Access(0, None)
        )
        self.handlers = part.handlers
        assert part.work == ()

    async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
        """The lane: carried out here and now."""
        assert deadline_seconds > 0
        try:
            return OPERATIONS[operation](**args)
        except OSError as error:
            raise EnvironmentFault(str(error)) from error

    async def ask(self, verb: str, peer: Peer = ROOT, **params: Any) -> Any:
        return await self.handlers[verb](params, peer)

    async def refused(self, host_id: int, peer: Peer = ROOT) -> tuple[str, str]:
        before = self.volume.read_bytes()
        with pytest.raises(RpcRefusal) as refusal:
            await self.ask("host.remove", peer, host_id=host_id)
        assert self.volume.read_bytes() == before
        return refusal.value.code, str(refusal.value)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_the_list_has_bad_blocks_too(world: World) -> None:
    answer = await world.ask("host.list", STRANGER)
    beta, bad = answer["hosts"]
    assert (beta["version"], beta["age_seconds"], beta["host_id_state"]) == ("1.2.3", 60.0, "free")
    assert (bad["problem"], bad["age_seconds"]) == ("slot 3: not a status block", None)
    assert answer["problem"] == ""


async def test_without_the_lock_file_the_list_says_so(world: World) -> None:
    Path(world.lease).unlink()
    answer = await world.ask("host.list")
    assert answer["problem"]
    assert {host["host_id_state"] for host in answer["hosts"]} == {"unknown"}
    assert (await world.refused(2))[0] == "storage"


@pytest.mark.parametrize(("host_id", "told"), [(2, "beta"), (3, "slot 3: not a status block")])
async def test_a_host_that_is_gone_is_removed(world: World, host_id: int, told: str) -> None:
    assert await world.ask("host.remove", host_id=host_id) == {"removed": told}
    data = world.volume.read_bytes()
    assert not any(data[host_id * SLOT_BYTES :][:SLOT_BYTES])
    assert data.count(b"x") == 3 * SLOT_BYTES


async def test_what_forbids_it(world: World) -> None:
    assert (await world.refused(1))[0] == "refused"
    assert (await world.refused(9))[0] == "not_found"
    assert (await world.refused(2, STRANGER))[0] == "denied"
    alive = dataclasses.replace(BETA, alive=True, changed_at=Instant(97.0))
    world.snapshot = dataclasses.replace(world.snapshot, hosts=(alive,))
    assert "wrote its block 3 s ago" in (await world.refused(2))[1]
    owner = LeaseEntry(state="held", host_id=2)
    world.snapshot = dataclasses.replace(world.snapshot, hosts=(BETA,), lease=owner)
    assert "owns the engine VM" in (await world.refused(2))[1]


async def test_a_locked_host_id_forbids_it(world: World) -> None:
    assert lease_file.lease_hold_host_id(world.lease, 2, "beta", "x")["held"]
    code, said = await world.refused(2)
    assert code == "refused"
    assert "host 2 (beta) lives: it locks its id" in said
    [beta, _] = (await world.ask("host.list"))["hosts"]
    assert beta["host_id_state"] == "held"


async def test_check_and_repair_are_answered(world: World) -> None:
    assert (await world.ask("lockspace.check", STRANGER))["verdict"] == "fine"
    assert "nothing to repair" in (await world.ask("lockspace.repair"))["done"][0]
    Path(world.lease).write_bytes(b"x" * 4096)
    with pytest.raises(RpcRefusal) as refusal:
        await world.ask("lockspace.repair")
    assert refusal.value.code == "refused"
    with pytest.raises(RpcRefusal) as refusal:
        await world.ask("lockspace.repair", STRANGER)
    assert refusal.value.code == "denied"


async def test_many_who_may_only_look_cost_storage_one_look(world: World) -> None:
    looks = 0
    inner = world.call
    go_on = asyncio.Event()

    async def counted(operation: str, deadline_seconds: float, **args: Any) -> Any:
        nonlocal looks
        looks += 1
        await go_on.wait()
        return await inner(operation, deadline_seconds, **args)

    world.call = counted  # type: ignore[method-assign]  # the lane, a port
    for verb in ("lockspace.check", "host.list"):
        go_on.clear()
        looks = 0
        tasks = [asyncio.ensure_future(world.ask(verb, STRANGER)) for _ in range(50)]
        await asyncio.sleep(0.01)
        assert looks == 1
        go_on.set()
        answers = [await task for task in tasks]
        assert all(answer == answers[0] for answer in answers)
