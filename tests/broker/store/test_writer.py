# SPDX-License-Identifier: Apache-2.0
"""Putting an OVF into the store: cut off at every step, and with others writing meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import pytest

from ha_agent.broker.store.claim import StoreChanged
from ha_agent.broker.store.reader import member_names
from ha_agent.broker.store.writer import PutResult, WriterDeadlines
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import Instant, WallTime
from ha_agent.ovfstore.approval import Approval, format_approval, identity_of
from ha_agent.ovfstore.locate import order_copies, parse_description
from tests.broker.store_world import (
    CAPACITY_BYTES,
    CLOCK,
    DOMAIN,
    FIRST,
    GRACE_SECONDS,
    POOL,
    SECOND,
    THIRD,
    VM,
    Host,
    JumpingClock,
    Killed,
    World,
    ovf_of,
    unfinished,
)

OLD, NEW, NEWER = ovf_of(1024), ovf_of(2048), ovf_of(4096)
APPROVAL = format_approval(Approval(identity_of(NEW), ("no_nic",), "root", "now"))
PUT_STEPS = [
    *("describe 14", "change_members", "describe 14"),
    *("describe 15", "change_members", "describe 15"),
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    two_copies(made)
    return made


def two_copies(world: World, others: int = 3) -> None:
    """Write the same update to two copies, as the engine does."""
    world.write(FIRST, OLD, at=-60, others=others)
    world.add(SECOND, world.volumes[FIRST].description, world.volumes[FIRST].path.read_bytes())


def torn_copy(world: World) -> None:
    two_copies(world)
    world.volumes[FIRST].description = unfinished("Wed Jul 01 11:18:33 IDT 2020")
    world.volumes[FIRST].path.write_bytes(bytes(5000))


def older_copy(world: World) -> None:
    two_copies(world)
    world.write(FIRST, ovf_of(512), at=-3600, others=1)


def new_store(world: World) -> None:
    for volume in (FIRST, SECOND):
        world.add(volume, unfinished(None))


async def read(world: World) -> Optional[bytes]:
    """Return what a reader on another host finds first, None for nothing."""
    reader = Host(world, host_id=9).reader()
    for ranked in order_copies(await reader.copies(), storage_domain_uuid=DOMAIN):
        if ranked.usable:
            try:
                return (await reader.read(ranked)).document
            except BadInput:
                continue
    return None


async def assert_put_works(world: World, document: bytes, host_id: int = 2) -> PutResult:
    """Put a document from a host that has seen nothing, and find it in every copy."""
    host = Host(world, host_id=host_id)
    result = await host.writer().put(document, None, "a test")
    assert result.refusal is None
    verdict = await host.writer().verify()
    assert verdict.is_good
    assert {copy.document for copy in verdict.copies} == {document}
    return result


async def test_one_member_changes_in_both_copies(world: World) -> None:
    host = Host(world)
    before = {volume: world.volumes[volume].path.stat().st_size for volume in (FIRST, SECOND)}
    result = await host.writer().put(NEW, None, "a test")
    assert host.steps == PUT_STEPS
    assert (result.refusal, result.identity) == (None, identity_of(NEW))
    assert [copy.copy.volume_uuid for copy in result.copies] == [FIRST, SECOND]
    for copy in result.copies:
        assert not copy.whole
        assert 0 < copy.written_bytes < len(NEW) + 5 * 4096
        volume = world.volumes[copy.copy.volume_uuid]
        assert volume.description == copy.copy.description
        described = parse_description(volume.description, where="")
        assert (described.updated, described.size_bytes) == (True, copy.size_bytes)
        assert described.last_updated_text == result.last_updated
        assert "Writer" not in volume.description
        assert volume.path.stat().st_size == before[copy.copy.volume_uuid]
        with tarfile.open(volume.path) as archive:
            name = member_names(VM)[0]
            assert archive.getnames().count(name) == 1
            member = archive.extractfile(name)
            assert member is not None
            assert member.read() == NEW
            assert len([n for n in archive.getnames() if n.endswith(".ovf")]) == 4
    assert await read(world) == NEW
    assert (await host.writer().verify()).is_good


@pytest.mark.parametrize("begin", [two_copies, torn_copy, older_copy, new_store])
@pytest.mark.parametrize("kill", ["before", "after", "torn", "torn end"])
async def test_killed_at_any_step_a_reader_gets_the_old_or_the_new(
    tmp_path: Path, begin: Any, kill: str
) -> None:
    for kill_at in itertools.count():
        world = World(tmp_path)
        begin(world)
        old = await read(world)
        host = Host(world, kill_at=kill_at, kill=kill)
        try:
            await host.writer().put(NEW, None, "a test")
        except Killed:
            pass
        else:
            assert kill_at == len(host.steps) == 6
            break
        found = await read(world)
        assert found in (old, NEW)
        if kill_at > 2 or (kill_at == 2 and kill == "after"):
            # The first copy is done: from here on nobody reads the old one first.
            assert found == NEW
        await assert_put_works(world, NEWER)


@pytest.mark.parametrize("kill", ["before", "after", "torn"])
async def test_the_same_put_again_completes_one_that_was_cut_off(
    tmp_path: Path, kill: str
) -> None:
    for kill_at in range(6):
        world = World(tmp_path)
        two_copies(world)
        with pytest.raises(Killed):
            await Host(world, kill_at=kill_at, kill=kill).writer().put(NEW, None, "a test")
        await assert_put_works(world, NEW, host_id=1)


class CountingThreads(ThreadPoolExecutor):
    """The loop's threads, and how often they got work."""

    works = 0

    def submit(self, *work: Any, **named: Any) -> Any:
        self.works += 1
        return super().submit(*work, **named)


async def test_no_document_is_parsed_in_the_loop(world: World) -> None:
    threads = CountingThreads(1)
    asyncio.get_running_loop().set_default_executor(threads)
    await Host(world).writer().put(NEW, None, "a test")
    # The new one, the old one in each copy, the new one in each copy.
    assert threads.works == 5


async def test_what_is_there_is_not_written_again(world: World) -> None:
    first = await assert_put_works(world, NEW)
    host = Host(world)
    again = await host.writer().put(NEW, None, "a test")
    assert (again.refusal, again.copies, host.steps) == (None, (), [])
    assert again.last_updated == first.last_updated


async def test_an_approval_stands_beside_its_document_and_leaves_with_it(world: World) -> None:
    host = Host(world)
    await host.writer().put(NEW, APPROVAL, "a test")
    verdict = await host.writer().verify()
    assert verdict.is_good
    assert {copy.approval for copy in verdict.copies} == {APPROVAL}
    assert "an approval stands beside it" in verdict.copies[0].sentences()
    # The same document without the approval is another put.
    await host.writer().put(NEW, None, "a test")
    assert {copy.approval for copy in (await host.writer().verify()).copies} == {None}


async def test_a_copy_that_was_repaired_is_changed_in_place_again(tmp_path: Path) -> None:
    """It has no dead members, the other one has: that is no other content."""
    world = World(tmp_path)
    two_copies(world, others=50)
    await Host(world).writer().put(NEW, None, "first")
    world.volumes[FIRST].path.write_bytes(bytes(CAPACITY_BYTES))
    repaired = await Host(world).writer().put(NEWER, None, "repairs")
    assert [copy.whole for copy in repaired.copies] == [True, False]
    result = await Host(world).writer().put(NEW, None, "afterwards")
    assert [copy.whole for copy in result.copies] == [False, False]
    assert await read(world) == NEW


async def test_an_older_copy_is_written_whole_from_the_newest(tmp_path: Path) -> None:
    world = World(tmp_path)
    older_copy(world)
    result = await assert_put_works(world, NEW)
    assert [(copy.copy.volume_uuid, copy.whole) for copy in result.copies] == [
        (FIRST, True),
        (SECOND, False),
    ]
    with tarfile.open(world.volumes[FIRST].path) as archive:
        assert len(archive.getnames()) == 6


async def test_a_third_copy_is_written_too(world: World) -> None:
    world.write(THIRD, OLD, at=-3600)
    result = await assert_put_works(world, NEW)
    assert len(result.copies) == 3


async def test_the_new_date_is_later_than_an_engine_whose_zone_is_ahead(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write(FIRST, OLD, at=3 * 3600)
    world.write(SECOND, OLD, at=3 * 3600)
    with pytest.raises(Killed):
        await Host(world, kill_at=3).writer().put(NEW, None, "a test")
    assert await read(world) == NEW


async def test_another_vms_document_is_refused(world: World) -> None:
    host = Host(world)
    for bad in (b"nonsense", OLD.replace(VM.encode(), DOMAIN.encode())):
        with pytest.raises(BadInput):
            await host.writer().put(bad, None, "a test")
    assert host.steps == []


async def test_a_document_without_room_leaves_both_copies_as_they_were(world: World) -> None:
    before = {name: vars(volume).copy() for name, volume in world.volumes.items()}
    for volume in world.volumes.values():
        volume.capacity_bytes = 8192
    with pytest.raises(BadInput):
        await Host(world).writer().put(NEW, None, "a test")
    for name, fields in before.items():
        assert world.volumes[name].description == fields["description"]
    assert await read(world) == OLD


# Where nothing is written.


async def refused(world: World, host_id: int = 1) -> tuple[str, str]:
    host = Host(world, host_id=host_id)
    result = await host.writer().put(NEW, None, "a test")
    assert result.refusal is not None
    assert host.steps == []
    return result.refusal.code, result.refusal.sentence


async def test_a_store_that_cannot_be_written_safely_is_refused(
    tmp_path: Path, world: World
) -> None:
    assert (await refused(World(tmp_path)))[0] == "no_store"
    del world.volumes[SECOND]
    assert (await refused(world))[0] == "one_copy"
    torn_copy(world)
    world.volumes[SECOND].path.write_bytes(bytes(5000))
    code, sentence = await refused(world)
    assert code == "no_whole_copy"
    assert "let the engine update" in sentence


async def test_a_host_that_is_not_spm_is_told_where_to_go(world: World) -> None:
    world.pool, world.spm_id = POOL, 7
    code, sentence = await refused(world)
    assert code == "not_spm"
    assert "SPM is the host with id 7" in sentence
    world.spm_id = -1
    code, sentence = await refused(world)
    assert code == "not_spm"
    assert "no host is SPM now" in sentence


async def test_a_pool_that_is_not_connected_is_told(world: World) -> None:
    world.pool, world.is_connected = POOL, False
    code, sentence = await refused(world)
    assert code == "pool_not_connected"
    assert POOL in sentence


async def test_the_spm_writes_under_its_pools_id(world: World) -> None:
    world.pool, world.spm_id = POOL, 1
    host = Host(world)
    writer = host.writer()
    assert (await writer.put(NEW, None, "a test")).refusal is None
    pools = {p["storagepoolID"] for verb, p in host.calls if verb == "Volume.setDescription"}
    assert pools == {POOL}
    # No other host can mark a copy: there is nothing to wait for.
    assert isinstance(host.clock, JumpingClock)
    assert host.clock.slept == []


async def test_a_role_that_goes_between_question_and_write_is_a_refusal(world: World) -> None:
    world.pool, world.spm_id = POOL, 1
    host = Host(world)

    async def lose_role() -> None:
        if [verb for verb, _ in host.calls].count("Image.prepare"):
            world.spm_id = 5

    host.pause = lose_role
    result = await host.writer().put(NEW, None, "a test")
    assert result.refusal is not None
    assert "id 5" in result.refusal.sentence
    assert await read(world) == OLD


async def test_a_copy_that_cannot_be_read_now_is_not_written_over(world: World) -> None:
    world.write(SECOND, NEWER, at=5)
    world.failing.add(SECOND)
    host = Host(world)
    with pytest.raises(EnvironmentFault, match="Input/output error"):
        await host.writer().put(NEW, None, "a test")
    assert host.steps == []


async def test_a_copy_with_a_bad_sector_is_written_whole_when_it_is_no_newer(
    world: World,
) -> None:
    # Else it would keep every change out.
    world.failing.add(SECOND)
    result = await Host(world).writer().put(NEW, None, "a test")
    assert [(copy.copy.volume_uuid, copy.whole) for copy in result.copies] == [
        (SECOND, True),
        (FIRST, False),
    ]
    assert (await Host(world).writer().verify()).is_good
    assert await read(world) == NEW


async def test_a_copy_that_cannot_be_written_stays_good(world: World) -> None:
    before = world.volumes[FIRST].description
    world.read_only.add(FIRST)
    host = Host(world)
    with pytest.raises(EnvironmentFault, match="Read-only"):
        await host.writer().put(NEW, None, "a test")
    assert host.steps == ["describe 14", "describe 14"]
    assert world.volumes[FIRST].description == before
    assert (await host.writer().verify()).is_good
    # One that was touched does not.
    world.read_only.clear()
    small = world.volumes[FIRST].path

    def tear(step: str) -> None:
        if step == "describe 14" and not world.read_only:
            small.write_bytes(small.read_bytes().replace(OLD, NEW[: len(OLD)]))
            world.read_only.add(FIRST)

    host.on_step = tear
    with pytest.raises(EnvironmentFault, match="Read-only"):
        await host.writer().put(NEWER, None, "a test")
    assert '"Updated":false' in world.volumes[FIRST].description
    assert await read(world) == OLD


async def test_nothing_is_begun_while_a_worker_hangs_that_was_given_up(world: World) -> None:
    host = Host(world)
    host.hanging_workers = 1
    with pytest.raises(EnvironmentFault, match="may come late"):
        await host.writer().put(NEW, None, "a test")
    assert host.steps == []


async def test_a_mark_that_took_too_long_is_given_up(world: World) -> None:
    host = Host(world)
    clock = JumpingClock()
    writer = host.writer(clock)
    host.on_step = lambda step: clock.slept.append(5.0)
    with pytest.raises(EnvironmentFault, match="its content was not touched"):
        await writer.put(NEW, None, "a test")
    assert set(host.steps) == {"describe 14"}
    assert await read(world) == OLD
    await assert_put_works(world, NEW)


async def test_a_vdsm_that_cuts_the_description_is_noticed(world: World) -> None:
    world.description_limit_chars = 150
    host = Host(world)
    with pytest.raises(StoreChanged):
        await host.writer().put(NEW, None, "a test")
    assert host.steps == ["describe 14"]
    assert await read(world) == OLD


# Others at work.


async def documents_called_good(world: World) -> list[Optional[bytes]]:
    """Return what is in each copy that is called good, all of which must be."""
    verdict = await Host(world, host_id=9).writer().verify()
    copies = [copy for copy in verdict.copies if copy.ranked.usable]
    assert [copy.problem for copy in copies if not copy.is_good] == []
    return [copy.document for copy in copies]


@pytest.mark.parametrize("at_step", range(6))
async def test_the_engine_updates_in_between(world: World, at_step: int) -> None:
    host = Host(world)
    written = itertools.count()

    def engine(step: str) -> None:
        if next(written) == at_step:
            world.write(FIRST, NEWER, at=5)
            world.write(SECOND, NEWER, at=5)

    host.on_step = engine
    with pytest.raises((StoreChanged, BadInput, EnvironmentFault)):
        await host.writer().put(NEW, None, "a test")
    assert await read(world) in (NEWER, NEW)
    host.on_step = lambda step: None
    await assert_put_works(world, ovf_of(512))


async def test_the_engine_takes_a_copy_while_we_write_it(world: World) -> None:
    host = Host(world)

    def engine(step: str) -> None:
        if step == "change_members":
            world.volumes[FIRST].description = unfinished("Wed Jul 01 11:18:33 IDT 2020")

    host.on_step = engine
    with pytest.raises(StoreChanged, match="being changed by somebody else"):
        await host.writer().put(NEW, None, "a test")
    assert world.volumes[FIRST].description == unfinished("Wed Jul 01 11:18:33 IDT 2020")
    assert host.steps == ["describe 14", "change_members"]
    assert await read(world) == OLD


async def test_a_copy_that_somebody_is_writing_is_waited_for_and_left_alone(
    world: World,
) -> None:
    world.volumes[FIRST].description = unfinished("Wed Jul 01 11:18:33 IDT 2020")
    host = Host(world)
    clock = JumpingClock()

    class Meanwhile(JumpingClock):
        async def sleep(self, duration_seconds: float) -> None:
            world.write(FIRST, NEWER, at=5)

    with pytest.raises(StoreChanged, match="somebody else is writing"):
        await host.writer(Meanwhile()).put(NEW, None, "a test")
    assert host.steps == []
    # One that stays so was cut off.
    world.volumes[FIRST].description = unfinished("Wed Jul 01 11:18:33 IDT 2020")
    assert (await host.writer(clock).put(NEW, None, "a test")).refusal is None
    assert sum(clock.slept) >= GRACE_SECONDS


@pytest.mark.parametrize("marked", [False, True])
async def test_an_upload_of_the_engine_is_waited_for_longer(world: World, marked: bool) -> None:
    """It has 5 minutes for one; in a domain without a pool there is no engine's upload."""
    world.pool, world.spm_id = POOL, 1
    description = unfinished("Wed Jul 01 11:18:33 IDT 2020")
    if marked:
        description = description[:-1] + ',"Writer":"7-00000000"}'
    world.volumes[FIRST].description = description
    host, clock = Host(world), JumpingClock()
    writer = host.writer(clock)
    await writer.verify()
    host.calls.clear()
    assert (await writer.put(NEW, None, "a test")).refusal is None
    assert (sum(clock.slept) >= 300) is not marked
    assert sum(clock.slept) >= GRACE_SECONDS
    # The domain's other volumes are not asked about each time.
    assert [verb for verb, _ in host.calls].count("StorageDomain.getImages") == 1


async def test_a_writer_that_goes_on_is_told_of_at_once(world: World) -> None:
    world.volumes[FIRST].description = unfinished("Wed Jul 01 11:18:33 IDT 2020")

    class Meanwhile(JumpingClock):
        async def sleep(self, duration_seconds: float) -> None:
            await super().sleep(duration_seconds)
            if len(self.slept) == 3:
                world.write(FIRST, NEWER, at=5)

    clock = Meanwhile()
    with pytest.raises(StoreChanged, match="somebody else is writing"):
        await Host(world).writer(clock).put(NEW, None, "a test")
    assert sum(clock.slept) < GRACE_SECONDS / 2


async def test_a_copy_that_is_taken_during_the_wait_is_left_alone(world: World) -> None:
    text = "Wed Jul 01 11:18:33 IDT 2020"
    world.add(THIRD, unfinished(text))

    class Meanwhile(JumpingClock):
        async def sleep(self, duration_seconds: float) -> None:
            world.volumes[FIRST].description = unfinished(text)

    host = Host(world)
    with pytest.raises(StoreChanged, match="somebody else is writing"):
        await host.writer(Meanwhile()).put(NEW, None, "a test")
    assert host.steps == []


async def test_no_copy_is_touched_while_somebody_writes_the_other(world: World) -> None:
    """Else none would be good meanwhile."""
    before = world.volumes[FIRST].description
    engines = unfinished("Wed Jul 01 11:18:33 IDT 2020")
    host = Host(world)

    def engine(step: str) -> None:
        world.volumes[SECOND].description = engines

    host.on_step = engine
    with pytest.raises(StoreChanged, match="being changed by somebody else"):
        await host.writer().put(NEW, None, "a test")
    assert host.steps == ["describe 14", "describe 14"]
    assert world.volumes[FIRST].description == before
    assert await read(world) == OLD


async def test_what_is_copied_from_a_copy_that_changes_is_not_called_good(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    older_copy(world)
    host = Host(world)

    def engine(step: str) -> None:
        if step == "write_archive":
            world.volumes[SECOND].description = unfinished("Wed Jul 01 11:18:33 IDT 2020")

    host.on_step = engine
    with pytest.raises(StoreChanged):
        await host.writer().put(NEW, None, "a test")
    assert '"Updated":false' in world.volumes[FIRST].description
    assert host.steps == ["describe 14", "write_archive"]


async def test_the_mark_of_this_host_is_from_an_earlier_life(world: World) -> None:
    for host_id in (1, 2):
        with pytest.raises(Killed):
            await Host(world, host_id=2, kill_at=1).writer().put(NEW, None, "a test")
        assert json.loads(world.volumes[FIRST].description)["Writer"].startswith("2-")
        clock = JumpingClock()
        await Host(world, host_id=host_id).writer(clock).put(ovf_of(host_id), None, "a test")
        assert (sum(clock.slept) >= GRACE_SECONDS) == (host_id == 1)


class CountingClock:
    """A clock that counts the loop's turns: sleeping gives the others theirs."""

    TURNS_A_SECOND = 100

    def __init__(self) -> None:
        self.turns = 0

    def now(self) -> Instant:
        return Instant(self.turns / self.TURNS_A_SECOND)

    def wall(self) -> WallTime:
        return CLOCK.wall()

    async def sleep(self, duration_seconds: float) -> None:
        ends_at = self.turns + duration_seconds * self.TURNS_A_SECOND
        while self.turns < ends_at:  # noqa: ASYNC110 (turns are what is counted)
            await asyncio.sleep(0)

    async def run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(30))
async def test_two_hosts_at_once(world: World, seed: int) -> None:
    random_ = random.Random(seed)
    clock = CountingClock()
    ticking = asyncio.create_task(clock.run())
    hosts = [Host(world, host_id=number) for number in (1, 2)]

    async def pause() -> None:
        # Most calls are quick; some take about as long as a mark takes to settle.
        slow = random_.random() < 0.2
        for _ in range(random_.randrange(250) if slow else random_.randrange(6)):
            await asyncio.sleep(0)

    async def put(host: Host, document: bytes) -> bool:
        host.pause = pause
        for _ in range(random_.randrange(30)):
            await asyncio.sleep(0)
        try:
            return (await host.writer(clock).put(document, None, "a test")).refusal is None
        except (EnvironmentFault, BadInput):
            return False

    done = await asyncio.gather(put(hosts[0], NEW), put(hosts[1], NEWER))
    ticking.cancel()
    documents = await documents_called_good(world)
    assert documents
    if any(done):
        # The later one may have failed half way, and its late mark may stand on a copy that is
        # done. But no two copies that are called good differ, as those of a race lost would.
        assert len(set(documents)) == 1
        assert documents[0] in (NEW, NEWER)
    await assert_put_works(world, ovf_of(512), host_id=3)


async def test_a_volume_that_vdsm_cannot_tell_about_is_a_problem_of_the_listing(
    world: World,
) -> None:
    world.write(THIRD, OLD)
    world.unreadable.add(THIRD)
    writer = Host(world).writer()
    listing = await writer.list()
    assert [ranked.usable for ranked in listing.copies] == [True, True]
    assert THIRD in listing.problems[0]
    result = await writer.put(NEW, None, "a test")
    assert result.refusal is None
    assert THIRD in result.problems[0]


async def test_a_write_is_not_begun_long_after_its_mark(world: World) -> None:
    host = Host(world)
    clock = JumpingClock()

    async def be_slow() -> None:
        if host.steps:
            clock.slept.append(GRACE_SECONDS / 4)

    host.pause = be_slow
    with pytest.raises(EnvironmentFault, match="too long to write it now"):
        await host.writer(clock).put(NEW, None, "a test")
    assert host.steps == ["describe 14"]
    assert await read(world) == OLD


async def test_copies_written_without_a_lock_are_told(world: World) -> None:
    host = Host(world)
    host.has_locks = False
    result = await host.writer().put(NEW, None, "a test")
    assert [done.locked for done in result.copies] == [False, False]
    assert [FIRST in problem or SECOND in problem for problem in result.problems] == [True, True]
    assert "no locks here" in result.problems[0]
    assert (await Host(world).writer().put(NEWER, None, "a test")).problems == ()


def test_a_write_may_take_three_reads_but_no_longer_than_others_count_on() -> None:
    assert WriterDeadlines.with_reads_of(3.0).write_seconds == 9.0
    longest = WriterDeadlines.with_reads_of(600.0)
    assert longest == WriterDeadlines()
    assert longest.write_seconds + longest.settle_seconds < longest.grace_seconds
