# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import cast

import pytest

from ha_agent.errors import BadInput
from ha_agent.setup.deploy.deployment import DESCRIPTIONS, DISK, GIB, MAKING
from ha_agent.setup.deploy.disk import MakeDisk, NewDisk, new_disk
from ha_agent.setup.deploy.pool import Pool
from ha_agent.setup.step import SetupRefused
from tests.setup.deploy.test_volumes import NoPool
from tests.setup.deploy_fakes import FakeVdsm, make_answers, make_deployment, make_journal, say

IMAGE, VOLUME = "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
POOL = cast("Pool", NoPool())
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"boots".ljust(1 << 20, b"\1"))
    return path


@needs_qemu_img
async def test_a_disk_is_whole_gib_and_holds_the_image(tmp_path: Path) -> None:
    image(tmp_path)
    found = await new_disk(make_answers(tmp_path))
    assert found is not None
    assert (found.format, found.size_gib) == ("raw", 1)
    larger = await new_disk(make_answers(tmp_path, disk_size_gib="7"))
    assert larger is not None
    assert larger.size_bytes == 7 * GIB
    with (tmp_path / "image").open("r+b") as file:
        file.truncate(2 * GIB + 512)
    with pytest.raises(BadInput, match="the image has 3 GiB, disk_size_gib is 2"):
        await new_disk(make_answers(tmp_path, disk_size_gib="2"))


@needs_qemu_img
async def test_a_copy_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        ids = deployment.image(DISK), deployment.volume(DISK)
        volume = vdsm.add_volume(DISK, *ids, DESCRIPTIONS[DISK] + MAKING, GIB)
        step = MakeDisk(deployment, POOL, NewDisk(image(tmp_path), "raw", 1))
        assert "half filled" in (await step.look()).text
        await step.do(say)
        assert (await step.look()).done
        with volume.open("rb") as file:
            assert file.read(1 << 20) == (tmp_path / "image").read_bytes()


async def test_a_disk_that_is_there_is_looked_at(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    answers = {"disk_image_file": "-", "disk_image": IMAGE, "disk_volume": VOLUME}
    assert await new_disk(make_answers(tmp_path, **answers)) is None
    with make_journal(tmp_path) as journal:
        step = MakeDisk(make_deployment(tmp_path, journal, vdsm, **answers), POOL, None)
        with pytest.raises(SetupRefused, match=f"has no volume {VOLUME}"):
            await step.look()
        vdsm.add_volume("DATA", IMAGE, VOLUME, "mine", GIB)
        assert (await step.look()).done
        vdsm.found[IMAGE, VOLUME] = dataclasses.replace(vdsm.found[IMAGE, VOLUME], format="COW")
        with pytest.raises(SetupRefused, match="a raw one is needed"):
            await step.look()


async def test_a_finished_disk_that_is_too_small_is_not_filled_again(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        ids = deployment.image(DISK), deployment.volume(DISK)
        vdsm.add_volume(DISK, *ids, DESCRIPTIONS[DISK], GIB)
        with pytest.raises(SetupRefused, match="has 1 GiB, and 2 are wanted"):
            await MakeDisk(deployment, POOL, NewDisk(tmp_path, "raw", 2)).look()
