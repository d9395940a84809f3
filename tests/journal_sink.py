# SPDX-License-Identifier: Apache-2.0
"""Stands for journald in tests of what is logged: keeps the entries of this process."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from ha_agent.journal_messages import MESSAGES
from ha_agent.journal_socket import Entry
from ha_agent.log import JournalHandler

_NAMES = {message.id: name for name, message in MESSAGES.items()}


class Sink:
    """Takes entries as journal_socket.JournalSocket does."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def send(self, entry: Entry) -> None:
        self.entries.append(entry)

    def close(self) -> None:
        pass

    def named(self, *fields: str) -> list[tuple[str, ...]]:
        """Return each entry's message name, "-" for none, with the values of some fields."""
        return [
            (
                _NAMES.get(entry.get("MESSAGE_ID", ""), "-"),
                *(entry.get(f"HA_{name.upper()}", "") for name in fields),
            )
            for entry in self.entries
        ]


@contextlib.contextmanager
def journal() -> Iterator[Sink]:
    """Have all our records of level info and above in a Sink."""
    sink, root = Sink(), logging.getLogger()
    handler, level = JournalHandler(sink, "test"), root.level
    # transitions 0.9.0, which Debian 12 has, tells its steps at level info.
    handler.addFilter(logging.Filter("ha_agent"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield sink
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
