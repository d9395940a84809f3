# SPDX-License-Identifier: Apache-2.0
"""`ha-agent lockspace check` and `lockspace repair`: the leases on storage, and their repair.

check reads only. Exit codes: 0 fine, 1 there is a problem, 2 it can't be told.

repair makes a lockspace, or a lock file, anew that can't be used as it is. Before, it watches
until every host id in it is proved free or expired, and says how it goes; the broker proves it
once more when it writes. Whatever stands against it ends it with exit code 1 and nothing written.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Optional

from ha_agent.cli.command import DONE, FAILED, USAGE, Command, Verbs
from ha_agent.cli.ovf import printable
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, DeadlineExceeded

_CHECK_SECONDS = 60.0
_POLL_SECONDS = 2.0
_WATCHING = ("unknown", "fail")


def add(verbs: Verbs) -> None:
    """Add `lockspace` with its verbs."""
    group = verbs.group("lockspace", "who holds which lease on storage, and its repair")
    check = group.asking(
        "check", "tell who holds what (reads only)", _check, timeout_seconds=_CHECK_SECONDS
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    parser = group.asking(
        "repair",
        "make anew what can't be used, once nobody is proved to use it",
        repair,
        timeout_seconds=_CHECK_SECONDS,
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _check(command: Command) -> int:
    answer = command.ask_map("lockspace.check")
    if command.arguments.json:
        print(json.dumps(answer))
    else:
        _print(answer)
    return {"fine": DONE, "problem": FAILED}.get(str(answer.get("verdict")), USAGE)


def _print(answer: dict[str, Any]) -> None:
    if answer.get("daemon"):
        print(printable(f"note: {answer['daemon']}"))
    for space in _spaces(answer):
        print(printable(f"{space['kind']}: {space['name']} at {space['path']}"))
        if space["owner"]:
            print(printable(f"  owner: {space['owner']}"))
        for host in space["hosts"]:
            print(printable(f"  {_host(host)}"))
        print(printable(f"  problem: {space['problem']}" if space["problem"] else "  fine"))


def _host(host: dict[str, Any]) -> str:
    name = host["host_name"] or host["daemon"] or "-"
    if host["problem"]:
        name = host["problem"]
    text = f"host id {host['host_id']:4}  {host['state']:7}  {name}"
    if host["state"] == "free" or not host["dead_after_seconds"]:
        return text
    word = "renewed" if host["is_renewal_age"] else "unchanged for at least"
    ago = " ago" if host["is_renewal_age"] else ""
    return (
        f"{text}, {word} {host['age_seconds']:.0f} s{ago}, generation {host['generation']},"
        f" I/O timeout {host['io_timeout_seconds']} s"
    )


def repair(command: Command, within_seconds: Optional[float] = None) -> int:
    """Watch until it is proved that nobody uses what is bad, at most `within_seconds`; repair it.

    Raises as `Command.ask`, and DeadlineExceeded with nothing written.
    """
    clock = SystemClock()
    began_at = clock.now()
    while True:
        answer = command.ask_map("lockspace.check")
        waiting = [space for space in _spaces(answer) if space["problem"] and _may_wait(space)]
        if not waiting:
            break
        print(printable(_progress(waiting)), file=sys.stderr, flush=True)
        if within_seconds is not None and clock.now() - began_at >= within_seconds:
            raise DeadlineExceeded("the proof that nobody uses it", within_seconds)
        clock.block(min(_POLL_SECONDS, max(space["wait_seconds"] for space in waiting)))
    done = command.ask_map("lockspace.repair", {"dry_run": command.arguments.dry_run})
    for sentence in done.get("done", ()):
        print(printable(str(sentence)))
    return DONE


def _may_wait(space: dict[str, Any]) -> bool:
    """Whether time may prove it: not when a host id is live, which is refused at once."""
    live: Optional[dict[str, Any]] = next(
        (host for host in space["hosts"] if host["state"] == "live" and not host["problem"]), None
    )
    is_file = not any(host["dead_after_seconds"] for host in space["hosts"])
    return bool(space["readable"]) and space["wait_seconds"] > 0 and (is_file or live is None)


def _progress(waiting: list[dict[str, Any]]) -> str:
    worst = max(waiting, key=lambda space: float(space["wait_seconds"]))
    open_ids = sum(1 for host in worst["hosts"] if host["state"] in _WATCHING)
    ids = f", {open_ids} host ids to go" if open_ids else ""
    return (
        f"watching {worst['path']}: {worst['wait_seconds']:.0f} s more until it is proved that"
        f" nobody uses it{ids}"
    )


def _spaces(answer: dict[str, Any]) -> list[dict[str, Any]]:
    spaces = answer.get("spaces")
    if not isinstance(spaces, list) or not all(isinstance(space, dict) for space in spaces):
        raise BadInput("expected a list of maps", where="broker.lockspace.check.spaces")
    return spaces
