# SPDX-License-Identifier: Apache-2.0
"""The configuration volume on shared storage: what the storage worker does to it.

These functions run in a storage worker process (storage/worker.py) and may block for as long
as the storage hangs. Which bytes go where, and why a reader always has the old files or the new
ones, stands in ovfstore/conf_volume.py. Arguments and results are plain values for MessagePack.

A writer holds the byte-range lock on the archive while it looks and writes, so that of two
writers the second one sees what the first one wrote, on file systems whose locks reach all
hosts; on block storage the lock reaches the writers of this host only. The predecessor's tools
take no lock.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from typing import Any, Callable, Optional, Protocol

from ha_agent import ofd_lock
from ha_agent.broker.storage import directio
from ha_agent.clock import SystemClock
from ha_agent.errors import DeadlineExceeded
from ha_agent.ovfstore import conf_volume

_LOCK_RETRY_SECONDS = 0.01
_MAX_LOOKS = 20
_clock = SystemClock()


class Readable(Protocol):
    """What reading needs of directio.DirectFile."""

    def read(self, offset: int, length_bytes: int, /) -> bytes: ...


def read_conf_volume(path: str) -> dict[str, Any]:
    """Return the files of the configuration volume.

    The value is {"direct": bool, "files": {name: bytes}, "notes": [sentence on a missing or
    unknown file], "identity": str, "pending": bool}. `identity` names this state for
    `write_conf_volume`; `pending` tells that a writer was cut off, and that the files are those
    it was writing. Raises OSError, and BadInput when the archive is damaged.
    """
    with directio.open_file(path) as file:
        archive, is_pending = conf_volume.current_archive(*settled_areas(file))
        files = conf_volume.decode_conf_volume(archive, where=path)
        return {
            "direct": file.direct,
            "files": files,
            "notes": list(conf_volume.name_notes(files)),
            "identity": _identity(archive),
            "pending": is_pending,
        }


def write_conf_volume(
    path: str, files: dict[str, bytes], expected: Optional[str], lock_wait_seconds: float
) -> dict[str, Any]:
    """Replace all files of the configuration volume; they are on the storage at return.

    `expected` is the `identity` of the state that the caller changed; None: write whatever is
    there. Returns {"direct": bool, "done": bool, "identity": of what is there now}; done is
    False, and no file is changed, when another one wrote in between. Raises BadInput for files
    that don't fit, DeadlineExceeded when the lock is not had, OSError when the storage fails:
    then the volume has the old files or the new ones, and this call may be made again.
    """
    new = conf_volume.encode_conf_volume(files, _clock.wall())
    with directio.open_file(path, write=True) as file:
        _lock(file, lock_wait_seconds)
        archive, record = _areas(file)
        current, _ = conf_volume.current_archive(archive, record)
        if expected is not None and expected != _identity(current):
            return {"direct": file.direct, "done": False, "identity": _identity(current)}
        for offset, data in conf_volume.plan_writes(archive, record, new):
            file.write_blocks(offset, data)
        if conf_volume.current_archive(*_areas(file)) != (new, False):
            raise OSError(errno.EIO, "the configuration reads back different", path)
        return {"direct": file.direct, "done": True, "identity": _identity(new)}


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "read_conf_volume": read_conf_volume,
    "write_conf_volume": write_conf_volume,
}


def _areas(file: Readable) -> tuple[bytes, bytes]:
    """Return the volume's beginning and where a redo record may be."""
    return (
        file.read(0, conf_volume.ARCHIVE_BYTES),
        file.read(conf_volume.RECORD_OFFSET, conf_volume.RECORD_BYTES),
    )


def settled_areas(file: Readable) -> tuple[bytes, bytes]:
    """Return both areas as they were at one time, while a writer may be at work.

    A reader that meets a writer could have the archive half written, and then the record wiped
    already. What two looks in a row found is no such pair: the writer was not between them.
    """
    areas = _areas(file)
    for _ in range(_MAX_LOOKS):
        again = _areas(file)
        if again == areas:
            break
        areas = again
    return areas


def _lock(file: directio.DirectFile, wait_seconds: float) -> None:
    """Take the lock on the archive; it is given back when the file is closed."""
    ends_at = _clock.now() + wait_seconds
    while not ofd_lock.try_lock(file.fd, 0, conf_volume.ARCHIVE_BYTES):
        if _clock.now() >= ends_at:
            raise DeadlineExceeded(f"lock on the configuration volume {file.path}", wait_seconds)
        _clock.block(_LOCK_RETRY_SECONDS)


def _identity(archive: bytes) -> str:
    return hashlib.sha256(archive).hexdigest()
