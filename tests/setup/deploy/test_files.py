# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.instant import WallTime
from ha_agent.ovfstore import conf_volume
from ha_agent.setup.deploy.definition import DiskPlace, document, load_source
from ha_agent.setup.deploy.deployment import CONFIGURATION, DESCRIPTIONS, DISK, MIB, Deployment
from ha_agent.setup.deploy.files import WriteConf, WriteShared
from ha_agent.setup.step import SetupRefused
from tests.setup.deploy_fakes import DOMAIN, VM, FakeVdsm, make_deployment, make_journal, say


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[tuple[Deployment, Path]]:
    """A deployment whose configuration volume is there, empty, and that volume."""
    vdsm = FakeVdsm(tmp_path)
    vdsm.add_domain()
    with make_journal(tmp_path) as journal:
        deployment = make_deployment(tmp_path, journal, vdsm)
        ids = deployment.image(CONFIGURATION), deployment.volume(CONFIGURATION)
        yield deployment, vdsm.add_volume(CONFIGURATION, *ids, DESCRIPTIONS[CONFIGURATION], MIB)


def shared(deployment: Deployment) -> WriteShared:
    async def ovf() -> bytes:
        place = DiskPlace(DOMAIN, deployment.image(DISK), deployment.volume(DISK), 1)
        return document(load_source(deployment.answers, deployment.choices.get), place)

    return WriteShared(deployment, ovf)


async def test_the_file_is_written_for_root_and_vdsm_only(
    ground: tuple[Deployment, Path],
) -> None:
    deployment = ground[0]
    step = WriteConf(deployment)
    assert not (await step.look()).done
    await step.do(say)
    assert (await step.look()).done
    text = deployment.conf_path.read_text()
    assert f"vmid={VM}\n" in text
    assert deployment.conf_path.stat().st_mode & 0o007 == 0


async def test_later_changes_of_it_stay(ground: tuple[Deployment, Path]) -> None:
    deployment = ground[0]
    await WriteConf(deployment).do(say)
    text = deployment.conf_path.read_text().replace("bridge=ovirtmgmt", "bridge=other")
    deployment.conf_path.write_text(text + "mine=1\n")
    found = await WriteConf(deployment).look()
    assert found.done
    assert found.text.endswith("; not as answered now, and left as it is: bridge")
    deployment.conf_path.write_text(text.replace("host_id=1", "host_id=7") + "mine=1\n")
    assert not (await WriteConf(deployment).look()).done
    await WriteConf(deployment).do(say)
    after = deployment.conf_path.read_text()
    assert "bridge=other\n" in after
    assert "mine=1\n" in after
    assert "host_id=1\n" in after


@pytest.mark.parametrize(
    ("line", "what"), [("vmid=another", "another engine VM"), ("sdUUID=x", "another storage")]
)
async def test_another_clusters_file_is_not_touched(
    ground: tuple[Deployment, Path], line: str, what: str
) -> None:
    path = ground[0].conf_path
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n")
    with pytest.raises(SetupRefused, match=what):
        await WriteConf(ground[0]).look()
    assert path.read_text() == f"{line}\n"


async def test_the_archive_has_five_files_and_no_host_id(
    ground: tuple[Deployment, Path],
) -> None:
    deployment, volume = ground
    step = shared(deployment)
    assert not (await step.look()).done
    await step.do(say)
    assert (await step.look()).done
    files = conf_volume.decode_conf_volume(volume.read_bytes()[:20480], where="x")
    assert set(files) == set(conf_volume.FILE_NAMES)
    assert b"host_id=" not in files["hosted-engine.conf"]
    assert f"vmid={VM}\n".encode() in files["hosted-engine.conf"]
    assert f"vmId={VM}".encode() in files["vm.conf"]


async def test_another_clusters_archive_is_not_touched(ground: tuple[Deployment, Path]) -> None:
    deployment, volume = ground
    files = dict.fromkeys(conf_volume.FILE_NAMES, b"")
    files["hosted-engine.conf"] = b"vmid=another\n"
    archive = conf_volume.encode_conf_volume(files, WallTime(1))
    for data, what in ((archive, "another engine VM, another"), (b"odd".ljust(4096), "else")):
        volume.write_bytes(data.ljust(MIB, b"\0"))
        before = volume.read_bytes()
        with pytest.raises(SetupRefused, match=what):
            await shared(deployment).look()
        assert volume.read_bytes() == before
