# SPDX-License-Identifier: Apache-2.0
"""`ha-agent host list` and `host remove ID`: the hosts that have a status block.

remove needs no force: a host whose lease has expired, or whose host id is free, is removed; of any
other it is said who holds the id and since when, with exit code 1. A removed host that comes back
writes its block again.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from ha_agent.cli.command import DONE, Command, Verbs
from ha_agent.cli.ovf import printable
from ha_agent.errors import BadInput

_SECONDS = 60.0
_COLUMNS = ("ID", "NAME", "STATE", "SCORE", "VERSION", "SEEN", "MAINT.", "HOST ID", "")


def add(verbs: Verbs) -> None:
    """Add `host` with its verbs."""
    group = verbs.group("host", "list the hosts, and remove one that is gone")
    listing = group.asking("list", "list the hosts", _list, timeout_seconds=_SECONDS)
    listing.add_argument("--json", action="store_true", help="print one JSON object")
    remove = group.asking(
        "remove", "forget a host that is gone", _remove, timeout_seconds=_SECONDS
    )
    remove.add_argument("id", type=_host_id, metavar="ID", help="its host id")


def _host_id(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 2000:
        raise argparse.ArgumentTypeError(f"{text!r} is no host id from 1 to 2000")
    return int(text)


def _list(command: Command) -> int:
    answer = command.ask_map("host.list")
    if command.arguments.json:
        print(json.dumps(answer))
        return DONE
    hosts = answer.get("hosts")
    if not isinstance(hosts, list):
        raise BadInput("expected a list", where="broker.host.list.hosts")
    rows = [_COLUMNS, *(_row(host) for host in hosts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
        print(printable(line.rstrip()))
    if answer.get("problem"):
        print(printable(f"who holds which host id is not known: {answer['problem']}"))
    return DONE


def _row(host: dict[str, Any]) -> tuple[str, ...]:
    age_seconds = host["age_seconds"]
    return (
        str(host["host_id"]),
        host["host_name"] or "-",
        (host["state"] or "-") if host["alive"] else "gone",
        str(host["score"]),
        host["version"] or "-",
        "never" if age_seconds is None else f"{age_seconds:.0f} s ago",
        "yes" if host["maintenance"] else "no",
        host["host_id_state"],
        host["problem"] or ("owner" if host["owner"] else ""),
    )


def _remove(command: Command) -> int:
    host_id = command.arguments.id
    answer = command.ask_map("host.remove", {"host_id": host_id})
    print(printable(f"host {host_id} is removed ({answer.get('removed')})"))
    return DONE
