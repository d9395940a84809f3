# SPDX-License-Identifier: Apache-2.0
"""The keeper over a store of two copies that a test writes, tears and changes."""

from __future__ import annotations

import asyncio
import functools
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional, cast

import pytest

from demo.domain import engine_vm
from ha_agent.broker.definition import LAST_GOOD, VM_CONF, DefinitionKeeper
from ha_agent.broker.snapshot import DefinitionEntry
from ha_agent.broker.storage_lane import StorageLane
from ha_agent.broker.store_reader import StoreReader
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.ovfstore.locate import format_description, java_date_text
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.tar_volume import build_archive, read_members
from ha_agent.vdsm.answers import VolumeInfo
from ha_agent.vdsm.verbs import Vdsm

DOMAIN, VM, IMAGE, VOLUME = (str(uuid.UUID(int=number)) for number in range(1, 5))
COPIES = {str(uuid.UUID(int=n)): str(uuid.UUID(int=n + 10)) for n in (20, 21)}
CLOCK = SystemClock()


@functools.cache  # its network card has a new UUID each time
def ovf_of(memory_mib: int) -> bytes:
    vm = replace(engine_vm(DOMAIN, IMAGE, VOLUME, VM), memory_mib=memory_mib, engine_xml=None)
    return build_ovf(vm)


@dataclass
class Store:
    """Plays VDSM and the storage worker at once: volumes by their image's UUID."""

    data: dict[str, bytes] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    reads: int = 0
    down: bool = False
    gate: Optional[asyncio.Event] = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, image: str, ovf: bytes, *, at: float = 0.0) -> None:
        wall = CLOCK.wall() + at
        text = java_date_text(wall)
        data = build_archive(DOMAIN, [(VM, ovf)], last_updated_text=text, written_at=wall)
        self.data[image] = data
        self.descriptions[image] = format_description(
            storage_domain_uuid=DOMAIN, updated=True, last_updated_text=text, size_bytes=len(data)
        )

    async def domain_images(self, _domain: str) -> list[str]:
        self.asked.set()
        if self.down:
            raise EnvironmentFault("VDSM does not answer")
        return list(COPIES)

    async def image_volumes(self, _domain: str, image: str) -> list[str]:
        return [COPIES[image]]

    async def volume_info(self, _domain: str, image: str, volume: str) -> VolumeInfo:
        description = self.descriptions[image]
        return VolumeInfo(volume, image, description, "RAW", "LEGAL", 1, 1, 1, 1)

    async def prepare_image(self, _domain: str, image: str, _volume: str) -> str:
        return image

    async def call(
        self, operation: str, _deadline: float, *, path: str, size_bytes: int, names: list[str]
    ) -> Any:
        assert operation == "read_members"
        self.reads += 1
        self.began.set()
        data = self.data[path]
        if self.gate is not None:
            await self.gate.wait()

        def read_at(offset: int, length_bytes: int) -> bytes:
            return data[offset : offset + length_bytes]

        return {"members": read_members(read_at, size_bytes, names, where=path)}


@pytest.fixture
async def store() -> Store:
    made = Store()
    for image in COPIES:
        made.write(image, ovf_of(1024))
    return made


class Kept:
    def __init__(self, store: Store, folder: Path) -> None:
        self.entries: list[DefinitionEntry] = []
        for name in ("state", "run"):
            (folder / name).mkdir(exist_ok=True)
        self.keeper = DefinitionKeeper(
            StoreReader(
                cast(Vdsm, store),
                cast(StorageLane, store),
                vm_uuid=VM,
                domain_uuid=DOMAIN,
                read_deadline_seconds=5,
            ),
            state_dir=folder / "state",
            run_dir=folder / "run",
            clock=CLOCK,
            refresh_interval_seconds=60,
            on_change=self.entries.append,
        )


async def test_a_definition_is_read_once_and_kept(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    assert await kept.keeper.refresh() == ""
    entry = kept.entries[-1]
    assert (entry.available, entry.stale, entry.memory_mib) == (True, False, 1024)
    assert await kept.keeper.refresh() == ""
    assert store.reads == 1
    assert await kept.keeper.refresh(read_again=True) == ""
    assert store.reads == 2
    assert (tmp_path / "state" / LAST_GOOD).read_bytes() == ovf_of(1024)
    assert f"vmId={VM}" in (tmp_path / "run" / VM_CONF).read_text()


async def test_the_newer_copy_counts(store: Store, tmp_path: Path) -> None:
    store.write(list(COPIES)[1], ovf_of(2048), at=60.0)
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    assert kept.entries[-1].memory_mib == 2048


async def test_a_torn_copy_gives_way(store: Store, tmp_path: Path) -> None:
    newer = list(COPIES)[1]
    store.write(newer, ovf_of(2048), at=60.0)
    store.data[newer] = store.data[newer][:1000]
    kept = Kept(store, tmp_path)
    assert await kept.keeper.refresh() == ""
    assert kept.entries[-1].memory_mib == 1024


async def test_a_newer_copy_that_could_not_be_read_is_tried_again(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A slow moment of the storage must not leave the older copy in use for ever."""
    newer = list(COPIES)[1]
    store.write(newer, ovf_of(2048), at=60.0)
    whole = store.data[newer]
    store.data[newer] = whole[:1000]
    kept = Kept(store, tmp_path)
    for _ in range(3):
        assert await kept.keeper.refresh() == ""
    assert kept.entries[-1].memory_mib == 1024
    assert len([r for r in caplog.records if "other copy" in r.message]) == 1
    store.data[newer] = whole
    await kept.keeper.refresh()
    assert kept.entries[-1].memory_mib == 2048
    reads = store.reads
    await kept.keeper.refresh()
    assert store.reads == reads


async def test_no_way_back_to_the_older_copy(store: Store, tmp_path: Path) -> None:
    newer = list(COPIES)[1]
    store.write(newer, ovf_of(2048), at=60.0)
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    whole, store.data[newer] = store.data[newer], b""
    assert newer in await kept.keeper.refresh(read_again=True)
    entry = kept.entries[-1]
    assert (entry.memory_mib, entry.stale) == (2048, True)
    assert (tmp_path / "state" / LAST_GOOD).read_bytes() == ovf_of(2048)
    store.data[newer] = whole
    assert await kept.keeper.refresh() == ""
    assert not kept.entries[-1].stale


async def test_an_equal_copy_is_as_good(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    for image in reversed(COPIES):
        whole, store.data[image] = store.data[image], b""
        assert await kept.keeper.refresh(read_again=True) == ""
        entry = kept.entries[-1]
        assert (entry.available, entry.stale) == (True, False)
        assert entry.source == f"volume {COPIES[next(i for i in COPIES if i != image)]}"
        store.data[image] = whole


async def test_what_the_engine_writes_is_seen_by_its_description(
    store: Store, tmp_path: Path
) -> None:
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    first = kept.entries[-1]
    for image in COPIES:
        store.write(image, ovf_of(2048), at=60.0)
    await kept.keeper.refresh()
    second = kept.entries[-1]
    assert (second.memory_mib, second.stale) == (2048, False)
    assert second.identity != first.identity
    assert (tmp_path / "state" / LAST_GOOD).read_bytes() == ovf_of(2048)


async def test_a_damaged_last_good_one_is_no_hindrance(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    (tmp_path / "state" / LAST_GOOD).write_bytes(b"<ovf")
    running = asyncio.ensure_future(kept.keeper.run())
    await asyncio.wait_for(store.asked.wait(), 5)
    await kept.keeper.refresh()
    running.cancel()
    assert (kept.entries[-1].available, kept.entries[-1].stale) == (True, False)
    assert (tmp_path / "state" / LAST_GOOD).read_bytes() == ovf_of(1024)


async def test_a_poke_is_a_look_at_once(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    running = asyncio.ensure_future(kept.keeper.run())
    await asyncio.wait_for(store.began.wait(), 5)
    await kept.keeper.refresh()
    await asyncio.sleep(0.01)
    store.asked.clear()
    kept.keeper.poke()
    await asyncio.wait_for(store.asked.wait(), 5)
    running.cancel()


async def test_what_was_good_stays_when_nothing_can_be_read(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    store.down = True
    assert await kept.keeper.refresh() == "VDSM does not answer"
    entry = kept.entries[-1]
    assert (entry.available, entry.stale, entry.problem) == (True, True, "VDSM does not answer")
    store.down = False
    assert await kept.keeper.refresh() == ""
    assert not kept.entries[-1].stale


async def test_nothing_that_was_ever_good_is_no_definition(store: Store, tmp_path: Path) -> None:
    for image in COPIES:
        store.data[image] = b""
    kept = Kept(store, tmp_path)
    problem = await kept.keeper.refresh()
    assert "no copy of the OVF_STORE can be used" in problem
    assert all(image in problem for image in COPIES)
    assert kept.entries[-1] == DefinitionEntry(problem=problem)


async def test_the_last_good_one_serves_after_a_reboot(store: Store, tmp_path: Path) -> None:
    await Kept(store, tmp_path).keeper.refresh()
    (tmp_path / "run" / VM_CONF).unlink()
    store.down = True
    kept = Kept(store, tmp_path)
    running = asyncio.ensure_future(kept.keeper.run())
    await asyncio.wait_for(store.asked.wait(), 5)
    await kept.keeper.refresh()
    running.cancel()
    entry = kept.entries[-1]
    assert (entry.available, entry.stale, entry.source) == (True, True, LAST_GOOD)
    assert f"vmId={VM}" in (tmp_path / "run" / VM_CONF).read_text()


async def test_a_push_during_a_look_is_looked_at_after_it(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    store.gate = asyncio.Event()
    early = asyncio.ensure_future(kept.keeper.refresh())
    await asyncio.wait_for(store.began.wait(), 5)
    for image in COPIES:
        store.data[image] = store.data[image].replace(b"1024", b"3072")
    pushed = asyncio.ensure_future(kept.keeper.refresh(read_again=True))
    await asyncio.sleep(0)
    store.gate.set()
    assert list(await asyncio.gather(early, pushed)) == ["", ""]
    assert kept.entries[-1].memory_mib == 3072


async def test_a_copy_that_changes_while_it_is_read_is_not_used(
    store: Store, tmp_path: Path
) -> None:
    kept = Kept(store, tmp_path)
    store.gate = asyncio.Event()
    look = asyncio.ensure_future(kept.keeper.refresh())
    await asyncio.wait_for(store.began.wait(), 5)
    for image in COPIES:
        store.write(image, ovf_of(4096), at=120.0)
    store.gate.set()
    assert "it was written while we read it" in await look
    assert not kept.entries[-1].available
    assert await kept.keeper.refresh() == ""
    assert kept.entries[-1].memory_mib == 4096
