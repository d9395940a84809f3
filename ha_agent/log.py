# SPDX-License-Identifier: Apache-2.0
"""Where log records go: the journal under systemd, stderr everywhere else; a file where asked.

Under systemd (JOURNAL_STREAM names the stream that stderr is) records go to the journal
with fields of their own: `journalctl HA_STATE=EngineUp` finds them again. Otherwise stderr
gets one line each, with time, level and logger.

    log = logging.getLogger(__name__)
    log.info("lease taken", extra=fields(LEASE_TAKEN, epoch=7))    # MESSAGE_ID, HA_EPOCH
    log.warning("no answer in %.1f s", age, extra=fields(key="vdsm silent"))
    remember(incident="2-1700000000")                       # HA_INCIDENT, from now on

What holds for all records of a process (its host id, the engine VM's id) is given to `setup` by
the process root; what changes (state, score, epoch, open incidents) to `remember`, by who
learns of it. A record's own fields come before those.

A message that comes again within a minute is counted, and the count is told when it is next
let through: storage that hangs must not fill the journal that is to explain it. Messages
are the same when logger, level and text are, or logger, level and `key`. Debug is never
held back, nor are events that are to be told each, nor is news: what is lost, back and lost again
within a minute is told so, or the log's last word would not be how it is (journal_messages.py).

No record waits for anything: neither for journald (journal_socket.py) nor for a disk (the file is
written by a thread, log_file.py). Who replaces the process by exec calls `logging.shutdown()`
before, as Python does at its end: the last records then have a second to get out.

This module decides where records go, never what is logged; only process roots call `setup`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Protocol, TextIO

from ha_agent.clock import SystemClock
from ha_agent.instant import Instant
from ha_agent.journal_messages import RECORDS_LOST, Message
from ha_agent.journal_socket import SOCKET_PATH, Entry, JournalSocket
from ha_agent.log_file import FileHandler

REPEAT_WINDOW_SECONDS = 60.0

# Beyond this many different messages within a window the oldest are forgotten.
_MAX_REPEAT_KEYS = 1000

# syslog(3) priorities, which journald sorts by and which "<N>" in front of a line sets.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))

# They tell each of their steps at level info, which is our level debug.
_TALKATIVE_LIBRARIES = ("transitions", "qemu")


class _Clock(Protocol):
    def now(self) -> Instant: ...


def setup(
    level: str,
    name: str,
    *,
    context: Optional[Mapping[str, object]] = None,
    folder: Optional[Path] = None,
    environ: Mapping[str, str] = os.environ,
    stream: Optional[TextIO] = None,
    clock: Optional[_Clock] = None,
    journal: Path = SOCKET_PATH,
) -> None:
    """Send the records of this process, from `level` on, to the journal or to stderr.

    `level` is debug, info, warning or error; `name` is the program's name in the journal.
    `context` is what to `remember` from the start. Into `folder`, if there is one, goes a file
    besides, as the predecessor had: "ha-agent" writes agent.log. Calling again replaces what
    the last call made.
    """
    stream = stream or sys.stderr
    handler: logging.Handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter())
    missing = ""
    if is_journal(stream, environ):
        try:
            handler = JournalHandler(_journal(name, journal), name)
        except OSError as error:
            handler.setFormatter(PriorityFormatter("%(name)s: %(message)s"))
            missing = f"no journal at {journal}, so records have no fields: {error.strerror}"
    root = logging.getLogger()
    for old in list(root.handlers):
        if any(isinstance(held, RepeatFilter) for held in old.filters):
            root.removeHandler(old)
            old.close()
    handler.addFilter(RepeatFilter(clock or SystemClock()))
    root.addHandler(handler)
    if folder is not None:
        file = FileHandler(folder / f"{name.replace('ha-', '', 1)}.log")
        file.setFormatter(_formatter())
        # Of its own, as each counts what it lets through.
        file.addFilter(RepeatFilter(clock or SystemClock()))
        root.addHandler(file)
    root.setLevel(level.upper())
    for library in _TALKATIVE_LIBRARIES:
        logging.getLogger(library).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    remember(**(context or {}))
    if missing:
        logging.getLogger(__name__).warning(missing)


def fields(
    message: Optional[Message] = None, *, key: str = "", **values: object
) -> Mapping[str, object]:
    """Return `extra` of a logging call: what kind of event it is, journal fields HA_<NAME>, and
    the key for repeats.

    None is left out. Without `key` the whole text decides what is the same message.
    """
    return {"ha_message": message, "ha_fields": _named(values), "ha_key": key}


def remember(**values: object) -> None:
    """Give every record of this process the journal fields HA_<NAME> from now on; None ends one.

    It does nothing where records don't go to the journal.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, JournalHandler):
            handler.remember(values)


def _named(values: Mapping[str, object]) -> dict[str, str]:
    return {f"HA_{name.upper()}": str(v) for name, v in values.items() if v is not None}


def _formatter() -> logging.Formatter:
    return logging.Formatter(
        "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"
    )


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether `stream` is the one that systemd connected to the journal.

    A child with a stderr of its own inherits JOURNAL_STREAM too, which is why systemd.exec(5)
    asks for the comparison of device and inode.
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _journal(name: str, path: Path) -> JournalSocket:
    def lost(count: int) -> Entry:
        return {
            "MESSAGE": f"{count} records are lost: journald took nothing for a while",
            "MESSAGE_ID": RECORDS_LOST.id,
            "PRIORITY": str(_priority(logging.WARNING)),
            "SYSLOG_IDENTIFIER": name,
            "HA_COUNT": str(count),
        }

    return JournalSocket(lost, path=path)


def _priority(level: int) -> int:
    return next((priority for least, priority in _PRIORITIES if level >= least), 7)


class PriorityFormatter(logging.Formatter):
    """Put the priority in front, as systemd reads it off stderr (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, each of its lines with "<priority>" in front."""
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class Sink(Protocol):
    """What is needed of journal_socket.JournalSocket."""

    def send(self, entry: Entry) -> None: ...

    def close(self) -> None: ...


class JournalHandler(logging.Handler):
    """Sends records with their HA_* fields, and with what is remembered."""

    def __init__(self, sink: Sink, name: str) -> None:
        super().__init__()
        self._sink = sink
        self._identifier = name
        self._context: dict[str, str] = {}

    def remember(self, values: Mapping[str, object]) -> None:
        """Take fields for all later records; None ends one."""
        over = {f"HA_{name.upper()}" for name, value in values.items() if value is None}
        kept = {name: value for name, value in self._context.items() if name not in over}
        self._context = {**kept, **_named(values)}  # a new one: other threads may just send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        message: Optional[Message] = getattr(record, "ha_message", None)
        entry = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(_priority(record.levelno)),
            "SYSLOG_IDENTIFIER": self._identifier,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            **self._context,
            **getattr(record, "ha_fields", {}),
        }
        if message is not None:
            entry["MESSAGE_ID"] = message.id
            # `journalctl -x` would print the bare name of a field that is not there.
            entry = {**dict.fromkeys(message.fields, "(unknown)"), **entry}
        self._sink.send(entry)

    def close(self) -> None:
        """Let the last records get out, for a moment."""
        self._sink.close()
        super().close()


class RepeatFilter(logging.Filter):
    """Let the first of equal messages through, count the others for a minute."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock
        # When the message was last let through, and how many were held back since.
        self._seen: OrderedDict[tuple[str, int, str], tuple[Instant, int]] = OrderedDict()
        self._last_about: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is let through; adds the count to one that is."""
        message: Optional[Message] = getattr(record, "ha_message", None)
        if record.levelno <= logging.DEBUG or (message is not None and message.each):
            return True
        text = record.getMessage()
        key = (record.name, record.levelno, getattr(record, "ha_key", "") or text)
        now, is_news = self._clock.now(), self._is_news(message)
        since, held_back = self._seen.get(key, (None, 0))
        if since is not None and not is_news and now - since < REPEAT_WINDOW_SECONDS:
            self._seen[key] = (since, held_back + 1)
            return False
        if held_back and since is not None:
            record.msg = f"{text} ({held_back} more like this in the last {now - since:.0f} s)"
            record.args = ()
        self._seen.pop(key, None)
        self._seen[key] = (now, 0)
        if len(self._seen) > _MAX_REPEAT_KEYS:
            self._seen.popitem(last=False)
        return True

    def _is_news(self, message: Optional[Message]) -> bool:
        """Whether the last that was said about the same was of another kind."""
        if message is None or not message.about:
            return False
        last, self._last_about[message.about] = self._last_about.get(message.about), message.id
        return last not in (None, message.id)
