# SPDX-License-Identifier: Apache-2.0
"""What of the broker's story goes to the journal, with its message id and fields."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Optional

from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.snapshot import EventEntry, LeaseEntry
from ha_agent.journal_messages import (
    CLOCK_JUMPED,
    INCIDENT_CLOSED,
    INCIDENT_OPENED,
    MESSAGES,
    Message,
)
from ha_agent.log import fields, remember

log = logging.getLogger(__name__)

# The others are good news, or none.
_LEVELS = {
    "AGENT_SILENT": logging.WARNING,
    "DEFINITION_HELD": logging.WARNING,
    "DEFINITION_STALE": logging.WARNING,
    "ENGINE_BAD": logging.WARNING,
    "FENCED": logging.ERROR,
    "LEASE_EXPIRED": logging.WARNING,
    "LEASE_LOST": logging.ERROR,
    "LEASE_UNREADABLE": logging.WARNING,
    "PEER_SILENT": logging.WARNING,
    "PEER_UNREADABLE": logging.WARNING,
    "SECOND_VM": logging.ERROR,
    "STORAGE_HUNG": logging.ERROR,
    "STORAGE_LOST": logging.ERROR,
    "TAKEN_OVER": logging.WARNING,
}
_INCIDENT_LEVELS = {"critical": logging.ERROR, "warning": logging.WARNING}


def tell(event: EventEntry, epoch: int) -> None:
    """Log one event of the timeline, unless the journal has it otherwise."""
    message = MESSAGES.get(event.message)
    if message is not None:
        level = _LEVELS.get(event.message, logging.INFO)
        told = fields(message, epoch=event.values.get("epoch", epoch), reason=event.text)
        log.log(level, "%s", event.text, extra=told)


def tell_lease(view: LeaseEntry) -> None:
    """Log what is known of the lease, and have its epoch on all that is logged from now on."""
    remember(epoch=view.epoch)
    who = f" by {view.host_name} (id {view.host_id})" if view.state == "held" else ""
    troubled = view.ours or view.state in ("unknown", "unreadable")
    level = logging.WARNING if troubled and view.detail else logging.INFO
    detail = f": {view.detail}" if view.detail else ""
    log.log(level, "lease %s%s, epoch %d%s", view.state, who, view.epoch, detail)


def incident_ids(entries: Iterable[IncidentEntry]) -> Optional[str]:
    """Return the numbers of incidents as the field HA_INCIDENT has them; None for none."""
    return ",".join(one.id for one in entries) or None


class IncidentJournal:
    """Logs incidents when they open and when they are over."""

    def __init__(self) -> None:
        self._open: dict[str, IncidentEntry] = {}

    def take(self, entries: Iterable[IncidentEntry]) -> None:
        """Take those that are open now. One may get another number, that of another host which
        told of it before: it is known by what it is about."""
        before, self._open = self._open, {f"{one.kind} {one.hosts}": one for one in entries}
        for name, one in before.items():
            if name not in self._open:
                text = f"incident {one.id} is over: {one.title}"
                log.info("%s", text, extra=_fields(INCIDENT_CLOSED, one))
        if before != self._open:
            remember(incident=incident_ids(self._open.values()))
        for name, one in self._open.items():
            if name not in before:
                message = CLOCK_JUMPED if one.kind == "clock" else INCIDENT_OPENED
                level = _INCIDENT_LEVELS.get(one.severity, logging.INFO)
                text = f"incident {one.id}: {one.title}{f': {one.detail}' if one.detail else ''}"
                log.log(level, "%s", text, extra=_fields(message, one))


def _fields(message: Message, one: IncidentEntry) -> Mapping[str, object]:
    return fields(
        message,
        incident=one.id,
        kind=one.kind,
        severity=one.severity,
        title=one.title,
        reason=one.detail or one.title,
    )
