# SPDX-License-Identifier: Apache-2.0
"""Hands things to a thread that writes them, so that an event loop never waits for a disk.

The queue is short and the thread a daemon: a disk that hangs in the kernel costs what comes
meanwhile, and never a decision, an answer or the end of the process. What is lost is counted,
and told once for each spell of trouble.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, Optional, TypeVar

from ha_agent.errors import BadInput

log = logging.getLogger(__name__)

T = TypeVar("T")
_QUEUE_LENGTH = 256
_STOP_SECONDS = 1.0


class BackgroundWriter(Generic[T]):
    """Calls `write(item)` in a thread, in order. `write` may raise OSError and BadInput."""

    def __init__(self, what: str, write: Callable[[T], None], close: Callable[[], None]) -> None:
        """`what` names what is written, in the plural, for messages."""
        self._what = what
        self._write = write
        self._close = close
        self._queue: queue.Queue[Optional[T]] = queue.Queue(_QUEUE_LENGTH)
        self._thread: Optional[threading.Thread] = None
        self._troubled = False
        self.lost = 0
        """How many could not be written."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self._what, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Take one to be written. Never blocks."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._lose("the disk is too slow")

    def stop(self) -> None:
        """Let what is queued be written, for two seconds at most, and end the thread."""
        if self._thread is None:
            return
        try:
            self._queue.put(None, timeout=_STOP_SECONDS)
        except queue.Full:
            return  # the thread hangs on its disk; it ends with the process
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                break
            try:
                self._write(item)
            except (OSError, BadInput) as error:
                self._lose(str(error))
            else:
                was_troubled, self._troubled = self._troubled, False
                if was_troubled:
                    log.info("%s are written again; %d were lost so far", self._what, self.lost)
        self._close()

    def _lose(self, why: str) -> None:
        self.lost += 1
        was_troubled, self._troubled = self._troubled, True
        if not was_troubled:  # set before: what is logged may come here to be written
            log.warning("%s can't be written on this host's disk: %s", self._what, why)
