# SPDX-License-Identifier: Apache-2.0
"""The store made, written and read over real embedded VDSMs, lanes and storage workers."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.store.reader import StoreReader
from ha_agent.broker.store.writer import StoreWriter
from ha_agent.clock import SystemClock
from ha_agent.instant import Instant
from ha_agent.ovfstore.locate import order_copies
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.client.client import VdsmClient
from ha_agent.vdsm.client.verbs import Vdsm
from tests.broker.store_world import DOMAIN, POOL, VM, ovf_of
from tests.vdsm import embedded

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs QEMU"),
]
CLOCK = SystemClock()


class StillClock(SystemClock):
    """No call is ever slow on it, whatever the machine does: one host writes at a time here."""

    def now(self) -> Instant:
        return Instant(0.0)

    async def sleep(self, duration_seconds: float) -> None:
        await asyncio.sleep(0.01)


@dataclass
class RealHost:
    """A host's VDSM, storage lane, reader and writer."""

    vdsm: Vdsm
    reader: StoreReader
    writer: StoreWriter


@contextlib.asynccontextmanager
async def real_host(domain: Path, host_id: int) -> AsyncIterator[RealHost]:
    server = embedded.Host(domain)
    async with embedded.hosts(server):
        assert server.vdsm is not None
        ready = asyncio.Event()
        client = VdsmClient(
            "127.0.0.1",
            server.vdsm.port,
            clock=CLOCK,
            uniform=lambda: 0.0,
            on_connected=ready.set,
        )
        client.start()
        await asyncio.wait_for(ready.wait(), 20)
        lane = StorageLane(f"store{host_id}", str(domain.parent), clock=CLOCK)
        vdsm = Vdsm(client)
        reader = StoreReader(vdsm, lane, vm_uuid=VM, domain_uuid=DOMAIN, read_deadline_seconds=20)
        writer = StoreWriter(vdsm, lane, reader, host_id=host_id, clock=StillClock())
        try:
            yield RealHost(vdsm, reader, writer)
        finally:
            await client.close()
            await lane.close()


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[list[RealHost]]:
    domain = file_domain.create_domain(tmp_path, DOMAIN, name="hosted_storage")
    async with real_host(domain, 1) as one, real_host(domain, 2) as two:
        yield [one, two]


async def read(host: RealHost) -> bytes:
    ranked = order_copies(await host.reader.copies(), storage_domain_uuid=DOMAIN)[0]
    return (await host.reader.read(ranked)).document


async def test_a_store_from_nothing_to_its_second_version(
    both: list[RealHost], tmp_path: Path
) -> None:
    one, two = both
    made = await one.writer.create()
    assert (made.refusal, len(made.created)) == (None, 2)
    assert (await two.writer.create()).created == ()
    for copy in made.created:
        info = await two.vdsm.volume_info(DOMAIN, copy.image_uuid, copy.volume_uuid)
        assert info is not None
        assert (info.disk_type, info.capacity_bytes) == ("OVFS", 128 << 20)

    first = await one.writer.put(ovf_of(1024), None, "a test")
    assert first.refusal is None
    assert await read(two) == ovf_of(1024)

    second = await two.writer.put(ovf_of(2048), None, "a test")
    assert [copy.whole for copy in second.copies] == [False, False]
    assert await read(one) == ovf_of(2048)
    verdict = await one.writer.verify()
    assert verdict.is_good
    for copy in made.created:
        volume = tmp_path / DOMAIN / "images" / copy.image_uuid / copy.volume_uuid
        with tarfile.open(volume) as archive:
            assert archive.getnames().count(f"{VM}.ovf") == 1


async def test_a_domain_of_a_pool_is_not_written(both: list[RealHost], tmp_path: Path) -> None:
    metadata = tmp_path / DOMAIN / "dom_md" / "metadata"
    metadata.write_text(metadata.read_text().replace("POOL_UUID=", f"POOL_UUID={POOL}"))
    result = await both[0].writer.create()
    assert result.refusal is not None
    assert result.refusal.code == "pool_not_connected"
    put = await both[0].writer.put(ovf_of(1024), None, "a test")
    assert put.refusal == result.refusal
