# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from ha_agent.setup.deploy.deployment import DISK, STATUS, Choices, mounted_at
from tests.setup.deploy_fakes import DOMAIN, FakeVdsm, make_deployment, make_journal

MOUNTS = """proc /proc proc rw 0 0
s:/he /mnt/other nfs4 rw 0 0
s:/he /rhev/data-center/mnt/s:_he nfs4 rw 0 0
s:/a\\040b /rhev/data-center/mnt/s:_a\\040b nfs4 rw 0 0
"""


def test_a_mount_is_found_by_its_source_vdsms_first() -> None:
    assert mounted_at(MOUNTS, "s:/he/")[0] == Path("/rhev/data-center/mnt/s:_he")
    assert mounted_at(MOUNTS, "s:/a b") == [Path("/rhev/data-center/mnt/s:_a b")]
    assert mounted_at(MOUNTS, "s:/h") == []


def test_what_is_chosen_stays_and_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    with make_journal(tmp_path) as journal:
        dry = Choices(journal, write=False)
        assert dry.get("a") == dry.get("a")
        assert journal.get("a") is None
        chosen = Choices(journal, write=True)
        value = chosen.get("a")
        assert Choices(journal, write=True).get("a") == value == chosen.known("a")
        assert chosen.renew("a") != value
        assert chosen.known("other") == ""


async def test_an_absent_domain_has_no_volumes(tmp_path: Path) -> None:
    vdsm = FakeVdsm(tmp_path)
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        assert await deployment.domain_info() is None
        assert await deployment.info(STATUS) is None
        vdsm.add_domain()
        assert await deployment.info(STATUS) is None
        assert await deployment.domain_path() == tmp_path / "share" / DOMAIN
        assert deployment.volume(DISK) == journal.get("HEVD_volume")
