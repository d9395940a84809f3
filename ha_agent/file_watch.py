# SPDX-License-Identifier: Apache-2.0
"""Tell at once when a local file changes: the only module that imports pyinotify.

A file is watched through its directory, because editors and our own atomic writes put a new
file in its place: a watch on the file itself would stay with the old one. What counts is a
finished write, a rename into or out of place and a removal; creating a file alone does not,
so that nobody reads it half-written. A folder is watched for the *.conf files in it.

Where inotify does not work (library absent, limits reached, directory not there yet) the
same files are looked at every `poll_interval_seconds`, and a sentence in the log says so.
Local files only: inotify does not see what another host changes on shared storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable, Optional

log = logging.getLogger(__name__)

# What tells two versions of a file, or of a folder's files, from each other.
_Signature = tuple[Any, ...]


class FileWatch:
    """Calls `callback(path)` in the running loop for each of `files` or `folders` that changed.

    Several changes in quick succession may come as one call. `callback` must not raise.
    Create it in the loop and `close` it there.
    """

    def __init__(
        self,
        files: Iterable[Path],
        callback: Callable[[Path], None],
        *,
        poll_interval_seconds: float,
        folders: Iterable[Path] = (),
    ) -> None:
        self._callback = callback
        self._interval_seconds = poll_interval_seconds
        self._folders = frozenset(folders)
        self._signatures = {path: self._signature(path) for path in [*files, *self._folders]}
        self._loop = asyncio.get_running_loop()
        self._timer: Optional[asyncio.TimerHandle] = None
        self._events: Optional[_Events] = None
        self._told: set[Path] = set()
        try:
            self._events = _Events(self._on_change, self._on_lost)
        except _Unavailable as error:
            log.warning("%s; files are looked at every %g s", error, poll_interval_seconds)
        else:
            self._loop.add_reader(self._events.descriptor, self._events.read)
        self._watch_directories()

    @property
    def polls(self) -> bool:
        """Whether some file is looked at by polling at the moment."""
        return self._timer is not None

    def close(self) -> None:
        """End the watch; no callback comes after this."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._events is not None:
            self._loop.remove_reader(self._events.descriptor)
            self._events.close()
            self._events = None

    def _watch_directories(self) -> None:
        """Add the watches that are not there; poll as long as one can't be added."""
        polled = False
        for directory in sorted(self._directories()):
            fault = self._events.add(directory) if self._events is not None else ""
            # A folder that is not there yet is seen when it is made, by its parent's watch,
            # which was added just before: a parent sorts before what is in it.
            if fault and directory in self._folders and self._is_watched(directory.parent):
                fault = ""
            polled = polled or self._events is None or bool(fault)
            if fault and directory not in self._told:
                self._told.add(directory)
                log.info("%s %s; looked at every %g s", directory, fault, self._interval_seconds)
            elif not fault:
                self._told.discard(directory)
        if polled and self._timer is None:
            self._timer = self._loop.call_later(self._interval_seconds, self._poll)

    def _is_watched(self, directory: Path) -> bool:
        return self._events is not None and not self._events.add(directory)

    def _directories(self) -> set[Path]:
        # A folder's parent too: the folder itself may be made, or replaced, later.
        return {path.parent for path in self._signatures} | self._folders

    def _poll(self) -> None:
        self._timer = None
        self._watch_directories()
        self._compare()

    def _compare(self) -> None:
        """Call back for each path that is not as it was."""
        for path, before in list(self._signatures.items()):
            now = self._signature(path)
            if now != before:
                self._signatures[path] = now
                self._callback(path)

    def _on_change(self, changed: set[Path]) -> None:
        """Take the paths of a batch of events: files, and the files in folders."""
        for path in list(self._signatures):
            inside = path in self._folders and any(
                file.parent == path and file.suffix == ".conf" for file in changed
            )
            if path in changed or inside:
                self._signatures[path] = self._signature(path)
                self._callback(path)

    def _on_lost(self) -> None:
        """A directory went away, or events were lost: look at everything."""
        self._watch_directories()
        self._compare()

    def _signature(self, path: Path) -> _Signature:
        if path not in self._folders:
            return _stat(path)
        with contextlib.suppress(OSError):
            names = sorted(name for name in os.listdir(path) if name.endswith(".conf"))
            return tuple((name, _stat(path / name)) for name in names)
        return ()


def _stat(path: Path) -> _Signature:
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class _Unavailable(Exception):
    """inotify can't be used here; the text says why."""


def _import_pyinotify() -> Any:
    with warnings.catch_warnings():
        # pyinotify 0.9.6 imports asyncore for a notifier that we don't use. Python 3.11 warns
        # of that; from 3.12 on the module comes from pyasyncore.
        warnings.filterwarnings("ignore", "The asyncore module is deprecated", DeprecationWarning)
        try:
            import pyinotify
        except ImportError as error:
            raise _Unavailable(f"pyinotify can't be used ({error})") from error
    # The library prints to stderr with a handler of its own; we report what it returns.
    pyinotify.log.handlers.clear()
    pyinotify.log.setLevel(logging.CRITICAL)
    return pyinotify


class _Events:
    """inotify's events, as sets of changed paths."""

    def __init__(
        self, on_change: Callable[[set[Path]], None], on_lost: Callable[[], None]
    ) -> None:
        library = self._library = _import_pyinotify()
        try:
            self._manager = library.WatchManager()
        except (OSError, library.PyinotifyError) as error:
            raise _Unavailable(f"inotify can't be used ({error})") from error
        self._notifier = library.Notifier(self._manager, self._collect)
        self._on_change = on_change
        self._on_lost = on_lost
        self._directories: dict[int, Path] = {}
        self._changed: set[Path] = set()
        self._lost = False
        self.descriptor: int = self._manager.get_fd()
        os.set_inheritable(self.descriptor, False)

    def add(self, directory: Path) -> str:
        """Watch a directory; return what hinders it, nothing if it is watched now or was."""
        if directory in self._directories.values():
            return ""
        library = self._library
        mask = (
            library.IN_CLOSE_WRITE
            | library.IN_CREATE
            | library.IN_MOVED_TO
            | library.IN_MOVED_FROM
            | library.IN_DELETE
            | library.IN_DELETE_SELF
            | library.IN_MOVE_SELF
            | library.IN_ONLYDIR
        )
        try:
            added = self._manager.add_watch(str(directory), mask, quiet=False)
        except library.WatchManagerError:
            if not directory.is_dir():
                return "is not there"
            return "can't be watched (see /proc/sys/fs/inotify/max_user_watches)"
        self._directories[added[str(directory)]] = directory
        return ""

    def read(self) -> None:
        """Take the events that are there; the loop calls it when there are some."""
        try:
            self._notifier.read_events()
            self._notifier.process_events()
        except (self._library.NotifierError, UnicodeDecodeError) as error:
            # A file name that is not UTF-8 loses the batch that it is in, not the watch.
            log.debug("events lost: %s", error)
            self._lost = True
        changed, self._changed = self._changed, set()
        lost, self._lost = self._lost, False
        if changed:
            self._on_change(changed)
        if lost:
            self._on_lost()

    def close(self) -> None:
        """Give the descriptor and all watches back."""
        self._notifier.stop()

    def _collect(self, event: Any) -> None:
        library = self._library
        if event.mask & library.IN_Q_OVERFLOW:
            self._lost = True
        elif event.mask & (library.IN_DELETE_SELF | library.IN_MOVE_SELF):
            # The watch goes where the directory goes; what is at the path now needs a new one.
            self._directories.pop(event.wd, None)
            if event.mask & library.IN_MOVE_SELF:
                self._manager.rm_watch(event.wd)
            self._lost = True
        elif event.wd in self._directories and event.name:
            if event.mask & library.IN_ISDIR:
                self._lost = True
            elif not event.mask & library.IN_CREATE:
                self._changed.add(self._directories[event.wd] / event.name)
