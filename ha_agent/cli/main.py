# SPDX-License-Identifier: Apache-2.0
"""`ha-agent`: the operators' command, and the agent itself (`ha-agent run`).

Every question goes to the broker's socket and has one deadline, 10 s unless told otherwise: a
broker that is down or hangs gives a sentence and exit code 1, never a traceback or a hang.
With --json, stdout is one JSON object always, an error included.

Exit codes: 0 done; 1 it could not be done; 2 the command line or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Optional

from ha_agent import __version__
from ha_agent.broker.rpc import call as rpc_call
from ha_agent.broker.rpc import follow as rpc_follow
from ha_agent.broker.snapshot import DefinitionEntry, Snapshot, from_wire
from ha_agent.cli import (
    about,
    cluster,
    engine,
    explain,
    host,
    join,
    lockspace,
    maintenance,
    notify,
    ovf,
    push,
    setup,
    shared_config,
    simulate,
    store,
    streams,
    upgrade,
    vdsm,
    vm,
)
from ha_agent.cli.command import DONE, FAILED, USAGE, Command, Parser, Verbs, fail
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.errors import HaAgentError
from ha_agent.status_text import predecessor_json, status_text

if TYPE_CHECKING:
    from ha_agent.fsm.policy import Policy


def _status(command: Command) -> int:
    if command.arguments.watch:
        return _watch(command)
    _print_status(command, from_wire(Snapshot, command.ask("status"), where="broker.status"))
    return DONE


def _watch(command: Command) -> NoReturn:
    socket, seconds = str(command.settings.broker.socket), command.arguments.timeout
    pictures = rpc_follow.follow(socket, clock=SystemClock(), deadline_seconds=seconds)
    while True:  # until the broker ends or the operator does
        picture = next(pictures)
        _print_status(command, from_wire(Snapshot, picture, where="broker.changed.snapshot"))
        if not command.arguments.json:
            sys.stdout.write("\n")
        sys.stdout.flush()


def _print_status(command: Command, snapshot: Snapshot) -> None:
    if command.arguments.json:
        print(json.dumps(predecessor_json(snapshot)))
    else:
        sys.stdout.write(status_text(snapshot, SystemClock().wall()))


def _refresh(command: Command) -> int:
    answer = command.ask_map("refresh")
    definition = from_wire(
        DefinitionEntry, answer.get("definition"), where="broker.refresh.definition"
    )
    if definition.problem:
        return fail(command.arguments, "store", f"definition not refreshed: {definition.problem}")
    if answer.get("told"):
        print(f"ha-agent: note: {answer['told']}", file=sys.stderr)
    print(f"definition {definition.identity} of {definition.vm_name} is current")
    return DONE


def _can_do(command: Command) -> int:
    arguments = command.arguments
    answer = command.ask_map(
        "can_do", {"action": arguments.action, "object": dict(arguments.object)}
    )
    if arguments.json:
        print(json.dumps(answer))
    else:
        word = "yes" if answer.get("allowed") else "no"
        print(f"{word} ({answer.get('code')}): {answer.get('sentence')}")
    return DONE if answer.get("allowed") is True else FAILED


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as disk=<uuid>")
    return key, value


def _lease_init(command: Command) -> int:
    command.ask("lease.initialise")
    settings = command.settings
    if settings.lease.backend == "sanlock":
        print(f"lockspace and lease of sanlock made: {settings.sanlock.path}")
    else:
        print(f"lock file made: {settings.lease.path}")
    return DONE


def _run(command: Command) -> int:
    # Imported here: the daemon's libraries would cost every other command half a second.
    from ha_agent import agent, log

    settings = command.settings
    context = {"host_id": settings.host.id, "vm_id": settings.engine.vm_uuid or None}
    log.setup(settings.log.level, "ha-agent", context=context, folder=settings.log.folder)
    return agent.run(settings)


def _policy_of(settings: layers.Config) -> Policy:
    from ha_agent import agent  # late, as above

    return agent.policy_of(settings)


def command_line(wants_json: bool = False) -> argparse.ArgumentParser:
    """Return the parser of the whole command; manual and completions are made from it, too."""
    parser = Parser(prog="ha-agent", description="High availability for oVirt's hosted engine.")
    parser.wants_json = wants_json
    parser.add_argument("--version", action="version", version=f"ha-agent {__version__}")
    told = f"configuration file (default {layers.DEFAULT_PATH})"
    parser.add_argument("--config", type=Path, metavar="FILE", help=told)
    verbs = Verbs(parser, wants_json)
    status = verbs.asking("status", "where the engine VM is, and how every host does", _status)
    status.add_argument("--json", action="store_true", help="the predecessor's JSON object")
    status.add_argument(
        "--watch", action="store_true", help="again after each change, until interrupted"
    )
    maintenance.add(verbs)
    cluster.add(verbs)
    vm.add(verbs)
    vdsm.add(verbs)
    host.add(verbs)
    setup.add(verbs)
    join.add(verbs)
    upgrade.add(verbs)
    lockspace.add(verbs)
    verbs.asking(
        "refresh", "have all hosts read the engine VM's definition from the store now", _refresh
    )
    ovf.add(verbs)
    store.add(verbs)
    push.add(verbs)
    engine.add(verbs)
    shared_config.add(verbs)
    simulate.add(verbs)
    explain.add(verbs, _policy_of)
    notify.add(verbs)
    can_do = verbs.asking(
        "can-do",
        "ask whether an action would hurt the hosted engine; exit code 1: it would",
        _can_do,
    )
    can_do.add_argument(
        "action", help="such as storage_domain.detach, disk.remove, host.maintenance"
    )
    can_do.add_argument(
        "object",
        nargs="*",
        type=_pair,
        metavar="KEY=VALUE",
        help="what it is done to: disk=<uuid>",
    )
    can_do.add_argument("--json", action="store_true", help="the answer as JSON")
    lease = verbs.asking("lease", "make the cluster's lock file, once", _lease_init)
    lease.add_argument("what", choices=("init",), help="refused where one is in use")
    about.add(verbs)
    verbs.add("run", "run the agent in the foreground; systemd does this", _run)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Entry point of `ha-agent`."""
    return streams.run(lambda: _perform(sys.argv[1:] if argv is None else argv), FAILED)


def _perform(words: Sequence[str]) -> int:
    arguments = command_line("--json" in words).parse_args(words)
    try:
        code: int = arguments.run(Command(arguments))
        return code
    except layers.ConfigError as error:
        fail(arguments, "config", str(error))
        return USAGE
    except rpc_call.RpcCallFailed as error:
        return fail(arguments, error.code, error.message)
    except HaAgentError as error:
        return fail(arguments, "broker", str(error))
    except KeyboardInterrupt:
        return fail(arguments, "interrupted", "interrupted")


if __name__ == "__main__":
    sys.exit(main())
