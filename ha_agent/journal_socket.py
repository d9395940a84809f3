# SPDX-License-Identifier: Apache-2.0
"""Sends records to journald without ever waiting for it.

libsystemd's sd_journal_send(3) blocks while journald takes nothing (stopped, or stuck on a full
disk) and its socket's queue is full, and systemd-python holds Python's lock over that call: one
record then stops every thread of the process, the lease is not renewed, and systemd's watchdog
ends us. So entries go straight to journald's socket, which does not block here, in its native
protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL), one datagram each:

    NAME=value\\n                              where the value has no line feed
    NAME\\n<length, 64 bits little-endian><value>\\n      where it has

What journald does not take at once is kept, up to a bound, and a thread that lives only as long
as that tries again. What is over the bound is lost, the oldest first, and the next entry that is
taken is preceded by one that tells how many.

Values are cut at a bound, so that an entry always fits a datagram. Nothing here logs: it is what
logging rests on.
"""

from __future__ import annotations

import collections
import errno
import os
import socket
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Callable

SOCKET_PATH = Path("/run/systemd/journal/socket")
KEPT_BYTES = 1 << 20
_RETRY_SECONDS = 0.1
_SOON_SECONDS = 0.005
_IDLE_TRIES, _CLOSE_TRIES = 200, 800
_MESSAGE_BYTES = 64 * 1024
_VALUE_BYTES = 2 * 1024
_CUT = " … (cut)"

Entry = Mapping[str, str]


def encode(entry: Entry) -> bytes:
    """Return an entry as journald reads it. Names are of A-Z, 0-9 and _; values are any text."""
    parts = []
    for name, value in entry.items():
        limit = _MESSAGE_BYTES if name == "MESSAGE" else _VALUE_BYTES
        data = value.encode("utf-8", "backslashreplace")
        if len(data) > limit:
            data = data[:limit].decode("utf-8", "ignore").encode() + _CUT.encode()
        if b"\n" in data:
            parts.append(b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data))
        else:
            parts.append(b"%s=%s\n" % (name.encode(), data))
    return b"".join(parts)


def send_or_drop(entry: Entry, path: Path = SOCKET_PATH) -> bool:
    """Send one entry now or never; returns whether journald has it. Never waits."""
    try:
        with _open() as sock:
            sock.sendto(encode(entry), str(path))
    except OSError:
        return False
    return True


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    return sock


class JournalSocket:
    """Sends entries in order. For any thread; close it to give the last ones a chance."""

    def __init__(
        self,
        lost_entry: Callable[[int], Entry],
        *,
        path: Path = SOCKET_PATH,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        """`lost_entry` makes the entry that tells of so many lost ones. Raises OSError when
        nothing at all is there to send to."""
        os.stat(path)
        self._path = str(path)
        self._lost_entry = lost_entry
        self._kept_bytes = kept_bytes
        self._socket = _open()
        self._lock = threading.Lock()
        self._waiting: collections.deque[bytes] = collections.deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._closing = threading.Event()
        self._retrying = False

    def send(self, entry: Entry) -> None:
        """Send an entry, now or as soon as journald takes it. Never waits, never raises."""
        data = encode(entry)
        with self._lock:
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            if self._flush():
                return
            while self._waiting_bytes > self._kept_bytes and self._waiting:
                self._waiting_bytes -= len(self._waiting.popleft())
                self._lost += 1
            if self._retrying or self._closing.is_set():
                return
            self._retrying = True
        try:
            threading.Thread(target=self._retry, name="journal", daemon=True).start()
        except RuntimeError:  # no thread to be had: the next entry tries again
            with self._lock:
                self._retrying = False

    def close(self) -> None:
        """Try to get rid of what waits, and let go of the socket.

        It takes a second at most where journald takes nothing, four where it is slow.
        """
        pause = threading.Event()
        idle = 0
        for _ in range(_CLOSE_TRIES):
            with self._lock:
                before = len(self._waiting)
                if self._flush():
                    break
                idle = 0 if len(self._waiting) < before else idle + 1
            if idle > _IDLE_TRIES:
                break
            pause.wait(_SOON_SECONDS)
        self._closing.set()
        with self._lock:
            self._socket.close()

    def _retry(self) -> None:
        pause_seconds = _RETRY_SECONDS
        while not self._closing.wait(pause_seconds):
            with self._lock:
                before = len(self._waiting)
                if self._flush():
                    self._retrying = False
                    return
                # It takes some again: it will soon take more.
                took = len(self._waiting) < before
                pause_seconds = _SOON_SECONDS if took else _RETRY_SECONDS

    def _flush(self) -> bool:
        """Send what waits, in order; returns whether nothing waits any more."""
        try:
            while self._waiting:
                if self._lost:
                    self._socket.sendto(encode(self._lost_entry(self._lost)), self._path)
                    self._lost = 0
                self._socket.sendto(self._waiting[0], self._path)
                self._waiting_bytes -= len(self._waiting.popleft())
        except OSError as error:
            # Its queue is full, or systemd is just making the socket anew: later, then.
            if error.errno != errno.EMSGSIZE:
                return False
            # A host with very small socket buffers; it would hold up all others for ever.
            self._waiting_bytes -= len(self._waiting.popleft())
            self._lost += 1
        return not self._waiting
