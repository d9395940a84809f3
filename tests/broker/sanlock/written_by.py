# SPDX-License-Identifier: Apache-2.0
"""Makes a real resource of sanlock look as two hosts that acquire at once may leave it.

Both commit the same owner then, and the one that is not the owner may write last. Which of them
does is a matter of microseconds (about one such race in seven on files); here it is made so.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

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
