# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ha_agent.broker.api.arguments import Access
from ha_agent.broker.api.events import EventsApi, Watch
from ha_agent.broker.event_log import EventLog
from ha_agent.broker.rpc.server import Peer, RpcRefusal
from ha_agent.broker.snapshot import LeaseEntry, Snapshot, StorageEntry
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.instant import Instant
from tests.fakes import FakeClock
from tests.journal_sink import journal

ANYBODY = Peer(2, 12345, 12345)


class Parts:
    def __init__(self, folder: Path) -> None:
        self.storage = StorageEntry()
        self.result = ""
        first = Snapshot(0, 1, "alpha", "vm", Instant(0.0))
        self.board = Board(first, lambda: Instant(1.0), lambda: {"storage": self.storage})
        self.log = EventLog(folder, clock=FakeClock())
        self.watch = Watch(self.board, self.log, lambda: self.result)

    async def call(self, verb: str, **params: Any) -> Any:
        api = EventsApi(self.board, self.log, SystemClock(), Access(0, None))
        return await api.handlers()[verb](params, ANYBODY)

    @property
    def told(self) -> list[str]:
        return [event.kind for event in self.log.latest()]


@pytest.fixture
async def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


async def test_events_by_number_and_limit(parts: Parts) -> None:
    for i in range(5):
        parts.log.add("lease", f"lease {i}")
    answer = await parts.call("events", since=2, limit=2)
    assert answer["last"] == 5
    assert [event["text"] for event in answer["events"]] == ["lease 3", "lease 4"]
    assert [event["number"] for event in answer["events"]] == [4, 5]
    assert len((await parts.call("events"))["events"]) == 5


async def test_a_waiting_call_ends_with_the_next_event(parts: Parts) -> None:
    waiting = asyncio.ensure_future(parts.call("events", since=0, wait_seconds=60))
    await asyncio.sleep(0)
    assert not waiting.done()
    parts.log.add("lease", "x")
    assert len((await waiting)["events"]) == 1


@pytest.mark.parametrize("params", [{"since": "x"}, {"limit": 0}, {"wait_seconds": True}])
async def test_wrong_arguments_are_refused(parts: Parts, params: dict[str, Any]) -> None:
    with pytest.raises(RpcRefusal) as caught:
        await parts.call("events", **params)
    assert caught.value.code == "bad_argument"


async def test_explain_is_plain_values(parts: Parts) -> None:
    parts.log.add("lease", "This host took the lease.")
    answer = await parts.call("explain")
    assert json.loads(json.dumps(answer))["events"][0]["text"] == "This host took the lease."
    assert "has not reported" in answer["troubles"][0]


async def test_a_change_on_the_board_is_an_event(parts: Parts) -> None:
    watching = asyncio.ensure_future(parts.watch.run())
    await asyncio.sleep(0)
    parts.board.update(lease=LeaseEntry("held", host_id=2, host_name="beta", epoch=7))
    await parts.log.newer_than(0, 30.0)
    assert parts.told == ["lease"]
    watching.cancel()


async def test_the_end_of_the_broker_leaves_others_a_turn(parts: Parts) -> None:
    watching = asyncio.ensure_future(parts.watch.run())
    await asyncio.sleep(0)
    parts.board.wake()
    for _ in range(5):
        await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait({watching})
    assert watching.cancelled()


async def test_storage_that_falls_silent_needs_no_change_on_the_board(parts: Parts) -> None:
    parts.watch.look()
    parts.storage = StorageEntry(problem="not readable: EIO")
    parts.watch.look()
    parts.watch.look()
    assert parts.told == ["storage"]


def deed(epoch: int, ended: list[int], gone: bool, looked_at: float) -> str:
    values = {"epoch": epoch, "fence_at": 5.0, "ended_pids": ended, "gone": gone}
    return json.dumps({**values, "looked_at": looked_at}) + "\n"


async def test_a_fence_is_told_once_also_by_the_next_broker(parts: Parts, tmp_path: Path) -> None:
    parts.watch.look()
    assert parts.told == []
    parts.result = deed(7, [4711], False, 5.0)
    parts.watch.look()
    parts.result = deed(7, [4711], True, 6.0)
    parts.watch.look()
    parts.result = deed(7, [4711], True, 7.0)
    parts.watch.look()
    assert [event.text.split("which ")[1] for event in parts.log.latest()] == [
        "is NOT gone yet.",
        "is gone.",
    ]
    again = Watch(parts.board, parts.log, lambda: parts.result)
    again.look()
    assert parts.told == ["fence", "fence"]


@pytest.mark.parametrize("result", ["", "{", "[]", "{}", '{"epoch": 1}'])
async def test_a_result_that_is_none_tells_nothing(parts: Parts, result: str) -> None:
    parts.result = result
    parts.watch.look()
    assert parts.told == []


async def test_a_guard_that_found_no_vm_says_so(parts: Parts) -> None:
    parts.result = deed(7, [], True, 5.0)
    parts.watch.look()
    assert "did not run here" in parts.log.latest()[0].text


async def test_what_is_told_goes_to_the_journal_with_its_message(parts: Parts) -> None:
    parts.board.update(lease=LeaseEntry("free", epoch=6))
    with journal() as sink:
        parts.watch.look()
        parts.storage = StorageEntry(problem="not readable: EIO")
        parts.board.update(lease=LeaseEntry("held", host_id=2, host_name="beta", epoch=7))
        parts.watch.look()
        parts.result = deed(7, [4711], True, 6.0)
        parts.watch.look()
    assert sorted(sink.named("epoch")) == [
        ("FENCED", "7"),
        ("LEASE_ELSEWHERE", "7"),
        ("STORAGE_LOST", "7"),
    ]
    assert {event.message for event in parts.log.latest()} == {
        "FENCED", "LEASE_ELSEWHERE", "STORAGE_LOST",
    }  # fmt: skip
