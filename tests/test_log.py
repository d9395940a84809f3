# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ha_agent.instant import Instant
from ha_agent.journal_messages import STATE_CHANGED, VDSM_BACK, VDSM_LOST, Message
from ha_agent.log import JournalHandler, RepeatFilter, fields, is_journal, remember, setup
from tests.journal_sink import Sink

log = logging.getLogger("ha_agent.some.part")


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.instant = Instant(1000.0)

    def now(self) -> Instant:
        return self.instant


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_stderr_line_has_time_level_logger(clock: ManualClock) -> None:
    stream = io.StringIO()
    setup("info", "ha-agent", environ={}, stream=stream, clock=clock)
    log.warning("storage of %s is slow", "host2", extra=fields(host_id=2))
    log.debug("unseen")
    [line] = lines(stream)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING ha_agent\.some\.part: "
        r"storage of host2 is slow",
        line,
    )


def test_setup_again_replaces(clock: ManualClock) -> None:
    first, second = io.StringIO(), io.StringIO()
    setup("info", "ha-agent", environ={}, stream=first, clock=clock)
    setup("debug", "ha-agent", environ={}, stream=second, clock=clock)
    log.debug("x")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_repeats_are_counted_and_told_after_a_minute(clock: ManualClock) -> None:
    stream = io.StringIO()
    setup("debug", "ha-agent", environ={}, stream=stream, clock=clock)
    for _ in range(4):
        log.warning("no answer")
        clock.instant += 10
    log.error("no answer")
    clock.instant += 20
    log.warning("no answer")
    clock.instant += 60
    log.warning("no answer")
    assert [line.split("part: ")[1] for line in lines(stream)] == [
        "no answer",
        "no answer",
        "no answer (3 more like this in the last 60 s)",
        "no answer",
    ]
    assert [" ERROR " in line for line in lines(stream)] == [False, True, False, False]


def test_a_key_makes_different_texts_the_same(clock: ManualClock) -> None:
    stream = io.StringIO()
    setup("info", "ha-agent", environ={}, stream=stream, clock=clock)
    for age in range(5):
        log.warning("silent for %d s", age, extra=fields(key="silent"))
    log.warning("silent for %d s", 9)
    assert [line.split("part: ")[1] for line in lines(stream)] == [
        "silent for 0 s",
        "silent for 9 s",
    ]


def test_debug_is_never_held_back(clock: ManualClock) -> None:
    stream = io.StringIO()
    setup("debug", "ha-agent", environ={}, stream=stream, clock=clock)
    log.debug("x")
    log.debug("x")
    assert len(lines(stream)) == 2


def test_changes_of_state_are_never_held_back(clock: ManualClock) -> None:
    stream = io.StringIO()
    setup("info", "ha-agent", environ={}, stream=stream, clock=clock)
    log.info("EngineUp -> EngineStart", extra=fields(STATE_CHANGED))
    log.info("EngineUp -> EngineStart", extra=fields(STATE_CHANGED))
    assert len(lines(stream)) == 2


def test_what_is_lost_and_back_again_and_again_is_told_each_time(clock: ManualClock) -> None:
    stream = io.StringIO()
    setup("info", "ha-agent", environ={}, stream=stream, clock=clock)
    for _ in range(2):
        for _ in range(3):
            log.warning("VDSM is lost", extra=fields(VDSM_LOST))
        clock.instant += 6
        log.info("VDSM is back, after 6 s", extra=fields(VDSM_BACK))
    assert [line.split("part: ")[1] for line in lines(stream)] == [
        "VDSM is lost",
        "VDSM is back, after 6 s",
        "VDSM is lost (2 more like this in the last 6 s)",
        "VDSM is back, after 6 s",
    ]


def test_memory_for_repeats_is_bounded(clock: ManualClock) -> None:
    held = RepeatFilter(clock)

    def passes(text: str) -> bool:
        return held.filter(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))

    assert all(passes(f"message {number}") for number in range(1001))
    assert passes("message 0"), "the oldest is forgotten"
    assert not passes("message 1000")


def record(**values: object) -> logging.LogRecord:
    message = values.pop("message", None)
    assert message is None or isinstance(message, Message)
    return log.makeRecord(
        log.name, logging.ERROR, "/x/part.py", 7, "lost %s", ("it",), None, "f",
        extra=dict(fields(message, **values)),  # type: ignore[arg-type]  # no key among them
    )  # fmt: skip


def test_journal_gets_priority_and_fields() -> None:
    sink = Sink()
    handler = JournalHandler(sink, "ha-broker")
    handler.emit(record(state="EngineUp", score=3400, reason=None))
    assert sink.entries == [
        {
            "MESSAGE": "lost it",
            "PRIORITY": "3",
            "SYSLOG_IDENTIFIER": "ha-broker",
            "LOGGER": "ha_agent.some.part",
            "CODE_FILE": "/x/part.py",
            "CODE_LINE": "7",
            "CODE_FUNC": "f",
            "HA_STATE": "EngineUp",
            "HA_SCORE": "3400",
        }
    ]


def test_a_message_gives_its_id_and_all_fields_that_its_words_stand_on() -> None:
    sink = Sink()
    handler = JournalHandler(sink, "ha-agent")
    handler.emit(record(message=STATE_CHANGED, state="EngineUp", host_id=2))
    [entry] = sink.entries
    assert entry["MESSAGE_ID"] == STATE_CHANGED.id
    assert set(STATE_CHANGED.fields) <= set(entry)
    assert (entry["HA_STATE"], entry["HA_PREV_STATE"]) == ("EngineUp", "(unknown)")


def test_what_is_remembered_is_on_all_records_until_it_ends() -> None:
    sink = Sink()
    handler = JournalHandler(sink, "ha-agent")
    logging.getLogger().addHandler(handler)
    remember(host_id=2, incident="2-17")
    handler.emit(record(host_id=3))
    remember(incident=None, score=0)
    handler.emit(record())
    first, second = ({k: v for k, v in e.items() if k.startswith("HA_")} for e in sink.entries)
    assert first == {"HA_HOST_ID": "3", "HA_INCIDENT": "2-17"}
    assert second == {"HA_HOST_ID": "2", "HA_SCORE": "0"}


def journal_at(folder: Path) -> tuple[socket.socket, Path]:
    path = folder / "journal"
    journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journald.bind(str(path))
    return journald, path


def test_under_systemd_records_go_to_the_journals_socket_with_the_context(
    tmp_path: Path, clock: ManualClock
) -> None:
    journald, path = journal_at(tmp_path)
    with journald, (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        context = {"host_id": 2, "vm_id": "af"}
        setup(
            *("info", "ha-agent"),
            context=context, environ=environ, stream=stream, clock=clock, journal=path,
        )  # fmt: skip
        log.info("hello")
        got = journald.recv(65536)
    assert b"MESSAGE=hello\n" in got
    assert b"HA_HOST_ID=2\n" in got
    assert b"HA_VM_ID=af\n" in got
    assert (tmp_path / "stderr").read_text() == ""


def test_a_folder_gets_a_file_named_as_the_predecessors(
    tmp_path: Path, clock: ManualClock
) -> None:
    setup(
        *("info", "ha-broker"),
        folder=tmp_path, environ={}, stream=io.StringIO(), clock=clock,
    )  # fmt: skip
    log.warning("storage is slow")
    for handler in logging.getLogger().handlers:
        handler.close()
    text = (tmp_path / "broker.log").read_text()
    assert text.endswith("WARNING ha_agent.some.part: storage is slow\n")


def test_journal_is_told_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        mine = f"{status.st_dev}:{status.st_ino}"
        assert is_journal(stream, {"JOURNAL_STREAM": mine})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not is_journal(stream, {})
    assert not is_journal(stream, {"JOURNAL_STREAM": mine}), "closed"
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": mine})


def test_without_a_journal_stderr_says_so_once_with_priorities(
    tmp_path: Path, clock: ManualClock
) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        journal = tmp_path / "none"
        setup(*("info", "ha-agent"), environ=environ, stream=stream, clock=clock, journal=journal)
        log.error("two\nlines")
    first, second, third = (tmp_path / "stderr").read_text().splitlines()
    assert first.startswith(f"<4>ha_agent.log: no journal at {journal}, so records have no fields")
    assert (second, third) == ("<3>ha_agent.some.part: two", "<3>lines")
