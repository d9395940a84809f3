# SPDX-License-Identifier: Apache-2.0
"""Makes a real resource of sanlock look as two hosts that acquire at once may leave it, or as
storage that did not take a release does.

Of two hosts that acquire, both commit the same owner, and the one that is not the owner may write
last. Which of them does is a matter of microseconds (about one such race in seven on files).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ha_agent.broker.sanlock.place import ALIGN_BYTES, RESOURCE_OFFSET

_WRITER_AT = 176
_SECTOR_BYTES = 512


def written_by_another(path: Path, offset: int, writer_id: int) -> None:
    """Make the leader record at `offset` one that host `writer_id` wrote; all else stays."""
    fd = os.open(path, os.O_RDWR | os.O_SYNC)
    try:
        sector = bytearray(os.pread(fd, _SECTOR_BYTES, offset))
        struct.pack_into("<Q", sector, _WRITER_AT, writer_id)
        os.pwrite(fd, sector, offset)
    finally:
        os.close(fd)


def resource_bytes(path: Path) -> bytes:
    """Return all of the ownership resource as it is now."""
    with path.open("rb") as file:
        file.seek(RESOURCE_OFFSET)
        return file.read(ALIGN_BYTES)


def write_resource_bytes(path: Path, data: bytes) -> None:
    """Put it back, with nobody else writing there: what was released since is held again."""
    fd = os.open(path, os.O_RDWR | os.O_SYNC)
    try:
        os.pwrite(fd, data, RESOURCE_OFFSET)
    finally:
        os.close(fd)
