# SPDX-License-Identifier: Apache-2.0
"""The steps over a fake VDSM; with a real one they run in test_deploy.py."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from ha_agent.ovfstore.locate import format_description
from ha_agent.setup.deploy.definition import DiskPlace, document, load_source
from ha_agent.setup.deploy.deployment import DISK, MIB
from ha_agent.setup.deploy.pool import Pool
from ha_agent.setup.deploy.store import COPIES, MakeStore, StoreDefinition
from tests.setup.deploy.test_volumes import NoPool
from tests.setup.deploy_fakes import DOMAIN, FakeVdsm, make_deployment, make_journal, say

POOL = cast("Pool", NoPool())
EMPTY = format_description(storage_domain_uuid=DOMAIN, updated=False, last_updated_text=None)


@pytest.mark.parametrize("there", [0, 1, 2, 3])
async def test_there_are_two_copies_in_the_end(tmp_path: Path, there: int) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    for number in range(there):
        vdsm.add_volume("OVFS", f"image{number}", f"volume{number}", EMPTY, 128 * MIB)
    with make_journal(tmp_path) as journal:
        step = MakeStore(make_deployment(tmp_path, journal, vdsm), POOL)
        assert (await step.look()).done == (there >= COPIES)
        if there < COPIES:
            await step.do(say)
        assert (await step.look()).done
        assert len(vdsm.found) == max(there, COPIES)


async def test_the_ovf_is_in_all_copies_and_is_not_put_back_later(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    for number in range(COPIES):
        vdsm.add_volume("OVFS", f"image{number}", f"volume{number}", EMPTY, 128 * MIB)
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)

        async def ovf() -> bytes:
            place = DiskPlace(DOMAIN, deployment.image(DISK), deployment.volume(DISK), 1)
            return document(load_source(deployment.answers, deployment.choices.get), place)

        async def changed() -> bytes:
            return (await ovf()).replace(b"HostedEngine", b"AnotherName")

        step = StoreDefinition(deployment, POOL, ovf)
        assert not (await step.look()).done
        await step.do(say)
        assert (await step.look()).done
        # As the engine does it, later on: a re-run of the deploy leaves that alone.
        await StoreDefinition(deployment, POOL, changed).do(say)
        found = await step.look()
        assert found.done
        assert "AnotherName" in found.text
        assert found.text.endswith("; not as answered now, and left as it is: name")
