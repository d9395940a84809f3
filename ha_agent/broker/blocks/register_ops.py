# SPDX-License-Identifier: Apache-2.0
"""The status slots as a register of hosts: what a storage worker does when a host joins or leaves.

These functions run in a storage worker process and may block for as long as the storage hangs.
They decide nothing: a slot is written only while it has exactly the bytes that the caller judged.

    <domain>/ha_agent/<engine VM>.hosts    an empty file; byte 0 is locked while a slot is compared
                                           and written, so that of two hosts that join at once one
                                           is refused. Only set-up takes this lock: the brokers
                                           write their own slots without it

Without a lock file the caller has another proof that the slot is its own (sanlock's host id).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ha_agent import ofd_lock
from ha_agent.broker.storage import directio
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput, DeadlineExceeded

_SLOT_BYTES = 4096
_MAX_SLOT = 2000
_LOCK_RETRY_SECONDS = 0.01
_clock = SystemClock()


def swap_slot(
    path: str, slot: int, expected: bytes, data: bytes, lock_path: str, lock_wait_seconds: float
) -> dict[str, Any]:
    """Write a host's slot if it still has `expected`, and read it back; one step for others.

    Returns {"done": bool, "data": the slot as it is now}. It is done, too, where the slot has
    `data` already. Raises DeadlineExceeded when the lock is not had in time, BadInput, OSError
    when storage fails (the slot may have been written all the same).
    """
    if not 1 <= slot <= _MAX_SLOT or len(data) != _SLOT_BYTES:
        raise BadInput(f"slot {slot} with {len(data)} bytes", where=path)
    with _lock(lock_path, lock_wait_seconds), directio.open_file(path, write=True) as file:
        current = _read(file, slot)
        if current == expected and current != data:
            file.write_blocks(slot * _SLOT_BYTES, data)
            current = _read(file, slot)
        return {"done": current == data, "data": current}


OPERATIONS: Mapping[str, Callable[..., Any]] = {"swap_slot": swap_slot}


def _read(file: directio.DirectFile, slot: int) -> bytes:
    # A volume that ends early reads as if zeros followed.
    return file.read(slot * _SLOT_BYTES, _SLOT_BYTES).ljust(_SLOT_BYTES, b"\0")


@contextlib.contextmanager
def _lock(path: str, wait_seconds: float) -> Iterator[None]:
    if not path:
        yield
        return
    # The folder is made when it is missing, its parent never: a domain that is not mounted must
    # not be mistaken for an empty one.
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.dirname(path), 0o770)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        ends_at = _clock.now() + wait_seconds
        while not ofd_lock.try_lock(fd, 0, 1):
            if _clock.now() >= ends_at:
                raise DeadlineExceeded(
                    f"lock on {path}, another host joins or leaves", wait_seconds
                )
            _clock.block(_LOCK_RETRY_SECONDS)
        yield
    finally:
        os.close(fd)
