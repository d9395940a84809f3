# SPDX-License-Identifier: Apache-2.0
"""The timeline of this host: what happened, in order, in memory and on disk.

`<state_dir>/events.jsonl`, one JSON object a line, is what `ha-agent events` reads when the
broker is down:

    {"kind": "lease", "text": "…", "at_unix_seconds": 1700000000.0, "number": 57, "serial": 0,
     "values": {…}}                                                            (on one line)

When it is over its limit it becomes `events.1.jsonl` and a new one is begun, so the two hold
between one and two limits. A crash leaves at most a torn last line, which readers pass over. The
last events are kept in memory, and only from there they are told; a thread writes them
(background_writer.py), so the broker's loop never waits for this disk.

Numbers grow by one, over restarts of the broker as well. The agent's events come with its
reports, again and again until a report was taken: by `serial` and time one is known again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Optional, Protocol

from ha_agent.background_writer import BackgroundWriter
from ha_agent.broker.snapshot import EventEntry, from_wire, to_wire
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.waiting import wait_for_event

log = logging.getLogger(__name__)

FILE_NAME, OLDER_NAME = "events.jsonl", "events.1.jsonl"
KEPT = 1000
FILE_BYTES = 1 << 20
_LONGEST_TEXT = 1000
_LONGEST_KEY = 50
_LONGEST_LINE_BYTES = 16 * 1024
# What can be sent on, and has a place in the calendar.
_MAX_NUMBER = (1 << 53) - 1
_MAX_SECONDS = 1e11

KINDS = {
    "agent": "this host's agent started, fell silent, or came back",
    "better host": "another host would be much better for the engine VM",
    "definition": "the engine VM's definition changed, or is held back by the guard",
    "effect": "the agent asked for something to be done",
    "fence": "the guard process ended the engine VM at the lease's deadline",
    "health": "the engine's health page changed",
    "host": "another host appeared, died, came back, or has the engine VM",
    "lease": "the lease was taken, lost, given up, or expired",
    "maintenance": "maintenance was set or ended, or the cluster shut down",
    "outcome": "what became of what the agent asked for",
    "push": "the engine sent a new definition",
    "state": "the agent changed its state",
    "storage": "shared storage was lost, or is back",
}


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def wall(self) -> WallTime: ...


class EventLog:
    """The last events, and the file with more of them. Belongs to one event loop."""

    def __init__(
        self, state_dir: Path, *, clock: Clock, kept: int = KEPT, file_bytes: int = FILE_BYTES
    ) -> None:
        """Read what an earlier broker left; a file that can't be read leaves nothing."""
        self._clock = clock
        self._events: deque[EventEntry] = deque(maxlen=kept)
        try:
            self._events.extend(read_events(state_dir)[0])
        except EnvironmentFault as fault:
            log.warning("the events so far can't be read: %s", fault)
        self.counts: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._file = _File(state_dir, file_bytes)
        self._writer = BackgroundWriter("events", self._file.append, self._file.close)
        self.start = self._writer.start
        self.stop = self._writer.stop

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before there is one."""
        return self._events[-1].number if self._events else 0

    def add(self, kind: str, text: str, message: str = "", **values: str) -> None:
        """Note that something happened now; `message` as in EventEntry."""
        assert kind in KINDS, kind
        at = self._clock.wall().unix_seconds
        self._append(EventEntry(kind, text, at_unix_seconds=at, values=values, message=message))

    def add_reported(self, events: Iterable[EventEntry]) -> None:
        """Take the events of the agent's report, but for those which came before."""
        known = {(one.serial, one.at_unix_seconds) for one in self._events if one.serial}
        for event in events:
            if (event.serial, event.at_unix_seconds) not in known:
                self._append(event)

    def latest(self, limit: int = KEPT, since: int = 0) -> list[EventEntry]:
        """Return the newest events, oldest first, of those that have a number over `since`."""
        # Whoever knows more than we do knows another log, such as one that was removed.
        after = since if since <= self.last else 0
        newest = (event for event in reversed(self._events) if event.number > after)
        return list(islice(newest, limit))[::-1]

    def newest_of(self, kind: str) -> Optional[EventEntry]:
        """Return the newest event of a kind, as far as they are kept."""
        return next((event for event in reversed(self._events) if event.kind == kind), None)

    async def newer_than(self, number: int, wait_seconds: float) -> None:
        """Return as soon as there is an event after `number`, or after the wait."""
        if self.last == number and wait_seconds > 0:
            await wait_for_event(self._news, wait_seconds)

    def wake(self) -> None:
        """Let everybody who waits go on, as at the end of the broker."""
        self._news.set()

    def _append(self, event: EventEntry) -> None:
        values = {key[:_LONGEST_KEY]: value[:_LONGEST_TEXT] for key, value in event.values.items()}
        text = event.text[:_LONGEST_TEXT]
        event = replace(event, number=self.last + 1, text=text, values=values)
        self._events.append(event)
        self.counts[event.kind] += 1
        self._writer.put(event)
        self._news.set()
        self._news = asyncio.Event()


class _File:
    """The two files; for one thread. Raises OSError, and opens anew at the next event then."""

    def __init__(self, state_dir: Path, file_bytes: int) -> None:
        self._state_dir = state_dir
        self._file_bytes = file_bytes
        self._file: Optional[BinaryIO] = None

    def append(self, event: EventEntry) -> None:
        line = json.dumps(to_wire(event)).encode("ascii") + b"\n"
        path = self._state_dir / FILE_NAME
        try:
            if self._file is not None and self._file.tell() + len(line) > self._file_bytes:
                self.close()
                os.replace(path, self._state_dir / OLDER_NAME)
            if self._file is None:
                # A line that was torn by a crash must not take this one with it.
                torn = path.exists() and not path.read_bytes().endswith(b"\n")
                self._file = path.open("ab")
                line = b"\n" + line if torn else line
            self._file.write(line)
            self._file.flush()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def read_events(state_dir: Path) -> tuple[list[EventEntry], int]:
    """Return the events on disk, oldest first, and how many lines could not be read.

    Raises EnvironmentFault when the files can't be. No file is no event.
    """
    events: list[EventEntry] = []
    unreadable = 0
    for name in (OLDER_NAME, FILE_NAME):
        path = state_dir / name
        try:
            with path.open("rb") as file:
                lines = file.read(2 * FILE_BYTES).split(b"\n")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise EnvironmentFault(f"{path}: {error.strerror}") from error
        for line in filter(None, lines):
            event = _read_line(line, str(path))
            if event is None:
                unreadable += 1
            else:
                events.append(event)
    return events, unreadable


def _read_line(line: bytes, where: str) -> Optional[EventEntry]:
    if len(line) > _LONGEST_LINE_BYTES:
        return None
    try:
        event = from_wire(EventEntry, json.loads(line), where=where)
    except (ValueError, OverflowError, RecursionError, BadInput):
        return None
    sound = 0 < event.number <= _MAX_NUMBER and 0 <= event.serial <= _MAX_NUMBER
    return event if sound and 0 <= event.at_unix_seconds <= _MAX_SECONDS else None
