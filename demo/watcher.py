# SPDX-License-Identifier: Apache-2.0
"""The independent witness: looks at the kernel's list of open files, asks no agent.

It counts the processes that have the boot disk open, many times a second, and remembers the
worst moment and every coming and going. A zombie has no files open and does not count.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

LOOK_INTERVAL_SECONDS = 0.02


@dataclass(frozen=True)
class Change:
    """A process opened the disk (`opened`) or has it open no more. `host` is who started it."""

    at: float
    pid: int
    host: str
    opened: bool


@dataclass
class DiskWatcher:
    """Watches one disk file. `hosts` maps a text in a process's arguments to a host's name."""

    disk: Path
    hosts: dict[str, str]
    changes: list[Change] = field(default_factory=list)
    looks: int = 0
    most_at_once: int = 0
    _openers: dict[int, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Begin to look, in a thread."""
        self._thread = threading.Thread(target=self._run, name="disk watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def openers(self) -> dict[int, str]:
        """Return who has the disk open now: pid to host name."""
        with self._lock:
            return dict(self._openers)

    def since(self, at: float) -> Sequence[Change]:
        """Return the changes after a moment of time.monotonic()."""
        with self._lock:
            return [change for change in self.changes if change.at >= at]

    def _run(self) -> None:
        inode = os.stat(self.disk)
        key = (inode.st_dev, inode.st_ino)
        while not self._stop.is_set():
            self._look(key)
            self._stop.wait(LOOK_INTERVAL_SECONDS)

    def _look(self, key: tuple[int, int]) -> None:
        found = {pid: self._host_of(pid) for pid in _pids() if _has_open(pid, key)}
        now = time.monotonic()
        with self._lock:
            for pid, host in found.items():
                if pid not in self._openers:
                    self.changes.append(Change(now, pid, host, True))
            for pid, host in self._openers.items():
                if pid not in found:
                    self.changes.append(Change(now, pid, host, False))
            self._openers = found
            self.looks += 1
            self.most_at_once = max(self.most_at_once, len(found))

    def _host_of(self, pid: int) -> str:
        arguments = command_line(pid)
        return next((name for text, name in self.hosts.items() if text in arguments), "?")


def command_line(pid: int) -> str:
    """Return a process's arguments, blank-separated; "" when it is gone."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    except OSError:
        return ""


def _pids() -> list[int]:
    """QEMU processes only: looking at every process's files would take the machine's time."""
    pids = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            comm = Path(f"/proc/{name}/comm").read_text()
        except OSError:
            continue
        if comm.startswith("qemu"):
            pids.append(int(name))
    return pids


def _has_open(pid: int, key: tuple[int, int]) -> bool:
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                status = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if (status.st_dev, status.st_ino) == key:
                return True
    except OSError:
        return False
    return False
