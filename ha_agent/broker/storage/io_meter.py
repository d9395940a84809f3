# SPDX-License-Identifier: Apache-2.0
"""What this process has read and written, as the kernel counts it in /proc/self/io.

Bytes that were asked for by read and write calls, past the page cache or not. The meter's own
reads are not counted.
"""

from __future__ import annotations

import os
from typing import Optional

_PATH = "/proc/self/io"
_READ_BYTES = 512

Counts = tuple[int, int, int, int]
"""Reads, bytes read, writes, bytes written."""


class IoMeter:
    """Differences of the kernel's counts; there are none where it does not tell them."""

    def __init__(self) -> None:
        try:
            self._fd: Optional[int] = os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = None
        self._own_bytes = 0

    def read(self) -> Optional[Counts]:
        """Return the counts so far, to be given to `since`."""
        if self._fd is None:
            return None
        try:
            text = os.pread(self._fd, _READ_BYTES, 0)
        except OSError:
            return None
        # Counted by the kernel only after it has made this text.
        self._own_bytes = len(text)
        found = dict(line.split(b": ") for line in text.splitlines())
        try:
            return (
                int(found[b"syscr"]),
                int(found[b"rchar"]),
                int(found[b"syscw"]),
                int(found[b"wchar"]),
            )
        except (KeyError, ValueError):
            return None

    def since(self, before: Optional[Counts]) -> Optional[Counts]:
        """Return what was read and written since `before`, the newest `read`."""
        own_bytes = self._own_bytes
        now = self.read()
        if before is None or now is None:
            return None
        return (
            now[0] - before[0] - 1,
            now[1] - before[1] - own_bytes,
            now[2] - before[2],
            now[3] - before[3],
        )

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
