# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ha_agent.setup.deploy.domain import CheckSpace, ConnectStorage, KeepOthersAway, UseDomain
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.vdsm.errors import VdsmCode
from tests.setup.deploy_fakes import DOMAIN, GIB, FakeVdsm, make_deployment, make_journal, say

OTHER = "99999999-1111-4111-8111-111111111111"
BLOCK = {
    "storage_type": "iscsi", "storage_connection": "192.0.2.1,192.0.2.2", "iscsi_target": "iqn.x",
    "lease_backend": "sanlock", "sanlock_path": "/dev/vg/lease",
}  # fmt: skip


async def test_what_cant_be_connected_is_told_with_vdsms_reason(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.status_code = int(VdsmCode.MOUNT_ERROR)
    with make_journal(tmp_path) as journal:
        step = ConnectStorage(make_deployment(tmp_path, journal, vdsm))
        assert not (await step.look()).done
        with pytest.raises(SetupFailed, match="share: code 477"):
            await step.do(say)
        vdsm.status_code = 0
        await step.do(say)
        assert (await step.look()).done


async def test_wrong_chap_passwords_are_told_without_the_password(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    vdsm.status_code = 465  # the target refuses the login
    with make_journal(tmp_path) as journal:
        chap = {"iscsi_user": "u", "iscsi_password": "hush"}
        step = ConnectStorage(make_deployment(tmp_path, journal, vdsm, **BLOCK, **chap))
        with pytest.raises(SetupFailed) as failed:
            await step.do(say)
        assert "portal 192.0.2.1:3260: code 465" in str(failed.value)
        assert "hush" not in str(failed.value)
        assert "hush" not in journal.path.read_text() if journal.path.exists() else True


async def test_a_domain_is_made_where_none_was_named(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm, domain_uuid="-")
        step = UseDomain(deployment)
        assert not (await step.look()).done
        await step.do(say)
        assert (await step.look()).done
        assert list(vdsm.domains) == [journal.get("domain_uuid")]


async def test_a_named_domain_must_be_there(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    with make_journal(tmp_path) as journal:
        step = UseDomain(make_deployment(tmp_path, journal, vdsm))
        with pytest.raises(SetupFailed, match=f"{DOMAIN} is not on this storage"):
            await step.do(say)


async def test_a_domain_of_an_engine_or_of_nobody_named_is_refused(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    with make_journal(tmp_path) as journal:
        vdsm.add_domain(pools=("theirs",))
        with pytest.raises(SetupRefused, match="belongs to pool theirs: an engine manages it"):
            await UseDomain(make_deployment(tmp_path, journal, vdsm)).look()
        vdsm.domains.clear()
        vdsm.add_domain(OTHER, remote=str(tmp_path / "share"))
        unnamed = make_deployment(tmp_path, journal, vdsm, domain_uuid="-")
        with pytest.raises(SetupRefused, match=f"set domain_uuid = {OTHER}"):
            await UseDomain(unnamed).look()


async def test_a_block_domain_is_made_of_luns_once(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(
            tmp_path, journal, vdsm, domain_uuid="-", luns="3600a, 3600b", **BLOCK
        )
        await UseDomain(deployment).do(say)
        uuid = deployment.domain_uuid
        assert f"vg {uuid} 3600a,3600b False" in vdsm.calls
        vdsm.domains.clear()
        await UseDomain(deployment).do(say)
        assert sum(call.startswith("vg ") for call in vdsm.calls) == 1


async def test_two_set_ups_of_one_domain_exclude_each_other(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    with make_journal(tmp_path) as journal:
        first = KeepOthersAway(make_deployment(tmp_path, journal, vdsm))
        second = KeepOthersAway(make_deployment(tmp_path, journal, vdsm))
        await first.do(say)
        assert (await first.look()).done
        with pytest.raises(SetupRefused, match="another `ha-agent deploy` works"):
            await second.do(say)
        assert not (await second.look()).done
        first.close()
        await second.do(say)
        second.close()


async def test_full_storage_is_known_before_anything_is_made(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    with make_journal(tmp_path) as journal:
        step = CheckSpace(make_deployment(tmp_path, journal, vdsm), 50 * GIB)
        assert not (await step.look()).done
        vdsm.add_domain()
        assert (await step.look()).done
        vdsm.free_bytes = 52 * GIB
        with pytest.raises(SetupRefused, match=r"52\.0 GiB free, and 52\.1 GiB are needed"):
            await step.look()
