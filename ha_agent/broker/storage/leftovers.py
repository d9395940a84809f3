# SPDX-License-Identifier: Apache-2.0
"""Finds the storage workers that an earlier broker of this host left hanging in the kernel.

What such a one writes may land after the next broker has written to the same place, so that has
to know of it. They are found in /proc: by their name, which tells the lane and whether they may be
writing (storage_worker.process_name), and by the run folder on the command line, the nursery's for
those that were forked from it. A process that ends has no command line any more, and may still
hang in the close of a file: that counts as one of ours.

A worker dies with its broker unless it hangs. So most that are found right after a restart are
gone a moment later, and nothing is to be sent to them. Reads /proc only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ha_agent.broker.storage.launch import ForkedWorker
from ha_agent.broker.storage.worker import process_name

_PROC = Path("/proc")


class LeftWorker(ForkedWorker):
    """A worker of an earlier broker, by its pidfd."""

    def __init__(self, pid: int, pidfd: int, lane: str) -> None:
        super().__init__(pid, pidfd)
        self._writing = process_name(lane, writes=True)

    def may_write(self) -> bool:
        """Whether it is in an operation that writes, by its name as of now."""
        name = _read(self.pid, "comm").rstrip("\n")
        return self.poll() is None and name == self._writing


def find_leftovers(lane: str, run_dir: str) -> tuple[LeftWorker, ...]:
    """Return the live workers of a lane of brokers with this run folder.

    Call it before the lane has a worker of its own. Raises OSError when there is no /proc.
    """
    names = {process_name(lane), process_name(lane, writes=True)}
    found = []
    for pid in (int(name) for name in os.listdir(_PROC) if name.isdigit()):
        if _read(pid, "comm").rstrip("\n") not in names:
            continue
        try:
            worker = LeftWorker(pid, os.pidfd_open(pid), lane)
        except OSError:
            continue  # it has ended
        # Only now, with the pidfd, is it sure whose command line that is.
        if worker.poll() is None and _is_of(run_dir, _read(pid, "cmdline").split("\0")):
            found.append(worker)
        else:
            worker.close()
    return tuple(found)


def _is_of(run_dir: str, command: Sequence[str]) -> bool:
    return command == [""] or run_dir in command


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""
