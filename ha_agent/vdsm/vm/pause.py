# SPDX-License-Identifier: Apache-2.0
"""What becomes of a VM that an I/O error has paused: its <ovirt-vm:resumeBehavior>.

    auto_resume    it goes on as soon as its disks can be used again; what an unknown word means
    kill           the same, but after 25 s it is destroyed: exit code 1, reason 14
    leave_paused   it waits for VM.cont or VM.destroy

The facts name the exit reason; the words and the 25 s are VDSM's (its [vars]
vm_kill_paused_time), which facts/vdsm.md is silent on. VDSM resumes when its monitor sees the
storage domain valid again; here the VM's own disks are tried, which also tells that a full
file system has room again. Each attempt that fails pauses the VM anew, so they become rare.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Callable

AUTO_RESUME = "auto_resume"
KILL = "kill"
LEAVE_PAUSED = "leave_paused"
IO_ERROR_CODES = ("EIO", "ENOSPC")
_LONGEST_LOOK_SECONDS = 60.0
_BLOCK_BYTES = 4096


@dataclass(frozen=True)
class PauseTimes:
    """How long after an I/O error the disks are looked at, and a `kill` is done."""

    look_seconds: float = 5.0
    kill_seconds: float = 25.0


def can_be_used(paths: Sequence[str]) -> bool:
    """Tell whether files and block devices can be read, and have room. May hang: see deadline.py.

    Read past the page cache where that is possible: what is in memory says nothing.
    """
    for path in paths:
        try:
            descriptor = _open(path)
        except OSError:
            return False
        try:
            os.preadv(descriptor, [_aligned()], 0)
            room = os.fstatvfs(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        if not path.startswith("/dev/") and room.f_blocks and not room.f_bavail:
            return False
    return True


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _aligned() -> memoryview:
    # Anonymous memory begins on a page, as direct I/O wants it.
    return memoryview(mmap.mmap(-1, _BLOCK_BYTES))


class PauseTender:
    """Waits beside a VM that is paused by an I/O error, until it runs or is gone.

    `is_storage_well` tells whether an attempt is worth it, `resume` makes one, `kill` destroys.
    None of them raises. A VM that runs, and is soon paused again, is still the same case: the
    time until `kill` counts from the first pause.
    """

    def __init__(
        self,
        behavior: str,
        *,
        is_paused: Callable[[], bool],
        is_storage_well: Callable[[], Awaitable[bool]],
        resume: Callable[[], Awaitable[None]],
        kill: Callable[[], Awaitable[None]],
        times: PauseTimes,
    ) -> None:
        self._behavior = behavior
        self._is_paused = is_paused
        self._is_storage_well = is_storage_well
        self._resume = resume
        self._kill = kill
        self._times = times

    async def tend(self) -> None:
        """Wait, try, and in the end kill, as the behaviour says."""
        if self._behavior == LEAVE_PAUSED:
            return
        trying = asyncio.ensure_future(self._try_again_and_again())
        try:
            limit = self._times.kill_seconds if self._behavior == KILL else None
            await asyncio.wait({trying}, timeout=limit)
        finally:
            trying.cancel()
        if self._behavior == KILL and self._is_paused():
            await self._kill()

    async def _try_again_and_again(self) -> None:
        look_seconds = self._times.look_seconds
        while True:
            await asyncio.sleep(look_seconds)
            if not self._is_paused():
                return
            if await self._is_storage_well():
                await self._resume()
                look_seconds = min(2 * look_seconds, _LONGEST_LOOK_SECONDS)
