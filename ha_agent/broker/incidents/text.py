# SPDX-License-Identifier: Apache-2.0
"""The words for incidents, from `<kind>.txt` files, and the message that is made of them.

A file has four parts, each begun by its name in brackets; lines with # before the first are
comments. Placeholders are string.Template's, and the same in every file (PLACEHOLDERS):

    [title]      one line, the subject          [happened]  what is wrong
    [cluster]    what the cluster does about it  [you]       what a person should do

A file of the administrator's in [notify] templates_dir goes before ours; one that can't be used is
logged and ours is used, and without ours (a broken installation) the plain facts are sent.
"""

from __future__ import annotations

import logging
import re
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ha_agent.broker.incidents.book import Incident
from ha_agent.broker.incidents.incident import KINDS, SEVERITIES
from ha_agent.errors import BadInput
from ha_agent.instant import WallTime
from ha_agent.maintenance_text import duration_text

log = logging.getLogger(__name__)

PARTS = ("title", "happened", "cluster", "you")
PLACEHOLDERS = ("hosts", "detail", "vm", "since", "lasted", "sender")
# The checkout, a virtual environment, a package of a distribution.
_FOLDERS = (
    Path(__file__).resolve().parents[3] / "conf" / "notifications",
    Path(sys.prefix) / "share" / "ha-agent" / "notifications",
    Path("/usr/share/ha-agent/notifications"),
)
_MAX_BYTES = 16 * 1024
_PLAIN = {"title": "$hosts: {kind}", "happened": "$detail", "cluster": "-", "you": "-"}

Words = Mapping[str, string.Template]


def parse(text: str, where: str) -> Words:
    """Return the parts of a file. Raises BadInput for one that can't be used."""
    parts: dict[str, list[str]] = {}
    name = ""
    for line in text.split("\n"):
        match = re.fullmatch(r"\[([a-z]+)\]\s*", line)
        if match:
            name = match[1]
            if name not in PARTS or name in parts:
                raise BadInput(f"[{name}] is unknown, or there twice", where=where)
            parts[name] = []
        elif name:
            parts[name].append(line)
        elif line.strip() and not line.startswith("#"):
            raise BadInput("has text before its first [part]", where=where)
    words = {key: string.Template("\n".join(lines).strip()) for key, lines in parts.items()}
    for key in PARTS:
        if key not in words or not words[key].template:
            raise BadInput(f"[{key}] is missing or empty", where=where)
        try:
            words[key].substitute(dict.fromkeys(PLACEHOLDERS, ""))
        except (KeyError, ValueError) as error:
            raise BadInput(f"[{key}]: no such placeholder: {error}", where=where) from None
    if "\n" in words["title"].template:
        raise BadInput("[title] has more than one line", where=where)
    return words


def read(path: Path) -> Words:
    """Return what a file says. Raises BadInput, FileNotFoundError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise BadInput(f"is longer than {_MAX_BYTES} bytes", where=str(path))
        return parse(data.decode("utf-8"), str(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError:
        raise BadInput("is not UTF-8 text", where=str(path)) from None


@dataclass(frozen=True)
class Item:
    """One incident, told: `state` is opened, changed or closed."""

    incident: Incident
    state: str
    title: str
    text: str


class Texts:
    """The words for all kinds. Reads the files once; blocks, for start-up."""

    def __init__(self, override: Path, vm: str, sender: str) -> None:
        self._vm = vm
        self._sender = sender
        self._words = {kind: _load(kind, (override, *_FOLDERS)) for kind in KINDS}

    def title(self, incident: Incident) -> str:
        """Return what it is in one line, without a full stop."""
        return one_line(self._fill(incident, "title", ""), 160)

    def item(self, incident: Incident, told_step: int) -> Item:
        """Return it with the words for those who were told up to `told_step`."""
        title = self.title(incident)
        closed = incident.closed_unix_seconds
        since = WallTime(incident.opened_unix_seconds).local()
        if closed is not None:
            lasted = duration_text(closed - incident.opened_unix_seconds)
            until = WallTime(closed).local()
            text = f"It began {since} and was over {until}, after {lasted}."
            if told_step:
                last = f"Last it was: {incident.detail}." if incident.detail else ""
                said = [f"Resolved after {lasted}.", text, last, "Nothing more needs to be done."]
                return Item(incident, "closed", title, "\n".join(filter(None, said)))
            state, head = "closed", f"Resolved already. {text}"
        else:
            state = "changed" if told_step else "opened"
            head = f"{'Still so' if told_step else 'So'} since {since}."
        parts = (
            head,
            f"What happened\n{self._fill(incident, 'happened', since)}",
            f"What the cluster does\n{self._fill(incident, 'cluster', since)}",
            f"What you should do\n{self._fill(incident, 'you', since)}",
        )
        return Item(incident, state, title, "\n\n".join(parts))

    def _fill(self, incident: Incident, part: str, since: str) -> str:
        end = incident.closed_unix_seconds
        lasted = "" if end is None else duration_text(end - incident.opened_unix_seconds)
        facts = {
            "hosts": ", ".join(incident.hosts) or "a host",
            "detail": incident.detail.rstrip(". "),
            "vm": self._vm,
            "since": since,
            "lasted": lasted,
            "sender": self._sender,
        }
        return self._words[incident.kind][part].substitute(facts)


def subject(items: Sequence[Item]) -> str:
    """Return the subject of a message: the worst first, and how many more."""
    worst = sorted(items, key=lambda item: (item.state == "closed", -_rank(item)))
    first = worst[0]
    word = "resolved" if first.state == "closed" else first.incident.severity
    more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
    return one_line(f"[hosted engine] {word}: {first.title}{more}", 200)


def one_line(text: str, limit: int) -> str:
    """Return a text without control characters and line ends, cut to a length: what stands in
    an incident comes from other hosts, from storage and from files."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _rank(item: Item) -> int:
    return SEVERITIES.index(item.incident.severity)


def _load(kind: str, folders: Sequence[Path]) -> Words:
    for folder in folders:
        try:
            return read(folder / f"{kind}.txt")
        except FileNotFoundError:
            continue
        except BadInput as fault:
            log.warning("a text for notifications can't be used: %s", fault)
    log.warning("there is no text for notifications of %s", kind)
    return {key: string.Template(text.format(kind=kind)) for key, text in _PLAIN.items()}
