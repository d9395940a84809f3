# SPDX-License-Identifier: Apache-2.0
"""The incidents of a cluster as one host keeps them, and what has been told of each. Pure.

Every host keeps all of them, so that any host can go on when the one that tells dies. What is
still to be told is not a queue of messages but follows from the incidents themselves: each has a
`step`, which grows when it is opened, changed or closed, and for each channel the step that was
told. So nothing is told twice by one host, what happened while a channel was down is told in one
message, and the "queue" is as short as the list of incidents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from ha_agent.broker.incidents.incident import KINDS, Trouble
from ha_agent.instant import WallTime

MAX_OPEN, MAX_CLOSED = 100, 50
KEPT_SECONDS = 7 * 86400.0
CHANGE_SECONDS = 300.0
"""A change is told this long after the last at the earliest: hosts come and go in dozens."""
# They say that something happened: that they end is of interest to nobody.
MOMENTS = ("engine-moved", "clock", "restarts")
ELSEWHERE = "*"
_NONE: Mapping[str, float] = {}


@dataclass(frozen=True)
class Told:
    """The step of an incident that a channel was told; ELSEWHERE: that another host told."""

    channel: str
    step: int


@dataclass(frozen=True)
class Incident:
    """One incident. `id` is "<host id>-<number>" of the host that told of it first, or of this
    one while nobody has; `told_by` is that host, 0 for none."""

    id: str
    key: str
    kind: str
    detail: str
    hosts: tuple[str, ...]
    opened_unix_seconds: float
    changed_unix_seconds: float
    closed_unix_seconds: Optional[float] = None
    revision: int = 1
    told: tuple[Told, ...] = ()
    told_by: int = 0

    @property
    def severity(self) -> str:
        """How bad it is."""
        return KINDS[self.kind].severity

    @property
    def step(self) -> int:
        """How far it has come: grows with each change that is to be told."""
        return 2 * self.revision + (self.closed_unix_seconds is not None)

    def told_step(self, channel: str) -> int:
        """Return how far this channel was told, by this host or another."""
        known = (one.step for one in self.told if one.channel in (channel, ELSEWHERE))
        return max(known, default=0)

    def is_to_tell(self, channel: str) -> bool:
        """Tell whether the channel does not know the newest of it."""
        told = self.told_step(channel)
        over = self.closed_unix_seconds is not None and self.kind in MOMENTS
        return told < self.step and not (over and told)

    def with_told(self, channel: str, step: int) -> Incident:
        """Return it with what a channel was told."""
        others = tuple(one for one in self.told if one.channel != channel)
        return replace(self, told=(*others, Told(channel, max(step, self.told_step(channel)))))


@dataclass
class Book:
    """The open and the recent incidents, by id in order of their opening. `number` is the last
    that was given out; `dropped` counts those that were forgotten before they were told."""

    host_id: int
    number: int = 0
    dropped: int = 0
    incidents: dict[str, Incident] = field(default_factory=dict)

    def still_open(self) -> list[Incident]:
        """Return those that are not over, oldest first."""
        return [one for one in self.incidents.values() if one.closed_unix_seconds is None]

    def look(
        self,
        troubles: Iterable[Trouble],
        wall: WallTime,
        *,
        began: Mapping[str, float] = _NONE,
        ended: Mapping[str, float] = _NONE,
    ) -> None:
        """Open, change and close incidents so that they say what `troubles` say. `began` and
        `ended`: when those of these names did, in seconds of the calendar; else it is now."""
        now = wall.unix_seconds
        active = {one.name: one for one in troubles}
        for incident in self.still_open():
            trouble = active.pop(incident.key, None)
            if trouble is None:
                closed = max(ended.get(incident.key, now), incident.opened_unix_seconds)
                self.incidents[incident.id] = replace(incident, closed_unix_seconds=closed)
            else:
                self.incidents[incident.id] = _changed(incident, trouble, now)
        # What is more waits for a place: it is still wrong at the next look.
        room = max(0, MAX_OPEN - len(self.still_open()))
        for trouble in list(active.values())[:room]:
            self._add(trouble, now, began.get(trouble.name, now))
        self._forget(now)

    def adopt(self, key: str, incident_id: str, told_by: int, *, closed: bool) -> None:
        """Take notice that another host told of an incident.

        Of two hosts that both told the opening, as may be when neither knew of the other, the
        lower id goes on with it.
        """
        same = self.incidents.get(incident_id)
        if closed:
            if same is not None and same.closed_unix_seconds is not None:
                self.incidents[incident_id] = same.with_told(ELSEWHERE, same.step)
            return
        ours = next((one for one in self.still_open() if one.key == key), None)
        if ours is None or (ours.told_by and ours.told_by < told_by):
            return
        if ours.id == incident_id and ours.told_by == told_by:
            told = ours.told_step(ELSEWHERE) >= ours.step
            self.incidents[ours.id] = ours if told else ours.with_told(ELSEWHERE, ours.step)
            return
        taken = replace(ours, id=incident_id, told_by=told_by).with_told(ELSEWHERE, ours.step)
        self.incidents = {
            one.id: one for one in (taken if o.id == ours.id else o for o in self._all())
        }

    def told(self, incident_id: str, channel: str, step: int) -> None:
        """Note that this host has told a channel of an incident, up to a step."""
        one = self.incidents.get(incident_id)
        if one is not None:
            told = replace(one, told_by=self.host_id).with_told(channel, step)
            self.incidents[incident_id] = told

    def _all(self) -> list[Incident]:
        return list(self.incidents.values())

    def _add(self, trouble: Trouble, now: float, began: float) -> None:
        # Of the calendar, so that a number is not given out again when the file was lost.
        self.number = max(self.number + 1, int(now))
        incident_id = f"{self.host_id}-{self.number}"
        self.incidents[incident_id] = Incident(
            incident_id,
            trouble.name,
            trouble.kind,
            trouble.detail,
            trouble.hosts,
            opened_unix_seconds=began,
            changed_unix_seconds=now,
        )

    def _forget(self, now: float) -> None:
        closed = [one for one in self._all() if one.closed_unix_seconds is not None]
        closed.sort(key=lambda one: one.closed_unix_seconds or 0.0)
        many = max(0, len(closed) - MAX_CLOSED)
        old = [o for o in closed[many:] if now - (o.closed_unix_seconds or 0.0) > KEPT_SECONDS]
        for one in (*closed[:many], *old):
            self.dropped += not one.told
            del self.incidents[one.id]


def _changed(incident: Incident, trouble: Trouble, now: float) -> Incident:
    same = (incident.kind, incident.hosts) == (trouble.kind, trouble.hosts)
    if same:
        fresh = incident.detail == trouble.detail
        return incident if fresh else replace(incident, detail=trouble.detail)
    if 0 <= now - incident.changed_unix_seconds < CHANGE_SECONDS:
        return incident
    return replace(
        incident,
        kind=trouble.kind,
        detail=trouble.detail,
        hosts=trouble.hosts,
        changed_unix_seconds=now,
        revision=incident.revision + 1,
    )
