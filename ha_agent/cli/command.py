# SPDX-License-Identifier: Apache-2.0
"""What every verb of `ha-agent` is given, and how it ends: shared by the cli modules.

Exit codes: 0 done; 1 it could not be done; 2 the command line or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from typing import Any, Callable, NoReturn, Optional

from ha_agent.broker.rpc import call as rpc_call
from ha_agent.clock import SystemClock
from ha_agent.config import layers
from ha_agent.errors import BadInput

DONE, FAILED, USAGE = 0, 1, 2


class Command:
    """One invocation: its arguments, its configuration, and how to ask the broker."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments

    @functools.cached_property
    def settings(self) -> layers.Config:
        """The configuration, read when it is first needed: some verbs only need a file.

        Raises ConfigError.
        """
        given = self.arguments.config
        return layers.load([given] if given else [], os.environ)

    def ask(
        self,
        method: str,
        params: Optional[dict[str, Any]] = None,
        *,
        more_seconds: float = 0.0,
    ) -> Any:
        """Call the broker within --timeout, and `more_seconds` for a call that is to wait.

        Raises EnvironmentFault, RpcCallFailed.
        """
        return rpc_call.call_once(
            str(self.settings.broker.socket),
            method,
            params or {},
            self.arguments.timeout + more_seconds,
            clock=SystemClock(),
        )

    def ask_map(
        self,
        method: str,
        params: Optional[dict[str, Any]] = None,
        *,
        more_seconds: float = 0.0,
    ) -> dict[str, Any]:
        """As `ask`, for verbs that answer with a map. Raises BadInput when it is none."""
        answer = self.ask(method, params, more_seconds=more_seconds)
        if not isinstance(answer, dict):
            raise BadInput(
                f"expected a map, got {type(answer).__name__}", where=f"broker.{method}"
            )
        return answer


Run = Callable[[Command], int]


def fail(arguments: argparse.Namespace, code: str, message: str) -> int:
    """Say why it could not be done, as JSON on stdout too where that was asked for."""
    if getattr(arguments, "json", False):
        print(json.dumps({"error": {"code": code, "message": message}}))
    print(f"{getattr(arguments, 'program', 'ha-agent')}: {message}", file=sys.stderr)
    return FAILED


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the command line as JSON, too, where JSON was asked for."""

    def __init__(self, **options: Any) -> None:
        # An abbreviated --json would be understood, and its errors not printed as JSON.
        super().__init__(allow_abbrev=False, **options)
        self.wants_json = False

    def error(self, message: str) -> NoReturn:
        if self.wants_json:
            print(json.dumps({"error": {"code": "usage", "message": message}}))
        super().error(message)


class Verbs:
    """Adds verbs to a parser; the cli modules get one each."""

    def __init__(self, parser: argparse.ArgumentParser, wants_json: bool) -> None:
        self._wants_json = wants_json
        self._added = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def group(self, name: str, help_text: str) -> Verbs:
        """Add a verb that has verbs of its own."""
        return Verbs(self._parser(name, help_text), self._wants_json)

    def add(self, name: str, help_text: str, run: Run) -> argparse.ArgumentParser:
        """Add a verb that needs no broker."""
        parser = self._parser(name, help_text)
        parser.set_defaults(run=run)
        return parser

    def asking(
        self,
        name: str,
        help_text: str,
        run: Run,
        *,
        timeout_seconds: float = rpc_call.DEFAULT_DEADLINE_SECONDS,
    ) -> argparse.ArgumentParser:
        """Add a verb that asks the broker: it has --timeout."""
        parser = self.add(name, help_text, run)
        add_timeout(parser, timeout_seconds)
        return parser

    def _parser(self, name: str, help_text: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self._added.add_parser(
            name, help=help_text, description=help_text
        )
        assert isinstance(parser, Parser)  # argparse makes what the outer one is
        parser.wants_json = self._wants_json
        return parser


def add_timeout(
    parser: argparse.ArgumentParser,
    default_seconds: float = rpc_call.DEFAULT_DEADLINE_SECONDS,
) -> None:
    """Add --timeout, which bounds the whole question."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=default_seconds,
        metavar="SECONDS",
        help="give up after this (default %(default)g)",
    )


def seconds(text: str) -> float:
    """Return a number of seconds of the command line, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 86400")
    return value
