# SPDX-License-Identifier: Apache-2.0
"""The engine VM's QEMU process on this host, and what it uses.

It blocks: reading a command line waits while that process's memory map is locked. It must not
be used to end the process; the guard (lease/fence.py) finds it on its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import psutil

# Of these only the command line is read. libvirt's is qemu-kvm, Debian's qemu-system-x86.
_NAME_START = b"qemu"


@dataclass(frozen=True)
class Use:
    """`pid` and `began_at` (psutil's create_time) tell one process from the next."""

    pid: int
    began_at: float
    cpu_seconds: float
    memory_bytes: int


class EngineProcess:
    """Finds the process with `-uuid <vm uuid>`, and remembers it for the next look."""

    def __init__(self, vm_uuid: str) -> None:
        self._vm_uuid = vm_uuid.lower()
        self._known: Optional[psutil.Process] = None

    def look(self) -> Optional[Use]:
        """Return what the process uses now; None when the VM does not run here."""
        use = _use(self._known)
        if use is None:
            self._known = self._find()
            use = _use(self._known)
        return use

    def _find(self) -> Optional[psutil.Process]:
        for pid in psutil.pids():
            if not _name(pid).startswith(_NAME_START):
                continue
            # Any of them may end between list and read.
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if self._is_ours(process.cmdline()):
                    return process
        return None

    def _is_ours(self, arguments: Sequence[str]) -> bool:
        return any(
            one == "-uuid" and two.lower() == self._vm_uuid
            for one, two in zip(arguments, arguments[1:])
        )


def _name(pid: int) -> bytes:
    # Read for every process of the host, several times a minute: psutil takes four times as long.
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _use(process: Optional[psutil.Process]) -> Optional[Use]:
    if process is None:
        return None
    try:
        # False also for another process that got the number since.
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        times, memory = process.cpu_times(), process.memory_info()
        return Use(process.pid, process.create_time(), times.user + times.system, memory.rss)
    except psutil.Error:
        return None
