# SPDX-License-Identifier: Apache-2.0
"""Seeded clusters of real LeaseKeepers: never two VMs, and a VM again when the storm is over.

HA_SIM_SEED=n repeats one seed, HA_SIM_SEEDS=n runs the first n.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.broker.lease_world import World, run_virtual

_SEED = os.environ.get("HA_SIM_SEED")
SEEDS = [int(_SEED)] if _SEED else list(range(int(os.environ.get("HA_SIM_SEEDS", "20"))))


async def _live(seed: int) -> World:
    world = World(seed, host_count=2 + seed % 2)
    await world.storm(240.0)
    for _ in range(90):
        await asyncio.sleep(1.0)
        if any(host.vm_running for host in world.hosts):
            break
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_never_two_vms_and_one_in_the_end(seed: int) -> None:
    world = run_virtual(_live(seed))
    assert not world.violations, f"HA_SIM_SEED={seed}: " + "; ".join(world.violations)
    assert any(host.vm_running for host in world.hosts), f"HA_SIM_SEED={seed}: no VM"


def test_the_storms_are_worth_weathering() -> None:
    """The lease does change hands in these runs, or they would prove nothing."""
    worlds = [run_virtual(_live(seed)) for seed in range(3)]
    assert min(world.vm_starts for world in worlds) >= 3
