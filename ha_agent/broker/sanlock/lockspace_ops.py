# SPDX-License-Identifier: Apache-2.0
"""What the storage worker does for the check and the repair of lockspaces and host ids.

These functions run in a storage worker process and may block for as long as the storage hangs.
They decide nothing but one thing: `lockspace_rewrite` writes only while the lockspace has exactly
the bytes that the caller has proved unused, and has had them a moment ago: storage that hung in
between may have let a host join since, whose lease the write would take away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Callable, Protocol

from ha_agent import ofd_lock
from ha_agent.broker.lease.file import HOST_LOCK_OFFSET
from ha_agent.broker.sanlock import ops as sanlock_ops
from ha_agent.broker.sanlock.lockspace_codec import LOCKSPACE_BYTES
from ha_agent.broker.storage import directio
from ha_agent.clock import SystemClock
from ha_agent.errors import EnvironmentFault
from ha_agent.instant import Instant


class Clock(Protocol):
    """What is needed of ports.Clock."""

    def now(self) -> Instant: ...


_FRESH_SECONDS = 1.0
"""How long a comparison may take. To join takes a host several I/O timeouts of at least 1 s."""


def lockspace_read(path: str, length_bytes: int) -> bytes:
    """Return the lockspace's first bytes; fewer where the file ends before. Raises OSError."""
    with directio.open_file(path) as file:
        return file.read(0, min(length_bytes, LOCKSPACE_BYTES))


def lockspace_leader(path: str, offset: int) -> bytes:
    """Return what place.decode_leader takes of a resource. Raises OSError."""
    with directio.open_file(path) as file:
        return sanlock_ops.read_record(file, offset)


def is_unchanged(path: str, expected: bytes, clock: Clock) -> bool:
    """Whether the lockspace has these bytes now. Raises OSError, EnvironmentFault (too slow)."""
    began_at = clock.now()
    same = lockspace_read(path, LOCKSPACE_BYTES) == expected
    if clock.now() - began_at > _FRESH_SECONDS:
        raise EnvironmentFault(f"{path}: storage is too slow for a repair; try it again")
    return same


def lockspace_rewrite(
    path: str,
    lockspace: str,
    expected: bytes,
    sector_bytes: int,
    io_timeout_seconds: int,
    resource: str,
    resource_offset: int,
) -> dict[str, Any]:
    """Make the lockspace anew, with all host ids free, if it has still exactly `expected`.

    So is the resource that lies beside it, if `resource` names one: its owner's generation means
    nothing in the new lockspace. Returns {"done": bool}, done once it was read back and is not
    what it was. `sector_bytes` 0: as the storage has it. Raises OSError, EnvironmentFault (no
    daemon: it does the writing; storage that takes too long).
    """
    sanlock, clock = sanlock_ops.binding(), SystemClock()
    sector_bytes = sector_bytes or sanlock_ops.sector_bytes_of(path)
    how = {"align": LOCKSPACE_BYTES, "sector": sector_bytes}
    name = lockspace.encode()
    if not is_unchanged(path, expected, clock):
        return {"done": False}
    try:
        # The lockspace last: a repair that ends in between leaves it broken, to be repaired.
        if resource:
            sanlock.write_resource(name, resource.encode(), [(path, resource_offset)], **how)
            if not is_unchanged(path, expected, clock):
                return {"done": False}
        sanlock.write_lockspace(name, path, iotimeout=io_timeout_seconds, **how)
        told = sanlock.read_lockspace(path, **how)
    except sanlock.SanlockException as error:
        raise EnvironmentFault(
            f"sanlock: {error.args[1]}: {error.args[-1]} (error {error.errno})"
        ) from error
    if told["lockspace"] != name:
        raise EnvironmentFault(f"{path} reads back as lockspace {told['lockspace']!r}")
    return {"done": True}


def host_ids_locked(path: str, host_ids: list[int]) -> list[int]:
    """Return which of these host ids a lock in the lock file holds; takes none. Raises OSError."""
    with directio.open_file(path, write=True) as file:
        return [
            host_id
            for host_id in host_ids
            if ofd_lock.is_locked(file.fd, HOST_LOCK_OFFSET + host_id, 1)
        ]


def sanlock_answers() -> str:
    """Return why no sanlock daemon answers on this host, "" when one does."""
    try:
        sanlock = sanlock_ops.binding()
    except EnvironmentFault as error:
        return str(error)
    with contextlib.suppress(sanlock.SanlockException):
        sanlock.get_lockspaces()
        return ""
    return "no sanlock daemon answers on this host: this is what storage alone says"


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "lockspace_read": lockspace_read,
    "lockspace_leader": lockspace_leader,
    "lockspace_rewrite": lockspace_rewrite,
    "host_ids_locked": host_ids_locked,
    "sanlock_answers": sanlock_answers,
}
