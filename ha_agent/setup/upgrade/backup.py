# SPDX-License-Identifier: Apache-2.0
"""What `ha-agent upgrade` keeps of a host before its first change, and `downgrade` puts back.

    <state_dir>/setup/backup-20260101T120000Z/   readable by root only; there when it is whole
        manifest.json     every file, volume and unit: format below
        files/<n>         a file's bytes
        volumes/<n>       what a volume held: the configuration archive, the engine VM's OVF
        left.json         {path: [SHA-256 of what we wrote there, ...]}; noted before each write
        restored          there once `downgrade` has put it back; the backup is history then

    manifest.json
        {"format": 1, "made_at": unix seconds, "host_id": n, "vm_uuid": ..., "domain_uuid": ...,
         "kind": name of a HostKind,
         "files": [{"path": "etc/...", "sha256": ... or "" for a file that was not there, "mode",
                    "uid", "gid", "copy": "files/0", "restore": whether downgrade puts it back}],
         "volumes": [{"what", "image_uuid", "volume_uuid", "sha256", "copy"}],
         "units": {"ovirt-ha-agent.service": {"enabled": true, "running": true}}}

Passwords are in it, and what is in it is written back by root: a backup that is a link, somebody
else's, or open to others is not used.

A backup is made beside its name and renamed when all of it is on disk: a full disk or a kill
leaves a draft, which the next one removes, and nothing else was touched by then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional, TypeVar, Union

from ha_agent.atomic_file import replace_file
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.instant import WallTime

FORMAT = 1
PREFIX, DRAFT_PREFIX = "backup-", ".backup-"
MANIFEST, LEFT, RESTORED = "manifest.json", "left.json", "restored"
_NAME = re.compile(re.escape(PREFIX) + "[0-9]{8}T[0-9]{6}Z")
_MAX_BYTES = 16 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class FileEntry:
    """One file; `path` is below the host's root, `sha256` "" when there was none."""

    path: str
    sha256: str
    mode: int
    uid: int
    gid: int
    copy: str
    restore: bool


@dataclass(frozen=True)
class VolumeEntry:
    """What a volume on shared storage held."""

    what: str
    image_uuid: str
    volume_uuid: str
    sha256: str
    copy: str


@dataclass(frozen=True)
class UnitEntry:
    """How a unit was."""

    enabled: bool
    running: bool


@dataclass(frozen=True)
class Manifest:
    """All that a backup holds."""

    made_at: float
    host_id: int
    vm_uuid: str
    domain_uuid: str
    kind: str
    files: tuple[FileEntry, ...]
    volumes: tuple[VolumeEntry, ...]
    units: Mapping[str, UnitEntry]


@dataclass(frozen=True)
class ToKeep:
    """What is to be backed up: `files` are paths below the root and whether downgrade puts them
    back; `volumes` are (what, image, volume, bytes)."""

    host_id: int
    vm_uuid: str
    domain_uuid: str
    kind: str
    files: Sequence[tuple[str, bool]]
    volumes: Sequence[tuple[str, str, str, bytes]]
    units: Mapping[str, UnitEntry]


class Backup:
    """A whole backup in a folder."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def content(self, entry: Union[FileEntry, VolumeEntry]) -> bytes:
        """Return what was kept. Raises BadInput when it is not what the manifest says."""
        data = _read(self.folder / entry.copy)
        if digest(data) != entry.sha256:
            raise BadInput("is not what its manifest says", where=str(self.folder / entry.copy))
        return data

    def file(self, path: str) -> Optional[bytes]:
        """Return a file as it was before the upgrade, None when it was not there."""
        for entry in self.manifest.files:
            if entry.path == path and entry.sha256:
                return self.content(entry)
        return None

    def left(self) -> dict[str, tuple[str, ...]]:
        """Return the SHA-256s of what the upgrade wrote, by path. Raises BadInput."""
        where = self.folder / LEFT
        if not where.exists():
            return {}
        value = _json(where)
        if not all(isinstance(sums, list) for sums in value.values()):
            raise BadInput("no map of lists", where=str(where))
        return {path: tuple(str(one) for one in sums) for path, sums in value.items()}

    def note_left(self, path: str, data: bytes) -> None:
        """Note that `data` is about to be written to `path`. Raises EnvironmentFault."""
        left = self.left()
        sums = left.get(path, ())
        if digest(data) not in sums:
            left[path] = (*sums, digest(data))
            _replace(self.folder / LEFT, json.dumps(left, indent=1).encode())

    def mark_restored(self) -> None:
        """Note that it has been put back. Raises EnvironmentFault."""
        _replace(self.folder / RESTORED, b"put back by ha-agent downgrade\n")


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def newest_backup(setup_dir: Path) -> Optional[Backup]:
    """Return the newest backup that was not put back yet; it reads only.

    Raises BadInput for one whose manifest can't be read or that others may read or write,
    EnvironmentFault.
    """
    try:
        names = sorted(os.listdir(setup_dir), reverse=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFault(f"can't read {setup_dir}: {error.strerror}") from error
    for name in names:
        folder = setup_dir / name
        if _NAME.fullmatch(name) and not (folder / RESTORED).exists():
            _refuse_open_folder(folder)
            return Backup(folder, _manifest(folder / MANIFEST))
    return None


def make_backup(setup_dir: Path, root: Path, wanted: ToKeep, *, now: WallTime) -> Backup:
    """Keep all of `wanted` in a new folder. Raises EnvironmentFault, and then there is none.

    Call it with the set-up's lock held (journal.py): drafts that are there are removed.
    """
    while (setup_dir / (PREFIX + _stamp(now))).exists():
        now += 1.0  # of the same second
    stamp = _stamp(now)
    draft, folder = setup_dir / f"{DRAFT_PREFIX}{stamp}", setup_dir / f"{PREFIX}{stamp}"
    try:
        for old in setup_dir.glob(f"{DRAFT_PREFIX}*"):
            shutil.rmtree(old)
        for part in (draft, draft / "files", draft / "volumes"):
            part.mkdir(mode=0o700)
        files = [
            _keep_file(draft, root, path, restore, number)
            for number, (path, restore) in enumerate(wanted.files)
        ]
        volumes = []
        for number, (what, image, volume, data) in enumerate(wanted.volumes):
            copy = f"volumes/{number}"
            _write(draft / copy, data)
            volumes.append(VolumeEntry(what, image, volume, digest(data), copy))
        manifest = Manifest(
            now.unix_seconds, wanted.host_id, wanted.vm_uuid, wanted.domain_uuid, wanted.kind,
            tuple(files), tuple(volumes), wanted.units,
        )  # fmt: skip
        text = json.dumps({"format": FORMAT, **dataclasses.asdict(manifest)}, indent=1)
        _write(draft / MANIFEST, text.encode())
        for part in (draft / "files", draft / "volumes", draft):
            _sync_folder(part)
        os.rename(draft, folder)
        _sync_folder(setup_dir)
    except OSError as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(draft)
        raise EnvironmentFault(
            f"no backup could be made in {setup_dir}, so nothing was changed:"
            f" {error.strerror or error}"
        ) from error
    return Backup(folder, manifest)


def _refuse_open_folder(folder: Path) -> None:
    try:
        told = folder.lstat()
    except OSError as error:
        raise EnvironmentFault(f"can't read {folder}: {error.strerror}") from error
    if not stat.S_ISDIR(told.st_mode):
        raise BadInput("is no folder: a backup is not gone to by a link", where=str(folder))
    if told.st_uid != os.geteuid() or stat.S_IMODE(told.st_mode) & 0o077:
        raise BadInput(
            "is open to others: passwords are in it, and what is in it is put back as it is. Look"
            f" whether it was changed, then: chown {os.geteuid()} {folder}; chmod 0700 {folder}",
            where=str(folder),
        )


def _stamp(when: WallTime) -> str:
    moment = datetime.fromtimestamp(when.unix_seconds, timezone.utc)
    return moment.strftime("%Y%m%dT%H%M%SZ")


def _keep_file(draft: Path, root: Path, path: str, restore: bool, number: int) -> FileEntry:
    try:
        with (root / path).open("rb") as file:
            told, data = os.fstat(file.fileno()), file.read(_MAX_BYTES)
    except FileNotFoundError:
        return FileEntry(path, "", 0, 0, 0, "", restore)
    copy = f"files/{number}"
    _write(draft / copy, data)
    mode = stat.S_IMODE(told.st_mode)
    return FileEntry(path, digest(data), mode, told.st_uid, told.st_gid, copy, restore)


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, data: bytes) -> None:
    try:
        replace_file(path, data, mode=0o600)
    except OSError as error:
        raise EnvironmentFault(f"can't write {path}: {error.strerror}") from error


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise EnvironmentFault(f"can't read {path}: {error.strerror}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read(path))
    except ValueError:
        raise BadInput("no JSON", where=str(path)) from None
    if not isinstance(value, dict):
        raise BadInput("no JSON object", where=str(path))
    return value


def _manifest(path: Path) -> Manifest:
    value = _json(path)
    if value.pop("format", None) != FORMAT:
        raise BadInput(f"no manifest of format {FORMAT}", where=str(path))
    try:
        return Manifest(
            made_at=float(value["made_at"]),
            host_id=int(value["host_id"]),
            vm_uuid=str(value["vm_uuid"]),
            domain_uuid=str(value["domain_uuid"]),
            kind=str(value["kind"]),
            files=tuple(_inside(FileEntry(**entry)) for entry in value["files"]),
            volumes=tuple(_inside(VolumeEntry(**entry)) for entry in value["volumes"]),
            units={name: UnitEntry(**unit) for name, unit in value["units"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"no manifest: {error}", where=str(path)) from None


def _inside(entry: T) -> T:
    """Return the entry. Raises ValueError when it leads out of the root or of the backup."""
    for name in (getattr(entry, "path", ""), getattr(entry, "copy", "")):
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{name[:80]!r} leads out")
    return entry
