# SPDX-License-Identifier: Apache-2.0
"""The text of `ha-agent explain` and `ha-agent events`, for somebody who is tired. Pure.

! Shared storage is in trouble. The status blocks of the hosts were last read 12 s ago. …

The engine VM HostedEngine runs on alpha (id 1), and the engine is healthy. It has been there
since 2026-11-22 10:01:07 (3 h 4 min). alpha (id 1) holds the lease; if it is not renewed any
more, it expires in 13 s.

This host, beta (id 2): engine VM is not here; watching the lease (EngineDown).
It has been so for 3 h 4 min, because: first look done.
It is waiting for nothing: alpha holds the lease and renews it.

Its score is 2400. Points were taken off:
  1000  stale definition: the store can't be read: no answer within 5 s

These hosts can run the engine VM, the best one first:
  gamma (id 3): its score is 3400
  beta (id 2), this host: its score is 2400
These hosts can't:
  delta (id 4): it is silent: its status block last changed 40 s ago

What happened last (all of it: ha-agent events):
  2026-11-22 13:04:24  gamma (id 3) is alive: the status block changes again.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from ha_agent.broker.snapshot import EventEntry
from ha_agent.broker.timeline import host_name
from ha_agent.errors import BadInput
from ha_agent.fsm.state import State
from ha_agent.instant import WallTime
from ha_agent.maintenance_text import duration_text

_WIDTH = 96
_MEANINGS = {state.value: state.meaning for state in State}


def explain_text(document: dict[str, Any]) -> str:
    """Return the text of what the verb `explain` answered. Raises BadInput for another shape."""
    try:
        parts = [
            "\n".join(_filled(f"! {trouble}", "  ") for trouble in document["troubles"]),
            _filled(" ".join(document["engine"])),
            _here(document),
            _score(document["here"]),
            _probes(document["here"]["probes"]),
            _hosts(document["hosts"], document["hands_off"]),
            _events(document["events"]),
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"not an explanation: {error!r:.80}", where="broker.explain") from None
    return plain_text("\n\n".join(part for part in parts if part) + "\n")


def event_line(event: EventEntry) -> str:
    """Return an event as one line: when by the local clock, and what."""
    text = " ".join(event.text.split())
    return plain_text(f"{WallTime(event.at_unix_seconds).local()}  {text}")


def plain_text(text: str) -> str:
    """Return text in which nothing that other hosts wrote can steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def state_words(state: str) -> str:
    """Return a state in words, with its name; of the predecessor's own states the name only."""
    meaning = _MEANINGS.get(state)
    return f"{meaning} ({state})" if meaning else state or "no state is known"


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _here(document: dict[str, Any]) -> str:
    here = document["here"]
    name = host_name(document["host_name"], document["host_id"])
    if not here["known"]:
        return _filled(f"This host, {name}: nothing is known of its agent.")
    lines = [_filled(f"This host, {name}: {state_words(here['state'])}.")]
    since = here["since_seconds"]
    lasted = f" for {duration_text(float(since))}" if since is not None else ""
    if here["reason"]:
        lines.append(_filled(f"It has been so{lasted}, because: {_ended(here['reason'])}"))
    elif lasted:
        lines.append(f"It has been so{lasted}.")
    lines += [_filled(f"It is waiting for {_wait(wait)}") for wait in document["waits"]]
    return "\n".join(lines)


def _wait(wait: dict[str, Any]) -> str:
    left = wait["seconds_left"]
    if left is None:
        return _ended(wait["what"])
    if float(left) <= 0:
        return f"{wait['what']}; that is due now."
    return f"{wait['what']}; that ends in {duration_text(float(left))} at the latest."


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _score(here: dict[str, Any]) -> str:
    if not here["known"]:
        return ""
    if not here["penalties"]:
        return f"Its score is {here['score']}; nothing was taken off."
    lines = [f"Its score is {here['score']}. Points were taken off:"]
    width = max(len(str(penalty["points"])) for penalty in here["penalties"])
    for penalty in here["penalties"]:
        text = f"{penalty['points']:>{width}}  {penalty['name']}: {penalty['cause']}"
        lines.append(textwrap.indent(_filled(text, " " * (width + 2)), "  "))
    return "\n".join(lines)


def _probes(probes: Sequence[dict[str, Any]]) -> str:
    if not probes:
        return ""
    lines = ["What this host's broker has measured:"]
    for probe in probes:
        age = probe["age_seconds"]
        taken = "" if age is None else f", {duration_text(float(age))} ago"
        lines.append(
            textwrap.indent(_filled(f"{probe['name']}{taken}: {probe['text']}", "  "), "  ")
        )
    return "\n".join(lines)


def _hosts(hosts: Sequence[dict[str, Any]], hands_off: bool) -> str:
    able = [host for host in hosts if host["able"]]
    unable = [host for host in hosts if not host["able"]]
    when = "Once global maintenance is over, " if hands_off else ""
    lines = [f"{'no' if when else 'No'} host can run the engine VM."]
    if able:
        subject = "these hosts" if when else "These hosts"
        lines = [f"{subject} can run the engine VM, the best one first:"]
    lines[0] = when + lines[0]
    if able:
        lines += _host_lines(able)
    if unable:
        lines.append("These hosts can't:")
        lines += _host_lines(unable)
    return "\n".join(lines) if hosts else "No host has written a status block yet."


def _host_lines(hosts: Iterable[dict[str, Any]]) -> list[str]:
    lines = []
    for host in hosts:
        here = ", this host" if host["here"] else ""
        text = f"{host_name(host['host_name'], host['host_id'])}{here}: {host['why']}"
        told = "silent" in host["why"] or "stopped" in host["why"]
        if not host["able"] and host["state"] and not told:
            text += f" - {state_words(host['state'])}"
        lines.append(textwrap.indent(_filled(text, "  "), "  "))
    return lines


def _events(events: Sequence[dict[str, Any]]) -> str:
    lines = ["What happened last (all of it: ha-agent events):"]
    for event in events:
        entry = EventEntry(event["kind"], event["text"], at_unix_seconds=float(event["at"]))
        lines.append(textwrap.indent(_filled(event_line(entry), " " * 21), "  "))
    return "\n".join(lines) if events else ""
