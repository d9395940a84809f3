# SPDX-License-Identifier: Apache-2.0
"""A fence agent: switches a lab host's power off from outside. Runs inside the hosts.

    pacemaker-fenced ── stdin: action=reboot, plug=host1, socket=PATH ──> this
                     <─ exit code: 0 done, 1 not, 2 "status": it is off ─

As ClusterLabs' fence agents are called (FenceAgentAPI.md). What a power switch does is done by
whoever listens on the socket, on the machine that runs the hosts (fence_switch.py): a line
"off host1" is answered with "ok" when nothing of the host runs any more. That takes milliseconds,
where a real management controller takes seconds: the most favourable case for Pacemaker.

"reboot" leaves the host off, so that its boot does not take the processor from the failover.

Standard library only, and no import of ours: it is copied alone into the hosts.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable

DEADLINE_SECONDS = 30.0
DONE, FAILED, IS_OFF = 0, 1, 2

METADATA = """\
<?xml version="1.0" ?>
<resource-agent name="fence_lab" shortdesc="Power switch of the ha-agent lab">
<longdesc>Ends a lab host's container from outside of it.</longdesc>
<parameters>
<parameter name="action" unique="0" required="1">
<content type="string" default="reboot"/><shortdesc lang="en">What to do</shortdesc>
</parameter>
<parameter name="plug" unique="0" required="1">
<content type="string"/><shortdesc lang="en">The host</shortdesc>
</parameter>
<parameter name="socket" unique="0" required="1">
<content type="string"/><shortdesc lang="en">Where the switch listens</shortdesc>
</parameter>
</parameters>
<actions>
<action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/>
<action name="list"/><action name="metadata"/>
</actions>
</resource-agent>
"""


def options_of(lines: Iterable[str]) -> dict[str, str]:
    """Return name -> value of lines "name=value"; other lines and comments say nothing."""
    pairs = (line.strip().partition("=") for line in lines if not line.startswith("#"))
    return {name: value for name, equals, value in pairs if equals}


def ask(path: str, question: str) -> str:
    """Say a line to the switch and return its answer. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_SECONDS)
        connection.connect(path)
        connection.sendall(f"{question}\n".encode())
        return connection.makefile(encoding="utf-8").readline().strip()


def act(options: dict[str, str]) -> int:
    """Do what the options ask for and return the exit code. Raises OSError."""
    action = options.get("action", "reboot")
    path, plug = options.get("socket", ""), options.get("plug", options.get("port", ""))
    if action == "metadata":
        sys.stdout.write(METADATA)
        return DONE
    if action == "list":
        sys.stdout.write(ask(path, "list").replace(" ", "\n") + "\n")
        return DONE
    if action == "monitor":
        return DONE if ask(path, "list") else FAILED
    if action == "status":
        return {"on": DONE, "off": IS_OFF}.get(ask(path, f"status {plug}"), FAILED)
    if action in ("off", "reboot"):
        return DONE if ask(path, f"off {plug}") == "ok" else FAILED
    sys.stderr.write(f"fence_lab: no action {action!r}\n")
    return FAILED


def main() -> int:
    """Read options from arguments "-o ACTION" or else from stdin."""
    if sys.argv[1:2] == ["-o"]:
        options = {"action": "".join(sys.argv[2:3])}
    else:
        options = options_of(sys.stdin)
    try:
        return act(options)
    except OSError as error:
        sys.stderr.write(f"fence_lab: {error}\n")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
