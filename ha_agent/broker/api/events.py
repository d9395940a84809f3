# SPDX-License-Identifier: Apache-2.0
"""The socket's verbs about what happened and why, and what feeds the timeline.

    events    what happened, oldest first; with wait_seconds a call that waits for the next one
    explain   why things are as they are (explain.py)

Everybody whom the socket lets in may ask. Both answer from memory.

`Watch` compares the board's picture with the last one at every change, and once a second for
what changes without one (storage that falls silent, an agent that does); it also looks at what
the guard process left in the run folder, so that a fence is told even when the broker was dead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Callable, Optional

from ha_agent.broker import event_journal, timeline
from ha_agent.broker.api.arguments import Access, bound
from ha_agent.broker.api.verb import Argument, Field, Kind, Verb
from ha_agent.broker.event_log import KEPT, EventLog
from ha_agent.broker.rpc.server import Handler, Peer
from ha_agent.broker.snapshot import EventEntry, Snapshot, to_wire
from ha_agent.broker.watch import Board
from ha_agent.clock import SystemClock
from ha_agent.explain import document

MAX_WAIT_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_PAUSE_SECONDS = 0.01
# A host of the predecessor's writes its block every 10 s.
_SETTLING_SECONDS = 15.0


VERBS = (
    Verb(
        "events",
        "Tells what happened after a given event, oldest first.",
        arguments=(
            Argument("since", Kind.WHOLE, "number of the last event seen", default=0),
            Argument("limit", Kind.WHOLE, "the most events", default=KEPT, least=1),
            Argument(
                "wait_seconds",
                Kind.NUMBER,
                "how long to wait where there is none",
                default=0.0,
                least=0,
                most=MAX_WAIT_SECONDS,
                unit="s",
            ),
        ),
        result=(
            Field("last", Kind.WHOLE, "number of the newest event there is"),
            Field("events", Kind.LIST, "the events", shape=EventEntry),
        ),
        deadline_seconds=MAX_WAIT_SECONDS + 5.0,
    ),
    Verb(
        "explain",
        "Tells why things are as they are: state, waits, score, other hosts, last events.",
        result=Kind.MAP,
    ),
)


class EventsApi:
    """The handlers, by name."""

    def __init__(self, board: Board, log: EventLog, clock: SystemClock, access: Access) -> None:
        self._board = board
        self._log = log
        self._clock = clock
        self._access = access

    def handlers(self) -> dict[str, Handler]:
        """Return the verbs."""
        handlers: dict[str, Handler] = {"events": self._events, "explain": self._explain}
        return bound(VERBS, handlers, self._access)

    async def _events(self, params: Mapping[str, Any], _peer: Peer) -> Any:
        since, limit = params["since"], min(params["limit"], KEPT)
        await self._log.newer_than(since, params["wait_seconds"])
        events = self._log.latest(limit, since)
        return {"last": self._log.last, "events": to_wire(events)}

    async def _explain(self, _params: Mapping[str, Any], _peer: Peer) -> Any:
        return document(self._board.read(), self._log.latest(), self._clock.wall())


class Watch:
    """Fills the log from the board and from the guard's result."""

    def __init__(self, board: Board, log: EventLog, fence_result: Callable[[], str]) -> None:
        """`fence_result`: what the guard did last, as text, "" for nothing."""
        self._board = board
        self._log = log
        self._fence_result = fence_result
        self._last: Optional[Snapshot] = None
        self._began_at = board.current.made_at
        known = log.newest_of("fence")
        self._fenced = known.values.get("done", "") if known is not None else ""

    async def run(self) -> None:
        """Look for ever."""
        while True:
            snapshot = self.look()
            await self._board.changed_from(snapshot.version, _LOOK_SECONDS)
            # At the broker's end nothing on the board waits any more: others must have a turn.
            await asyncio.sleep(_PAUSE_SECONDS)

    def look(self) -> Snapshot:
        """Compare once; returns the picture that was looked at."""
        snapshot = self._board.read()
        if self._last is not None:
            settling = snapshot.made_at - self._began_at < _SETTLING_SECONDS
            for event in timeline.changes(self._last, snapshot, settling=settling):
                self._add(event, snapshot)
        self._last = snapshot
        done, text, message = _fence(self._fence_result())
        if done and done != self._fenced:
            self._add(EventEntry("fence", text, values={"done": done}, message=message), snapshot)
            self._fenced = done
        return snapshot

    def _add(self, event: EventEntry, snapshot: Snapshot) -> None:
        self._log.add(event.kind, event.text, event.message, **event.values)
        event_journal.tell(event, snapshot.lease.epoch)


def _fence(result: str) -> tuple[str, str, str]:
    """Return what tells one deed of the guard's from the next, a sentence, and the name of the
    journal's message; "" for none.

    The guard (lease/fence.py) writes one JSON object, again and again as long as it pursues a VM.
    """
    try:
        values = json.loads(result) if result else {}
        ended, gone = list(values["ended_pids"]), bool(values["gone"])
        deed = json.dumps([values["epoch"], values["fence_at"], ended, gone])
    except (ValueError, TypeError, KeyError, RecursionError):
        return "", "", ""
    done = "The lease was not renewed until its deadline, so the guard process"
    if not ended:
        return deed, f"{done} looked for the engine VM here; it did not run here.", ""
    word = "is gone" if gone else "is NOT gone yet"
    return deed, f"{done} ended the engine VM here, which {word}.", "FENCED"
