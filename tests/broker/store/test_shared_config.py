# SPDX-License-Identifier: Apache-2.0
"""The configuration volume through VDSM, with real archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.store.shared_config import OLD_DESCRIPTION, SharedConfig
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import FILE_NAMES, encode_conf_volume
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import DOMAIN, FIRST, SECOND, THIRD, Host, World, good

FILES = {name: f"this is {name}\n".encode() for name in FILE_NAMES}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.add(FIRST, good("Wed Jul 01 11:43:07 IDT 2020", 1))
    made.add(SECOND, "HostedEngineConfiguration", archive(), disk_type="HECI")
    return made


def archive(**files: bytes) -> bytes:
    return encode_conf_volume({**FILES, **files}, WallTime(1e9))


def config_of(host: Host) -> SharedConfig:
    return SharedConfig(Vdsm(host), host.lane(), domain_uuid=DOMAIN, deadline_seconds=5)


async def test_all_files_are_read(world: World) -> None:
    found = await config_of(Host(world)).read()
    assert (found.volume_uuid, found.files, found.notes) == (SECOND, FILES, ())


async def test_one_file_is_replaced_and_seen_by_others(world: World) -> None:
    answer = await config_of(Host(world)).put("hosted-engine.conf", b"host_id=2\n")
    assert answer.files == {**FILES, "hosted-engine.conf": b"host_id=2\n"}
    assert (await config_of(Host(world, host_id=2)).read()).files == answer.files


async def test_what_is_there_already_is_not_written(world: World) -> None:
    before = world.volumes[SECOND].path.stat().st_mtime_ns
    await config_of(Host(world)).put("version", FILES["version"])
    assert world.volumes[SECOND].path.stat().st_mtime_ns == before


async def test_the_old_upgrades_volume_is_known_by_its_description(world: World) -> None:
    world.volumes[SECOND].disk_type = "DATA"
    world.volumes[SECOND].description = OLD_DESCRIPTION
    assert (await config_of(Host(world)).read()).files == FILES


async def test_none_or_two(world: World) -> None:
    world.add(THIRD, "", archive(), disk_type="HECI")
    with pytest.raises(EnvironmentFault, match="2 configuration volumes"):
        await config_of(Host(world)).read()
    del world.volumes[THIRD], world.volumes[SECOND]
    with pytest.raises(EnvironmentFault, match="no configuration volume"):
        await config_of(Host(world)).read()
    world.unreadable.add(FIRST)
    with pytest.raises(EnvironmentFault, match="could not tell"):
        await config_of(Host(world)).read()


async def test_bad_names_and_sizes_change_nothing(world: World) -> None:
    config = config_of(Host(world))
    with pytest.raises(BadInput, match=r"answers\.conf"):
        await config.put("answers.conf", b"x")
    with pytest.raises(BadInput):
        await config.put("vm.conf", bytes(20000))
    assert (await config.read()).files == FILES


async def test_another_hosts_change_is_not_lost(world: World) -> None:
    """It writes between our look and our write, once."""
    other, calls = config_of(Host(world, host_id=2)), 0
    lane = Host(world).lane()

    class Interrupted:
        async def call(self, operation: str, deadline_seconds: float, **args: Any) -> Any:
            nonlocal calls
            if operation == "write_conf_volume" and calls == 0:
                calls += 1
                await other.put("broker.conf", b"theirs")
            return await lane.call(operation, deadline_seconds, **args)

    ours = SharedConfig(
        Vdsm(Host(world)),
        Interrupted(),  # type: ignore[arg-type]
        domain_uuid=DOMAIN,
        deadline_seconds=5,
    )
    found = await ours.put("vm.conf", b"ours")
    assert (found.files["broker.conf"], found.files["vm.conf"]) == (b"theirs", b"ours")


async def test_a_damaged_volume_is_told(world: World) -> None:
    world.volumes[SECOND].path.write_bytes(b"nothing" * 5000)
    with pytest.raises(BadInput, match=SECOND):
        await config_of(Host(world)).read()
