# SPDX-License-Identifier: Apache-2.0
"""The domain from the configuration to its blocks, over the embedded VDSM and a block device."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.blocks.codec import StatusBlock
from ha_agent.broker.blocks.store import BlockStore
from ha_agent.broker.snapshot import LeaseEntry, Snapshot
from ha_agent.broker.storage.domain_connect import DomainConnect
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.storage.parts import DomainParts, is_lease_out_of_reach
from ha_agent.broker.storage.server_source import wanted_of
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.config.schema import Config
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.client.answers import DomainVitals
from ha_agent.vdsm.client.answers_connect import BlockDevice, ConnectionStatus, DomainSpace
from ha_agent.vdsm.client.client import VdsmClient
from ha_agent.vdsm.client.storage_server import DomainType, StorageServer
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.server.service import EmbeddedVdsm, ServerSettings
from ha_agent.waiting import wait_for_event
from tests.loop_device import loop_device
from tests.small_config import NOWHERE, write_config

SD = "00000000-0000-4000-8000-000000000002"
IMAGE = "00000000-0000-4000-8000-000000000003"
VOLUME = "00000000-0000-4000-8000-000000000004"
BLOCK = StatusBlock(1, "alpha", 1, 3400, {"vm": "down", "health": "bad", "detail": "unknown"})


def loaded(folder: Path, **keys: str) -> Config:
    path = write_config(folder)
    text = path.read_text()
    values = {"hosted_engine_conf": "", **keys}
    lines = "".join(f"{name} = {value}\n" for name, value in values.items())
    for name in values:
        text = "".join(x for x in text.splitlines(True) if not x.startswith(f"{name} ="))
    path.write_text(text.replace("[storage]\n", f"[storage]\n{lines}"))
    return layers.load([path], NOWHERE)


@contextlib.asynccontextmanager
async def lane_of(folder: Path) -> AsyncIterator[StorageLane]:
    lane = StorageLane("status", str(folder), clock=SystemClock())
    await lane.start()
    try:
        yield lane
    finally:
        await lane.close()


async def test_the_embedded_vdsm_twice(short_path: Path) -> None:
    """It forgets monitors and connections when it ends; both come back by themselves."""
    domain = file_domain.create_domain(short_path, SD, name="hosted_storage")
    file_domain.create_volume(
        domain, IMAGE, VOLUME, 64 * 4096, "status", "HEMD", created_at_seconds=1
    )
    config = loaded(short_path, connection=str(short_path), domain_type="localfs")
    for _ in range(2):
        server = EmbeddedVdsm(
            ServerSettings(run_dir=short_path / "v", domain_paths=(), listen_port=0)
        )
        await server.start()
        ready = asyncio.Event()
        client = VdsmClient(
            "127.0.0.1",
            server.port,
            clock=SystemClock(),
            uniform=lambda: 0.5,
            on_connected=ready.set,
        )
        client.start()
        try:
            assert await wait_for_event(ready, 30.0)
            vdsm = Vdsm(client)
            parts = DomainParts(config, vdsm, SystemClock(), lambda: False, lambda: False)
            assert not parts.connect.may_monitor()
            await parts.connect.keep()
            assert parts.connect.problem == ""
            assert parts.connect.may_monitor()
            assert await vdsm.storage_domains() == [SD]
            assert await vdsm.prepare_image(SD, IMAGE, VOLUME) == str(config.storage.status_path)
            assert (await vdsm.domain_space(SD)).free_bytes
        finally:
            await client.close()
            await server.stop()


async def test_what_is_not_mounted_is_said(short_path: Path) -> None:
    config = loaded(short_path, connection="h:/nowhere", domain_type="nfs")
    server = EmbeddedVdsm(ServerSettings(run_dir=short_path / "v", domain_paths=(), listen_port=0))
    await server.start()
    ready = asyncio.Event()
    client = VdsmClient(
        "127.0.0.1", server.port, clock=SystemClock(), uniform=lambda: 0.5, on_connected=ready.set
    )
    client.start()
    try:
        assert await wait_for_event(ready, 30.0)
        parts = DomainParts(config, Vdsm(client), SystemClock(), lambda: False, lambda: False)
        await parts.connect.keep()
        problem = parts.connect.problem
        assert "code 358" in problem
        assert "VDSM sees no domain" in problem
        assert "h:/nowhere is not connected: code 477" in problem
    finally:
        await client.close()
        await server.stop()


class BlockVdsm:
    """VDSM with a block domain: a prepared volume is a link to its device."""

    def __init__(self, run_dir: Path, device: str) -> None:
        self._run_dir = run_dir
        self._device = device
        self.logged_in: list[object] = []

    async def storage_vitals(self, domain_ids: Sequence[str] = ()) -> dict[str, DomainVitals]:
        return {}

    async def domain_space(self, domain_id: str) -> DomainSpace:
        return DomainSpace(1, 1)

    async def storage_domains(self) -> list[str]:
        return [SD]

    async def block_devices(self, domain_type: DomainType) -> list[BlockDevice]:
        return []

    async def connect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]:
        self.logged_in += [one.fields["connection"] for one in server.connections]
        return [ConnectionStatus(one.id, 0) for one in server.connections]

    async def disconnect_storage_server(self, server: StorageServer) -> list[ConnectionStatus]:
        return []

    async def prepare_image(self, domain_id: str, image_id: str, volume_id: str) -> str:
        link = self._run_dir / domain_id / image_id / volume_id
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self._device)
        return str(link)

    async def teardown_image(self, domain_id: str, image_id: str, volume_id: str = "") -> None:
        (self._run_dir / domain_id / image_id / volume_id).unlink()

    async def stop_monitoring_domain(self, domain_id: str) -> bool:
        return True


async def nobody() -> None:
    """Nobody needs the storage."""


@pytest.mark.root
async def test_status_blocks_on_a_block_domain(short_path: Path) -> None:
    """From portals in the configuration to blocks on the device, and away again."""
    links = short_path / "links"
    path = write_config(short_path, "[lease]\nbackend = sanlock\n[sanlock]\npath = /dev/x/y\n")
    text = path.read_text().replace("domain_type = localfs", "domain_type = iscsi")
    text = text.replace(f"domain_path = {short_path}/", f"domain_path = {links}/")
    more = "connection = 10.0.0.1, 10.0.0.2\niscsi_target = iqn.a:b\n"
    path.write_text(text.replace("[storage]\n", f"[storage]\n{more}"))
    config = layers.load([path], NOWHERE)
    image = short_path / "image"
    image.write_bytes(bytes(64 * 4096))
    with loop_device(image, 512) as device:
        vdsm = BlockVdsm(links, device)
        keeper = DomainConnect(
            vdsm,
            wanted_of(config.storage, config.lease.backend, config.sanlock.path),
            clock=SystemClock(),
            in_maintenance=lambda: False,
            is_unread=lambda: False,
        )
        await keeper.keep()
        assert keeper.problem == ""
        assert vdsm.logged_in == ["10.0.0.1", "10.0.0.2"]
        async with lane_of(short_path) as lane:
            store = BlockStore(
                lane, str(config.storage.status_path), clock=SystemClock(), max_hosts=3
            )
            await store.write(BLOCK, read_back=True)
            assert set((await store.read_all()).hosts) == {1}
        assert await keeper.release(nobody) == ""
        assert not config.storage.status_path.is_symlink()


async def test_the_features_of_the_broker(short_path: Path) -> None:
    config = loaded(short_path)
    clock = SystemClock()
    client = VdsmClient("127.0.0.1", 1, clock=clock, uniform=lambda: 0.5)
    parts = DomainParts(config, Vdsm(client), clock, lambda: True, lambda: False)
    picture = Snapshot(0, 1, "alpha", "vm", clock.now())
    features = parts.features(lambda: picture, Access(0, None), Vdsm(client).vm_list)
    assert [len(feature.work) for feature in features] == [1, 1]
    verbs = [verb for feature in features for verb in feature.handlers]
    assert "storage.connect" in verbs
    for feature in features:
        assert set(feature.deadlines_seconds) <= set(feature.handlers)


def test_a_lease_that_may_be_out_of_reach() -> None:
    """As one whose volume was taken away while nobody had it open."""
    out = "the lockspace can't be joined: /run/vdsm/storage/...: No such file or directory"
    assert is_lease_out_of_reach(LeaseEntry(state="unknown", detail=out))
    assert is_lease_out_of_reach(LeaseEntry(state="unreadable", detail=out))
    for entry in (
        LeaseEntry(),
        LeaseEntry(state="held", ours=True, detail=out),
        LeaseEntry(state="held", host_id=2, detail="io timeouts differ"),
        LeaseEntry(state="free"),
    ):
        assert not is_lease_out_of_reach(entry)
