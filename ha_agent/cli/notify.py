# SPDX-License-Identifier: Apache-2.0
"""`ha-agent incidents` and `ha-agent notify test`: what is wrong, and whether people are told."""

from __future__ import annotations

import json
import sys
from typing import Any

from ha_agent.broker.incidents.incident import IncidentEntry
from ha_agent.broker.snapshot import from_wire
from ha_agent.cli.command import DONE, FAILED, Command, Verbs, fail
from ha_agent.errors import BadInput
from ha_agent.explain_text import plain_text
from ha_agent.instant import WallTime
from ha_agent.maintenance_text import duration_text

_TEST_SECONDS = 60.0
_GRACE_SECONDS = 10.0


def add(verbs: Verbs) -> None:
    """Add the verbs."""
    incidents = verbs.asking("incidents", "what is wrong now, and what was lately", _incidents)
    incidents.add_argument("--json", action="store_true", help="the same as values")
    group = verbs.group("notify", "the notifications of incidents")
    test = group.asking(
        "test",
        "send a test on every channel that is configured on this host; exit code 1: one failed",
        _test,
        timeout_seconds=_TEST_SECONDS,
    )
    test.add_argument("--json", action="store_true", help="the result as one JSON object")


def _incidents(command: Command) -> int:
    answer = command.ask_map("incidents")
    if command.arguments.json:
        print(json.dumps(answer))
    else:
        sys.stdout.write(plain_text(incidents_text(answer)))
    return DONE


def _test(command: Command) -> int:
    seconds = command.settings.notify.deadline_seconds + _GRACE_SECONDS
    answer = command.ask_map("notify.test", more_seconds=seconds)
    channels = _channels(answer)
    if not channels:
        return fail(
            command.arguments,
            "no_channel",
            "nobody is told of incidents: set mail_to, webhook_url or hook in [notify]",
        )
    if command.arguments.json:
        print(json.dumps(answer))
    else:
        for channel in channels:
            word = "sent" if channel.get("ok") is True else "FAILED"
            line = f"{channel.get('name')}: {word}: {channel.get('detail')}\n"
            sys.stdout.write(plain_text(line))
    return DONE if all(channel.get("ok") is True for channel in channels) else FAILED


def incidents_text(answer: dict[str, Any]) -> str:
    """Return the text of what the verb `incidents` answered. Raises BadInput."""
    lines = []
    found = _entries(answer, "open")
    lines.append("Open incidents:" if found else "There is no open incident.")
    for one in found:
        since = WallTime(one.opened_unix_seconds).local()
        lines.append(f"  {one.severity}: {one.title}")
        lines.append(
            f"    since {since}; {one.detail or 'no more is known'} ({one.kind}, {one.id})"
        )
    over = _entries(answer, "recent")
    if over:
        lines += ["", "Over:"]
    for one in over:
        closed = one.closed_unix_seconds or one.opened_unix_seconds
        lasted = duration_text(closed - one.opened_unix_seconds)
        since = WallTime(one.opened_unix_seconds).local()
        lines.append(f"  {since}, resolved after {lasted}: {one.title} ({one.kind}, {one.id})")
    lines.append("")
    channels = _channels(answer)
    if not channels:
        lines.append("Nobody is told: [notify] has no mail_to, webhook_url or hook.")
    elif answer.get("leads") is True:
        lines.append("This host tells what is new.")
    else:
        lines.append("Another host tells what is new, or nobody can now.")
    for channel in channels:
        waiting = f"{channel.get('waiting')} to tell" if channel.get("waiting") else "all told"
        last = channel.get("last_detail") or "not used since the broker was started"
        lines.append(f"  {channel.get('name')}: {waiting}; last: {last}")
    return "\n".join(lines) + "\n"


def _entries(answer: dict[str, Any], key: str) -> list[IncidentEntry]:
    rows = answer.get(key)
    if not isinstance(rows, list):
        raise BadInput(f"no list {key!r}", where="broker.incidents")
    return [from_wire(IncidentEntry, row, where=f"broker.incidents.{key}") for row in rows]


def _channels(answer: dict[str, Any]) -> list[dict[str, Any]]:
    rows = answer.get("channels")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput("no list of channels", where="broker.notify")
    return rows
