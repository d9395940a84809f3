# SPDX-License-Identifier: Apache-2.0
"""The definitions that this host has accepted, kept as files: the last ones, newest last.

    <folder>/000017.ovf     the document, as it was read, pushed or put
    <folder>/000017.json    what it is (version.py), and the mark that it is there

Numbers only grow. The document is written first and durably, then the .json: so a version is
there whole or not at all, whenever the power goes. What has no mark is an orphan, and goes with
the next write. A version is pruned mark first, and the newest never.

Versions that were imported from a backup stand beside the accepted ones: they are there to be
looked at and rolled back to, they approve nothing, and they push no accepted one out.

It decides nothing about which definition is used, and never looks at a shared volume. Calls
block: the broker makes them in a thread. Only one process, the broker, may write.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ha_agent.atomic_file import replace_file
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime
from ha_agent.ovfstore.backup import file_name, number_in, read_backup
from ha_agent.ovfstore.ovf_parse import parse_ovf
from ha_agent.ovfstore.tar_volume import MEMBER_LIMIT_BYTES
from ha_agent.ovfstore.version import (
    MARK_LIMIT_BYTES,
    Version,
    check_document,
    format_version,
    parse_version,
    printable,
    sha256_of,
)

IMPORT = "import"
# What atomic_file leaves behind when the power goes.
_DRAFT_NAME = re.compile(r"\.[0-9]{6,12}\.(ovf|json)\.[0-9]+")


@dataclass(frozen=True)
class Listing:
    """All sound versions, oldest first, and a sentence for each that is damaged."""

    versions: tuple[Version, ...]
    faults: tuple[str, ...]


class History:
    """The versions in one folder. The last `keep` are kept, and as many imported ones."""

    def __init__(self, folder: Path, keep: int = 20) -> None:
        self.folder = folder
        self._keep = max(1, keep)
        self._lock = threading.Lock()

    # Reading -----------------------------------------------------------------------------

    def listing(self) -> Listing:
        """Return what is there. Raises EnvironmentFault when the folder can't be read."""
        versions, faults = [], []
        for number in self._numbers("json"):
            try:
                versions.append(self._read(number)[0])
            except (EnvironmentFault, BadInput) as fault:
                faults.append(f"version {number} of this host's history is damaged: {fault}")
        return Listing(tuple(versions), tuple(faults))

    def versions(self) -> tuple[Version, ...]:
        """Return the sound versions, oldest first; raises as `listing`."""
        return self.listing().versions

    def document(self, number: int) -> bytes:
        """Return a version's document.

        Raises BadInput when it is damaged, and EnvironmentFault when it can't be read or is not
        there.
        """
        return self._read(number)[1]

    def newest(self) -> Optional[Version]:
        """Return the newest sound version that was accepted on this host, or None."""
        return next((v for v in reversed(self.versions()) if v.how != IMPORT), None)

    def _read(self, number: int) -> tuple[Version, bytes]:
        mark, path = self._path(number, "json"), self._path(number, "ovf")
        version = parse_version(_read_file(mark, MARK_LIMIT_BYTES), where=str(mark))
        if version.number != number:
            raise BadInput(f"it says it is version {version.number}", where=str(mark))
        document = _read_file(path, MEMBER_LIMIT_BYTES)
        check_document(document, version, where=str(path))
        return version, document

    def _numbers(self, suffix: str) -> list[int]:
        try:
            found = [number_in(name, suffix) for name in os.listdir(self.folder)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EnvironmentFault(f"{self.folder} can't be read: {error.strerror}") from error
        return sorted(number for number in found if number is not None)

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / file_name(number, suffix)

    # Writing -----------------------------------------------------------------------------

    def add(
        self,
        document: bytes,
        *,
        accepted_at: WallTime,
        source: str,
        how: str,
        vm_name: str,
        memory_mib: int,
        last_updated: str = "",
        approved: Sequence[str] = (),
    ) -> Version:
        """Keep a definition that was accepted, and return its version.

        When the newest accepted one is the same document, that one is returned, and nothing is
        written. Raises EnvironmentFault when it can't be kept, on a full disk for example; what
        was kept before is as it was then.
        """
        version = Version(
            number=0,
            sha256=sha256_of(document),
            accepted_at=accepted_at,
            source=printable(source),
            how=how,
            vm_name=printable(vm_name),
            memory_mib=memory_mib,
            last_updated=printable(last_updated),
            approved=tuple(printable(code) for code in approved),
        )
        with self._lock:
            newest = self.newest()
            if newest is not None and newest.sha256 == version.sha256:
                return newest
            return self._write([(version, document)])[0]

    def _write(self, entries: Sequence[tuple[Version, bytes]]) -> tuple[Version, ...]:
        """Give the versions their numbers, and keep all of them or none."""
        begun: list[Version] = []
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True)
                _sync_folder(self.folder.parent)
            self._remove_orphans()
            first = max(self._numbers("json"), default=0) + 1
            for number, (version, document) in enumerate(entries, start=first):
                begun.append(dataclasses.replace(version, number=number))
                replace_file(self._path(number, "ovf"), document, mode=0o600)
                replace_file(self._path(number, "json"), format_version(begun[-1]), mode=0o600)
        except OSError as error:
            self._remove(version.number for version in begun)
            raise EnvironmentFault(
                f"{self.folder}: the definition can't be kept: {error.strerror};"
                " what was kept before is as it was"
            ) from error
        with contextlib.suppress(EnvironmentFault):
            self._prune()
        return tuple(begun)

    def _prune(self) -> None:
        """Remove what is too old. A damaged version goes when all that are kept are newer."""
        versions = self.versions()
        kept: set[int] = set()
        for imported in (False, True):
            group = [v.number for v in versions if (v.how == IMPORT) is imported]
            kept.update(group[-self._keep :])
        sound = {version.number for version in versions}
        oldest = min(kept, default=0)
        marks = self._numbers("json")
        self._remove(n for n in marks if n not in kept and (n in sound or n < oldest))

    def _remove_orphans(self) -> None:
        marks = set(self._numbers("json"))
        for number in self._numbers("ovf"):
            if number not in marks:
                self._path(number, "ovf").unlink()
        for name in os.listdir(self.folder):
            if _DRAFT_NAME.fullmatch(name):
                (self.folder / name).unlink()

    def _remove(self, numbers: Iterable[int]) -> None:
        """Remove marks before documents; what can't be removed now goes with a later write."""
        for number in numbers:
            for suffix in ("json", "ovf"):
                with contextlib.suppress(OSError):
                    self._path(number, suffix).unlink()

    # Backup ------------------------------------------------------------------------------

    def import_backup(self, backup: bytes, *, where: str, vm_uuid: str) -> tuple[Version, ...]:
        """Add the versions of a backup file that are not here yet, and return them.

        `where` is what the file is called. What is in use does not change. The backup's last
        versions are taken, as many as are kept. Raises BadInput when it is no backup, is
        damaged or is of another VM than `vm_uuid`, and EnvironmentFault when the versions can't
        be kept; nothing is added then.
        """
        found = read_backup(backup, where=where, last=self._keep)
        imported = [
            (_imported(version, document, where, vm_uuid), document) for version, document in found
        ]
        with self._lock:
            known = {version.sha256 for version in self.versions()}
            wanted = []
            for version, document in imported:
                if version.sha256 not in known:
                    known.add(version.sha256)
                    wanted.append((version, document))
            return self._write(wanted) if wanted else ()


def _imported(version: Version, document: bytes, where: str, vm_uuid: str) -> Version:
    """What is noted of a version of a backup: where it is from; its approvals end there."""
    name = file_name(version.number, "ovf")
    origin = f"{where}, version {version.number}, {version.how} from {version.source}"
    vm = parse_ovf(document, where=f"{where}, {name}", expect_uuid=vm_uuid)
    return dataclasses.replace(
        version,
        source=printable(origin),
        how=IMPORT,
        vm_name=printable(vm.name),
        memory_mib=vm.memory_mib,
        approved=(),
    )


def _read_file(path: Path, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise EnvironmentFault(f"{path} can't be read: {error.strerror}") from error
    if len(content) > limit_bytes:
        raise BadInput(f"more than {limit_bytes} bytes", where=str(path))
    return content


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
