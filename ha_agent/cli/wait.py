# SPDX-License-Identifier: Apache-2.0
"""Waiting for the cluster on the command line: progress as it comes, and always an end."""

from __future__ import annotations

import argparse
from typing import Callable

from ha_agent.broker.rpc.call import NowClock
from ha_agent.broker.snapshot import Snapshot, from_wire
from ha_agent.cli.command import DONE, Command, fail, seconds
from ha_agent.cli.ovf import printable
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.maintenance_text import Progress, duration_text

# The broker answers a waiting call at the latest after this.
_NEWS_SECONDS = 2.0
_RETRY_SECONDS = 0.5


def add_wait(
    parser: argparse.ArgumentParser, *, default: bool, within_seconds: float, what: str
) -> None:
    """Add --wait, --no-wait and --within."""
    word = "default" if default else "the default is --no-wait"
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=default,
        help=f"tell how it goes until {what} ({word})",
    )
    parser.add_argument(
        "--within",
        type=seconds,
        default=within_seconds,
        metavar="SECONDS",
        help="give up waiting after this (default %(default)g); what was ordered stays ordered",
    )


def read_status(command: Command) -> Snapshot:
    """Return the broker's picture. Raises EnvironmentFault, RpcCallFailed, BadInput."""
    return from_wire(Snapshot, command.ask("status"), where="broker.status")


def follow(command: Command, judge: Callable[[Snapshot], Progress]) -> int:
    """Print what `judge` says whenever it says something new, until it is done, has failed or
    --within is over. A broker that does not answer is asked again till then."""
    try:
        return _followed(command, judge)
    except KeyboardInterrupt:
        told = (
            "interrupted; what was ordered stays ordered, and `ha-agent status` tells how it goes"
        )
        return fail(command.arguments, "interrupted", told)


def _followed(command: Command, judge: Callable[[Snapshot], Progress]) -> int:
    clock = SystemClock()
    limit_seconds = command.arguments.within
    ends_at = clock.now() + limit_seconds
    told, version = "", -1
    while True:
        try:
            params = {"since_version": version, "wait_seconds": _NEWS_SECONDS}
            snapshot = from_wire(Snapshot, command.ask("status", params), where="broker.status")
            version, progress = snapshot.version, judge(snapshot)
        except EnvironmentFault as fault:
            progress = Progress(False, f"the broker does not answer: {fault}")
            clock.block(_RETRY_SECONDS)
        if progress.text != told:
            told = progress.text
            print(printable(told), flush=True)
        if progress.done:
            return DONE
        if progress.failed:
            return fail(command.arguments, "failed", told)
        if _over(clock, ends_at.boottime_seconds):
            limit = duration_text(limit_seconds)
            return fail(command.arguments, "deadline", f"not done within {limit}: {told}")


def _over(clock: NowClock, ends_at_seconds: float) -> bool:
    return clock.now().boottime_seconds >= ends_at_seconds
