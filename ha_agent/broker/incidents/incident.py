# SPDX-License-Identifier: Apache-2.0
"""What an incident is: kinds, and trouble with its delays. Pure.

A *trouble* is something that is wrong now (incidents/rules.py looks for it). It becomes an
*incident* when it has lasted for its kind's `enter_seconds`, and the incident ends when the
trouble has been gone for `leave_seconds`, so that what comes and goes is one incident:

    trouble    ----####-#-##-####################---#-----------------------
    incident   ------------------[opened          changed             closed]
                    |<-- enter ->|                   |<----- leave ---->|

A trouble that goes away before it is an incident was none; the wait begins anew after it was
gone for `leave_seconds` only, so one that comes and goes for long becomes an incident, too.
Durations are of this host's boot-time clock, and a restart of the broker does not begin them
anew (incident_codec.py); a reboot does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Optional

from ha_agent.instant import Instant

SEVERITIES = ("info", "warning", "critical")


class Kind(NamedTuple):
    """One kind of incident. `own`: it is about one host, and only that host can see it."""

    severity: str
    enter_seconds: float
    leave_seconds: float
    own: bool = False


_MINUTE, _HOUR = 60.0, 3600.0
# Some details are measured, and change all the time; nobody is to be woken for that, nor a disk.
_DETAIL_SECONDS = 60.0

# A fail-over takes about half a minute and an engine some minutes to boot, so what is expected
# is over before it is an incident. For each kind conf/notifications/ has a file with its words.
KINDS: Mapping[str, Kind] = {
    "engine-down": Kind("critical", 2 * _MINUTE, 2 * _MINUTE),
    "engine-unhealthy": Kind("critical", 5 * _MINUTE, 2 * _MINUTE),
    "engine-unwatched": Kind("warning", 3 * _MINUTE, 2 * _MINUTE),
    "engine-moved": Kind("warning", 0.0, 10 * _MINUTE),
    "two-vms": Kind("critical", _MINUTE, 2 * _MINUTE),
    "host-silent": Kind("warning", _MINUTE, 2 * _MINUTE),
    "bad-block": Kind("warning", 2 * _MINUTE, 2 * _MINUTE),
    "maintenance-forgotten": Kind("warning", 24 * _HOUR, _MINUTE),
    "no-spare-host": Kind("warning", 15 * _MINUTE, 5 * _MINUTE),
    "storage": Kind("critical", 30.0, 2 * _MINUTE, own=True),
    "storage-path": Kind("warning", 5 * _MINUTE, 2 * _MINUTE, own=True),
    "storage-stuck": Kind("warning", 2 * _MINUTE, 2 * _MINUTE, own=True),
    "lease": Kind("critical", 30.0, 2 * _MINUTE, own=True),
    "definition": Kind("warning", 5 * _MINUTE, 5 * _MINUTE, own=True),
    "definition-held": Kind("warning", 10 * _MINUTE, _MINUTE, own=True),
    "definition-fallback": Kind("warning", 0.0, _MINUTE, own=True),
    "certificate": Kind("warning", 0.0, _MINUTE, own=True),
    "penalty": Kind("warning", 30 * _MINUTE, 10 * _MINUTE, own=True),
    "agent-silent": Kind("critical", _MINUTE, 2 * _MINUTE, own=True),
    "restarts": Kind("warning", 0.0, 15 * _MINUTE, own=True),
    "clock": Kind("warning", 0.0, 10 * _MINUTE, own=True),
}


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong now. `key` tells one from another of its kind, and is the same on
    every host and at any time; `hosts` are the names of those it is about; `at_once`: it has
    lasted long enough already."""

    kind: str
    detail: str
    key: str = ""
    hosts: tuple[str, ...] = ()
    at_once: bool = False

    @property
    def name(self) -> str:
        """What an incident of this trouble is known by."""
        return self.key or self.kind


@dataclass(frozen=True)
class Lasting:
    """A trouble with its times. `gone_since` None: it is there now. `open`: it is an incident.
    `said_at` is when its detail was taken."""

    trouble: Trouble
    since: Instant
    gone_since: Optional[Instant] = None
    open: bool = False
    said_at: Optional[Instant] = None


@dataclass
class Delays:
    """Turns troubles into those that count, with the kinds' delays."""

    lasting: dict[str, Lasting] = field(default_factory=dict)
    over: dict[str, Instant] = field(default_factory=dict)
    """Those that the last look ended, with when they were seen gone."""

    def look(self, troubles: Iterable[Trouble], now: Instant) -> None:
        """Take what is wrong now."""
        seen = {one.name: one for one in troubles}
        self.over = {}
        for name, trouble in seen.items():
            self.lasting[name] = _seen(self.lasting.get(name), trouble, now)
        for name, one in list(self.lasting.items()):
            if name in seen:
                continue
            gone_since = one.gone_since if one.gone_since is not None else now
            if now - gone_since >= KINDS[one.trouble.kind].leave_seconds:
                del self.lasting[name]
                self.over[name] = gone_since
            else:
                self.lasting[name] = replace(one, gone_since=gone_since)

    def open(self) -> list[Trouble]:
        """Return the troubles that are incidents, those that went away lately included."""
        return [one.trouble for one in self.lasting.values() if one.open]


def _seen(old: Optional[Lasting], trouble: Trouble, now: Instant) -> Lasting:
    since = now if old is None else old.since
    was_open = old is not None and old.open
    long_enough = trouble.at_once or now - since >= KINDS[trouble.kind].enter_seconds
    said_at = old.said_at if old is not None else None
    if (
        old is not None
        and said_at is not None
        and (old.trouble.kind, old.trouble.hosts) == (trouble.kind, trouble.hosts)
        and was_open is (was_open or long_enough)
        and now - said_at < _DETAIL_SECONDS
    ):
        trouble, now = old.trouble, said_at
    return Lasting(trouble, since, open=was_open or long_enough, said_at=now)


@dataclass(frozen=True)
class IncidentEntry:
    """One incident as status and clients are told of it. `title` is a sentence without its full
    stop; `closed_unix_seconds` None while it is open."""

    id: str
    kind: str
    severity: str
    title: str
    detail: str = ""
    hosts: tuple[str, ...] = ()
    opened_unix_seconds: float = 0.0
    closed_unix_seconds: Optional[float] = None
    told_by: int = 0
