# SPDX-License-Identifier: Apache-2.0
"""The shared configuration, through VDSM's verbs and from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.setup.join.cluster_source import FolderSource, VdsmSource, is_configuration
from ha_agent.setup.step import SetupFailed, SetupRefused
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.answers_connect import ConnectionStatus, DomainSpace
from ha_agent.vdsm.client.storage_server import StorageServer, nfs, parse_portals
from ha_agent.vdsm.client.storage_server import iscsi as iscsi_server
from ha_agent.vdsm.errors import VdsmCallFailed
from tests.setup.join_world import Shared, make_cluster
from tests.setup.register_world import HereLane, mute


def volume_info(
    disk_type: str, description: str, volume_id: str = "v", image_id: str = "i"
) -> VolumeInfo:
    return VolumeInfo(
        volume_id, image_id, description, "RAW", "LEGAL", None, None, None, None, disk_type
    )


class FolderVdsm:
    """VDSM's verbs over domains in a folder, once a server is connected."""

    def __init__(self, *domains: Path, connected: bool = True) -> None:
        self.domains = {path.name: path for path in domains}
        self.is_connected = connected
        self.codes: list[int] = []
        self.looked_for_devices = False

    def _path(self, domain: str) -> Path:
        if not self.is_connected or domain not in self.domains:
            raise VdsmCallFailed("StorageDomain.getStats", 358, "no such domain")
        return self.domains[domain]

    async def domain_space(self, domain_id: str) -> DomainSpace:
        self._path(domain_id)
        return DomainSpace(1, 1)

    async def storage_domains(self) -> list[str]:
        return sorted(self.domains) if self.is_connected else []

    async def block_devices(self, domain_type: Any) -> list[Any]:
        self.looked_for_devices = True
        return []

    async def connect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]:
        codes = self.codes or [0] * len(server.connections)
        self.is_connected = 0 in codes
        return [ConnectionStatus(one.id, code) for one, code in zip(server.connections, codes)]

    async def domain_images(self, domain_id: str) -> list[str]:
        return file_domain.list_images(self._path(domain_id))

    async def image_volumes(self, domain_id: str, image_id: str) -> list[str]:
        return file_domain.list_volumes(self._path(domain_id), image_id)

    async def volume_info(self, domain_id: str, image_id: str, volume_id: str) -> VolumeInfo:
        path = self._path(domain_id) / "images" / image_id / volume_id
        told = file_domain.read_volume_metadata(path)
        return volume_info(told["DISKTYPE"], told["DESCRIPTION"], volume_id, image_id)

    async def prepare_image(self, domain_id: str, image_id: str, volume_id: str) -> str:
        return str(self._path(domain_id) / "images" / image_id / volume_id)


SERVER = nfs("srv:/he", "4")


def source(vdsm: FolderVdsm, server: Any = SERVER, domain_uuid: str = "") -> VdsmSource:
    lane: Any = HereLane()
    verbs: Any = vdsm
    return VdsmSource(verbs, lane, server, domain_uuid=domain_uuid)


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return make_cluster(tmp_path / "storage")


@pytest.mark.parametrize("is_known", [True, False])
async def test_vdsm_connects_and_finds_it(shared: Shared, is_known: bool) -> None:
    vdsm = FolderVdsm(shared.path, connected=False)
    one = source(vdsm, domain_uuid=shared.uuid if is_known else "")
    assert one.subject == "srv:/he"
    assert not (await one.look()).done
    assert "is connected" in await one.connect(mute)
    assert (await one.look()).done
    found = await one.read()
    assert found.domain_uuid == shared.uuid
    assert found.files["hosted-engine.conf"].decode() == shared.conf_text
    image, volume = shared.status.parts[-2:]
    assert await one.volume_path(image, volume) == str(shared.status)


async def test_several_domains_and_none(shared: Shared) -> None:
    other = make_cluster(shared.path.parent)
    both = FolderVdsm(shared.path, other.path)
    with pytest.raises(SetupRefused, match="several storage domains"):
        await source(both).look()
    assert (await source(both, domain_uuid=other.uuid).read()).domain_uuid == other.uuid
    with pytest.raises(SetupRefused, match="no storage domain"):
        await source(FolderVdsm()).read()


async def test_storage_that_can_not_be_connected(shared: Shared) -> None:
    vdsm = FolderVdsm(shared.path, connected=False)
    vdsm.codes = [477]
    with pytest.raises(SetupFailed, match="srv:/he: code 477"):
        await source(vdsm).connect(mute)
    with pytest.raises(SetupFailed, match="not known how"):
        await source(vdsm, None).connect(mute)


async def test_one_portal_of_two_will_do(shared: Shared) -> None:
    portals = parse_portals("192.0.2.1,192.0.2.2")
    server = iscsi_server(portals, "iqn.2026-11.org.example:he")
    vdsm = FolderVdsm(shared.path, connected=False)
    vdsm.codes = [465, 0]
    said: list[str] = []
    await source(vdsm, server).connect(said.append)
    assert "192.0.2.1" in said[0]
    assert vdsm.looked_for_devices


def test_what_a_configuration_volume_is() -> None:
    assert is_configuration(volume_info("HECI", ""))
    assert is_configuration(volume_info("DATA", "HostedEngineConfigurationImage"))
    assert not is_configuration(volume_info("DATA", ""))


async def test_a_folder(shared: Shared, tmp_path: Path) -> None:
    one = FolderSource(HereLane(), shared.path)
    assert (await one.look()).done
    found = await one.read()
    assert (found.domain_path, found.volume) == (shared.path, str(shared.conf_volume))
    with pytest.raises(SetupFailed, match="have the system mount it"):
        await one.connect(mute)
    with pytest.raises(BadInput, match="is it mounted"):
        await FolderSource(HereLane(), tmp_path).look()
    with pytest.raises(EnvironmentFault):
        await FolderSource(HereLane(), tmp_path / "gone").look()


async def test_a_domain_without_a_configuration(shared: Shared) -> None:
    for meta in shared.conf_volume.parent.glob("*.meta"):
        meta.unlink()
    with pytest.raises(SetupRefused, match="none has a configuration volume"):
        await FolderSource(HereLane(), shared.path).look()
    with pytest.raises(SetupRefused, match="no configuration volumes"):
        await FolderSource(HereLane(), shared.path, domain_uuid=shared.uuid).read()
