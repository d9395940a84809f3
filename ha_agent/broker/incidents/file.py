# SPDX-License-Identifier: Apache-2.0
"""What this host knows of incidents, kept over restarts in `<state_dir>/incidents.json`.

    {"boot_id": "2f0c…", "number": 1700000000, "dropped": 0, "incidents": [{…}], "own": [{…}],
     "cluster": [{…}], "starts": [1042.5], "sent": [{"channel": "mail", "at_unix_seconds": …}],
     "seen_alive": [1, 2], "vm": {"host_id": 1, "host_name": "alpha", "gone_since": null}}

`own`, `cluster`, `starts` and `vm` hold times of the boot-time clock and go with its boot. The
file is local and replaced in one piece; one that can't be used is left behind with a log line,
and costs at most that something is told again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ha_agent.atomic_file import replace_file
from ha_agent.background_writer import BackgroundWriter
from ha_agent.broker.incidents.book import Incident
from ha_agent.broker.incidents.incident import KINDS, Lasting
from ha_agent.broker.incidents.rules import VmTrack
from ha_agent.broker.incidents.share import INCIDENT_ID
from ha_agent.broker.snapshot import from_wire, to_wire
from ha_agent.errors import BadInput
from ha_agent.instant import Instant

log = logging.getLogger(__name__)

FILE_NAME = "incidents.json"
_MAX_BYTES = 1 << 20
_MAX_STARTS = 20
# The year 5138: the calendar of Python ends at 9999.
_MAX_SECONDS = 1e11


@dataclass(frozen=True)
class Sent:
    """A message that a channel took."""

    channel: str
    at_unix_seconds: float


@dataclass(frozen=True)
class Kept:
    """What is kept."""

    boot_id: str = ""
    number: int = 0
    dropped: int = 0
    incidents: tuple[Incident, ...] = ()
    own: tuple[Lasting, ...] = ()
    cluster: tuple[Lasting, ...] = ()
    starts: tuple[Instant, ...] = ()
    sent: tuple[Sent, ...] = ()
    seen_alive: tuple[int, ...] = ()
    vm: VmTrack = field(default_factory=VmTrack)


class IncidentFile:
    """Writes in a thread: the broker's loop never waits for this disk."""

    def __init__(self, state_dir: Path, boot_id: str) -> None:
        self._path = state_dir / FILE_NAME
        self._boot_id = boot_id
        self._last = b""
        self._writer: BackgroundWriter[bytes] = BackgroundWriter(
            "incidents", self._write, lambda: None
        )
        self.start, self.stop = self._writer.start, self._writer.stop

    def load(self, now: Instant) -> Kept:
        """Return what was kept, with this start added. Blocks; for start-up."""
        kept = Kept()
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_BYTES)
            kept = from_wire(Kept, json.loads(data), where=str(self._path))
            _check(kept, str(self._path))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s: can't be read: %s", self._path, error.strerror)
        except (ValueError, RecursionError, BadInput) as error:
            log.warning("what was told of incidents is lost: %s: %s", self._path, error)
            kept = Kept()
        if kept.boot_id != self._boot_id:
            # Times of another boot mean nothing; that something was an incident still does.
            kept = replace(
                kept,
                own=tuple(_restarted(kept.own, now)),
                cluster=tuple(_restarted(kept.cluster, now)),
                starts=(),
                vm=VmTrack(kept.vm.host_id, kept.vm.host_name),
            )
        starts = (*kept.starts[-_MAX_STARTS:], now)
        return replace(kept, boot_id=self._boot_id, starts=starts)

    def save(self, kept: Kept) -> None:
        """Keep it, soon; never blocks."""
        data = json.dumps(to_wire(kept)).encode("ascii")
        if data != self._last:
            self._last = data
            self._writer.put(data)

    def _write(self, data: bytes) -> None:
        try:
            replace_file(self._path, data + b"\n", mode=0o600)
        except OSError:
            self._last = b""  # the same is written again at the next look
            raise


def _restarted(lasting: Iterable[Lasting], now: Instant) -> Iterable[Lasting]:
    return (Lasting(one.trouble, now, open=one.open) for one in lasting)


def _check(kept: Kept, where: str) -> None:
    kinds = [one.kind for one in kept.incidents]
    kinds += [one.trouble.kind for one in (*kept.own, *kept.cluster)]
    unknown = sorted(set(kinds) - KINDS.keys())
    if unknown:
        raise BadInput(f"of another version: kinds {', '.join(unknown)}", where=where)
    for one in kept.incidents:
        times = (one.opened_unix_seconds, one.changed_unix_seconds, one.closed_unix_seconds or 0.0)
        if not INCIDENT_ID.fullmatch(one.id) or not all(0 <= at <= _MAX_SECONDS for at in times):
            raise BadInput("the id or the times of an incident can't be right", where=where)
