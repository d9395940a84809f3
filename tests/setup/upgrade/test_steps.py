# SPDX-License-Identifier: Apache-2.0
"""What an upgrade puts on shared storage, and what it never writes over."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from ha_agent.compat.conf_writer import set_keys
from ha_agent.instant import WallTime
from ha_agent.ovfstore.conf_volume import encode_conf_volume
from ha_agent.setup.step import SetupFailed
from ha_agent.setup.upgrade.predecessor_host import parse_conf
from tests.broker.store_world import World
from tests.setup.upgrade_hosts import conf, of_4x, of_35, refused, shared
from tests.setup.upgrade_world import (
    CONF,
    ETC,
    Machine,
    make_4x,
    put,
)


async def test_a_configuration_volume_with_something_else_in_it(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.world.add(CONF, "HostedEngineConfigurationImage", b"somebody's data", disk_type="DATA")
    await refused(machine, f"configuration volume {CONF}", "nothing is written over it")


async def test_an_empty_configuration_volume_is_filled(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.world.add(CONF, "HostedEngineConfigurationImage", disk_type="DATA")
    await machine.upgrade()
    assert conf(machine)["conf_volume_UUID"] == CONF


async def test_too_much_for_the_configuration_volume(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    put(machine.root, f"{ETC}/answers.conf", "#" * 20000)
    await refused(machine, "don't fit", "fhanswers.conf 20000")


async def test_host_ids_stay_and_the_shared_file_is_changed_once(tmp_path: Path) -> None:
    first = of_4x(tmp_path)
    await first.upgrade()
    shared_once = shared(first.world)
    second = Machine(tmp_path, first.world, host_id=2)
    make_4x(second.root, 2)
    assert await second.upgrade() == ("backup", "local-configuration", "switch")
    assert shared(first.world) == shared_once
    assert conf(second)["host_id"] == "2"


async def decided_at_call(number: int, folder: Path) -> bool:
    """Upgrade, with another host that writes its decision right before this call of a storage
    worker; tell whether there were so many."""
    machine, calls, decided = of_4x(folder), 0, "lockfile"

    def before_call(_operation: str) -> None:
        nonlocal calls, decided
        calls += any("put the shared" in line for line in machine.said)
        if calls == number and share(machine.world, {"ha_agent_lease_backend": "sanlock"}):
            decided = "sanlock"

    machine.before_call = before_call
    with contextlib.suppress(SetupFailed):
        await machine.upgrade()
    await machine.upgrade()
    told = parse_conf(shared(machine.world)["hosted-engine.conf"], "shared").values
    assert told["ha_agent_lease_backend"] == decided, number
    assert conf(machine)["ha_agent_lease_backend"] == decided, number
    return calls >= number


async def test_another_host_that_decides_at_the_same_moment_is_not_contradicted(
    tmp_path: Path,
) -> None:
    """Whatever this host reads before and after: one lease for the cluster, the first one told."""
    number = 1
    while await decided_at_call(number, tmp_path / str(number)):
        number += 1
    assert number > 5


def share(world: World, keys: Mapping[str, str]) -> bool:
    """Have another host write keys into the shared hosted-engine.conf, unless one is there."""
    files = shared(world)
    text = files["hosted-engine.conf"].decode()
    if any(key in text for key in keys):
        return False
    files["hosted-engine.conf"] = set_keys(text, keys, where="test").encode()
    with world.volumes[CONF].path.open("r+b") as file:
        file.write(encode_conf_volume(files, WallTime(1e9)))
    return True
