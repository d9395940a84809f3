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
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

from ha_agent import __version__, config
from ha_agent.broker import rpc_call
from ha_agent.broker.snapshot import DefinitionEntry, Snapshot, from_wire
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, HaAgentError
from ha_agent.status_text import predecessor_json, status_text

DONE, FAILED, USAGE = 0, 1, 2


class _Command:
    """One invocation: its arguments and how to ask the broker."""

    def __init__(self, arguments: argparse.Namespace, settings: config.Config) -> None:
        self.arguments = arguments
        self.settings = settings

    def ask(self, method: str, params: Optional[dict[str, Any]] = None) -> Any:
        """Call the broker within --timeout. Raises EnvironmentFault, RpcCallFailed."""
        return rpc_call.call_once(
            str(self.settings.broker.socket),
            method,
            params or {},
            self.arguments.timeout,
            clock=SystemClock(),
        )


def _status(command: _Command) -> int:
    snapshot = from_wire(Snapshot, command.ask("status"), where="broker.status")
    if command.arguments.json:
        print(json.dumps(predecessor_json(snapshot)))
    else:
        sys.stdout.write(status_text(snapshot))
    return DONE


def _maintenance(command: _Command) -> int:
    mode = command.arguments.mode
    wishes = [("local", False), ("global", False)] if mode == "none" else [(mode, True)]
    for scope, enabled in wishes:
        command.ask("maintenance.set", {"scope": scope, "enabled": enabled})
    if mode == "none":
        print("local and global maintenance are off")
    elif mode == "local":
        print("local maintenance is on; the engine VM, if it is here, moves to another host")
    else:
        print("global maintenance is on; no host starts or stops the engine VM")
    return DONE


def _refresh(command: _Command) -> int:
    answer = command.ask("refresh")
    if not isinstance(answer, dict):
        raise BadInput(f"expected a map, got {type(answer).__name__}", where="broker.refresh")
    definition = from_wire(
        DefinitionEntry, answer.get("definition"), where="broker.refresh.definition"
    )
    if definition.problem:
        return _fail(command.arguments, "store", f"definition not refreshed: {definition.problem}")
    print(f"definition {definition.identity} of {definition.vm_name} is current")
    return DONE


def _lease_init(command: _Command) -> int:
    command.ask("lease.initialise")
    print(f"lock file made: {command.settings.lease.path}")
    return DONE


def _config_show(command: _Command) -> int:
    sys.stdout.write(config.show(command.settings))
    return DONE


def _run(command: _Command) -> int:
    # Imported here: the daemon's libraries would cost every other command half a second.
    from ha_agent import agent, log

    log.setup(command.settings.log.level, "ha-agent", clock=SystemClock())
    return agent.run(command.settings)


def _fail(arguments: argparse.Namespace, code: str, message: str) -> int:
    if getattr(arguments, "json", False):
        print(json.dumps({"error": {"code": code, "message": message}}))
    print(f"ha-agent: {message}", file=sys.stderr)
    return FAILED


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line as JSON, too, where JSON was asked for."""

    def __init__(self, **options: Any) -> None:
        # An abbreviated --json would be understood, and its errors not printed as JSON.
        super().__init__(allow_abbrev=False, **options)
        self.wants_json = False

    def error(self, message: str) -> NoReturn:
        if self.wants_json:
            print(json.dumps({"error": {"code": "usage", "message": message}}))
        super().error(message)


def _parser(wants_json: bool) -> argparse.ArgumentParser:
    parser = _Parser(prog="ha-agent", description="High availability for oVirt's hosted engine.")
    parser.wants_json = wants_json
    parser.add_argument("--version", action="version", version=f"ha-agent {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def verb(name: str, help_text: str, run: Callable[[_Command], int]) -> Any:
        added = verbs.add_parser(name, help=help_text, description=help_text)
        added.set_defaults(run=run)
        added.wants_json = wants_json
        return added

    def asks(added: Any) -> Any:
        added.add_argument(
            "--timeout",
            type=_seconds,
            default=rpc_call.DEFAULT_DEADLINE_SECONDS,
            metavar="SECONDS",
            help="give up after this (default %(default)g)",
        )
        return added

    status = asks(verb("status", "where the engine VM is, and how every host does", _status))
    status.add_argument("--json", action="store_true", help="the predecessor's JSON object")
    maintenance = asks(verb("maintenance", "set or clear maintenance", _maintenance))
    maintenance.add_argument("mode", choices=("local", "global", "none"))
    asks(verb("refresh", "read the engine VM's definition from the store now", _refresh))
    lease = asks(verb("lease", "make the cluster's lock file, once", _lease_init))
    lease.add_argument("what", choices=("init",), help="refused where one is in use")
    settings = verb("config", "the configuration in use", _config_show)
    settings.add_argument("what", choices=("show",), help="print every value with its origin")
    verb("run", "run the agent in the foreground; systemd does this", _run)
    return parser


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 86400")
    return value


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Entry point of `ha-agent`."""
    words = sys.argv[1:] if argv is None else argv
    arguments = _parser("--json" in words).parse_args(words)
    try:
        settings = config.load([arguments.config] if arguments.config else [], os.environ)
    except config.ConfigError as error:
        _fail(arguments, "config", str(error))
        return USAGE
    try:
        code: int = arguments.run(_Command(arguments, settings))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except rpc_call.RpcCallFailed as error:
        return _fail(arguments, error.code, error.message)
    except HaAgentError as error:
        return _fail(arguments, "broker", str(error))
    except KeyboardInterrupt:
        return _fail(arguments, "interrupted", "interrupted")


if __name__ == "__main__":
    sys.exit(main())
