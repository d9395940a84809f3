# SPDX-License-Identifier: Apache-2.0
"""Where log records go: the journal under systemd, stderr everywhere else.

Under systemd (JOURNAL_STREAM names the stream that stderr is) records go to the journal
with fields of their own: `journalctl HA_STATE=EngineUp` finds them again. Otherwise stderr
gets one line each, with time, level and logger.

    log = logging.getLogger(__name__)
    log.info("state changed", extra=fields(state="EngineUp", score=3400))   # HA_STATE, HA_SCORE
    log.warning("no answer in %.1f s", age, extra=fields(key="vdsm silent"))

A message that comes again within a minute is counted, and the count is told when it is next
let through: storage that hangs must not fill the journal that is to explain it. Messages
are the same when logger, level and text are, or logger, level and `key`. Debug is never
held back.

This module decides where records go, never what is logged; only process roots call `setup`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Callable, Optional, Protocol, TextIO

from ha_agent.clock import SystemClock
from ha_agent.instant import Instant

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
    environ: Mapping[str, str] = os.environ,
    stream: Optional[TextIO] = None,
    clock: Optional[_Clock] = None,
) -> None:
    """Send the records of this process, from `level` on, to the journal or to stderr.

    `level` is debug, info, warning or error; `name` is the program's name in the journal.
    Calling again replaces what the last call made.
    """
    stream = stream or sys.stderr
    handler: logging.Handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter(
            "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"
        )
    )
    missing = ""
    if is_journal(stream, environ):
        try:
            handler = JournalHandler(_journal_send(), name)
        except ImportError as error:
            handler.setFormatter(PriorityFormatter("%(name)s: %(message)s"))
            missing = f"systemd-python (python3-systemd) is missing: no journal fields ({error})"
    handler.addFilter(RepeatFilter(clock or SystemClock()))
    root = logging.getLogger()
    for old in list(root.handlers):
        if any(isinstance(held, RepeatFilter) for held in old.filters):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for library in _TALKATIVE_LIBRARIES:
        logging.getLogger(library).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    if missing:
        logging.getLogger(__name__).warning(missing)


def fields(*, key: str = "", **values: object) -> Mapping[str, object]:
    """Return `extra` of a logging call: journal fields HA_<NAME>, and the key for repeats.

    None is left out. Without `key` the whole text decides what is the same message.
    """
    named = {f"HA_{name.upper()}": value for name, value in values.items() if value is not None}
    return {"ha_fields": named, "ha_key": key}


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


def _journal_send() -> Callable[..., None]:
    # The root folder systemd/ of a checkout becomes an empty package `systemd` where
    # systemd-python is absent; only the name inside it proves that it is there.
    from systemd.journal import send

    journal_send: Callable[..., None] = send
    return journal_send


def _priority(level: int) -> int:
    return next((priority for least, priority in _PRIORITIES if level >= least), 7)


class PriorityFormatter(logging.Formatter):
    """Put the priority in front, as systemd reads it off stderr (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, each of its lines with "<priority>" in front."""
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class JournalHandler(logging.Handler):
    """Send records with their HA_* fields; `send` has the signature of systemd's journal.send."""

    def __init__(self, send: Callable[..., None], name: str) -> None:
        super().__init__()
        self._send = send
        self._identifier = name

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        named: Mapping[str, Any] = getattr(record, "ha_fields", {})
        try:
            self._send(
                self.format(record),
                PRIORITY=str(_priority(record.levelno)),
                SYSLOG_IDENTIFIER=self._identifier,
                LOGGER=record.name,
                CODE_FILE=record.pathname,
                CODE_LINE=record.lineno,
                CODE_FUNC=record.funcName,
                **{name: str(value) for name, value in named.items()},
            )
        except OSError:
            # journald restarts; a daemon must not fail because a line of its log can't be kept.
            self.handleError(record)


class RepeatFilter(logging.Filter):
    """Let the first of equal messages through, count the others for a minute."""

    def __init__(self, clock: _Clock) -> None:
        super().__init__()
        self._clock = clock
        # When the message was last let through, and how many were held back since.
        self._seen: OrderedDict[tuple[str, int, str], tuple[Instant, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is let through; adds the count to one that is."""
        if record.levelno <= logging.DEBUG:
            return True
        text = record.getMessage()
        key = (record.name, record.levelno, getattr(record, "ha_key", "") or text)
        now = self._clock.now()
        since, held_back = self._seen.get(key, (None, 0))
        if since is not None and now - since < REPEAT_WINDOW_SECONDS:
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
