# SPDX-License-Identifier: Apache-2.0
"""The lock file on shared storage: what the storage worker does to it.

These functions run in a storage worker process (storage/worker.py) and may block for as long
as the storage hangs. They decide nothing: `lease_swap` writes a record only if the file still
holds exactly the record that the caller judged, under a byte-range lock, so of two hosts that
take the lease at once one is refused. Arguments and results are plain values for MessagePack.

Bytes of the file, and the locks on them:

    0 .. 4095                the lease record (rules.py); locked for each write, for milliseconds
    4096 * host_id           4096 bytes: who uses this host id, as text, for the error message
    1 MiB + host_id          no data; locked for as long as that host's worker lives

The host id's lock proves that its holder lives: the kernel, or the NFS server, drops it with
the process. It may lie past the end of the file, or inside another host's text: locks and data
don't meet.

Works on file systems whose locks reach all hosts: NFSv4, Gluster, CephFS, or a local directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ha_agent import ofd_lock
from ha_agent.broker.lease.rules import (
    BLOCK_SIZE_BYTES,
    LeaseFormatError,
    clean_note,
    decode,
    encode,
    initial_record,
)
from ha_agent.broker.storage import directio
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, DeadlineExceeded

HOST_LOCK_OFFSET = 1024 * 1024
MAX_HOST_ID = 65535

_LOCK_RETRY_SECONDS = 0.01
_TORN_RETRIES = 3
_TORN_RETRY_SECONDS = 0.02
_HOST_MAGIC = "ha-agent-host 1"

_clock = SystemClock()
_held_host_ids: dict[tuple[str, int], directio.DirectFile] = {}


def lease_read(path: str) -> bytes:
    """Return the lease's block as it is on storage, 4096 bytes; decoding is the caller's.

    Takes no lock, so that nobody can keep others from looking. A block that does not decode
    may have been caught half written, and is read again a few times. Raises OSError.
    """
    with directio.open_file(path) as file:
        for _ in range(_TORN_RETRIES):
            block = _read_record(file)
            try:
                decode(block, path)
            except LeaseFormatError:
                _clock.block(_TORN_RETRY_SECONDS)
            else:
                break
        return block


def lease_swap(path: str, expected: bytes, new: bytes, lock_wait_seconds: float) -> dict[str, Any]:
    """Write `new` if the file still holds `expected`, and read it back; one step for others.

    Returns {"done": bool, "block": what the file holds now}. Raises DeadlineExceeded when the
    lock is not had within `lock_wait_seconds`, OSError when storage fails (it may have been
    written all the same), BadInput when `new` is not a lease record.
    """
    decode(new, "new lease record")
    with directio.open_file(path, write=True) as file, _record_lock(file, lock_wait_seconds):
        current = _read_record(file)
        if current != expected:
            return {"done": False, "block": current}
        _write_record(file, new)
        return {"done": True, "block": new}


def lease_hold_host_id(path: str, host_id: int, host_name: str, instance: str) -> dict[str, Any]:
    """Hold a host id for this process's life; asking again is cheap and changes nothing.

    Returns {"held": bool, "host_name": str, "instance": str}: who holds it, ourselves or
    another, as far as its block tells ("" where it can't be read). Raises OSError.
    """
    if not 1 <= host_id <= MAX_HOST_ID:
        raise BadInput(f"host id {host_id} is not within 1..{MAX_HOST_ID}", where=path)
    ours = {"held": True, "host_name": host_name, "instance": instance}
    key = (os.path.realpath(path), host_id)
    known = _held_host_ids.pop(key, None)
    if known is not None:
        if _is_same_file(known.fd, path):
            _held_host_ids[key] = known
            return ours
        known.close()  # the lock file was replaced: a lock on the old one excludes nobody
    file = directio.open_file(path, write=True)
    try:
        if not ofd_lock.try_lock(file.fd, HOST_LOCK_OFFSET + host_id, 1):
            return {"held": False, **_read_host_text(file, host_id)}
        _write_host_text(file, host_id, host_name, instance)
        _held_host_ids[key] = file
        return ours
    finally:
        if key not in _held_host_ids:
            file.close()


def lease_initialise(path: str, overwrite: bool = False) -> dict[str, Any]:
    """Make the lock file, with a free record, where there is none or one of zeros.

    Returns {"done": bool, "block": what the file holds now}; done is False, and nothing is
    written, when the file holds anything else and `overwrite` is not given. The file's folder
    is made when it is missing, its parent never: a domain that is not mounted must not be
    mistaken for an empty one. Raises OSError, DeadlineExceeded.
    """
    path = os.path.realpath(path)
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.dirname(path), 0o770)
    new = encode(initial_record())
    if _create(path, new):
        return {"done": True, "block": new}
    with directio.open_file(path, write=True) as file, _record_lock(file, 1.0):
        current = _read_record(file)
        if any(current) and not overwrite:
            return {"done": False, "block": current}
        _write_record(file, new)
        return {"done": True, "block": new}


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "lease_read": lease_read,
    "lease_swap": lease_swap,
    "lease_hold_host_id": lease_hold_host_id,
    "lease_initialise": lease_initialise,
}


def _read_record(file: directio.DirectFile) -> bytes:
    # A file that ends early reads as if zeros followed: a new, empty one is "not initialised".
    return file.read(0, BLOCK_SIZE_BYTES).ljust(BLOCK_SIZE_BYTES, b"\0")


def _write_record(file: directio.DirectFile, block: bytes) -> None:
    file.write_blocks(0, block)
    if _read_record(file) != block:
        raise OSError(errno.EIO, "lease record reads back different from what was written")


@contextlib.contextmanager
def _record_lock(file: directio.DirectFile, wait_seconds: float) -> Iterator[None]:
    ends_at = _clock.now() + wait_seconds
    while not ofd_lock.try_lock(file.fd, 0, BLOCK_SIZE_BYTES):
        if _clock.now() >= ends_at:
            raise DeadlineExceeded(f"lock on the lease record of {file.path}", wait_seconds)
        _clock.block(_LOCK_RETRY_SECONDS)
    try:
        yield
    finally:
        ofd_lock.unlock(file.fd, 0, BLOCK_SIZE_BYTES)


def _create(path: str, block: bytes) -> bool:
    """Create the file with its first block at once, never half; False when it exists."""
    draft = f"{path}.new.{os.uname().nodename}.{os.getpid()}"
    # Others of the domain's group (vdsm:kvm on a real one) share the file.
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o660)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
        # link() is refused when the name exists; rename() would replace a lease in use.
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True


def _is_same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _write_host_text(
    file: directio.DirectFile, host_id: int, host_name: str, instance: str
) -> None:
    lines = (_HOST_MAGIC, clean_note(host_name), clean_note(instance), "")
    block = "\n".join(lines).encode().ljust(BLOCK_SIZE_BYTES, b"\0")
    file.write_blocks(BLOCK_SIZE_BYTES * host_id, block)


def _read_host_text(file: directio.DirectFile, host_id: int) -> dict[str, str]:
    block = file.read(BLOCK_SIZE_BYTES * host_id, BLOCK_SIZE_BYTES)
    lines = block.partition(b"\0")[0].decode("utf-8", "replace").split("\n")
    if len(lines) != 4 or lines[0] != _HOST_MAGIC:
        return {"host_name": "", "instance": ""}
    return {"host_name": clean_note(lines[1]), "instance": clean_note(lines[2])}
