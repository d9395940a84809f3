# SPDX-License-Identifier: Apache-2.0
"""mutate/survivors.txt: mutants that no test has to catch, each with the reason.

A line is `file:function:what -> reason`; empty lines and those that begin with # say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ha_agent.errors import BadInput

FILE = Path(__file__).with_name("survivors.txt")
_ARROW = " -> "


def parse(text: str, where: str) -> dict[str, str]:
    """Return the reasons by key. BadInput names a line that is none, or the second of a key."""
    reasons: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        key, arrow, reason = line.partition(_ARROW)
        if not arrow or key.count(":") < 2 or not reason.strip():
            raise BadInput("not `file:function:what -> reason`", where=f"{where}:{number}")
        if key.strip() in reasons:
            raise BadInput(f"a second reason for {key.strip()}", where=f"{where}:{number}")
        reasons[key.strip()] = reason.strip()
    return reasons


def outdated(reasons: dict[str, str], caught: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return what to take out of the list, a sentence each.

    `caught` are keys of mutants that tests do catch, `known` those of all mutants of all files.
    """
    now_caught, there = set(caught), set(known)
    return [
        f"{key}: {'is caught now' if key in now_caught else 'there is no such mutant any more'}"
        for key in reasons
        if key in now_caught or key not in there
    ]
