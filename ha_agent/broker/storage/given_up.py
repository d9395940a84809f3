# SPDX-License-Identifier: Apache-2.0
"""The storage workers of one lane that were given up and have not ended: they may still write.

They hang in the kernel, which no signal ends. Some are this broker's, and what they do is known;
some are of the broker before it (storage/leftovers.py), and only known to be writing or not.
Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional, Protocol


class Process(Protocol):
    """What is needed of subprocess.Popen."""

    def poll(self) -> Optional[int]: ...


class Leftover(Process, Protocol):
    """A worker that an earlier broker left."""

    def may_write(self) -> bool: ...


class GivenUp:
    """Who of a lane's workers may still be at work, and where."""

    def __init__(self, leftovers: Sequence[Leftover] = ()) -> None:
        """`leftovers` are an earlier broker's."""
        self._ours: list[tuple[Process, Any]] = []
        self._leftovers = list(leftovers)

    def add(self, process: Process, place: Any = None) -> None:
        """Remember one that was given up while it wrote to `place`, None for no such write."""
        self._ours.append((process, place))

    def count(self) -> int:
        """Return how many have not ended."""
        # poll() is waitpid(WNOHANG): it reaps those that could die and never waits.
        self._ours = [entry for entry in self._ours if entry[0].poll() is None]
        self._leftovers = [process for process in self._leftovers if process.poll() is None]
        return len(self._ours) + len(self._leftovers)

    def may_write(self, place: Any) -> bool:
        """Tell whether what one of them writes may still land on `place`."""
        self.count()
        if any(process.may_write() for process in self._leftovers):
            return True
        return any(written == place for _, written in self._ours)
