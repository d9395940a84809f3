# SPDX-License-Identifier: Apache-2.0
"""The base of every exception that this project raises on purpose.

Three kinds, kept apart because they are answered differently (DESIGN.md, rule 7):
an expected refusal is a return value and never an exception; a broken environment
(storage, VDSM, a socket) is an `EnvironmentFault`, raised at a port; bytes or text from
outside that can't be used are a `BadInput`, which names what and where.
"""

from __future__ import annotations

from typing import Optional


class HaAgentError(Exception):
    """Base of our exceptions. `str()` of one is a sentence that an operator can read."""


class EnvironmentFault(HaAgentError):
    """Something outside failed or did not answer in time: storage, VDSM, a socket, a tool."""


class DeadlineExceeded(EnvironmentFault):
    """An outside call did not end within its deadline. It may still take effect later."""

    def __init__(self, what: str, deadline_seconds: float) -> None:
        super().__init__(f"{what}: no answer within {deadline_seconds:g} s")
        self.what = what
        self.deadline_seconds = deadline_seconds


class BadInput(HaAgentError):
    """Bytes or text from outside that can't be used.

    `where` names the file, volume, peer or argument; `offset` is a byte offset (or a line
    number, where `unit` says so) in it; both are part of the message.
    """

    def __init__(
        self, what: str, *, where: str = "", offset: Optional[int] = None, unit: str = "byte"
    ) -> None:
        place = where
        if offset is not None:
            place = f"{where}, {unit} {offset}" if where else f"{unit} {offset}"
        super().__init__(f"{place}: {what}" if place else what)
        self.what = what
        self.where = where
        self.offset = offset


class InvariantBroken(HaAgentError):
    """Our own code reached a state that it must not reach. The tick ends in a safe state."""
