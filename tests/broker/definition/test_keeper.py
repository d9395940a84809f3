# SPDX-License-Identifier: Apache-2.0
"""The keeper over a store of two copies that a test writes, tears and changes.

The guard is the real one; the hosts that it knows are the test's."""

from __future__ import annotations

import asyncio
import functools
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional, cast

import pytest

from demo.domain import engine_vm
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.snapshot import DefinitionEntry
from ha_agent.broker.storage.lane import StorageLane
from ha_agent.broker.store.reader import StoreReader
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.ovfstore import guard
from ha_agent.ovfstore.approval import Approval, format_approval, identity_of
from ha_agent.ovfstore.guard import GuardFacts, HostCapacity, Refusal
from ha_agent.ovfstore.history import History
from ha_agent.ovfstore.locate import format_description, java_date_text
from ha_agent.ovfstore.model import VmDefinition
from ha_agent.ovfstore.ovf_build import build_ovf
from ha_agent.ovfstore.tar_volume import build_archive, encode_header, read_members
from ha_agent.ovfstore.translate import DomainXml
from ha_agent.vdsm.client.answers import VolumeInfo
from ha_agent.vdsm.client.verbs import Vdsm
from ha_agent.vdsm.errors import VdsmCallFailed

DOMAIN, VM, IMAGE, VOLUME = (str(uuid.UUID(int=number)) for number in range(1, 5))
COPIES = {str(uuid.UUID(int=n)): str(uuid.UUID(int=n + 10)) for n in (20, 21)}
CLOCK = SystemClock()
VM_CONF = "vm.conf"


@functools.cache  # its network card has a new UUID each time
def vm_of(vm_uuid: str) -> VmDefinition:
    return replace(engine_vm(DOMAIN, IMAGE, VOLUME, vm_uuid), engine_xml=None)


def ovf_of(memory_mib: int, vm_uuid: str = VM) -> bytes:
    return build_ovf(replace(vm_of(vm_uuid), memory_mib=memory_mib))


@dataclass
class Store:
    """Plays VDSM and the storage worker at once: volumes by their image's UUID."""

    data: dict[str, bytes] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    reads: int = 0
    down: bool = False
    scans: int = 0
    strangers: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    gate: Optional[asyncio.Event] = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)

    def write_both(self, ovf: bytes, *, at: float = 0.0, approval: bytes = b"") -> None:
        for image in COPIES:
            self.write(image, ovf, at=at, approval=approval)

    def write(self, image: str, ovf: bytes, *, at: float = 0.0, approval: bytes = b"") -> None:
        wall = CLOCK.wall() + at
        text = java_date_text(wall)
        members = [(VM, ovf)]
        data = build_archive(DOMAIN, members, last_updated_text=text, written_at=wall)
        if approval:
            name = f"{VM}.ovf.approval"
            padded = approval + bytes(-len(approval) % 512)
            data = data[:-1024] + encode_header(name, len(approval), wall) + padded + bytes(1024)
        self.data[image] = data
        self.descriptions[image] = format_description(
            storage_domain_uuid=DOMAIN, updated=True, last_updated_text=text, size_bytes=len(data)
        )

    async def domain_images(self, _domain: str) -> list[str]:
        self.scans += 1
        self.answer()
        return [*COPIES, *self.strangers]

    def answer(self) -> None:
        self.asked.set()
        if self.down:
            raise EnvironmentFault("VDSM does not answer")

    async def image_volumes(self, _domain: str, image: str) -> list[str]:
        return [COPIES.get(image) or self.strangers[image]]

    async def volume_info(self, _domain: str, image: str, volume: str) -> VolumeInfo:
        self.answer()
        if image in self.hidden:
            raise VdsmCallFailed("Volume.getInfo", 201, f"volume {volume} is locked")
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


class LateClock:
    """The real clock, `later_seconds` on."""

    later_seconds = 0.0

    def now(self) -> Instant:
        return CLOCK.now() + self.later_seconds

    def wall(self) -> WallTime:
        return CLOCK.wall() + self.later_seconds


class Kept:
    """A keeper, and the one host whose memory the guard knows, once it is set."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.entries: list[DefinitionEntry] = []
        self.memory_mib: Optional[int] = None
        self.folder = folder
        self.clock = LateClock()
        (folder / "run").mkdir(exist_ok=True)
        self.history = History(folder / "definitions")
        self.keeper = DefinitionKeeper(
            StoreReader(
                cast(Vdsm, store),
                cast(StorageLane, store),
                vm_uuid=VM,
                domain_uuid=DOMAIN,
                read_deadline_seconds=5,
            ),
            history=self.history,
            judge=self.judge,
            vm_conf=folder / "run" / VM_CONF,
            clock=self.clock,
            refresh_interval_seconds=60,
            on_change=self.entries.append,
        )

    async def judge(
        self, vm: VmDefinition, domain: DomainXml, current: Optional[VmDefinition]
    ) -> tuple[Refusal, ...]:
        hosts = (HostCapacity(1, "h1", memory_mib=self.memory_mib),)
        return guard.judge(vm, domain, current, GuardFacts(DOMAIN, VM, hosts))

    @property
    def entry(self) -> DefinitionEntry:
        return self.entries[-1]

    def newest(self) -> bytes:
        version = self.history.newest()
        assert version is not None
        return self.history.document(version.number)


def keep(history: History, document: bytes, how: str = "read") -> None:
    history.add(
        document,
        accepted_at=CLOCK.wall(),
        source="volume x",
        how=how,
        vm_name="HostedEngine",
        memory_mib=1,
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
    assert kept.newest() == ovf_of(1024)
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
    assert kept.newest() == ovf_of(2048)
    store.data[newer] = whole
    assert await kept.keeper.refresh() == ""
    assert not kept.entries[-1].stale


async def test_no_way_back_while_vdsm_can_not_tell_about_the_newer_copy(
    store: Store, tmp_path: Path
) -> None:
    newer = list(COPIES)[1]
    store.write(newer, ovf_of(2048), at=60.0)
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    store.hidden.add(newer)
    for _ in range(2):
        assert "is locked" in await kept.keeper.refresh()
        assert (kept.entry.memory_mib, kept.entry.stale) == (2048, True)
    store.hidden.clear()
    store.write(newer, ovf_of(3072), at=120.0)
    assert await kept.keeper.refresh() == ""
    assert kept.entry.memory_mib == 3072


async def test_a_volume_that_vdsm_never_tells_about_holds_no_newer_definition_up(
    store: Store, tmp_path: Path
) -> None:
    # This host put a definition, was started again, and the engine has written since.
    broken, whole = COPIES
    before = Kept(store, tmp_path)
    put_at = java_date_text(CLOCK.wall() + 60.0)
    async with before.keeper.putting():
        await before.keeper.accepted(ovf_of(2048), how="put", source="uid 0", last_updated=put_at)
    store.hidden.add(broken)
    kept = Kept(store, tmp_path)
    assert "is locked" in await kept.keeper.refresh()
    assert (kept.entry.memory_mib, kept.entry.stale) == (2048, True)
    store.write(whole, ovf_of(3072), at=120.0)
    assert await kept.keeper.refresh() == ""
    assert (kept.entry.memory_mib, kept.entry.stale) == (3072, False)


async def test_an_engine_whose_zone_is_behind_is_no_way_back_for_any_volume(
    store: Store, tmp_path: Path
) -> None:
    disk = str(uuid.UUID(int=70))  # of some other VM
    store.strangers[disk] = str(uuid.UUID(int=71))
    store.hidden.add(disk)
    kept = Kept(store, tmp_path)
    store.write_both(ovf_of(2048), at=60.0)
    await kept.keeper.refresh()
    store.write_both(ovf_of(3072), at=-5 * 3600.0)
    assert await kept.keeper.refresh() == ""
    assert kept.entry.memory_mib == 3072


@pytest.mark.parametrize("torn", [True, False])
async def test_no_way_back_while_the_newer_copy_is_being_written(
    store: Store, tmp_path: Path, torn: bool
) -> None:
    newer = list(COPIES)[1]
    store.write(newer, ovf_of(2048), at=60.0)
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    if torn:
        store.write(newer, ovf_of(3072), at=120.0)
        store.data[newer] = b""
    else:
        text = java_date_text(CLOCK.wall() + 60.0)
        store.descriptions[newer] = format_description(
            storage_domain_uuid=DOMAIN, updated=False, last_updated_text=text
        )
    for _ in range(2):
        assert "stays in use" in await kept.keeper.refresh()
        assert (kept.entry.memory_mib, kept.entry.stale) == (2048, True)
    # Whole again, and older: the store has the last word.
    store.write(newer, ovf_of(3072), at=1.0)
    assert await kept.keeper.refresh() == ""
    assert kept.entry.memory_mib == 3072


async def test_a_copy_that_vdsm_can_not_tell_about_is_looked_for_again(
    store: Store, tmp_path: Path
) -> None:
    newer = list(COPIES)[1]
    store.write(newer, ovf_of(2048), at=60.0)
    store.hidden.add(newer)
    kept = Kept(store, tmp_path)
    for _ in range(2):
        assert await kept.keeper.refresh() == ""
        assert kept.entry.memory_mib == 1024
        assert store.reads == 1
    store.hidden.clear()
    await kept.keeper.refresh()
    assert kept.entry.memory_mib == 2048


async def test_what_was_written_since_is_no_way_back_whatever_its_date(
    store: Store, tmp_path: Path
) -> None:
    # A put dated by a clock that is ahead; then the engine writes one copy, and fails to
    # write the other one.
    one, other = COPIES
    kept = Kept(store, tmp_path)
    store.write_both(ovf_of(2048), at=3600.0)
    await kept.keeper.refresh()
    store.descriptions[other] = format_description(
        storage_domain_uuid=DOMAIN,
        updated=False,
        last_updated_text=java_date_text(CLOCK.wall() + 3600.0),
    )
    store.write(one, ovf_of(3072), at=60.0)
    assert await kept.keeper.refresh() == ""
    assert kept.entry.memory_mib == 3072


async def test_a_copy_that_is_not_good_is_noted(store: Store, tmp_path: Path) -> None:
    """One is enough to start from, so nothing else would tell of the other for weeks."""
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    assert not [note for note in kept.entry.notes if "OVF_STORE" in note]
    image, volume = next(iter(COPIES.items()))
    text = java_date_text(CLOCK.wall())
    whole = store.descriptions[image]
    store.descriptions[image] = format_description(
        storage_domain_uuid=DOMAIN, updated=False, last_updated_text=text
    )
    for _ in range(2):
        assert await kept.keeper.refresh() == ""
        (note,) = [note for note in kept.entry.notes if "OVF_STORE" in note]
        assert volume in note
        assert "being written now, or its last update failed" in note
    store.descriptions[image] = whole
    await kept.keeper.refresh()
    assert not [note for note in kept.entry.notes if "OVF_STORE" in note]


async def test_all_volumes_are_looked_at_seldom(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    for _ in range(3):
        assert await kept.keeper.refresh() == ""
    assert store.scans == 1
    # Told that something changed, or after ten minutes.
    assert await kept.keeper.refresh(read_again=True) == ""
    assert store.scans == 2
    kept.clock.later_seconds = 600.0
    assert await kept.keeper.refresh() == ""
    assert store.scans == 3
    # A scan that failed is no scan.
    store.down = True
    assert await kept.keeper.refresh(read_again=True) == "VDSM does not answer"
    store.down = False
    scans = store.scans
    assert await kept.keeper.refresh() == ""
    assert store.scans == scans + 1


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
    assert kept.newest() == ovf_of(2048)


async def test_a_damaged_last_good_one_is_no_hindrance(store: Store, tmp_path: Path) -> None:
    keep(History(tmp_path / "definitions"), b"<ovf")
    kept = Kept(store, tmp_path)
    assert await kept.keeper.refresh() == ""
    assert (kept.entry.available, kept.entry.stale, kept.entry.version) == (True, False, 2)
    assert kept.newest() == ovf_of(1024)


async def test_before_a_damaged_one_the_one_before_it_serves(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = History(tmp_path / "definitions")
    for document in (ovf_of(512), ovf_of(768), b"<ovf", ovf_of(1024)):
        keep(history, document)
    (history.folder / "000004.ovf").write_bytes(b"torn")
    store.down = True
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    assert (kept.entry.memory_mib, kept.entry.version) == (768, 2)
    assert "version 4 of this host's history is damaged" in caplog.text
    assert "version 3 of this host's history" in caplog.text


async def test_what_was_imported_is_not_in_use(store: Store, tmp_path: Path) -> None:
    keep(History(tmp_path / "definitions"), ovf_of(512), how="import")
    store.down = True
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    assert not kept.entry.available


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
    before = Kept(store, tmp_path)
    await before.keeper.refresh()
    (tmp_path / "run" / VM_CONF).unlink()
    store.down = True
    kept = Kept(store, tmp_path)
    running = asyncio.ensure_future(kept.keeper.run())
    await asyncio.wait_for(store.asked.wait(), 5)
    await kept.keeper.refresh()
    running.cancel()
    entry = kept.entry
    assert (entry.available, entry.stale, entry.version) == (True, True, 1)
    assert entry.source == f"this host's history, version 1 ({before.entry.source})"
    assert entry.accepted_at_unix_seconds == before.entry.accepted_at_unix_seconds
    # It was in use before the store was first asked.
    assert kept.entries[0].available
    assert f"vmId={VM}" in (tmp_path / "run" / VM_CONF).read_text()
    store.down = False
    assert await kept.keeper.refresh() == ""
    assert kept.entry.source == before.entry.source
    assert len(kept.history.versions()) == 1


async def test_a_damaged_version_is_noted_when_an_older_one_serves(
    store: Store, tmp_path: Path
) -> None:
    history = History(tmp_path / "definitions")
    keep(history, ovf_of(1024))
    keep(history, ovf_of(2048))
    (tmp_path / "definitions" / "000002.ovf").write_bytes(b"")
    store.down = True
    kept = Kept(store, tmp_path)
    assert await kept.keeper.refresh() == "VDSM does not answer"
    assert (kept.entry.memory_mib, kept.entry.stale) == (1024, True)
    assert "version 2 of this host's history is damaged" in kept.entry.notes[0]


async def test_no_way_back_after_a_reboot_either(store: Store, tmp_path: Path) -> None:
    newer = list(COPIES)[1]
    store.write(newer, ovf_of(2048), at=60.0)
    await Kept(store, tmp_path).keeper.refresh()
    store.data[newer] = b""
    kept = Kept(store, tmp_path)
    assert newer in await kept.keeper.refresh()
    assert (kept.entry.memory_mib, kept.entry.stale) == (2048, True)


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


async def test_what_a_look_read_before_a_put_does_not_undo_it(
    store: Store, tmp_path: Path
) -> None:
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    store.write_both(ovf_of(2048), at=60.0)
    store.gate = asyncio.Event()
    store.began.clear()
    look = asyncio.ensure_future(kept.keeper.refresh())
    await asyncio.wait_for(store.began.wait(), 5)
    async with kept.keeper.putting():
        put = await kept.keeper.accepted(ovf_of(3072), how="put", source="uid 0")
    assert put.vm.memory_mib == kept.entry.memory_mib == 3072
    for image in COPIES:
        store.data[image] = store.data[image].replace(ovf_of(2048), ovf_of(3072))
    store.gate.set()
    assert await look == ""
    assert {entry.memory_mib for entry in kept.entries if entry.available} == {1024, 3072}
    assert [version.how for version in kept.history.versions()] == ["read", "put"]


async def test_what_a_look_finds_of_a_put_under_way_is_the_puts(
    store: Store, tmp_path: Path
) -> None:
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    async with kept.keeper.putting():
        store.write_both(ovf_of(3072), at=60.0)
        look = asyncio.ensure_future(kept.keeper.refresh(read_again=True))
        reads = store.reads
        for _ in range(1000):
            await asyncio.sleep(0.001)
            if store.reads > reads:
                break  # it has what was written, and who wrote it has not said so yet
        await kept.keeper.accepted(ovf_of(3072), how="rollback", source="uid 0")
    assert await look == ""
    assert [version.how for version in kept.history.versions()] == ["read", "rollback"]
    assert kept.entry.how == "rollback"


# The guard ------------------------------------------------------------------------------


@pytest.fixture
async def refused(store: Store, tmp_path: Path) -> Kept:
    """With 1024 MiB in use, and 4096 in the store, which no host has."""
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    kept.memory_mib = 2048
    store.write_both(ovf_of(4096), at=60.0)
    await kept.keeper.refresh()
    return kept


TOO_BIG = identity_of(ovf_of(4096))
CODE = "memory_beyond_hosts"


async def test_what_the_guard_refuses_waits_and_is_told(
    refused: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    entry = refused.entry
    assert (entry.available, entry.memory_mib, entry.stale) == (True, 1024, False)
    assert refused.newest() == ovf_of(1024)
    pending = entry.pending
    assert pending is not None
    assert (pending.identity, pending.codes, pending.may_force) == (TOO_BIG, (CODE,), True)
    assert pending.differences == ("memory 1024 -> 4096 MiB",)
    assert pending.advice == f"to use it all the same: ha-agent ovf accept {TOO_BIG} --force"
    for text in (*pending.sentences, pending.advice):
        assert text in entry.problem
    assert await refused.keeper.refresh() == entry.problem
    assert not caplog.records
    assert [record.message for record in caplog.get_records("setup")][-2:] == [
        f"definition: {entry.problem}",
        f"definition {TOO_BIG} would change: memory 1024 -> 4096 MiB",
    ]


async def test_it_is_used_when_a_host_comes_back(refused: Kept, store: Store) -> None:
    reads = store.reads
    refused.memory_mib = 8192
    assert await refused.keeper.refresh() == ""
    assert (refused.entry.memory_mib, refused.entry.pending) == (4096, None)
    assert store.reads == reads
    assert refused.newest() == ovf_of(4096)


async def test_it_is_forgotten_when_the_engine_takes_it_back(refused: Kept, store: Store) -> None:
    store.write_both(ovf_of(1024), at=120.0)
    assert await refused.keeper.refresh() == ""
    assert (refused.entry.memory_mib, refused.entry.pending) == (1024, None)


async def test_a_person_may_insist(refused: Kept) -> None:
    refusals = await refused.keeper.accept(TOO_BIG, force=False)
    assert [refusal.code for refusal in refusals] == [CODE]
    assert refused.entry.memory_mib == 1024
    assert await refused.keeper.accept(TOO_BIG, force=True) == ()
    entry = refused.entry
    assert (entry.memory_mib, entry.how, entry.pending, entry.problem) == (
        4096,
        "forced",
        None,
        "",
    )
    version = refused.history.newest()
    assert version is not None
    assert (version.how, version.approved) == ("forced", (CODE,))
    assert await refused.keeper.refresh(read_again=True) == ""


async def test_what_waits_no_more_can_not_be_accepted(refused: Kept) -> None:
    with pytest.raises(BadInput, match=f"no definition 'abc' waits.*{TOO_BIG} does"):
        await refused.keeper.accept("abc", force=True)
    await refused.keeper.accept(TOO_BIG, force=True)
    with pytest.raises(BadInput, match="none does"):
        await refused.keeper.accept(TOO_BIG, force=True)


async def test_who_insisted_once_is_not_asked_again(
    refused: Kept, store: Store, tmp_path: Path
) -> None:
    await refused.keeper.accept(TOO_BIG, force=True)
    store.write_both(ovf_of(1024), at=120.0)
    await refused.keeper.refresh()
    store.write_both(ovf_of(4096), at=180.0)
    for kept in (refused, Kept(store, tmp_path)):
        kept.memory_mib = 2048
        assert await kept.keeper.refresh() == ""
        assert kept.entry.memory_mib == 4096


async def test_without_a_host_that_is_too_small_nothing_need_be_forced(refused: Kept) -> None:
    refused.memory_mib = None
    assert await refused.keeper.accept(TOO_BIG, force=False) == ()
    assert (refused.entry.memory_mib, refused.entry.how) == (4096, "read")


def approval(identity: str = TOO_BIG, codes: tuple[str, ...] = (CODE,)) -> bytes:
    return format_approval(Approval(identity, codes, "uid 0", "2026-11-22T10:00:00Z"))


async def test_an_approval_beside_the_ovf_is_for_every_host(refused: Kept, store: Store) -> None:
    store.write_both(ovf_of(4096), at=120.0, approval=approval())
    assert await refused.keeper.refresh() == ""
    assert (refused.entry.memory_mib, refused.entry.how) == (4096, "read")
    version = refused.history.newest()
    assert version is not None
    assert version.approved == (CODE,)


@pytest.mark.parametrize(
    "beside",
    [approval(identity="0123456789ab"), approval(codes=("no_nic",)), b"{", b"[]"],
)
async def test_an_approval_of_something_else_approves_nothing(
    refused: Kept, store: Store, beside: bytes
) -> None:
    store.write_both(ovf_of(4096), at=120.0, approval=beside)
    assert "is not used" in await refused.keeper.refresh()
    assert refused.entry.memory_mib == 1024


class Never(Kept):
    """Nobody may force what this guard refuses."""

    async def judge(
        self, vm: VmDefinition, domain: DomainXml, current: Optional[VmDefinition]
    ) -> tuple[Refusal, ...]:
        found = await super().judge(vm, domain, current)
        return tuple(replace(refusal, may_force=False) for refusal in found)


async def test_nobody_may_insist_on_everything(store: Store, tmp_path: Path) -> None:
    kept = Never(store, tmp_path)
    await kept.keeper.refresh()
    kept.memory_mib = 2048
    store.write_both(ovf_of(4096), at=60.0, approval=approval())
    assert "nobody can insist on that" in await kept.keeper.refresh()
    assert [refusal.code for refusal in await kept.keeper.accept(TOO_BIG, force=True)] == [CODE]
    assert kept.entry.memory_mib == 1024


class NothingBig(Kept):
    """A guard that refuses, also where nothing is in use yet."""

    async def judge(
        self, vm: VmDefinition, domain: DomainXml, current: Optional[VmDefinition]
    ) -> tuple[Refusal, ...]:
        if vm.memory_mib < 4096:
            return ()
        return (Refusal("no_vm_lease", "its boot disk has no lease", False),)


async def test_without_any_definition_an_older_copy_will_do(store: Store, tmp_path: Path) -> None:
    store.write(list(COPIES)[1], ovf_of(4096), at=60.0)
    kept = NothingBig(store, tmp_path)
    for _ in range(2):
        assert "its boot disk has no lease" in await kept.keeper.refresh()
        assert kept.entry.memory_mib == 1024
        assert kept.entry.pending is not None
        assert kept.entry.pending.identity == TOO_BIG


async def test_without_any_that_the_guard_lets_pass_nothing_starts(
    store: Store, tmp_path: Path
) -> None:
    store.write_both(ovf_of(4096))
    kept = NothingBig(store, tmp_path)
    problem = await kept.keeper.refresh()
    assert "no copy of the OVF_STORE can be used" in problem
    assert "its boot disk has no lease" in problem
    assert not kept.entry.available
    assert kept.history.versions() == ()


async def test_a_document_is_judged_before_it_is_stored(refused: Kept) -> None:
    judged = await refused.keeper.judge_document(ovf_of(3072))
    assert judged.vm.memory_mib == 3072
    assert [refusal.code for refusal in judged.refusals] == [CODE]
    assert judged.differences == ("memory 1024 -> 3072 MiB",)
    same = await refused.keeper.judge_document(ovf_of(1024))
    assert (same.refusals, same.differences) == ((), ())
    with pytest.raises(BadInput, match=r"x\.ovf"):
        await refused.keeper.judge_document(b"<ovf", where="x.ovf")
    with pytest.raises(BadInput):
        await refused.keeper.judge_document(ovf_of(512, str(uuid.UUID(int=77))))
    assert refused.entry.memory_mib == 1024


class NothingAtAll(Kept):
    """A guard that refuses everything."""

    async def judge(
        self, vm: VmDefinition, domain: DomainXml, current: Optional[VmDefinition]
    ) -> tuple[Refusal, ...]:
        return (Refusal("no_vm_lease", "its boot disk has no lease", False),)


async def test_what_is_in_use_may_be_stored_again(store: Store, tmp_path: Path) -> None:
    """So that a damaged copy can be repaired, whatever the guard has learnt since."""
    keep(History(tmp_path / "definitions"), ovf_of(1024))
    kept = NothingAtAll(store, tmp_path)
    assert (await kept.keeper.judge_document(ovf_of(1024))).refusals == ()
    assert (await kept.keeper.judge_document(ovf_of(2048))).refusals != ()


async def test_the_store_has_the_last_word_on_what_was_put(store: Store, tmp_path: Path) -> None:
    kept = Kept(store, tmp_path)
    await kept.keeper.refresh()
    async with kept.keeper.putting():
        await kept.keeper.accepted(ovf_of(3072), how="put", source="uid 0")
    assert await kept.keeper.refresh() == ""
    assert (kept.entry.memory_mib, store.reads) == (1024, 2)


async def test_what_this_host_put_is_in_use_at_once(refused: Kept, store: Store) -> None:
    async with refused.keeper.putting():
        await refused.keeper.accepted(
            ovf_of(3072), how="rollback", source="uid 0", approved=(CODE,)
        )
    entry = refused.entry
    assert (entry.memory_mib, entry.how, entry.version) == (3072, "rollback", 2)
    assert entry.pending is None
    store.write_both(ovf_of(3072), at=120.0)
    assert await refused.keeper.refresh() == ""
    assert refused.entry.source.startswith("volume ")
    assert len(refused.history.versions()) == 2


# A disk of this host that fails ---------------------------------------------------------


async def test_what_can_not_be_kept_is_used_all_the_same(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "definitions").write_bytes(b"")
    kept = Kept(store, tmp_path)
    for _ in range(2):
        assert await kept.keeper.refresh() == ""
    entry = kept.entry
    assert (entry.available, entry.stale, entry.version) == (True, False, 0)
    assert "Not a directory" in entry.history_problem
    assert len([r for r in caplog.records if "but not kept" in r.message]) == 1
    (tmp_path / "definitions").unlink()
    await kept.keeper.refresh()
    assert (kept.entry.history_problem, kept.entry.version) == ("", 1)
    assert kept.newest() == ovf_of(1024)
