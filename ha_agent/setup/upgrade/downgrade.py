# SPDX-License-Identifier: Apache-2.0
"""`ha-agent downgrade`: this host back to what the newest backup of an upgrade has.

    switch-back      our units off                       this host
    maintenance      into the predecessor's ha.conf      this host
    files            put back, with mode and owner       this host
    start-...        their units as they were            this host
    restored         the backup is history               our own folder

A file that is neither as we left it nor as it was is asked about, --force FILE or --keep FILE,
before a unit stops.

Shared storage stays as it is: other hosts use it, and the predecessor skips our keys there. What
the configuration volume and the OVF_STORE held is in the backup, for people. An OVF that was put
into the OVF_STORE stays, and so does the lease.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ha_agent.atomic_file import replace_file
from ha_agent.errors import BadInput
from ha_agent.ports import Clock
from ha_agent.setup.journal import Journal
from ha_agent.setup.runner import run_steps
from ha_agent.setup.services import PREDECESSOR_UNITS, Services
from ha_agent.setup.step import Found, Say, SetupFailed, SetupRefused, Step
from ha_agent.setup.upgrade.backup import RESTORED, Backup, FileEntry, digest
from ha_agent.setup.upgrade.kept_maintenance import HandMaintenanceBack
from ha_agent.setup.upgrade.predecessor_host import read_files
from ha_agent.setup.upgrade.switch_over import StartTheirs, SwitchToTheirs

TO_KNOW = (
    "the engine VM is not stopped; where it runs here, set global maintenance first, until the"
    " predecessor's agent shows it in --vm-status",
    "shared storage stays as it is: other hosts use it",
)


class RestoreFiles:
    """Puts files back that are as we left them."""

    name = "files"
    title = "put this host's files back"

    def __init__(
        self, root: Path, backup: Backup, *, force: Collection[str], keep: Collection[str]
    ) -> None:
        """`force` and `keep` are paths below the root, or with it."""
        self._root = root
        self._backup = backup
        self._force = {self._relative(path) for path in force}
        self._keep = {self._relative(path) for path in keep}

    async def look(self) -> Found:
        """Raise SetupRefused with every file that somebody else has changed."""
        left = self._backup.left()
        waiting, changed = [], []
        for entry in self._entries():
            now = self._now(entry)
            if now == entry.sha256:
                continue
            if now in left.get(entry.path, ()) or entry.path in self._force:
                if entry.sha256:
                    self._backup.content(entry)  # a damaged copy is told before the units stop
                waiting.append(str(self._root / entry.path))
            else:
                changed.append(str(self._root / entry.path))
        if changed:
            choices = "; ".join(f"--force {path} or --keep {path}" for path in changed)
            raise SetupRefused(
                f"changed since the upgrade, and not by it: {', '.join(changed)}. Put the old one"
                f" back, or leave it as it is: {choices}"
            )
        if waiting:
            return Found(False, f"to be put back: {', '.join(waiting)}")
        return Found(True, f"all are as {self._backup.folder.name} has them, or kept")

    async def do(self, say: Say) -> str:
        """Put back file by file, each in one piece. Raises EnvironmentFault, SetupFailed."""
        done = []
        for entry in self._entries():
            path = self._root / entry.path
            if self._now(entry) == entry.sha256:
                continue
            say(str(path))
            try:
                if entry.sha256:
                    data = self._backup.content(entry)
                    target = Path(os.path.realpath(path))  # a link is left as it is
                    replace_file(target, data, mode=entry.mode, owner=(entry.uid, entry.gid))
                else:
                    with contextlib.suppress(FileNotFoundError):
                        path.unlink()
            except OSError as error:
                raise SetupFailed(
                    f"can't put {path} back: {error.strerror}. No agent runs on this host until"
                    " this is run again"
                ) from error
            done.append(str(path))
        return ", ".join(done) or "none had changed"

    def _entries(self) -> list[FileEntry]:
        return [
            entry
            for entry in self._backup.manifest.files
            if entry.restore and entry.path not in self._keep
        ]

    def _now(self, entry: FileEntry) -> str:
        data = read_files(self._root, (entry.path,)).get(entry.path)
        return "" if data is None else digest(data)

    def _relative(self, path: str) -> str:
        given = Path(path)
        if given.is_absolute():
            with contextlib.suppress(ValueError):
                given = given.relative_to(self._root)
        known = [entry.path for entry in self._backup.manifest.files]
        if str(given) not in known:
            raise BadInput(f"{path!r:.120} is none of {', '.join(known)}")
        return str(given)


class MarkRestored:
    """Makes the backup history, so that the next upgrade makes a new one."""

    name = "restored"
    title = "note that the backup was put back"

    def __init__(self, backup: Backup) -> None:
        self._backup = backup

    async def look(self) -> Found:
        """Done when it is noted."""
        done = (self._backup.folder / RESTORED).exists()
        return Found(done, str(self._backup.folder))

    async def do(self, say: Say) -> str:  # noqa: ARG002
        """Note it."""
        self._backup.mark_restored()
        return str(self._backup.folder)


@dataclass(frozen=True)
class Downgrade:
    """What a downgrade works on; `force` and `keep` as RestoreFiles has them."""

    root: Path
    backup: Backup
    services: Services
    clock: Clock
    journal: Journal
    force: Sequence[str] = ()
    keep: Sequence[str] = ()


async def run_downgrade(down: Downgrade, *, say: Say, dry_run: bool) -> tuple[str, ...]:
    """Put this host back, or with `dry_run` print the plan; return the names of what was to do.

    Raises as runner.run_steps does; a re-run goes on from there.
    """
    files = RestoreFiles(down.root, down.backup, force=down.force, keep=down.keep)
    if dry_run:
        for entry in down.backup.manifest.files:
            if entry.restore:
                say(f"backup: {down.root / entry.path}: {entry.sha256[:12] or 'not there then'}")
        for sentence in TO_KNOW:
            say(f"note: {sentence}")
    steps: list[Step] = [
        SwitchToTheirs(down.services),
        HandMaintenanceBack(down.backup.folder.parent.parent, down.root, down.services),
        files,
        StartTheirs(down.services, down.backup.manifest.units, down.root),
        MarkRestored(down.backup),
    ]
    done = await run_steps(steps, journal=down.journal, say=say, dry_run=dry_run, clock=down.clock)
    for name in PREDECESSOR_UNITS:
        unit = down.backup.manifest.units.get(name)
        if unit is None or not (unit.running and unit.enabled):
            was = "was not there" if unit is None else "did not run, or not at each boot"
            say(f"note: {name} {was} before the upgrade, and that is how it was put back")
    return done
