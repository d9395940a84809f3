# SPDX-License-Identifier: Apache-2.0
"""Monitors of storage domains: a real read of each one's metadata every few seconds.

The answer of Host.getStorageRepoStats comes from memory, whatever the storage does. As with VDSM
a monitor is forgotten by a restart, and reports version -1 and actual false before its first
read. VDSM's `acquired` says that sanlock's host id is held: with VM leases by sanlock the monitor
joins the domain's lockspace by the id that it was started with, keeps it joined, and tells the
truth about that; where VM leases need no lockspace, it says that the domain can be read.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from ha_agent.errors import EnvironmentFault, HaAgentError
from ha_agent.instant import Instant
from ha_agent.vdsm import file_domain
from ha_agent.vdsm.deadline import StorageThreads
from ha_agent.vdsm.errors import VdsmCode

log = logging.getLogger(__name__)

READ_BYTES = 4096
_JOINING_SECONDS = 1.0
_MAX_MONITORS = 100


class Clock(Protocol):
    """The clock that reads are timed by."""

    def now(self) -> Instant: ...


class Lockspaces(Protocol):
    """What is needed of vm/sanlock.py's HostIds; called in threads."""

    def keep(self, domain_path: Path, host_id: int) -> bool: ...

    def leave(self, domain_path: Path, host_id: int) -> None: ...


@dataclass(frozen=True)
class _Read:
    """The outcome of one read: `code` 0 when it was good."""

    code: int
    began_at: Instant
    delay_seconds: float
    version: int
    acquired: bool


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
        lockspaces: Optional[Lockspaces] = None,
    ) -> None:
        self._lockspaces = lockspaces
        self._host_ids: dict[str, int] = {}
        self._paths = paths
        self._threads = threads
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._deadline_seconds = deadline_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reads: dict[str, _Read] = {}
        self._troubles: dict[str, tuple[object, ...]] = {}

    def start(self, domain: str, host_id: int) -> None:
        """Begin to monitor; nothing happens when it is monitored already. Raises EnvironmentFault
        for more than any host has.
        """
        if domain not in self._tasks:
            if len(self._tasks) >= _MAX_MONITORS:
                raise EnvironmentFault(f"{_MAX_MONITORS} storage domains are monitored already")
            self._host_ids[domain] = host_id
            self._tasks[domain] = asyncio.create_task(self._monitor(domain))

    async def leave(self, domain: str) -> None:
        """End one monitor, and release the host id, unless a VM needs it. Raises EnvironmentFault,
        DeadlineExceeded.
        """
        host_id = self._host_ids.get(domain)
        await self.stop(domain)
        lockspaces = self._lockspaces
        if lockspaces is None or host_id is None:
            return
        try:
            await self._threads.run(
                f"lockspace {domain}",
                self._deadline_seconds,
                lambda: lockspaces.leave(file_domain.find_domain(self._paths(), domain), host_id),
            )
        except HaAgentError:
            # Still held, so that who asks again is not told that it is released.
            self._host_ids.setdefault(domain, host_id)
            raise

    async def stop(self, domain: Optional[str] = None) -> None:
        """End one monitor, or all; host ids stay held."""
        for name in [domain] if domain else list(self._tasks):
            task = self._tasks.pop(name, None)
            self._reads.pop(name, None)
            self._host_ids.pop(name, None)
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
            "acquired": read is not None and read.acquired,
            "actual": read is not None,
        }

    async def _monitor(self, domain: str) -> None:
        while True:
            before = self._reads.get(domain)
            self._reads[domain] = read = await self._read(domain)
            if before is None or before.code != read.code:
                log.info("storage domain %s: monitor code %d", domain, read.code)
            # A host that joins is looked at more often: others wait for it.
            pause_seconds = _JOINING_SECONDS if read.code == 0 and not read.acquired else math.inf
            await asyncio.sleep(min(pause_seconds, self._interval_seconds))

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
        delay_seconds = self._clock.now() - began_at
        acquired = code == 0 if self._lockspaces is None else await self._keep(domain)
        return _Read(code, began_at, delay_seconds, version, acquired)

    async def _keep(self, domain: str) -> bool:
        lockspaces, host_id = self._lockspaces, self._host_ids[domain]
        assert lockspaces is not None
        try:
            return await self._threads.run(
                f"lockspace {domain}",
                self._deadline_seconds,
                lambda: lockspaces.keep(file_domain.find_domain(self._paths(), domain), host_id),
            )
        except HaAgentError as error:
            if error.args != self._troubles.get(domain):
                log.warning("host id %d of storage domain %s: %s", host_id, domain, error)
            self._troubles[domain] = error.args
            return False


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
