# SPDX-License-Identifier: Apache-2.0
"""What a verb of `hosted-engine` is declared with: help, reference and parser are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from ha_agent.compat.hosted_engine.command import HostedEngine

Run = Callable[[HostedEngine], int]


@dataclass(frozen=True)
class Option:
    """`--name=METAVAR`, or a flag without `metavar`."""

    name: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    number: bool = False
    ours: bool = False
    """Whether the predecessor had it not."""

    @property
    def key(self) -> str:
        """Its name among the arguments."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """As it stands on a command line."""
        value = "|".join(self.choices) or self.metavar
        return f"{self.name}={value}" if value else self.name


@dataclass(frozen=True)
class Verb:
    """One verb. `exits`: (code, when); `differs`: sentences on what the predecessor did else.

    `timeout_seconds` is how long it may take, `wait_seconds` the same with --wait.
    """

    name: str
    run: Run
    summary: str
    text: str
    exits: tuple[tuple[int, str], ...]
    operands: tuple[tuple[str, str], ...] = ()
    options: tuple[Option, ...] = ()
    timeout_seconds: Optional[float] = None
    wait_seconds: Optional[float] = None
    differs: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    only_deployed: bool = True
    passes_on: bool = False
    """Whether arguments that are not declared are for another program."""

    @property
    def all_options(self) -> tuple[Option, ...]:
        """Its options, with --timeout where it asks somebody."""
        if self.timeout_seconds is None:
            return self.options
        longer = f", with --wait {self.wait_seconds:g}" if self.wait_seconds else ""
        limit = Option(
            "--timeout",
            f"give up after this; the default is {self.timeout_seconds:g}{longer}",
            metavar="SECONDS",
            ours=True,
        )
        return (*self.options, limit)

    def limit_seconds(self, *, waits: bool) -> float:
        """Return how long it may take where nobody says."""
        return (self.wait_seconds if waits else None) or self.timeout_seconds or 0.0
