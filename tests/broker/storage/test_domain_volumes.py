# SPDX-License-Identifier: Apache-2.0
"""Asking VDSM about volumes, of which some are gone, broken, or in a broken image."""

from __future__ import annotations

from pathlib import Path

from ha_agent.broker.storage.domain_volumes import ask_volumes
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import DOMAIN, FIRST, SECOND, THIRD, Host, World, image_of

PAIRS = [(image_of(volume), volume) for volume in (FIRST, SECOND, THIRD)]


async def test_a_broken_volume_and_a_broken_image_hide_no_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    for volume in (FIRST, SECOND, THIRD):
        world.add(volume, f"this is {volume}")
    world.unreadable.add(FIRST)
    told = await ask_volumes(Vdsm(Host(world)), DOMAIN, [image for image, _ in PAIRS])
    assert list(told.infos) == PAIRS[1:]
    assert told.infos[PAIRS[1]].description == f"this is {SECOND}"
    assert list(told.untold) == PAIRS[:1]
    assert told.untold[PAIRS[0]].startswith(f"volume {FIRST}: ")


async def test_pairs_are_asked_about_alone_and_what_is_gone_is_nowhere(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.add(FIRST, "")
    told = await ask_volumes(Vdsm(Host(world)), DOMAIN, (), PAIRS[:2])
    assert (list(told.infos), told.untold) == (PAIRS[:1], {})
