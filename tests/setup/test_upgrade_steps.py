# SPDX-License-Identifier: Apache-2.0
"""What an upgrade puts on shared storage, and what it never writes over."""

from __future__ import annotations

from pathlib import Path

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
