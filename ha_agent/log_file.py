# SPDX-License-Identifier: Apache-2.0
"""A log file beside the journal, for tools that look for the predecessor's.

sos and oVirt's log collector take /var/log/ovirt-hosted-engine-ha/{agent,broker}.log. The file is
opened anew when logrotate has moved it away. It never costs more than its lines: a thread writes
them (background_writer.py), so a disk that hangs holds nobody up, and lines that a full disk does
not take are counted and told once, in the journal.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Optional

from ha_agent.background_writer import BackgroundWriter


class FileHandler(logging.Handler):
    """Appends records to a file, which is made where it is missing; its folder is not."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = _File(path)
        self._writer = BackgroundWriter(f"lines of {path}", self._file.append, self._file.close)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record. Never blocks."""
        self._writer.put(self.format(record) + "\n")

    def close(self) -> None:
        """Let what is queued be written, for two seconds at most."""
        self._writer.stop()
        super().close()


class _File:
    """For one thread. Raises OSError, and opens anew at the next line then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: Optional[int] = None

    def append(self, text: str) -> None:
        try:
            if self._descriptor is not None and not self._is_ours(self._descriptor):
                self.close()
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                # The folder is the daemons' user's, and the embedded VDSM is root: a link there
                # is not root's to follow.
                self._descriptor = os.open(self._path, flags | os.O_NOFOLLOW, 0o640)
            data = text.encode("utf-8", "backslashreplace")
            if os.write(self._descriptor, data) < len(data):
                raise OSError("the disk has taken a part of a line only")
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _is_ours(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False
