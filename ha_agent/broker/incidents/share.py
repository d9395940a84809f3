# SPDX-License-Identifier: Apache-2.0
"""How the hosts agree on who tells of an incident. Pure.

Each host writes one line for people into its status block, by which the others know what only
it can see, and what it has told:

    incidents={"can":2,"own":[["storage","no answer"]],"told":[["engine","1-1700000000",0]]}

`can`: 2 it can tell, 1 its channels fail, and no line or 0: it tells nobody. `own`: kind and
detail of the incidents that are about that host. `told`: key, id and whether the end was told.

Who tells: whoever told the opening, as long as it lives and can; else the live host that can,
with the lowest id, and it waits for HANDOVER_SECONDS after it became that, because a host that
came back learns only then what the others told. A host that can't read the status blocks tells
of itself.

Why at least once: what was told is marked, here and in the line, only after a channel took it.
A host that dies before leaves the incident unmarked with all others, and the next in line tells.
Why rarely twice: it takes a host that dies, or loses storage, in the some seconds between the
channel's answer and its next status block; or two hosts that can't see each other's blocks.
Then two messages come, with the same text. Silence would be worse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ha_agent.broker.incidents.book import Incident
from ha_agent.broker.incidents.incident import KINDS, Trouble
from ha_agent.broker.incidents.rules import is_live
from ha_agent.broker.snapshot import HostEntry, Snapshot

KEY = "incidents"
HANDOVER_SECONDS = 15.0
MAX_LINE_BYTES = 900
"""All lines for people share 3584 bytes."""
TOLD_SECONDS = 3600.0
"""The end of an incident stays in the line for so long."""
INCIDENT_ID = re.compile(r"[0-9]{1,4}-[0-9]{1,16}")
_MAX_DETAIL, _MAX_OWN, _MAX_TOLD = 90, 8, 12


@dataclass(frozen=True)
class Shared:
    """What one host's line says."""

    can: int = 0
    own: tuple[tuple[str, str], ...] = ()
    told: tuple[tuple[str, str, bool], ...] = ()


Others = Mapping[int, tuple[HostEntry, Shared]]


def encode(shared: Shared) -> str:
    """Return the line's value, at most MAX_LINE_BYTES of ASCII: what is too much is left out,
    the oldest of what was told first."""
    own = [[kind, detail[:_MAX_DETAIL]] for kind, detail in shared.own[:_MAX_OWN]]
    told = [[key, id_, int(closed)] for key, id_, closed in shared.told[-_MAX_TOLD:]]
    while True:
        value = {"can": shared.can, "own": own, "told": told}
        text = json.dumps(value, separators=(",", ":"))
        if len(text) <= MAX_LINE_BYTES:
            return text
        if told and len(told) > len(own):
            told = told[1:]
        elif any(detail for _, detail in own):
            own = [[kind, detail[: len(detail) // 2]] for kind, detail in own]
        else:
            told, own = told[1:], own[: -1 if not told else None]


def decode(text: str) -> Shared:
    """Return what a line says; one that can't be understood says nothing."""
    if not text:
        return Shared()
    try:
        value = json.loads(text[: 4 * MAX_LINE_BYTES])
    except (ValueError, RecursionError):
        return Shared()
    if not isinstance(value, Mapping):
        return Shared()
    own = [
        (row[0], row[1])
        for row in _rows(value.get("own"), 2)
        if isinstance(row[1], str) and row[0] in KINDS and KINDS[row[0]].own
    ]
    told = [
        (row[0], row[1], row[2] == 1)
        for row in _rows(value.get("told"), 3)
        if isinstance(row[1], str) and INCIDENT_ID.fullmatch(row[1]) and row[2] in (0, 1)
    ]
    can = value.get("can")
    return Shared(
        2 if can == 2 else int(can == 1), tuple(own[:_MAX_OWN]), tuple(told[-_MAX_TOLD:])
    )


def _rows(value: Any, length: int) -> Iterable[Sequence[Any]]:
    for row in value if isinstance(value, list) else ():
        if isinstance(row, list) and len(row) == length and isinstance(row[0], str):
            yield row


def peers(snapshot: Snapshot) -> Others:
    """Return the other hosts and what their lines say, by id."""
    return {
        host.host_id: (host, decode(host.incidents))
        for host in snapshot.hosts
        if host.host_id != snapshot.host_id
    }


def merged(
    own: Iterable[Trouble],
    name: str,
    others: Others,
    known: Iterable[str],
) -> list[Trouble]:
    """Return the incidents that are about hosts, one of each kind with all hosts that have it.

    `known` are the keys of those that are open already: what a host said before it fell silent
    keeps them open, and opens none.
    """
    said: dict[str, list[tuple[str, str]]] = {}
    for trouble in own:
        said.setdefault(trouble.kind, []).append((name, trouble.detail))
    open_kinds = set(known)
    for _, (host, shared) in sorted(others.items()):
        for kind, detail in shared.own:
            if not host.stopped and (is_live(host) or kind in open_kinds):
                said.setdefault(kind, []).append((host.shown_name, detail))
    return [
        Trouble(
            kind,
            "; ".join(f"{who}: {detail}" for who, detail in sorted(rows)),
            hosts=tuple(sorted({who for who, _ in rows})),
        )
        for kind, rows in said.items()
    ]


def leader(snapshot: Snapshot, others: Others, can: int) -> Optional[int]:
    """Return the id of the host that tells what nobody has told yet, None where none can.

    `can` is this host's own. A host whose agent is silent counts as dead with the others, so it
    leaves it to them, if there are any.
    """
    able = {
        id_: shared.can
        for id_, (host, shared) in others.items()
        if is_live(host) and not host.stopped and shared.can
    }
    here = next((h for h in snapshot.hosts if h.host_id == snapshot.host_id), None)
    if can and ((here is not None and is_live(here)) or not able):
        able[snapshot.host_id] = can
    return min(able, key=lambda id_: (-able[id_], id_), default=None)


def is_ours(incident: Incident, host_id: int, others: Others, *, lead: bool, fresh: bool) -> bool:
    """Tell whether this host is to tell of an incident. `lead`: it is the leader, for long
    enough; `fresh`: it knows how the others are."""
    if incident.told_by == host_id:
        return True
    if not fresh:
        return KINDS[incident.kind].own and not incident.told_by
    if incident.told_by:
        found = others.get(incident.told_by)
        if found is not None and is_live(found[0]) and not found[0].stopped and found[1].can == 2:
            return False
    return lead
