# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of a guide (docs/guides/*.md), and holds what it shows against what comes.

A guide is Markdown. What is run stands in fences marked `console`:

    ```console
    host1# ha-agent status
    Engine VM HostedEngine runs on host1 (id 1), healthy
    ...
    ```

The word before `#` is the host where it is typed. The lines below a command are what it prints:
each has to come, in this order; what else is printed doesn't matter, and digits differ from run
to run, so all count as the same. `…` in a line stands for anything. A line `[exit 1]` says that
the command ends with that code, which is 0 otherwise. A command that only looks (LOOKS) is run
again until it shows all this: the cluster needs its time. A long line may go on after a `\\`.

What a command can't do is in comments, which readers don't see:

    <!-- guide: power-cut host1 -->

These words are the test's; each runs a function that the test gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

LOOKS = ("status", "explain", "events", "incidents", "list", "show", "history", "diff", "cat")
_FENCE = re.compile(r"```(\w*)\s*")
_PROMPT = re.compile(r"(\w+)# (.+)")
_DEED = re.compile(r"<!-- guide: (.+?) -->")
_EXIT = re.compile(r"\[exit (\d+)\]")


@dataclass
class Typed:
    """A command, where it is typed, and what it is said to print."""

    where: str
    host: str
    command: str
    expected: list[str] = field(default_factory=list)
    exit_code: int = 0

    @property
    def only_looks(self) -> bool:
        """Whether it may be run again."""
        words = self.command.split()
        return any(word in LOOKS for word in words[:3])


@dataclass(frozen=True)
class Deed:
    """Something that the test does: its words."""

    where: str
    words: tuple[str, ...]


Step = Union[Typed, Deed]


def steps_of(path: Path) -> list[Step]:
    """Read a guide. Raises ValueError, with the line, for a fence that isn't one."""
    return list(_steps(path.read_text(encoding="utf-8").splitlines(), path.name))


def _steps(lines: Sequence[str], name: str) -> Iterator[Step]:
    fence, typed = "", None
    for number, line in enumerate(lines, 1):
        where = f"{name}:{number}"
        opened = _FENCE.fullmatch(line)
        if opened is not None:
            if typed is not None:
                yield typed
            fence, typed = ("" if fence else opened.group(1) or "text"), None
            continue
        deed = _DEED.fullmatch(line)
        if deed is not None:
            yield Deed(where, tuple(deed.group(1).split()))
        if fence != "console":
            continue
        prompt = _PROMPT.fullmatch(line)
        if typed is not None and typed.command.endswith("\\"):
            typed.command = typed.command[:-1] + line.strip()
        elif prompt is not None:
            if typed is not None:
                yield typed
            typed = Typed(where, prompt.group(1), prompt.group(2))
        elif typed is None:
            raise ValueError(f"{where}: output before any command")
        elif (code := _EXIT.fullmatch(line)) is not None:
            typed.exit_code = int(code.group(1))
        elif line.strip() and line.strip() != "...":
            typed.expected.append(line)
    if fence:
        raise ValueError(f"{name}: a fence is not closed")


def missing(expected: Sequence[str], printed: str) -> str:
    """Return the first expected line that did not come in its turn; "" when all did."""
    lines = iter([_plain(line) for line in printed.splitlines()])
    for line in expected:
        pattern = re.compile(".*".join(re.escape(part) for part in _plain(line).split("…")))
        if not any(pattern.fullmatch(found) for found in lines):
            return line
    return ""


def _plain(line: str) -> str:
    """A line without what differs from run to run: digits (also of UUIDs), and spaces."""
    line = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID", line)
    line = re.sub(r"\b[0-9a-f]{12}\b", "IDENTITY", line)
    return re.sub(r"\d+([.:]\d+)*", "0", " ".join(line.split()))
