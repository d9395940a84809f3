# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ha_agent.broker.event_log import FILE_NAME, OLDER_NAME, EventLog, read_events
from ha_agent.broker.snapshot import EventEntry
from ha_agent.errors import EnvironmentFault
from tests.fakes import FakeClock

STATE = EventEntry("state", "The engine VM is not here.", at_unix_seconds=5.0, serial=17)


def new_log(folder: Path, *, kept: int = 1000, file_bytes: int = 1 << 20) -> EventLog:
    return EventLog(folder, clock=FakeClock(), kept=kept, file_bytes=file_bytes)


def texts(events: list[EventEntry]) -> list[str]:
    return [event.text for event in events]


async def test_events_have_time_and_number(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.add("lease", "This host took the lease.", epoch="8")
    log.add("health", "The engine is healthy.")
    first, second = log.latest()
    assert (first.number, second.number, log.last) == (1, 2, 2)
    assert first.at_unix_seconds == FakeClock().wall().unix_seconds
    assert first.values == {"epoch": "8"}
    assert texts(log.latest(1)) == ["The engine is healthy."]
    assert texts(log.latest(since=1)) == ["The engine is healthy."]
    newest = log.newest_of("lease")
    assert newest is not None
    assert newest.number == 1
    assert log.newest_of("fence") is None


async def test_a_reader_of_another_log_gets_all(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.add("lease", "x")
    assert texts(log.latest(since=77)) == ["x"]


async def test_the_agents_events_are_taken_once(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.add_reported((STATE,))
    log.add_reported((STATE, replace(STATE, serial=18, text="new")))
    # A new run of the agent counts anew, at another time.
    log.add_reported((replace(STATE, at_unix_seconds=6.0, text="later"),))
    assert texts(log.latest()) == [STATE.text, "new", "later"]
    assert log.latest()[0].at_unix_seconds == 5.0


async def test_a_new_broker_goes_on_with_what_is_on_disk(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.start()
    for i in range(5):
        log.add("lease", f"lease {i}")
    log.add_reported((STATE,))
    log.stop()
    again = new_log(tmp_path)
    assert again.latest() == log.latest()
    again.add_reported((STATE,))
    again.add("lease", "new")
    assert [event.number for event in again.latest()] == [1, 2, 3, 4, 5, 6, 7]


async def test_files_are_bounded_and_keep_the_newest(tmp_path: Path) -> None:
    log = new_log(tmp_path, file_bytes=2000)
    log.start()
    for i in range(100):
        log.add("lease", f"lease {i}")
    log.stop()
    assert (tmp_path / FILE_NAME).stat().st_size <= 2000
    assert (tmp_path / OLDER_NAME).stat().st_size <= 2000
    events, unreadable = read_events(tmp_path)
    assert unreadable == 0
    assert texts(events) == [f"lease {i}" for i in range(100 - len(events), 100)]
    assert len(events) > 15


async def test_memory_is_bounded(tmp_path: Path) -> None:
    log = new_log(tmp_path, kept=10)
    for i in range(30):
        log.add("lease", f"{i}" * 2000)
    assert [event.number for event in log.latest()] == list(range(21, 31))
    assert len(log.latest()[0].text) == 1000


async def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.start()
    log.add("lease", "whole")
    log.add("lease", "torn")
    log.stop()
    file = tmp_path / FILE_NAME
    file.write_bytes(file.read_bytes()[:-10])
    again = new_log(tmp_path)
    again.start()
    again.add("lease", "after")
    again.stop()
    events, unreadable = read_events(tmp_path)
    assert (texts(events), unreadable) == (["whole", "after"], 1)


async def test_rubbish_on_disk_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\n[1]\n{}\n" + b"[" * 100_000 + b"\n" + b"x" * 20000)
    assert read_events(tmp_path) == ([], 5)
    assert new_log(tmp_path).last == 0


async def test_no_file_is_no_event(tmp_path: Path) -> None:
    assert read_events(tmp_path) == ([], 0)


async def test_a_file_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(EnvironmentFault, match=FILE_NAME):
        read_events(tmp_path)
    assert new_log(tmp_path).latest() == []
    assert "can't be read" in caplog.text


async def test_waiting_ends_with_the_next_event(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    await log.newer_than(7, 3600.0)
    waiting = asyncio.ensure_future(log.newer_than(0, 3600.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    log.add("lease", "x")
    await waiting
    await log.newer_than(1, 0.0)
    waiting = asyncio.ensure_future(log.newer_than(1, 3600.0))
    await asyncio.sleep(0)
    log.wake()
    await waiting


@pytest.mark.parametrize(
    "odd",
    [
        {"number": 1 << 70},
        {"number": 0},
        {"serial": 1 << 70},
        {"at_unix_seconds": 1e17},
        {"at_unix_seconds": 10**400},
        {"at_unix_seconds": -1e18},
    ],
)
def test_a_line_that_nobody_could_be_told_is_passed_over(
    tmp_path: Path, odd: dict[str, float]
) -> None:
    line = {"kind": "lease", "text": "x", "at_unix_seconds": 1.0, "number": 5, "serial": 0}
    text = f"{json.dumps({**line, **odd})}\n{json.dumps(line)}\n"
    (tmp_path / "events.jsonl").write_text(text)
    events, unreadable = read_events(tmp_path)
    assert ([event.number for event in events], unreadable) == ([5], 1)
