# SPDX-License-Identifier: Apache-2.0
"""This host's incidents: made from the board's picture, shared with the others, kept on disk.

    look            every few seconds: rules -> delays -> what all hosts know -> the book
    line            what goes into the status block (incidents/share.py)
    to_tell, told   for the channels (notify/sender.py)

Belongs to one event loop and never blocks. It decides nothing about the engine VM.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional, Protocol

from ha_agent.broker.incidents import rules, share
from ha_agent.broker.incidents.book import Book, Incident
from ha_agent.broker.incidents.file import Kept, Sent
from ha_agent.broker.incidents.incident import KINDS, SEVERITIES, Delays, IncidentEntry
from ha_agent.broker.incidents.share import HANDOVER_SECONDS, TOLD_SECONDS, Others, Shared
from ha_agent.broker.incidents.text import Texts
from ha_agent.broker.snapshot import HostEntry, Snapshot
from ha_agent.instant import Instant, WallTime

# Until then the hosts' first words are read, and the agent reports.
SETTLING_SECONDS = 20.0


@dataclass(frozen=True)
class Wanted:
    """What the administrator wants to be told of."""

    severity: str = "warning"
    muted: tuple[str, ...] = ()

    def has(self, kind: str) -> bool:
        """Tell whether incidents of this kind are told."""
        loud = SEVERITIES.index(KINDS[kind].severity) >= SEVERITIES.index(self.severity)
        return loud and kind not in self.muted


class Disk(Protocol):
    """What is needed of incident_file.IncidentFile."""

    def save(self, kept: Kept) -> None: ...


class IncidentKeeper:
    """The incidents as this host knows them."""

    def __init__(
        self,
        host_id: int,
        host_name: str,
        kept: Kept,
        *,
        texts: Texts,
        wanted: Wanted,
        disk: Disk,
        now: Instant,
    ) -> None:
        self.texts = texts
        self.sent: list[Sent] = list(kept.sent)
        self.line = ""
        self.leads = False
        self._host_id = host_id
        self._name = host_name
        self._wanted = wanted
        self._disk = disk
        self._began_at = now
        self._boot_id = kept.boot_id
        self._starts = kept.starts
        self._own = Delays({one.trouble.name: one for one in kept.own})
        self._cluster = Delays({one.trouble.name: one for one in kept.cluster})
        self.book = Book(
            host_id, kept.number, kept.dropped, {one.id: one for one in kept.incidents}
        )
        self._seen_alive = set(kept.seen_alive)
        self._vm = kept.vm
        self._lead_since: Optional[Instant] = None
        self._clock_offset_seconds: Optional[float] = None
        self._ours: frozenset[str] = frozenset()

    def look(
        self, snapshot: Snapshot, wall: WallTime, *, can: int, agent_starts: Iterable[Instant] = ()
    ) -> None:
        """Take a picture in. `can` says whether this host can tell (incidents/share.py)."""
        now = snapshot.made_at
        step = self._clock_step(now, wall)
        if now - self._began_at < SETTLING_SECONDS:
            return
        starts = (self._starts, tuple(agent_starts))
        own = rules.own_troubles(snapshot, rules.Local(starts, step))
        known = [one.name for one in self._own.open()]
        self._own.look(rules.without_followers(own, known), now)
        fresh = rules.is_fresh(snapshot)
        others: Others = share.peers(snapshot)
        if fresh:
            self._look_at_cluster(snapshot, wall)
        for host_id, (host, shared) in sorted(others.items()):
            self._take_told(host_id, host, shared, now, wall)
        known = [one.key for one in self.book.still_open()]
        troubles = share.merged(self._own.open(), self._name, others, known)
        began, ended = self._times(now, wall)
        self.book.look([*troubles, *self._cluster.open()], wall, began=began, ended=ended)
        # Again: what was opened just now may have been told by another before.
        for host_id, (host, shared) in sorted(others.items()):
            self._take_told(host_id, host, shared, now, wall)
        self._lead(snapshot, others, can, fresh)
        self.line = share.encode(Shared(can, self._own_lines(), self._told_lines(wall)))
        self.save()

    def to_tell(self, channel: str) -> list[Incident]:
        """Return what this host is to tell on a channel now, oldest first."""
        return [
            one
            for one in self.book.incidents.values()
            if one.id in self._ours and self._wanted.has(one.kind) and one.is_to_tell(channel)
        ]

    def told(self, channel: str, steps: Iterable[tuple[str, int]], wall: WallTime) -> None:
        """Note what a channel took: incident ids with their steps."""
        for incident_id, step in steps:
            self.book.told(incident_id, channel, step)
        self.book.dropped = 0
        hour_ago = wall.unix_seconds - 3600.0
        self.sent = [one for one in self.sent if one.at_unix_seconds > hour_ago]
        self.sent.append(Sent(channel, wall.unix_seconds))
        self.save()

    def entries(self, *, closed: bool = False) -> tuple[IncidentEntry, ...]:
        """Return the open incidents for people, the worst first; with `closed` the recent ones,
        too, the newest first."""
        found = [self._entry(one) for one in self.book.still_open()]
        found.sort(key=lambda one: -SEVERITIES.index(one.severity))
        if closed:
            over = [o for o in self.book.incidents.values() if o.closed_unix_seconds is not None]
            over.sort(key=lambda one: -(one.closed_unix_seconds or 0.0))
            found += [self._entry(one) for one in over]
        return tuple(found)

    def save(self) -> None:
        """Keep all of it on disk, if it is not what is there."""
        self._disk.save(
            Kept(
                boot_id=self._boot_id,
                number=self.book.number,
                dropped=self.book.dropped,
                incidents=tuple(self.book.incidents.values()),
                own=tuple(self._own.lasting.values()),
                cluster=tuple(self._cluster.lasting.values()),
                starts=self._starts,
                sent=tuple(self.sent),
                seen_alive=tuple(sorted(self._seen_alive)),
                vm=self._vm,
            )
        )

    def _clock_step(self, now: Instant, wall: WallTime) -> float:
        offset = wall.unix_seconds - now.boottime_seconds
        before, self._clock_offset_seconds = self._clock_offset_seconds, offset
        return 0.0 if before is None else offset - before

    def _look_at_cluster(self, snapshot: Snapshot, wall: WallTime) -> None:
        live = {host.host_id for host in snapshot.hosts if rules.is_live(host)}
        present = {host.host_id for host in snapshot.hosts}
        self._seen_alive = (self._seen_alive | live) & present
        self._vm, moved = rules.track_vm(self._vm, snapshot)
        troubles = rules.cluster_troubles(snapshot, wall, frozenset(self._seen_alive))
        if moved is not None:
            troubles.append(moved)
        self._cluster.look(troubles, snapshot.made_at)

    def _times(self, now: Instant, wall: WallTime) -> tuple[dict[str, float], dict[str, float]]:
        """When troubles began and ended, before the delays, as this host saw it."""
        began, ended = {}, {}
        for delays in (self._own, self._cluster):
            for name, one in delays.lasting.items():
                began[name] = wall.unix_seconds - (now - one.since)
            for name, at in delays.over.items():
                ended[name] = wall.unix_seconds - (now - at)
            # It counts for the look that ended it; the cluster's is not always looked at.
            delays.over = {}
        return began, ended

    def _take_told(
        self, host_id: int, host: HostEntry, shared: Shared, now: Instant, wall: WallTime
    ) -> None:
        """A dead host's block stays: what it told counts for what began while it lived."""
        last = wall.unix_seconds
        if not rules.is_live(host):
            if host.changed_at is None:
                return
            last -= now - host.changed_at
        began = {one.key: one.opened_unix_seconds for one in self.book.still_open()}
        for key, incident_id, closed in shared.told:
            if began.get(key, 0.0) <= last:
                self.book.adopt(key, incident_id, host_id, closed=closed)

    def _lead(self, snapshot: Snapshot, others: Others, can: int, fresh: bool) -> None:
        now = snapshot.made_at
        if share.leader(snapshot, others, can) != self._host_id:
            self._lead_since = None
        elif self._lead_since is None:
            self._lead_since = now
        since = self._lead_since
        self.leads = since is not None and now - since >= HANDOVER_SECONDS
        self._ours = frozenset(
            one.id
            for one in self.book.incidents.values()
            if share.is_ours(one, self._host_id, others, lead=self.leads, fresh=fresh)
        )

    def _own_lines(self) -> tuple[tuple[str, str], ...]:
        return tuple((one.kind, one.detail) for one in self._own.open())

    def _told_lines(self, wall: WallTime) -> tuple[tuple[str, str, bool], ...]:
        found = []
        for one in self.book.incidents.values():
            if one.told_by != self._host_id or not one.told:
                continue
            closed = one.closed_unix_seconds
            if closed is None or wall.unix_seconds - closed < TOLD_SECONDS:
                over = closed is not None and max(t.step for t in one.told) >= one.step
                found.append((one.key, one.id, over))
        return tuple(found)

    def _entry(self, one: Incident) -> IncidentEntry:
        return IncidentEntry(
            id=one.id,
            kind=one.kind,
            severity=one.severity,
            title=self.texts.title(one),
            detail=one.detail,
            hosts=one.hosts,
            opened_unix_seconds=one.opened_unix_seconds,
            closed_unix_seconds=one.closed_unix_seconds,
            told_by=one.told_by,
        )
