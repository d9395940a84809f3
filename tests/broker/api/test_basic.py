# SPDX-License-Identifier: Apache-2.0
"""The verbs over a real board; lease, monitor and definition are played."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Optional, cast

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.basic import Api
from ha_agent.broker.blocks.monitor import StatusMonitor
from ha_agent.broker.definition.keeper import DefinitionKeeper
from ha_agent.broker.definition.starts import DefinitionStarts
from ha_agent.broker.lease.cycle import LeaseKeeper, LeaseResult
from ha_agent.broker.push.refresh import Refreshed
from ha_agent.broker.rpc.answer import Late, Stream
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import (
    DefinitionEntry,
    EventEntry,
    Report,
    Snapshot,
    from_wire,
    to_wire,
)
from ha_agent.broker.watch import Board
from ha_agent.instant import Instant

ROOT = Peer(1, 0, 0)
STRANGER = Peer(2, 12345, 12345)
MEMBER = Peer(3, 12345, 12345, frozenset({36}))
CHANGING = (
    *("publish", "lease.take", "lease.release", "lease.abandon"),
    "definition.domain",
    *("refresh", "lease.initialise"),
)


@dataclass
class Parts:
    """What stands behind the verbs, and what it was asked."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    current: Any = None
    gate: Optional[asyncio.Event] = None
    on_board: Optional[Report] = None
    told: tuple[EventEntry, ...] = ()

    def __post_init__(self) -> None:
        first = Snapshot(0, 1, "alpha", "vm", Instant(0.0))
        self.board = Board(first, lambda: Instant(1.0), dict)

    async def acquire(self, epoch: int, why: str) -> LeaseResult:
        await self._write()
        self.asked.append(("acquire", epoch, why))
        return LeaseResult(False, "epoch is 5, not 4")

    async def release(self, why: str) -> LeaseResult:
        await self._write()
        self.asked.append(("release", why))
        return LeaseResult(True, "released epoch 4")

    async def abandon(self, why: str) -> LeaseResult:
        await self._write()
        self.asked.append(("abandon", why))
        return LeaseResult(True, "abandoned epoch 4")

    async def hand_out(self, current: Any, *, fallback: bool, why: str) -> Any:
        self.asked.append(("hand out", fallback, why))
        return current

    async def _write(self) -> None:
        if self.gate is not None:
            await self.gate.wait()

    def reported(self, report: Report) -> None:
        self.asked.append(("on_report", report.watch_engine))
        self.told = report.events

    def report(self, report: Report) -> None:
        self.asked.append(("report", report.score))
        self.on_board = report

    async def refresh_everywhere(self, who: str) -> Refreshed:
        self.asked.append(("refresh", who))
        return Refreshed("the store can't be read", "no slot")

    async def initialise(self) -> tuple[bool, str]:
        return False, "held by host 2"

    async def call(self, verb: str, peer: Peer = ROOT, **params: Any) -> Any:
        api = Api(
            self.board,
            cast(LeaseKeeper, self),
            cast(StatusMonitor, self),
            cast(DefinitionKeeper, self),
            cast(DefinitionStarts, self),
            access=Access(os.getuid(), 36),
            on_report=self.reported,
            initialise_lease=self.initialise,
            refresh=self.refresh_everywhere,
        )
        answer = await api.handlers()[verb](params, peer)
        return answer.make() if isinstance(answer, Late) else answer


@pytest.fixture
async def parts() -> Parts:
    return Parts()


async def refusal(parts: Parts, verb: str, peer: Peer = ROOT, **params: Any) -> RpcRefusal:
    with pytest.raises(RpcRefusal) as caught:
        await parts.call(verb, peer, **params)
    return caught.value


@pytest.mark.parametrize("verb", CHANGING)
async def test_strangers_may_only_look(parts: Parts, verb: str) -> None:
    assert (await refusal(parts, verb, STRANGER)).code == "denied"
    assert parts.asked == []


async def test_everybody_whom_the_socket_lets_in_may_look(parts: Parts) -> None:
    assert (
        from_wire(Snapshot, await parts.call("status", STRANGER), where="x").host_name == "alpha"
    )


async def test_members_of_the_group_may_change(parts: Parts) -> None:
    answer = await parts.call("refresh", MEMBER)
    assert answer["problem"] == "the store can't be read"
    assert parts.asked == [("refresh", MEMBER.who)]


async def test_the_lease_is_asked_and_the_answer_has_the_picture(parts: Parts) -> None:
    taken = await parts.call("lease.take", expected_epoch=4, why="free")
    assert (taken["ok"], taken["detail"]) == (False, "epoch is 5, not 4")
    assert taken["snapshot"]["host_id"] == 1
    assert (await parts.call("lease.release", why="gone"))["ok"]
    abandoned = await parts.call("lease.abandon", why="silent")
    assert (abandoned["ok"], abandoned["detail"]) == (True, "abandoned epoch 4")
    assert parts.asked == [("acquire", 4, "free"), ("release", "gone"), ("abandon", "silent")]


@pytest.mark.parametrize(
    ("verb", "params", "asked"),
    [
        ("lease.take", {"expected_epoch": 4, "why": "free"}, ("acquire", 4, "free")),
        ("lease.release", {"why": "gone"}, ("release", "gone")),
        ("lease.abandon", {"why": "silent"}, ("abandon", "silent")),
    ],
)
async def test_a_caller_that_leaves_does_not_cut_a_lease_call_in_half(
    parts: Parts, verb: str, params: dict[str, Any], asked: tuple[Any, ...]
) -> None:
    parts.gate = asyncio.Event()
    call = asyncio.ensure_future(parts.call(verb, **params))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()
    parts.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert parts.asked == [asked]


async def test_a_wait_for_news_ends_with_them(parts: Parts) -> None:
    call = asyncio.ensure_future(parts.call("snapshot", since_version=0, wait_seconds=60))
    await asyncio.sleep(0.01)
    assert not call.done()
    parts.board.update(global_maintenance=True)
    assert (await asyncio.wait_for(call, 5))["version"] == 1


async def test_a_watch_begins_with_the_picture_and_goes_on_with_the_newest(parts: Parts) -> None:
    stream = await parts.call("watch", STRANGER)
    assert isinstance(stream, Stream)
    assert (stream.first, stream.name) == (True, "changed")
    make = await stream.next()
    assert make is not None
    parts.board.update(global_maintenance=True)  # comes before it can be sent
    assert make()["snapshot"]["global_maintenance"] is True
    waiting = asyncio.ensure_future(stream.next())
    await asyncio.sleep(0.01)
    assert not waiting.done()  # what was sent is no news
    parts.board.update(global_maintenance=False)
    parts.board.update(global_maintenance=None)
    make = await asyncio.wait_for(waiting, 5)
    assert make is not None
    assert make()["snapshot"]["version"] == 3


async def test_a_definition_is_given_with_its_remarks(parts: Parts) -> None:
    domain = SimpleNamespace(xml="<domain/>", notes=("no sound card",))
    parts.current = SimpleNamespace(identity="d1", domain=domain)
    expected = {"identity": "d1", "xml": "<domain/>", "notes": ["no sound card"]}
    assert await parts.call("definition.domain") == expected
    assert await parts.call("definition.domain", fallback=True, why="it failed") == expected
    assert parts.asked == [("hand out", False, ""), ("hand out", True, "it failed")]


async def test_a_lock_file_in_use_is_not_made_anew(parts: Parts) -> None:
    caught = await refusal(parts, "lease.initialise")
    assert (caught.code, "held by host 2" in caught.message) == ("refused", True)


async def test_a_report_goes_to_the_monitor_and_the_service(parts: Parts) -> None:
    report = Report(score=42, watch_engine=True, made_at=Instant(1.0))
    assert await parts.call("publish", report=to_wire(report)) is True
    assert parts.asked == [("report", 42), ("on_report", True)]


async def test_events_in_a_report_are_for_the_timeline_not_for_the_board(parts: Parts) -> None:
    event = EventEntry("state", "x", serial=3)
    report = Report(score=42, made_at=Instant(1.0), events=(event,))
    await parts.call("publish", report=to_wire(report))
    assert parts.told == (event,)
    assert parts.on_board == Report(score=42, made_at=Instant(1.0))


@pytest.mark.parametrize(
    ("verb", "params", "named"),
    [
        ("publish", {}, "report"),
        ("publish", {"report": {"score": "many"}}, "report.score"),
        ("lease.take", {}, "expected_epoch"),
        ("lease.take", {"expected_epoch": True}, "expected_epoch"),
        ("snapshot", {"wait_seconds": "long"}, "wait_seconds"),
        ("status", {"wait_seconds": 1e9}, "wait_seconds"),
    ],
)
async def test_bad_arguments_are_named(
    parts: Parts, verb: str, params: dict[str, Any], named: str
) -> None:
    caught = await refusal(parts, verb, **params)
    assert caught.code == "bad_argument"
    assert named in caught.message
    assert parts.asked == []


async def test_without_a_definition_there_is_no_domain(parts: Parts) -> None:
    parts.board.update(definition=DefinitionEntry(problem="both copies are torn"))
    caught = await refusal(parts, "definition.domain")
    assert (caught.code, "both copies are torn" in caught.message) == ("not_ready", True)
