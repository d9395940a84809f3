# SPDX-License-Identifier: Apache-2.0
"""Who looks on while hosts fail: at the kernel's processes, at the engine's page, at `status`.

Three witnesses, each in threads of its own and none inside an agent or a broker. Each notes
moments of time.monotonic(); what they mean is for failures.py to say. None may touch the storage:
it hangs in some of the failures, and whoever looks at it then hangs as well.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from demo.guest import HEALTH_BODY, HEALTH_PATH
from demo.watcher import command_line

QEMU_LOOK_SECONDS = 0.05
PAGE_LOOK_SECONDS = 0.2
PAGE_DEADLINE_SECONDS = 1.0
STATUS_LOOK_SECONDS = 0.5
_SIGKILL_BIT = 1 << (signal.SIGKILL - 1)


@dataclass(frozen=True)
class Qemu:
    """A QEMU that was seen: from when until when, None while it runs."""

    pid: int
    host: str
    begun_at: float
    ended_at: Optional[float] = None


def can_run_guest_code(status: str) -> bool:
    """Whether a process can, by its /proc/PID/status.

    A zombie can't, nor one that has got its SIGKILL and only waits in the kernel for storage: the
    kernel lets it return to no code of its own, nor of its guest, and it may wait for minutes.
    """
    fields = dict(re.findall(r"^(\w+):\s*(\S+)", status, re.M))
    if fields.get("State", "X") in "ZX":
        return False
    pending = int(fields.get("SigPnd", "0"), 16) | int(fields.get("ShdPnd", "0"), 16)
    return not pending & _SIGKILL_BIT


@dataclass
class QemuWitness:
    """Counts QEMU processes. `hosts` maps a text in a process's arguments to a host's name."""

    hosts: dict[str, str]
    seen: dict[int, Qemu] = field(default_factory=dict)
    most_at_once: int = 0
    _running: dict[int, Qemu] = field(default_factory=dict)
    _strangers: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        """Forget the worst moment so far."""
        with self._lock:
            self.most_at_once = len(self._running)

    def running(self) -> list[Qemu]:
        """Return the QEMUs that run now."""
        with self._lock:
            return list(self._running.values())

    def ran_since(self, at: float) -> list[Qemu]:
        """Return those that ran at this moment or later."""
        with self._lock:
            return [one for one in self.seen.values() if one.ended_at is None or one.ended_at > at]

    def look(self) -> None:
        """Look at the kernel's list of processes."""
        found = set(map(int, filter(str.isdigit, os.listdir("/proc"))))
        running = {pid: host for pid in found if (host := self._host_of(pid))}
        now = time.monotonic()
        with self._lock:
            self._strangers &= found
            for pid in set(self._running) - set(running):
                ended = self._running.pop(pid)
                self.seen[pid] = Qemu(pid, ended.host, ended.begun_at, now)
            for pid in set(running) - set(self._running):
                self._running[pid] = self.seen[pid] = Qemu(pid, running[pid], now)
            self.most_at_once = max(self.most_at_once, len(running))

    def _host_of(self, pid: int) -> str:
        """Return the host of a QEMU that runs; "" for all other processes."""
        if pid in self._strangers:
            return ""
        try:
            name = Path(f"/proc/{pid}/comm").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return ""
        if not name.startswith("qemu"):
            # A child that is about to become QEMU has another name until its exec.
            if not name.startswith(("python", "ha-")):
                self._strangers.add(pid)
            return ""
        if not can_run_guest_code(status):
            return ""
        known = self._running.get(pid)
        arguments = "" if known else command_line(pid)
        return (
            known.host
            if known
            else next((name for text, name in self.hosts.items() if text in arguments), "")
        )


class PageWitness:
    """Asks for the engine's page at a port, as the engine's users do."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._port = port
        self._address = address
        self._lock = threading.Lock()
        self._good: list[float] = []

    def good_since(self, at: float) -> Optional[float]:
        """Return when the first good answer after this moment was complete."""
        with self._lock:
            return next((moment for moment in self._good if moment >= at), None)

    def good_between(self, begin: float, end: float) -> list[float]:
        """Return the moments of all good answers in between."""
        with self._lock:
            return [moment for moment in self._good if begin <= moment <= end]

    def look(self) -> None:
        """Ask once."""
        connection = http.client.HTTPConnection(
            self._address, self._port, timeout=PAGE_DEADLINE_SECONDS
        )
        try:
            connection.request("GET", HEALTH_PATH)
            answer = connection.getresponse()
            is_good = answer.status == 200 and HEALTH_BODY.encode() in answer.read(4096)
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        if is_good:
            with self._lock:
                self._good.append(time.monotonic())


def longest_silence(moments: Sequence[float], begin: float, end: float) -> float:
    """Return the longest time without a good answer between two moments."""
    marks = [begin, *sorted(moments), end]
    return max(later - earlier for earlier, later in zip(marks, marks[1:]))


def line_pattern(words: str) -> re.Pattern[str]:
    """Return what finds the words of a document in `status`; `…` in them stands for anything."""
    return re.compile(".*".join(re.escape(part) for part in words.split("…")))


class StatusWitness:
    """Reads `status` of the hosts, and tells whether some words have been there.

    Each host has a thread that looks: one that hangs must not hide what the others say meanwhile.
    """

    def __init__(self, text: Callable[[str], str]) -> None:
        """`text` returns what a host, by its name, says now."""
        self._text = text
        self._wanted: Optional[re.Pattern[str]] = None
        self.was_seen = False

    def begin(self, words: str) -> None:
        """From now on look for these."""
        self.was_seen = False
        self._wanted = line_pattern(words)

    def look(self, host: str) -> None:
        """Look once at one host."""
        wanted = self._wanted
        if wanted is None or self.was_seen:
            return
        if wanted.search(self._text(host)) and wanted is self._wanted:
            self.was_seen = True


class Watch:
    """Runs the witnesses' looks in threads."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, look: Callable[[], None], interval_seconds: float) -> None:
        """Call `look` again and again, with this time in between."""

        def run() -> None:
            while not self._end.is_set():
                look()
                self._end.wait(interval_seconds)

        thread = threading.Thread(target=run, name="witness", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End all looks."""
        self._end.set()
        for thread in self._threads:
            thread.join()
