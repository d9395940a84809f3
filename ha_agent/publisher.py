# SPDX-License-Identifier: Apache-2.0
"""Brings the agent's reports to the broker: each change at once, and the same again from time
to time, as other hosts take one that is silent for dead.

One report is under way at a time, as a task of its own with the port's deadline: a broker that
hangs holds up no tick. Of reports that come meanwhile only the newest follows. The events of
the timeline travel along until a report has been taken.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Callable, Optional

from ha_agent.agent_events import AgentEvents
from ha_agent.broker.snapshot import Report
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant
from ha_agent.ports import Broker

log = logging.getLogger(__name__)

# After a report that the broker did not take.
_RETRY_SECONDS = 1.0


class Publisher:
    """The newest report and what the broker has of it. Not for several threads.

    `wake` is called when there is more to send after a report has been taken.
    """

    def __init__(
        self,
        broker: Broker,
        events: AgentEvents,
        *,
        interval_seconds: float,
        wake: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._events = events
        self._interval_seconds = interval_seconds
        self._wake = wake
        self._report: Optional[Report] = None
        self._sent: Optional[Report] = None
        self._sent_at: Optional[Instant] = None
        self._unheard = False
        self.task: Optional[asyncio.Task[None]] = None
        """The report under way, or the last one."""

    def tell(self, report: Report) -> None:
        """Take the newest report; one that says the same as the last is no other."""
        if report != self._report:
            self._report = report

    def tick(self, now: Instant) -> None:
        """Send what there is to send. Never waits."""
        if self._report is None or self._under_way:
            return  # it ends within its deadline; the next tick catches up
        interval_over = self._sent_at is None or now >= self._sent_at + self._interval_seconds
        if not interval_over and not self._left:
            return
        events = self._events.waiting
        self._sent, self._sent_at = self._report, now
        report = dataclasses.replace(self._report, made_at=now, events=events)
        self.task = asyncio.ensure_future(self._send(report))

    def due(self, now: Instant) -> Optional[Instant]:
        """Return when to tick again; None while that is the end of the report under way."""
        if self._sent_at is None:
            return None
        if self._under_way:
            end = self._sent_at + self._interval_seconds
            return end if end > now else None
        if self._left:
            return self._sent_at + min(_RETRY_SECONDS, self._interval_seconds)
        return self._sent_at + self._interval_seconds

    @property
    def _under_way(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def _left(self) -> bool:
        """Whether there is something that the broker has not got."""
        return self._report is not self._sent or bool(self._events.waiting)

    async def _send(self, report: Report) -> None:
        try:
            await self._broker.publish(report)
        except EnvironmentFault as fault:
            if not self._unheard:
                log.warning("the broker did not take the report: %s", fault)
            self._unheard, self._sent = True, None
        else:
            self._unheard = False
            self._events.taken(report.events)
        if self._sent is not None and self._left:
            self._wake()
