# SPDX-License-Identifier: Apache-2.0
"""`ha-agent maintenance`: local and global, which have nothing to do with each other.

    ha-agent maintenance local  [--for 2h] [--reason TEXT] [--wait]
    ha-agent maintenance global [--for 2h] [--reason TEXT]
    ha-agent maintenance local --off
    ha-agent maintenance global --off
    ha-agent maintenance none               both off, as the predecessor's --mode=none

Each answers when storage, or this host's own file, has been read back and says so.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from ha_agent.broker.snapshot import OrderEntry, from_wire
from ha_agent.cli.command import DONE, Command, Verbs
from ha_agent.cli.ovf import printable
from ha_agent.cli.wait import add_wait, follow, read_status
from ha_agent.clock import SystemClock
from ha_agent.errors import HaAgentError
from ha_agent.maintenance_text import local_progress, moment_text

# The broker looks, writes and reads back; each has a deadline of its own there.
SET_SECONDS = 45.0
_LOCAL_WITHIN_SECONDS = 900.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhd])+")
_LONGEST_SECONDS = 366 * 86400


def add(verbs: Verbs) -> None:
    """Add `maintenance`."""
    parser = verbs.asking(
        "maintenance", "set or clear maintenance", _maintenance, timeout_seconds=SET_SECONDS
    )
    parser.add_argument("mode", choices=("local", "global", "none"), help="none clears both")
    parser.add_argument("--off", action="store_true", help="clear this one, leave the other")
    parser.add_argument(
        "--for",
        dest="for_seconds",
        type=duration,
        metavar="TIME",
        help="it ends by itself after 90s, 30m, 2h, 1d or 1h30m",
    )
    add_reason(parser)
    add_wait(
        parser,
        default=False,
        within_seconds=_LOCAL_WITHIN_SECONDS,
        what="this host is in local maintenance, and the engine VM elsewhere",
    )
    parser.set_defaults(usage_error=parser.error)


def add_reason(parser: argparse.ArgumentParser) -> None:
    """Add --reason."""
    parser.add_argument("--reason", default="", metavar="TEXT", help="what for; all hosts show it")


def duration(text: str) -> float:
    """Return the seconds of 90s, 30m, 2h, 1d or 1h30m, for argparse."""
    if not _DURATION.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no duration such as 90s, 30m, 2h, 1d or 1h30m"
        )
    parts = re.findall(r"([0-9]+)([smhd])", text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1s and 366d")
    return float(seconds)


def _maintenance(command: Command) -> int:
    arguments = command.arguments
    mode, off = arguments.mode, arguments.off or arguments.mode == "none"
    if off and arguments.for_seconds is not None:
        arguments.usage_error("--for is for maintenance that is set")
    if arguments.wait and (off or mode != "local"):
        arguments.usage_error("--wait is for `maintenance local`")
    scopes = ("local", "global") if mode == "none" else (mode,)
    for scope in scopes:
        answer = command.ask_map("maintenance.set", _params(arguments, scope, not off))
        if off:
            print(f"{scope} maintenance is off", flush=True)
    if off:
        return DONE
    if mode == "global":
        print(printable(f"global maintenance is on{_until(answer)}"))
        print("no host starts or stops the engine VM")
    else:
        until = answer.get("until")
        print(printable(f"local maintenance is on{f' until {until}' if until else ''}"))
        if arguments.wait:
            return follow(command, local_progress)
        _tell_what_comes(command)
    return DONE


def _params(arguments: argparse.Namespace, scope: str, enabled: bool) -> dict[str, Any]:
    params: dict[str, Any] = {"scope": scope, "enabled": enabled}
    if arguments.reason:
        params["reason"] = arguments.reason
    if arguments.for_seconds is not None:
        params["for_seconds"] = arguments.for_seconds
    return params


def _until(answer: dict[str, Any]) -> str:
    if not isinstance(answer.get("order"), dict):
        return ""
    order = from_wire(OrderEntry, answer["order"], where="broker.maintenance.set.order")
    if order.until_unix_seconds is None:
        return ""
    return f" until {moment_text(order.until_unix_seconds, SystemClock().wall())}"


def _tell_what_comes(command: Command) -> None:
    try:
        progress = local_progress(read_status(command))
    except HaAgentError:
        return  # it is set, which is what was asked for
    print(printable(progress.text))
