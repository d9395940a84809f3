# SPDX-License-Identifier: Apache-2.0
"""Asks a person for the answers that nobody gave. It changes nothing, whenever it is ended."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from ha_agent.setup.answer_table import KEYS, Key
from ha_agent.setup.answers import Answers, Given, contradictions


class Terminal(Protocol):
    """Where a person sits. Both raise EOFError at the end, KeyboardInterrupt at Ctrl-C."""

    def say(self, text: str) -> None: ...

    def ask(self, prompt: str, *, secret: bool) -> str: ...


class OwnTerminal:
    """The one that this process was started from."""

    def say(self, text: str) -> None:
        """Show a line."""
        sys.stdout.write(f"{text}\n")

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Return a line; a secret is not echoed."""
        return getpass.getpass(prompt) if secret else input(prompt)


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(given: Mapping[str, Given], terminal: Terminal) -> dict[str, Given]:
    """Return `given` with what a person answered besides, each answer checked at once; those that
    don't go together are asked for again.

    "?" shows help. Raises EOFError, KeyboardInterrupt.
    """
    answers = dict(given)
    while True:
        values = _ask_all(answers, terminal)
        asked = [name for name in answers if name not in given]
        faults = list(contradictions(values))
        again = [name for name in asked if any(name in fault for fault in faults)]
        if not again:
            # What was answered before another answer was changed has no place any more.
            return {n: answers[n] for n in answers if n in given or n in values}
        for fault in faults:
            terminal.say(f"  {fault}: once more")
        for name in again:
            del answers[name]


def confirm(answers: Answers, terminal: Terminal) -> bool:
    """Whether a person wants what comes now. Raises EOFError, KeyboardInterrupt."""
    luns = ", ".join(answers.values.get("luns", ()))
    if luns:
        terminal.say(f"\nAll that is on {luns} will be lost.")
    place = f"{answers.text('storage_type')} {answers.text('storage_connection')}".strip()
    question = f"\nSet up the hosted engine on {place} now (yes or no)? [no]: "
    while True:
        text = terminal.ask(question, secret=False).strip().lower()
        if text in ("yes", "no", ""):
            return text == "yes"
        terminal.say("  expected yes or no")


def _ask_all(answers: dict[str, Given], terminal: Terminal) -> dict[str, Any]:
    """Add to `answers` what a person answers; return all values that fit."""
    values: dict[str, Any] = {}
    section = ""
    for key in KEYS:
        if not key.when(values):
            continue
        if key.name not in answers and key.asked:
            if section != key.section:
                section = key.section
                terminal.say(f"\n{section} (? for help)")
            answers[key.name] = Given(_ask_one(key, terminal), "your answer")
        text = answers[key.name].text if key.name in answers else key.default
        try:
            values[key.name] = key.kind.parse(text or "")
        except ValueError:
            continue  # what was given and does not fit is told with all the rest
    return values


def _ask_one(key: Key, terminal: Terminal) -> str:
    default = f" [{key.default}]" if key.default else ""
    while True:
        text = terminal.ask(f"{key.question}{default}: ", secret=key.secret).strip()
        if text == "?":
            terminal.say(f"  {key.help or key.question} ({key.kind.expected})")
            continue
        if not text and key.default is not None:
            return key.default
        try:
            key.kind.parse(text)
        except ValueError:
            terminal.say(f"  expected {key.kind.expected}")
            continue
        return text
