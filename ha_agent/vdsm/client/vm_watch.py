# SPDX-License-Identifier: Apache-2.0
"""What VDSM's events and answers about one VM are worth, by their order. Pure.

    event  --> news?  yes: the VM is looked at now (VM.getStats), within milliseconds
                      no:  nothing
    answer --> overtaken?  yes: it is asked for again    no: it is the VM's status

Nothing is ever decided on an event, only on a look that was asked for after it. An event is
partial, comes late, twice, out of order or not at all, and may be of an earlier life of the same
UUID; a look on a live VDSM costs a millisecond. So:
  Down       is no reason to start the VM again: it may be of the VM that was destroyed before.
  Up         is no reason to take up or keep a lease: the VM may have ended since.
  none       is no reason to believe that all is as it was: the VM is looked at from time to time
             ([vdsm] poll_interval_seconds), which finds what no event told.
And what is wrongly taken for news costs one look, of which there are so many a second and no
more (feed.py); what is wrongly taken for none is found by the next look in its time.

Order: `vdsm_clock_ms` (statusTime, notify_time) is one clock of VDSM's host. It begins anew when
that boots, and the connection has ended by then: `connected` forgets all times. An event that is
older than an answer is told by that answer, whether statusTime is the time of the answer or of
the status in it (vdsm and the embedded VDSM differ, and facts/vdsm.md 1.4 does not say). Equal
times say nothing, so they count as news; so does a missing time.

Answers may come out of order, as VDSM serves calls in eight threads. One that was asked for after
another had come is newer whatever its time says; of two that were under way together the clock
tells. "No such VM" has no time: it is what changes the VM here that makes a look ask again
(vdsm_port.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from ha_agent.errors import BadInput
from ha_agent.vdsm.jsonrpc import Event
from ha_agent.vdsm.vm_status import VmStats, parse_status_event


@dataclass(frozen=True)
class VmWatch:
    """What is known of the order of things: the time of the newest answer of this connection,
    how many answers there were, and the last event that was news."""

    vm_id: str
    clock_ms: Optional[int] = None
    answers: int = 0
    told: Optional[VmStats] = None

    def connected(self) -> VmWatch:
        """Return the watch on a new connection: no time of before can be compared."""
        return replace(self, clock_ms=None, told=None)

    def event(self, event: Event) -> tuple[VmWatch, bool]:
        """Take an event; tell whether the VM has to be looked at for it."""
        if self.vm_id not in event.method:
            return self, False
        try:
            stats = parse_status_event(event)
        except BadInput:
            return self, True  # about our VM, in a shape that we don't know: the look tells
        if stats is None or stats.vm_id != self.vm_id:
            # Its migration's progress and the like come with a status of their own.
            return self, False
        at = stats.vdsm_clock_ms
        if at is None:
            return self, True
        if stats == self.told or (self.clock_ms is not None and at < self.clock_ms):
            return self, False
        return replace(self, told=stats), True

    def answer(self, stats: Optional[VmStats], asked_at_answers: int) -> tuple[VmWatch, bool]:
        """Take an answer; tell whether one that is newer had come while it was under way.

        `asked_at_answers` is what `answers` was when it was asked for.
        """
        at = None if stats is None else stats.vdsm_clock_ms
        together = self.answers != asked_at_answers
        if together and at is not None and self.clock_ms is not None and at < self.clock_ms:
            return self, True
        return replace(self, clock_ms=at, answers=self.answers + 1), False
