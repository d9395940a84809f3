# SPDX-License-Identifier: Apache-2.0
"""The facts of a host, and who may make volumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.errors import BadInput
from tests.broker.store_world import (
    POOL,
)
from tests.setup.upgrade_hosts import CONF_FILE, of_4x, of_35, refused, shared
from tests.setup.upgrade_world import (
    put,
)


async def test_only_the_pools_manager_makes_volumes(tmp_path: Path) -> None:
    machine = of_35(tmp_path)
    machine.world.pool, machine.world.spm_id = POOL, 3
    await refused(machine, "SPM is the host with id 3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vmid", "line 1"),
        ("\x00", "line 1"),
        ("host_id=1\nhost_id=2\n", "line 2"),
        ("", "metadata_volume_UUID"),
    ],
)
async def test_nonsense_in_hosted_engine_conf(text: str, says: str, tmp_path: Path) -> None:
    machine = of_4x(tmp_path)
    put(machine.root, CONF_FILE, text)
    with pytest.raises(BadInput, match=says):
        await machine.upgrade()
    assert machine.points == []


async def test_a_volume_that_was_removed_by_hand_is_made_and_zeroed_again(tmp_path: Path) -> None:
    """By the ids that the journal has; a block device has the old data still."""
    machine = of_35(tmp_path)
    calls: list[str] = []
    machine.before_call = calls.append
    await machine.upgrade()
    zeroed = calls.count("write_slot")
    assert zeroed
    heci = [key for key, one in machine.world.volumes.items() if one.disk_type == "HECI"]
    machine.world.volumes.pop(heci[0]).path.unlink()
    calls.clear()
    await machine.upgrade()
    assert calls.count("write_slot") == zeroed
    assert "hosted-engine.conf" in shared(machine.world)
