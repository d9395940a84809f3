# SPDX-License-Identifier: Apache-2.0
"""Counts the virtual machines of the engine that could run, by the kernel's word alone.

A QEMU counts when it is the engine VM by its command line, or has the engine's disk open, and can
still run guest code (bench/failure_watch.py tells why one with a pending SIGKILL can't). Which
host it is on says its pid namespace, which is its container's.

Nothing here touches storage: of an open file only the name of its link is read, which the kernel
answers from memory while the file's own file system hangs.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from bench.failure_watch import can_run_guest_code
from demo.watcher import command_line

UNKNOWN_HOST = "?"
# Whoever starts a QEMU has another name until it has become one; all else is left alone for good.
_MAY_BECOME = (
    *("qemu", "python", "ha-", "sh", "bash", "sanlock", "virt", "libvirt", "("),
    # What libvirtd forks is named as the thread that does: rpc-libvirtd, prio-rpc-libvirtd.
    *("rpc-", "prio-rpc-"),
)
# The emulators; qemu-img and the like run no guest.
_EMULATORS = ("qemu-system", "qemu-kvm")


@dataclass(frozen=True)
class Run:
    """A QEMU of the engine VM that was seen: from when until when, None while it runs."""

    pid: int
    host: str
    begun_at: float
    ended_at: Optional[float] = None


@dataclass(frozen=True)
class Found:
    """A process that is such a QEMU now."""

    pid: int
    parent: int
    namespace: str


def pid_namespace(pid: int) -> str:
    """Return the name of a process's pid namespace; "" where it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def parent_of(status: str) -> int:
    """Return the parent's pid, by /proc/PID/status; 0 where it does not say."""
    found = re.search(r"^PPid:\s*(\d+)$", status, re.M)
    return int(found[1]) if found else 0


def open_names(pid: int) -> list[str]:
    """Return the names of a process's open files; none where it is gone."""
    names = []
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
            except OSError:
                continue
    except OSError:
        return []
    return names


def without_children(found: Collection[Found]) -> list[Found]:
    """Leave out who was forked by another of them: it is about to become a helper program."""
    pids = {one.pid for one in found}
    return [one for one in found if one.parent not in pids]


class QemuWatch:
    """Looks at /proc. `texts`: any of them is in the engine VM's command line; `disk_texts`: any
    is in the name of its open disk. `leaders` returns the hosts' PID 1 by host name."""

    def __init__(
        self,
        texts: Sequence[str],
        disk_texts: Sequence[str],
        leaders: Callable[[], Mapping[str, Optional[int]]],
    ) -> None:
        self._texts = tuple(texts)
        self._disk_texts = tuple(disk_texts)
        self._leaders = leaders
        self._hosts: dict[str, str] = {}
        self._strangers: set[int] = set()
        self._engines: set[int] = set()
        self._running: dict[int, Run] = {}
        self._seen: list[Run] = []
        self._most_at_once = 0
        self._worst: tuple[Run, ...] = ()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Forget the worst moment so far."""
        with self._lock:
            self._most_at_once = len(self._running)
            self._worst = tuple(self._running.values())

    def worst(self) -> tuple[int, tuple[Run, ...]]:
        """Return how many could run at the worst moment since `begin`, and which."""
        with self._lock:
            return self._most_at_once, self._worst

    def running(self) -> list[Run]:
        """Return those that run now."""
        with self._lock:
            return list(self._running.values())

    def runs(self, since: float) -> list[Run]:
        """Return all that ran at this moment of time.monotonic() or later, in order."""
        with self._lock:
            ended = [one for one in self._seen if one.ended_at is None or one.ended_at >= since]
            return sorted([*ended, *self._running.values()], key=lambda run: run.begun_at)

    def look(self) -> None:
        """Look at the kernel's list of processes."""
        for name, leader in self._leaders().items():
            if leader is not None and (namespace := pid_namespace(leader)):
                self._hosts[namespace] = name
        pids = set(map(int, filter(str.isdigit, os.listdir("/proc"))))
        self._strangers &= pids
        self._engines &= pids
        self.note([one for pid in pids if (one := self._engine_at(pid)) is not None])

    def note(self, found: Sequence[Found]) -> None:
        """Take what a look has found."""
        now = time.monotonic()
        running = {one.pid: one for one in without_children(found)}
        with self._lock:
            for pid in set(self._running) - set(running):
                ended = self._running.pop(pid)
                self._seen.append(Run(pid, ended.host, ended.begun_at, now))
            for pid in set(running) - set(self._running):
                host = self._hosts.get(running[pid].namespace, UNKNOWN_HOST)
                self._running[pid] = Run(pid, host, now)
            if len(self._running) > self._most_at_once:
                self._most_at_once = len(self._running)
                self._worst = tuple(self._running.values())

    def _engine_at(self, pid: int) -> Optional[Found]:
        if pid in self._strangers:
            return None
        try:
            name = Path(f"/proc/{pid}/comm").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return None
        if not name.startswith(_EMULATORS):
            if not name.startswith(_MAY_BECOME):
                self._strangers.add(pid)
            return None
        if not can_run_guest_code(status) or not self._is_engine(pid):
            return None
        return Found(pid, parent_of(status), pid_namespace(pid))

    def _is_engine(self, pid: int) -> bool:
        # A command line is read once: the memory of a process that hangs can't be read.
        if pid in self._engines:
            return True
        arguments = command_line(pid)
        is_engine = any(text in arguments for text in self._texts) or any(
            text in name for name in open_names(pid) for text in self._disk_texts
        )
        if is_engine:
            self._engines.add(pid)
        return is_engine
