# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.broker.lease.rules import encode, initial_record
from ha_agent.instant import Instant, WallTime
from ha_agent.setup.deploy.cluster import MakeLease, RegisterHost
from ha_agent.setup.deploy.deployment import DESCRIPTIONS, MIB, STATUS, Deployment
from ha_agent.setup.join.host_id import Joiner, joined_slot
from ha_agent.setup.step import SetupRefused
from tests.setup.deploy_fakes import DOMAIN, VM, FakeVdsm, make_deployment, make_journal, say

US = Joiner("host1", "abc")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[tuple[Deployment, Path]]:
    """A deployment whose status volume is there, and that volume."""
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        ids = deployment.image(STATUS), deployment.volume(STATUS)
        yield deployment, vdsm.add_volume(STATUS, *ids, DESCRIPTIONS[STATUS], 128 * MIB)


def put(path: Path, slot: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(slot * 4096)
        file.write(data)


async def test_the_lock_file_is_made_once(ground: tuple[Deployment, Path], tmp_path: Path) -> None:
    step = MakeLease(ground[0])
    assert not (await step.look()).done
    await step.do(say)
    assert (await step.look()).done
    path = tmp_path / "share" / DOMAIN / "ha_agent" / f"{VM}.lease"
    assert path.read_bytes()[:4096] == encode(initial_record())


async def test_something_else_in_its_place_is_not_touched(
    ground: tuple[Deployment, Path], tmp_path: Path
) -> None:
    path = tmp_path / "share" / DOMAIN / "ha_agent" / f"{VM}.lease"
    path.parent.mkdir()
    path.write_bytes(b"mine!".ljust(4096, b"\0"))
    with pytest.raises(SetupRefused, match="nothing is made over it"):
        await MakeLease(ground[0]).look()
    assert path.read_bytes()[:5] == b"mine!"


async def test_this_host_is_registered_once(ground: tuple[Deployment, Path]) -> None:
    deployment, path = ground
    await MakeLease(deployment).do(say)
    step = RegisterHost(deployment, US)
    assert not (await step.look()).done
    await step.do(say)
    assert (await step.look()).done
    assert b"|host1|" in path.read_bytes()[4096 : 2 * 4096]


@pytest.mark.parametrize(
    ("slot", "name", "what"),
    [
        (1, "other", "host id 1 is taken: it is other's"),
        (2, "other", r"other hosts are registered, other \(2\): join their cluster"),
        (3, "host1", "registered as host 3, not 1: set host_id = 3"),
    ],
)
async def test_a_cluster_that_is_there_is_joined_not_set_up(
    ground: tuple[Deployment, Path], slot: int, name: str, what: str
) -> None:
    deployment, path = ground
    put(path, slot, joined_slot(slot, Joiner(name, "abc"), Instant(1.0), WallTime(1.0)))
    with pytest.raises(SetupRefused, match=what):
        await RegisterHost(deployment, US).look()


async def test_a_slot_that_cant_be_read_is_somebodys(ground: tuple[Deployment, Path]) -> None:
    deployment, path = ground
    put(path, 1, b"\xff" * 4096)
    with pytest.raises(SetupRefused, match="host id 1 is taken"):
        await RegisterHost(deployment, US).look()
