# SPDX-License-Identifier: Apache-2.0
"""Digest, retries and the limit of one sender."""

from __future__ import annotations

from dataclasses import replace

from ha_agent.broker.snapshot import StorageEntry
from tests.broker.incident_world import DOWN, World


async def test_what_happens_together_is_one_message() -> None:
    world = World(2, digest_seconds=120)
    await world.run(60)
    host = world.hosts[1]
    host.status = DOWN
    host.more = {"storage": StorageEntry(read_at=world.clock.now() + 1e6, workers_stuck=1)}
    await world.run(400)
    assert world.box.subjects == ["[hosted engine] critical: The engine VM is down (and 1 more)"]


async def test_tries_come_with_growing_pauses_and_nothing_is_lost() -> None:
    world = World(1)
    await world.run(60)
    world.box.refuses.add("alpha")
    tries: list[float] = []
    sender = world.hosts[1].sender

    def note(at: float) -> None:
        if len(tries) < sender.view()["failed_tries"]:
            tries.append(at)

    world.hosts[1].status = DOWN
    await world.run(3600, note)
    pauses = [after - before for before, after in zip(tries, tries[1:])]
    assert pauses[:4] == [30.0, 60.0, 120.0, 240.0]
    assert pauses[5:] == [900.0] * len(pauses[5:])
    assert sender.view()["last_detail"] == "refused"
    world.box.refuses.clear()
    await world.run(900)
    assert len(world.box.mails) == 1
    assert sender.view()["failed_tries"] == 0


async def test_each_channel_is_told_for_itself() -> None:
    world = World(1)
    await world.run(60)
    host = world.hosts[1]
    host.status = DOWN
    await world.run(300)
    (one,) = host.keeper.book.still_open()
    assert not one.is_to_tell("mail")
    assert [found.id for found in host.keeper.to_tell("hook")] == [one.id]


async def test_a_calendar_that_was_set_back_stops_no_mail() -> None:
    world = World(1, max_per_hour=1)
    await world.run(60)
    keeper = world.hosts[1].keeper
    keeper.told("mail", (), world.clock.wall() + 86400.0)
    world.hosts[1].status = DOWN
    await world.run(300)
    assert len(world.box.mails) == 1


async def test_what_was_dropped_is_said() -> None:
    world = World(1)
    await world.run(60)
    host = world.hosts[1]
    host.keeper.book.dropped = 7
    host.status = DOWN
    host.report = replace(host.report, reason="x")
    await world.run(300)
    assert "7 older incidents were dropped" in str(world.box.mails[0][1].body["text"])
    assert host.keeper.book.dropped == 0
