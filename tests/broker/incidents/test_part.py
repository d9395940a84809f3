# SPDX-License-Identifier: Apache-2.0
"""Incidents in a broker: from the board to a real mail server, and the verbs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.event_log import EventLog
from ha_agent.broker.incidents.file import FILE_NAME
from ha_agent.broker.incidents.part import VERBS, Incidents
from ha_agent.broker.incidents.share import decode
from ha_agent.broker.part import Part
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import DefinitionEntry, HostEntry, Report, Snapshot, StorageEntry
from ha_agent.broker.watch import Board
from ha_agent.config import layers
from ha_agent.waiting import within
from tests.broker.notify_servers import MailBox, hanging_server, smtp_server
from tests.fakes import FakeClock
from tests.small_config import NOWHERE, write_config

ME = Peer(os.getpid(), os.getuid(), os.getgid(), frozenset())
STRANGER = Peer(1, 4711, 4711, frozenset())


class World:
    """One host whose storage fails, and its part."""

    def __init__(self, folder: Path, notify: str) -> None:
        config = layers.load([write_config(folder, f"[notify]\n{notify}")], NOWHERE)
        self.state_dir = config.host.state_dir
        self.state_dir.mkdir(exist_ok=True)
        self.clock = FakeClock()
        first = Snapshot(
            0,
            1,
            "alpha",
            "vm",
            self.clock.now(),
            hosts=(HostEntry(1, "alpha", alive=True),),
            definition=DefinitionEntry(available=True),
        )
        self.board = Board(first, self.clock.now, dict)
        self.lines: list[str] = []
        self.incidents = Incidents(
            config,
            self.board,
            EventLog(self.state_dir, clock=self.clock),
            clock=self.clock,
            boot_id="b1",
            set_line=self.lines.append,
            environ={},
        )
        self.part: Part = self.incidents.part(Access(os.getuid(), None))

    def look(self, after_seconds: float, problem: str = "") -> None:
        self.clock.time = self.clock.time + after_seconds
        now = self.clock.now()
        storage = StorageEntry(read_at=now, problem=problem)
        self.board.update(storage=storage, agent=Report(made_at=now))
        self.incidents.look()

    def fail(self) -> None:
        for _ in range(4):
            self.look(20.0, "EIO")

    async def call(self, verb: str, peer: Peer = ME) -> Any:
        return await self.part.handlers[verb]({}, peer)


async def test_from_the_board_to_a_mail_server(tmp_path: Path) -> None:
    box = MailBox()
    with smtp_server(box) as port:
        world = World(
            tmp_path,
            f"mail_to = ops@example.org\nsmtp_host = 127.0.0.1\nsmtp_port = {port}\n"
            "digest_seconds = 0\ndeadline_seconds = 50\n",
        )
        world.fail()
        (sender,) = world.incidents.senders
        batch = sender.due(world.clock.now(), world.clock.wall())
        assert batch is not None
        sender.done(batch, await sender.channel.deliver(batch.notice))
    (mail,) = box.mails
    assert mail["From"] == "oVirt hosted engine <ha-agent@alpha>"
    assert "Shared storage does not answer on alpha" in mail["Subject"]
    answer = await world.call("incidents")
    assert [one["kind"] for one in answer["open"]] == ["storage"]
    assert answer["channels"][0]["sent_last_hour"] == 1
    assert answer["channels"][0]["waiting"] == 0
    assert [one.kind for one in world.board.current.incidents] == ["storage"]
    assert decode(world.lines[-1]).own == (("storage", "EIO"),)


async def test_a_server_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    with hanging_server() as port:
        world = World(
            tmp_path,
            f"mail_to = ops@example.org\nsmtp_host = 127.0.0.1\nsmtp_port = {port}\n"
            "digest_seconds = 0\ndeadline_seconds = 600\n",
        )
        world.fail()
        tasks = [asyncio.ensure_future(work()) for work in world.part.work]
        try:
            await asyncio.sleep(0.2)
            answer = await within(30.0, world.call("incidents"))
            assert answer["open"][0]["kind"] == "storage"
        finally:
            for task in tasks:
                task.cancel()
            ended = await within(30.0, asyncio.gather(*tasks, return_exceptions=True))
            await world.part.close()
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    assert (world.state_dir / FILE_NAME).exists()


async def test_the_test_says_how_each_channel_did(tmp_path: Path) -> None:
    box = MailBox()
    with smtp_server(box) as port:
        world = World(
            tmp_path,
            f"mail_to = ops@example.org\nsmtp_host = 127.0.0.1\nsmtp_port = {port}\n"
            "hook = /nonexistent\ndeadline_seconds = 50\n",
        )
        mail, hook = (await world.call("notify.test"))["channels"]
    assert (mail["name"], mail["ok"]) == ("mail", True)
    assert (hook["ok"], hook["detail"]) == (False, "/nonexistent: No such file or directory")
    assert box.mails[0]["Subject"] == "[hosted engine] this is a test"
    assert world.part.deadlines_seconds["notify.test"] == 55.0


async def test_a_stranger_may_look_and_send_no_mail(tmp_path: Path) -> None:
    world = World(tmp_path, "hook = /bin/true\n")
    assert (await world.call("incidents", STRANGER))["open"] == []
    with pytest.raises(RpcRefusal):
        await world.call("notify.test", STRANGER)


async def test_without_a_channel_incidents_are_kept_all_the_same(tmp_path: Path) -> None:
    world = World(tmp_path, "")
    world.fail()
    answer = await world.call("incidents")
    assert len(answer["open"]) == 1
    assert answer["channels"] == []
    assert (await world.call("notify.test"))["channels"] == []
    assert len(world.part.work) == 1
    assert {verb.name for verb in VERBS} == set(world.part.handlers)
