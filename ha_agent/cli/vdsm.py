# SPDX-License-Identifier: Apache-2.0
"""`ha-agent console-password`, `ha-agent migration` and `ha-agent storage ...`: what this host's
VDSM does at once.

A password never stands on the command line, where every user of the host can read it: it is asked
for at a terminal, or it is the first line of standard input or of a file.
"""

from __future__ import annotations

import getpass
import json
import sys

from ha_agent.cli.command import DONE, Command, Verbs
from ha_agent.cli.ovf import printable
from ha_agent.errors import BadInput

_MAX_BYTES = 1024
# The broker's own deadlines (broker/api/vdsm.py), and time for the answer.
_VM_SECONDS, _STORAGE_SECONDS = 50.0, 610.0
_DEFAULT_TTL_SECONDS = 120


def add(verbs: Verbs) -> None:
    """Add the verbs."""
    console = verbs.asking(
        "console-password",
        "let whoever knows a password connect to the engine VM's console on this host",
        _console_password,
        timeout_seconds=_VM_SECONDS,
    )
    console.add_argument(
        "--password-file", default="", metavar="FILE", help="its first line; - is standard input"
    )
    console.add_argument(
        "--ttl",
        type=int,
        default=_DEFAULT_TTL_SECONDS,
        metavar="SECONDS",
        help="how long it counts (default %(default)d); who is connected then stays",
    )
    console.add_argument("--spice", action="store_true", help="for a SPICE console, not VNC")
    console.add_argument(
        "--on-connected",
        choices=("keep", "disconnect", "fail"),
        default="keep",
        help="with --spice: what becomes of who is connected (default keep)",
    )
    migration = verbs.asking(
        "migration",
        "how far the engine VM's migration away from this host is",
        _migration,
        timeout_seconds=_VM_SECONDS,
    )
    migration.add_argument("--json", action="store_true", help="as a JSON object")
    storage = verbs.group("storage", "how this host's VDSM is connected to the storage domain")
    for name, help_text, run in (
        ("connect", "connect the storage domain now", _connect),
        ("disconnect", "disconnect it: only in local maintenance, with no VM here", _disconnect),
        ("targets", "which iSCSI targets the configured portals offer", _targets),
    ):
        storage.asking(name, help_text, run, timeout_seconds=_STORAGE_SECONDS)


def _console_password(command: Command) -> int:
    arguments = command.arguments
    params = {
        "password": _password(arguments.password_file),
        "ttl_seconds": arguments.ttl,
        "protocol": "spice" if arguments.spice else "vnc",
        "on_connected": arguments.on_connected,
    }
    command.ask("vm.console_password", params)
    print(f"the console takes that password for {arguments.ttl} s")
    return DONE


def _password(file: str) -> str:
    """Return the password. Raises BadInput."""
    if not file and sys.stdin.isatty():
        return getpass.getpass("Password for the console: ")
    where = "standard input" if file in ("", "-") else file
    try:
        if where == file:
            with open(file, "rb") as stream:
                data = stream.read(_MAX_BYTES)
        else:
            data = sys.stdin.buffer.read(_MAX_BYTES)
    except OSError as error:
        raise BadInput(f"can't be read: {error.strerror}", where=where) from error
    try:
        password = data.decode("utf-8").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise BadInput("is not UTF-8 text", where=where) from None
    if not password:
        raise BadInput("has no password in its first line", where=where)
    return password


def _migration(command: Command) -> int:
    answer = command.ask_map("vm.migration")
    if command.arguments.json:
        print(json.dumps(answer))
    elif not answer.get("migrating"):
        print("the engine VM is not migrating away from this host")
    else:
        percent = answer.get("progress_percent")
        far = "" if percent is None else f", {percent} % done"
        print(f"the engine VM is migrating away from this host{far}")
    return DONE


def _connect(command: Command) -> int:
    command.ask("storage.connect")
    print("the storage domain is connected")
    return DONE


def _disconnect(command: Command) -> int:
    command.ask("storage.disconnect")
    print("the storage domain is disconnected")
    return DONE


def _targets(command: Command) -> int:
    targets = command.ask_map("storage.targets").get("targets")
    for line in targets if isinstance(targets, (list, tuple)) else ():
        print(printable(str(line)))
    return DONE
