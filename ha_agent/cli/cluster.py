# SPDX-License-Identifier: Apache-2.0
"""`ha-agent cluster shutdown` and `cluster resume`, on any one host.

    shutdown   global maintenance with an order that all hosts take notice of; when no other VM
               runs any more, the owner stops the engine VM in order and gives the lease back.
               Then hosts may be powered off, in any sequence.
    resume     the end of both: the best host starts the engine VM.

The predecessor has a manual recipe of nine steps for this (facts/predecessor-and-peers.md 1.8).
Neither needs the waiting: what was ordered stays ordered when the command is interrupted.
"""

from __future__ import annotations

import sys

from ha_agent.cli.command import DONE, USAGE, Command, Verbs, fail
from ha_agent.cli.maintenance import SET_SECONDS, add_reason
from ha_agent.cli.wait import add_wait, follow
from ha_agent.maintenance_text import resume_progress, shutdown_progress

_SHUTDOWN_WITHIN_SECONDS = 1800.0
_RESUME_WITHIN_SECONDS = 600.0


def add(verbs: Verbs) -> None:
    """Add `cluster` with its verbs."""
    group = verbs.group("cluster", "shut the whole cluster down, and start it again")
    shutdown = group.asking(
        "shutdown",
        "stop the engine VM, last of all VMs, and keep it stopped",
        _shutdown,
        timeout_seconds=SET_SECONDS,
    )
    shutdown.add_argument("--now", action="store_true", help="do not wait for hosts and other VMs")
    shutdown.add_argument("--yes", action="store_true", help="do not ask")
    add_reason(shutdown)
    add_wait(
        shutdown,
        default=True,
        within_seconds=_SHUTDOWN_WITHIN_SECONDS,
        what="hosts may be powered off",
    )
    resume = group.asking(
        "resume",
        "start the engine VM again, on the best host",
        _resume,
        timeout_seconds=SET_SECONDS,
    )
    add_reason(resume)
    add_wait(
        resume, default=True, within_seconds=_RESUME_WITHIN_SECONDS, what="the engine VM is up"
    )


def _shutdown(command: Command) -> int:
    arguments = command.arguments
    if not arguments.yes:
        if not sys.stdin.isatty():
            fail(arguments, "usage", "no terminal to ask on: say --yes to shut the cluster down")
            return USAGE
        if not _confirmed(arguments.now):
            return fail(arguments, "refused", "nothing was done")
    params = {"what": "shutdown", "now": arguments.now}
    command.ask_map("cluster.order", {**params, **_reason(command)})
    print("the shutdown is ordered: global maintenance is on", flush=True)
    if not arguments.wait:
        print("`ha-agent status` tells how it goes")
        return DONE
    return follow(command, shutdown_progress)


def _confirmed(now: bool) -> bool:
    print("The engine VM will be stopped, and no host starts it until `ha-agent cluster resume`.")
    if now:
        print("--now: other VMs that still run are left without their engine.")
    try:
        return input("Shut the cluster down? Type yes: ").strip().lower() == "yes"
    except EOFError:
        return False


def _resume(command: Command) -> int:
    command.ask_map("cluster.order", {"what": "none", **_reason(command)})
    print("global maintenance is off", flush=True)
    return follow(command, resume_progress) if command.arguments.wait else DONE


def _reason(command: Command) -> dict[str, str]:
    return {"reason": command.arguments.reason} if command.arguments.reason else {}
