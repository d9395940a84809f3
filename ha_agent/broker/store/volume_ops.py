# SPDX-License-Identifier: Apache-2.0
"""What a storage worker does to OVF_STORE volumes: open, lock, and hand over to volume_io.

These functions run in a storage worker process (storage/worker.py) and may block for as long
as the storage hangs. They choose no copy and know nothing of descriptions: the caller says
which Size an archive must have. Arguments and results are plain values for MessagePack.

A volume is changed under a lock on the whole of it, so that two workers can't change it at the
same time: those of all hosts on file systems whose locks reach all hosts, those of this host on
a block device. The engine's writer (VDSM's `dd`) takes no lock; against that one stands the
description's Updated flag. Where a file system has no locks, the result says so.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional

from ha_agent import ofd_lock
from ha_agent.broker.storage import directio
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, DeadlineExceeded
from ha_agent.instant import WallTime
from ha_agent.ovfstore import tar_change, tar_volume, volume_io

LOCK_WAIT_SECONDS = 2.0
_LOCK_RETRY_SECONDS = 0.02
_TO_THE_END = 0
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_clock = SystemClock()


def read_members(path: str, size_bytes: Optional[int], names: list[str]) -> dict[str, Any]:
    """Read members out of the archive in an OVF_STORE volume.

    `size_bytes` is `Size` from the volume's description: the archive must end there. None:
    there is no description, the archive says itself where it ends. The first of `names` is the
    main one, the others count directly before it or behind it (volume_io.read_members). Returns
    {"direct": bool, "members": {name: bytes}}; a name that the archive lacks is left out.
    Raises OSError and BadInput.
    """
    with directio.open_file(path) as file:
        members = volume_io.read_members(file, size_bytes, names)
        return {"direct": file.direct, "members": members}


def list_archive(path: str, size_bytes: Optional[int]) -> dict[str, Any]:
    """List the members of an archive, after looking at every header; as `read_members`.

    Returns {"direct": bool, "size_bytes": where the archive ends, "members": [{"name",
    "size_bytes", "offset_bytes" (of its data), "dead": replaced by us}, …]} in their order, at
    most tar_volume.MEMBER_COUNT_LIMIT.
    """
    with directio.open_file(path) as file:
        members = volume_io.list_members(file, size_bytes)
        return {
            "direct": file.direct,
            "size_bytes": tar_volume.end_of_archive(members),
            "members": [
                {
                    "name": member.name,
                    "size_bytes": member.size_bytes,
                    "offset_bytes": member.data_offset_bytes,
                    "dead": tar_change.is_dead(member.name),
                }
                for member in members
            ],
        }


def change_members(
    path: str,
    size_bytes: int,
    changes: dict[str, Optional[bytes]],
    capacity_bytes: int,
    last_updated_text: str,
    mtime: float,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> dict[str, Any]:
    """Give members of a sound archive new contents (None: take it out), writing little else.

    `size_bytes` is `Size`: where the archive ends now. `last_updated_text` is the Java date for
    info.json, `mtime` (UNIX seconds) that of the new members. On return the change is on the
    storage and has been read back. Returns {"size_bytes": the new Size, "written_bytes",
    "direct", "locked"}. Raises BadInput with nothing written, OSError, DeadlineExceeded (the
    lock), EnvironmentFault (it does not read back); after those two the copy may be unreadable.
    """
    with directio.open_file(path, write=True) as file, _locked(file, lock_wait_seconds) as locked:
        new_bytes, written_bytes = volume_io.change_members(
            file,
            size_bytes,
            changes,
            capacity_bytes=_capacity(file, capacity_bytes),
            last_updated_text=last_updated_text,
            written_at=WallTime(mtime),
        )
        return _result(file, locked, new_bytes, written_bytes)


def write_archive(
    path: str,
    from_path: Optional[str],
    from_size_bytes: int,
    changes: dict[str, Optional[bytes]],
    capacity_bytes: int,
    last_updated_text: str,
    mtime: float,
    storage_domain_uuid: str = "",
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> dict[str, Any]:
    """Write a whole archive: that of another, sound copy with changes, or a new one.

    `from_size_bytes` is the other copy's `Size`. With `from_path` None the new archive has
    info.json with `storage_domain_uuid`, metadata.json and the changes. What stands in `path`
    does not matter, and what lies behind the archive's end stays. Otherwise as
    `change_members`.
    """
    if from_path is None and not storage_domain_uuid:
        raise BadInput("a new archive needs the storage domain's UUID", where=path)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(directio.open_file(path, write=True))
        source = None
        if from_path is not None:
            source = stack.enter_context(directio.open_file(from_path))
            if os.path.samestat(os.fstat(file.fd), os.fstat(source.fd)):
                raise BadInput(f"it is the same volume as {from_path}", where=path)
        locked = stack.enter_context(_locked(file, lock_wait_seconds))
        new_bytes, written_bytes = volume_io.write_archive(
            file,
            source,
            from_size_bytes,
            changes,
            storage_domain_uuid=storage_domain_uuid,
            capacity_bytes=_capacity(file, capacity_bytes),
            last_updated_text=last_updated_text,
            written_at=WallTime(mtime),
        )
        return _result(file, locked, new_bytes, written_bytes)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "read_members": read_members,
    "list_archive": list_archive,
    "change_members": change_members,
    "write_archive": write_archive,
}


def _result(
    file: directio.DirectFile, locked: bool, size_bytes: int, written_bytes: int
) -> dict[str, Any]:
    return {
        "size_bytes": size_bytes,
        "written_bytes": written_bytes,
        "direct": file.direct,
        "locked": locked,
    }


def _capacity(file: directio.DirectFile, capacity_bytes: int) -> int:
    # VDSM's figure for a block volume can be newer than the mapping on this host.
    return capacity_bytes if file.is_regular() else min(capacity_bytes, file.size_bytes())


@contextlib.contextmanager
def _locked(file: directio.DirectFile, wait_seconds: float) -> Iterator[bool]:
    """Hold the lock on the whole volume; yields False where the file system has no locks."""
    try:
        _wait_lock(file, wait_seconds)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            error.filename = file.path
            raise
        yield False
        return
    try:
        yield True
    finally:
        ofd_lock.unlock(file.fd, 0, _TO_THE_END)


def _wait_lock(file: directio.DirectFile, wait_seconds: float) -> None:
    ends_at = _clock.now() + wait_seconds
    while not ofd_lock.try_lock(file.fd, 0, _TO_THE_END):
        if _clock.now() >= ends_at:
            raise DeadlineExceeded(f"lock on {file.path}", wait_seconds)
        _clock.block(_LOCK_RETRY_SECONDS)
