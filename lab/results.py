# SPDX-License-Identifier: Apache-2.0
"""What a run has found so far, a line each as it was found.

    .lab-work/runs/<date>/results.jsonl

        {"wanted": ...}    what was asked for; the first line
        {"part": ...}      a lab came up: where, on what, how fast its guest boots
        {"result": ...}    a case has ended

A run of hours may be cut off and go on later (`--resume`), and several labs may share one. Each
line is written at once, as one write to the end of the file, so that neither loses what another
has found. A case that failed is done again by a run that goes on; that it had failed stays told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, TypeVar

import cattrs

from lab.case import Result
from lab.ports import LabError

NAME = "results.jsonl"
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One lab that came up. `place`: a sentence with date, commit and machine; `boot_seconds`: of
    its guest; `exposure`: what systemd says of a unit, by "host: unit"."""

    kind: str
    place: str
    boot_seconds: float
    exposure: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """All of a run. `results`: the last of each case, in the order of the first; `redone`: those
    that had failed and were done again."""

    wanted: Mapping[str, Any]
    parts: tuple[Part, ...]
    results: tuple[Result, ...]
    redone: tuple[Result, ...]

    @property
    def boot_seconds(self) -> float:
        """The slowest boot of a guest."""
        return max((part.boot_seconds for part in self.parts), default=0.0)

    @property
    def exposure(self) -> dict[str, float]:
        """The weakest that was seen of each unit, by "host: unit (storage)"."""
        found: dict[str, float] = {}
        for part in self.parts:
            for unit, level in part.exposure.items():
                name = f"{unit} ({part.kind})"
                found[name] = max(level, found.get(name, 0.0))
        return found


class Results:
    """The file of one run, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME

    def begin(self, wanted: Mapping[str, Any]) -> None:
        """Write what is asked for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._add({"wanted": wanted})

    def add_part(self, part: Part) -> None:
        """Write that a lab came up."""
        self._add({"part": cattrs.unstructure(part)})

    def add_result(self, result: Result) -> None:
        """Write what a case came to."""
        self._add({"result": cattrs.unstructure(result)})

    def load(self) -> Found:
        """Read all of it. Raises LabError for a file that is none of ours."""
        wanted: Optional[Mapping[str, Any]] = None
        parts: list[Part] = []
        latest: dict[tuple[str, str], Result] = {}
        redone: list[Result] = []
        for number, text in enumerate(self._lines(), 1):
            try:
                line = json.loads(text)
                if "result" in line:
                    result = cattrs.structure(line["result"], Result)
                    before = latest.get((result.storage, result.name))
                    redone += [before] if before is not None else []
                    latest[result.storage, result.name] = result
                elif "part" in line:
                    parts.append(cattrs.structure(line["part"], Part))
                else:
                    wanted = line["wanted"]
            except (ValueError, TypeError, LookupError, cattrs.BaseValidationError) as error:
                raise LabError(f"{self.path}, line {number}: {error!r}") from error
        if wanted is None:
            raise LabError(f"{self.path}: it does not say what was asked for")
        return Found(wanted, tuple(parts), tuple(latest.values()), tuple(redone))

    def _lines(self) -> list[str]:
        try:
            # What a lab was about to write when it lost its power is not there.
            return [line for line in self.path.read_text().split("\n")[:-1] if line]
        except OSError as error:
            raise LabError(f"{self.path}: {error.strerror}") from error

    def _add(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line) + "\n").encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def last_run(runs: Path) -> Results:
    """Return the newest run that has a file of results. Raises LabError."""
    found = sorted(path.parent for path in runs.glob(f"*/{NAME}"))
    if not found:
        raise LabError(f"{runs}: there is no run to go on with")
    return Results(found[-1])
