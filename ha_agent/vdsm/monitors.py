# SPDX-License-Identifier: Apache-2.0
"""Monitors of storage domains: a real read of each one's metadata every few seconds.

The answer of Host.getStorageRepoStats comes from memory, whatever the storage does. As with VDSM
a monitor is forgotten by a restart, and reports version -1 and actual false before its first
read. VDSM's `acquired` says that sanlock's host id is held; here VM leases need no lockspace, so
it says that the domain can be read.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from ha_agent.errors import HaAgentError
from ha_agent.instant import Instant
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCode

log = logging.getLogger(__name__)

READ_BYTES = 4096


class Clock(Protocol):
    """The clock that reads are timed by."""

    def now(self) -> Instant: ...


@dataclass(frozen=True)
class _Read:
    """The outcome of one read: `code` 0 when it was good."""

    code: int
    began_at: Instant
    delay_seconds: float
    version: int


class Monitors:
    """Monitors by domain UUID."""

    def __init__(
        self,
        paths: Callable[[], tuple[Path, ...]],
        threads: StorageThreads,
        clock: Clock,
        *,
        interval_seconds: float = 10.0,
        deadline_seconds: float = 10.0,
    ) -> None:
        self._paths = paths
        self._threads = threads
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._deadline_seconds = deadline_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reads: dict[str, _Read] = {}

    def start(self, domain: str) -> None:
        """Begin to monitor; nothing happens when it is monitored already."""
        if domain not in self._tasks:
            self._tasks[domain] = asyncio.create_task(self._monitor(domain))

    async def stop(self, domain: Optional[str] = None) -> None:
        """End one monitor, or all."""
        for name in [domain] if domain else list(self._tasks):
            task = self._tasks.pop(name, None)
            self._reads.pop(name, None)
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def stats(self, domains: Optional[list[str]] = None) -> dict[str, dict[str, Any]]:
        """Return what Host.getStorageRepoStats answers."""
        return {
            domain: self._vitals(self._reads.get(domain))
            for domain in self._tasks
            if not domains or domain in domains
        }

    def _vitals(self, read: Optional[_Read]) -> dict[str, Any]:
        age_seconds = self._clock.now() - read.began_at if read else 0.0
        is_good = read is not None and read.code == 0
        return {
            "code": read.code if read else 0,
            "lastCheck": f"{age_seconds:.1f}",
            "delay": f"{read.delay_seconds:.9f}" if read else "0",
            "valid": read is None or is_good,
            "version": read.version if read else -1,
            "acquired": is_good,
            "actual": read is not None,
        }

    async def _monitor(self, domain: str) -> None:
        while True:
            before = self._reads.get(domain)
            self._reads[domain] = read = await self._read(domain)
            if before is None or before.code != read.code:
                log.info("storage domain %s: monitor code %d", domain, read.code)
            await asyncio.sleep(self._interval_seconds)

    async def _read(self, domain: str) -> _Read:
        began_at = self._clock.now()
        code, version = 0, -1
        try:
            version = await self._threads.run(
                f"storage domain {domain}",
                self._deadline_seconds,
                functools.partial(_read_domain, self._paths(), domain),
            )
        except file_domain.NoSuchDomain:
            code = int(VdsmCode.DOMAIN_DOES_NOT_EXIST)
        except (HaAgentError, OSError) as error:
            log.info("storage domain %s: %s", domain, error)
            code = int(VdsmCode.DOMAIN_ACCESS_ERROR)
        return _Read(code, began_at, self._clock.now() - began_at, version)


def _read_domain(paths: tuple[Path, ...], domain: str) -> int:
    path = file_domain.find_domain(paths, domain) / "dom_md" / "metadata"
    data = read_uncached(path)
    version = file_domain.parse_metadata(data, str(path)).get("VERSION", "")
    return int(version) if version.isdecimal() else -1


def read_uncached(path: Path) -> bytes:
    """Read a file's first block from the storage and not from the page cache. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:  # no direct I/O there (tmpfs)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        with mmap.mmap(-1, READ_BYTES) as buffer:  # page aligned, as direct I/O wants it
            count = os.readv(descriptor, [buffer])
            return buffer[:count]
    finally:
        os.close(descriptor)
