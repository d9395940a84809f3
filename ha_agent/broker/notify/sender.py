# SPDX-License-Identifier: Apache-2.0
"""When what is sent: digest, limit an hour, retries with growing pauses; one sender a channel.

    something to tell -> wait digest_seconds for more -> under the limit of the hour? -> deliver
      -> taken: marked as told      -> not taken: pause 30 s, 1, 2, 4, 8, then 15 min

A sender waits only for its own channel. What is to be told is asked for anew at each try
(incidents/book.py), so nothing is queued that would be old, or told by another host, meanwhile.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ha_agent.broker.incidents.keeper import IncidentKeeper
from ha_agent.broker.notify.channel import Outcome
from ha_agent.broker.notify.message import Notice, notice
from ha_agent.instant import Instant, WallTime
from ha_agent.journal_messages import NOTIFY_FAILED
from ha_agent.log import fields

log = logging.getLogger(__name__)

_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30.0, 900.0
_FAILS = 3
_LOOK_SECONDS = 1.0
MAX_ITEMS = 30


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


class Channel(Protocol):
    """What is needed of notify_channel.ProcessChannel."""

    name: str

    async def deliver(self, notice: Notice) -> Outcome: ...


@dataclass(frozen=True)
class Limits:
    """[notify] digest_seconds and max_per_hour."""

    digest_seconds: float
    max_per_hour: int


@dataclass(frozen=True)
class Batch:
    """One message, and the incidents with their steps that it tells."""

    notice: Notice
    steps: tuple[tuple[str, int], ...]


class Sender:
    """Tells one channel what there is to tell."""

    def __init__(
        self,
        channel: Channel,
        keeper: IncidentKeeper,
        limits: Limits,
        *,
        host_name: str,
        vm_uuid: str,
        clock: Clock,
    ) -> None:
        self.channel = channel
        self._keeper = keeper
        self._limits = limits
        self._host_name = host_name
        self._vm_uuid = vm_uuid
        self._clock = clock
        self._waiting_since: Optional[Instant] = None
        self._fails = 0
        self._not_before: Optional[Instant] = None
        self._last: Optional[Outcome] = None
        self._last_at: Optional[WallTime] = None
        self._held_back = False

    @property
    def fails(self) -> bool:
        """Whether it has not worked for several tries, the last of them lately."""
        if self._fails < _FAILS:
            return False
        return self._not_before is not None and self._clock.now() < self._not_before

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            batch = self.due(self._clock.now(), self._clock.wall())
            if batch is not None:
                self.done(batch, await self.channel.deliver(batch.notice))
            await self._clock.sleep(_LOOK_SECONDS)

    def due(self, now: Instant, wall: WallTime) -> Optional[Batch]:
        """Return what is to be sent now, None for nothing."""
        found = self._keeper.to_tell(self.channel.name)
        if not found:
            self._waiting_since = None
            return None
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since < self._limits.digest_seconds:
            return None
        if self._not_before is not None and now < self._not_before:
            return None
        if self._sent_lately(wall) >= self._limits.max_per_hour:
            self._held_back = True
            return None
        texts = self._keeper.texts
        first = found[:MAX_ITEMS]
        items = [texts.item(one, one.told_step(self.channel.name)) for one in first]
        made = notice(
            items,
            sender=self._host_name,
            vm_uuid=self._vm_uuid,
            wall=wall,
            notes=self._notes(len(found)),
        )
        return Batch(made, tuple((one.id, one.step) for one in first))

    def done(self, batch: Batch, outcome: Outcome) -> None:
        """Take what became of it."""
        now, wall = self._clock.now(), self._clock.wall()
        self.note(outcome)
        if outcome.ok:
            log.info("%s", outcome.detail)
            self._fails, self._not_before, self._held_back = 0, None, False
            self._waiting_since = None
            self._keeper.told(self.channel.name, batch.steps, wall)
            return
        pause_seconds = min(_PAUSE_SECONDS * 2.0 ** min(self._fails, 10), _LONGEST_PAUSE_SECONDS)
        self._fails += 1
        self._not_before = now + pause_seconds
        text, told = "notification: %s; next try in %g s", fields(NOTIFY_FAILED)
        log.warning(text, outcome.detail, pause_seconds, extra=told)

    def note(self, outcome: Outcome) -> None:
        """Take what became of a try, for people."""
        self._last, self._last_at = outcome, self._clock.wall()

    def view(self) -> dict[str, Any]:
        """Return how the channel does, for people."""
        last, at = self._last, self._last_at
        return {
            "name": self.channel.name,
            "waiting": len(self._keeper.to_tell(self.channel.name)),
            "sent_last_hour": self._sent_lately(self._clock.wall()),
            "failed_tries": self._fails,
            "last_ok": None if last is None else last.ok,
            "last_detail": "" if last is None else last.detail,
            "last_at_unix_seconds": None if at is None else at.unix_seconds,
        }

    def _sent_lately(self, wall: WallTime) -> int:
        # A time to come is of a calendar that was set back since.
        ages = (wall.unix_seconds - one.at_unix_seconds for one in self._sent())
        return sum(0 <= age < 3600 for age in ages)

    def _sent(self) -> list[Any]:
        return [one for one in self._keeper.sent if one.channel == self.channel.name]

    def _notes(self, count: int) -> list[str]:
        notes = []
        if self._held_back:
            limit = self._limits.max_per_hour
            notes.append(f"This waited: no more than {limit} messages are sent in an hour.")
        if count > MAX_ITEMS:
            notes.append(f"{count - MAX_ITEMS} more incidents follow in another message.")
        if self._keeper.book.dropped:
            dropped = self._keeper.book.dropped
            notes.append(f"{dropped} older incidents were dropped before they could be told.")
        return notes
