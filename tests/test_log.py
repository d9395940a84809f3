# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ha_agent.instant import Instant
from ha_agent.log import JournalHandler, RepeatFilter, fields, is_journal, setup

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


def test_memory_for_repeats_is_bounded(clock: ManualClock) -> None:
    held = RepeatFilter(clock)

    def passes(text: str) -> bool:
        return held.filter(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))

    assert all(passes(f"message {number}") for number in range(1001))
    assert passes("message 0"), "the oldest is forgotten"
    assert not passes("message 1000")


def test_journal_gets_priority_and_fields() -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    handler = JournalHandler(lambda text, **values: sent.append((text, values)), "ha-broker")
    record = log.makeRecord(
        log.name, logging.ERROR, "/x/part.py", 7, "lost %s", ("it",), None, "f",
        extra=dict(fields(state="EngineUp", score=3400, reason=None)),
    )  # fmt: skip
    handler.emit(record)
    assert sent == [
        (
            "lost it",
            {
                "PRIORITY": "3",
                "SYSLOG_IDENTIFIER": "ha-broker",
                "LOGGER": "ha_agent.some.part",
                "CODE_FILE": "/x/part.py",
                "CODE_LINE": 7,
                "CODE_FUNC": "f",
                "HA_STATE": "EngineUp",
                "HA_SCORE": "3400",
            },
        )
    ]


def test_journal_is_told_by_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        mine = f"{status.st_dev}:{status.st_ino}"
        assert is_journal(stream, {"JOURNAL_STREAM": mine})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:1"})
        assert not is_journal(stream, {})
    assert not is_journal(stream, {"JOURNAL_STREAM": mine}), "closed"
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": mine})


_UNDER_SYSTEMD = """
import logging, os, sys
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
sys.modules["systemd"] = None
from ha_agent.log import setup
setup("info", "ha-agent")
logging.getLogger("x").error("two\\nlines")
"""


def test_without_systemd_python_stderr_says_so_once_with_priorities() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_SYSTEMD],
        stderr=subprocess.PIPE, text=True, timeout=30, check=True,
    )  # fmt: skip
    first, second, third = done.stderr.splitlines()
    assert first.startswith("<4>ha_agent.log: systemd-python (python3-systemd) is missing")
    assert (second, third) == ("<3>x: two", "<3>lines")
