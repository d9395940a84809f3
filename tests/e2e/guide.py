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
to run, so all count as the same, but for those of a host's name. `…` in a line stands for
anything. A line `[exit 1]` says that the command ends with that code, which is 0 otherwise. A
command that only looks (LOOKS) is run again until it shows all this: the cluster needs its time.
A long line may go on after a `\\`.

What a command can't do is in comments, which readers don't see:

    <!-- guide: power-cut host1 -->

These words are the test's: `power-cut` runs its story's _do_power_cut.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Union

import pytest

from demo.hosts import PROGRAMS
from tests.e2e.lone import CLOCK

LIMIT_SECONDS = 120.0
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


class Story:
    """A guide as it is told: runs its commands, and its deeds, which are methods _do_<name>."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tell(self, path: Path) -> None:
        """Go through the guide. Fails at the first step that is not as it says."""
        for step in steps_of(path):
            if isinstance(step, Typed):
                self.type(step)
            else:
                self.do(step)

    def environment(self, host: str) -> Mapping[str, str]:
        """Return what the host that the guide calls so has in its environment besides ours."""
        raise NotImplementedError

    def ours(self, host: str, text: str) -> str:
        """Return what a host has printed in the guide's words."""
        return text

    def theirs(self, host: str, text: str) -> str:
        """Return a command of the guide as this host needs it."""
        return text

    def type(self, typed: Typed) -> None:
        """Run a command, and hold what it prints against what the guide shows."""
        said = ""

        def shows_it() -> bool:
            nonlocal said
            ended = self._run(typed)
            printed = self.ours(typed.host, ended.stdout + ended.stderr)
            lacks = missing(typed.expected, printed)
            if ended.returncode == typed.exit_code and not lacks:
                return True
            said = f"code {ended.returncode}, no {lacks!r} in:\n{printed}"
            return False

        if typed.only_looks:
            self.eventually(shows_it, lambda: f"{typed.where}: {typed.command}: {said}")
        elif not shows_it():
            pytest.fail(f"{typed.where}: {typed.command}: {said}")

    def do(self, deed: Deed) -> None:
        """What a guide can't type."""
        name, *words = deed.words
        getattr(self, f"_do_{name.replace('-', '_')}")(*words)

    def eventually(self, look: Callable[[], bool], lacks: Union[str, Callable[[], str]]) -> None:
        """Look until it is so."""
        ends_at = CLOCK.now() + LIMIT_SECONDS
        while not look():
            if CLOCK.now() >= ends_at:
                told = lacks if isinstance(lacks, str) else lacks()
                pytest.fail(f"after {LIMIT_SECONDS:g} s: {told}")
            CLOCK.block(0.3)

    def _run(self, typed: Typed) -> subprocess.CompletedProcess[str]:
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", self.theirs(typed.host, typed.command)],
            cwd=self.folder,
            env={**os.environ, "PATH": path, **self.environment(typed.host)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )


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
    return re.sub(r"(?<!host)\d+([.:]\d+)*", "0", " ".join(line.split()))
