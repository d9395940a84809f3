# SPDX-License-Identifier: Apache-2.0
"""Watches the certificates that this host depends on: tells when they end, and when they change.

    a file changes     half a second for its neighbours to change, too, then all are read again
    every hour         read again: time passes, and a file may lie where nothing tells of changes
    30, 7 and 1 days   before the end of one, and at its end, it is said in the log, and by the
                       picture to everybody else

The watch knows nothing of the listener; who uses the files is told to look (`on_files`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Protocol

from ha_agent.broker.push.certs import file_entry, peer_entry
from ha_agent.broker.push.entry import CertificateEntry, expiry_text
from ha_agent.config.schema import PushConfig, VdsmConfig
from ha_agent.file_watch import FileWatch
from ha_agent.instant import WallTime
from ha_agent.journal_messages import CERTIFICATE_ENDS
from ha_agent.log import fields
from ha_agent.waiting import wait_for_event

log = logging.getLogger(__name__)

_LOOK_INTERVAL_SECONDS = 3600.0
_POLL_INTERVAL_SECONDS = 60.0
_SETTLE_SECONDS = 0.5


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def wall(self) -> WallTime: ...

    async def sleep(self, duration_seconds: float) -> None: ...


@dataclass(frozen=True)
class Watched:
    """One file with certificates."""

    role: str
    path: Path
    is_ca: bool = False


def watched_files(push: PushConfig, vdsm: VdsmConfig) -> tuple[Watched, ...]:
    """Return the files of the configuration, those that are used only; each path once."""
    files: list[Watched] = []
    if vdsm.ssl:
        files += [Watched("vdsm", vdsm.cert_file), Watched("vdsm CA", vdsm.ca_file, is_ca=True)]
    if push.listen_address:
        files += [Watched("push", push.cert_file), Watched("push CA", push.ca_file, is_ca=True)]
    by_path: dict[Path, Watched] = {}
    for file in files:
        by_path.setdefault(file.path, file)
    return tuple(by_path.values())


class CertificateWatch:
    """Keeps `entries` current. Run `run`."""

    def __init__(
        self,
        files: Sequence[Watched],
        *,
        clock: Clock,
        on_change: Callable[[tuple[CertificateEntry, ...]], None],
        more_files: Sequence[Path] = (),
        on_files: Callable[[], None] = lambda: None,
    ) -> None:
        """`more_files` are watched, but not read: private keys."""
        self._files = tuple(files)
        self._paths = (*(file.path for file in files), *more_files)
        self._clock = clock
        self._on_change = on_change
        self._on_files = on_files
        self._peers: dict[str, bytes] = {}
        self._told: dict[tuple[str, str], str] = {}
        self.entries: tuple[CertificateEntry, ...] = ()

    async def run(self) -> None:
        """Look now, at each change and each hour, for ever."""
        if not self._paths:
            await asyncio.Event().wait()
        changed = asyncio.Event()
        watch = FileWatch(
            self._paths,
            lambda _path: changed.set(),
            poll_interval_seconds=_POLL_INTERVAL_SECONDS,
        )
        try:
            while True:
                changed.clear()
                self.look()
                if await wait_for_event(changed, _LOOK_INTERVAL_SECONDS):
                    await self._clock.sleep(_SETTLE_SECONDS)
                    changed.clear()
                self._on_files()
        finally:
            watch.close()

    def peer_seen(self, role: str, der: bytes) -> None:
        """Take the certificate that a peer, such as the engine, showed just now."""
        if der != self._peers.get(role):  # else the files would be read for each connection
            self._peers[role] = der
            self.look()

    def look(self) -> None:
        """Read the files, and tell what is new."""
        wall = self._clock.wall()
        entries = [
            file_entry(file.role, file.path, wall, is_ca=file.is_ca) for file in self._files
        ]
        entries += [peer_entry(role, der, wall) for role, der in self._peers.items()]
        for entry in entries:
            self._tell(entry)
        self.entries = tuple(entries)
        self._on_change(self.entries)

    def _tell(self, entry: CertificateEntry) -> None:
        """Say in the log what a person should do something about, once."""
        text = expiry_text(entry, WallTime(entry.not_after_unix_seconds).iso())
        key = (entry.role, entry.path)
        before, self._told[key] = self._told.get(key, ""), text
        if text and text != before:
            level = logging.ERROR if entry.warning_days == 0 else logging.WARNING
            log.log(level, "%s", text, extra=fields(CERTIFICATE_ENDS, certificate=entry.role))
        elif before and not text:
            log.info(
                "The %s certificate is good until %s",
                entry.role,
                WallTime(entry.not_after_unix_seconds).iso(),
            )
