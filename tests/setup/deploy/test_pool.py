# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from ha_agent.setup.deploy.deployment import Choices
from ha_agent.setup.deploy.pool import LeavePool, Pool
from ha_agent.setup.journal import Journal
from ha_agent.setup.step import SetupRefused
from ha_agent.vdsm.client.verbs import NO_POOL
from ha_agent.vdsm.client.verbs_setup import SetupVdsm
from ha_agent.vdsm.deadline import StorageThreads
from tests.fakes import FakeClock
from tests.setup.deploy_fakes import DOMAIN, FakeVdsm, make_journal, say


class Cut(BaseException):
    """The process dies here."""


def make_pool(tmp_path: Path, journal: Journal, vdsm: FakeVdsm) -> Pool:
    return Pool(
        cast("SetupVdsm", vdsm),
        Choices(journal, write=True),
        StorageThreads(),
        FakeClock(),
        domain_uuid=DOMAIN,
        host_id=1,
        folder=tmp_path / "masters",
    )


async def test_a_vdsm_that_writes_without_a_pool_gets_none(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        pool = make_pool(tmp_path, journal, vdsm)
        assert await pool.enter(say) == NO_POOL
        assert (await LeavePool(pool).look()).done
        assert vdsm.calls == []


async def test_a_pool_is_made_for_the_set_up_and_left(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.wants_pool = True
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        pool = make_pool(tmp_path, journal, vdsm)
        entered = await pool.enter(say)
        assert (vdsm.pool, vdsm.is_spm) == (entered, True)
        assert await pool.enter(say) == entered
        assert vdsm.calls.count("create_pool") == 1
        step = LeavePool(pool)
        assert not (await step.look()).done
        await step.do(say)
        assert (await step.look()).done
        assert (await vdsm.domain_info(DOMAIN)).pool_ids == ()
        assert list(vdsm.domains) == [DOMAIN]
        assert list((tmp_path / "masters").iterdir()) == []


@pytest.mark.parametrize(
    "verb",
    [
        *("create_domain", "create_pool", "connect_pool", "start_spm", "activate_domain"),
        *("detach_domain", "destroy_pool", "format_domain", "disconnect_storage_server"),
    ],
)
async def test_cut_off_anywhere_it_goes_on(tmp_path: Path, verb: str) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.wants_pool = True
    vdsm.add_domain()
    real = getattr(vdsm, verb)

    async def dies(*args: object) -> None:
        await real(*args)
        raise Cut

    with make_journal(tmp_path) as journal:
        setattr(vdsm, verb, dies)
        pool = make_pool(tmp_path, journal, vdsm)

        async def whole() -> None:
            await pool.enter(say)
            await pool.leave(say)

        with pytest.raises(Cut):
            await whole()
        setattr(vdsm, verb, real)
        again = make_pool(tmp_path, journal, vdsm)
        if (await vdsm.domain_info(DOMAIN)).pool_ids or vdsm.calls.count("detach") == 0:
            await again.enter(say)
        await again.leave(say)
        assert (await again.look()).done
        assert list(vdsm.domains) == [DOMAIN]
        assert vdsm.pool == ""


async def test_a_host_of_an_engines_pool_is_refused(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.wants_pool = True
    vdsm.add_domain()
    vdsm.connected = ["theirs"]
    with make_journal(tmp_path) as journal:
        with pytest.raises(SetupRefused, match="connected to pool theirs"):
            await make_pool(tmp_path, journal, vdsm).enter(say)
        assert vdsm.calls == []
