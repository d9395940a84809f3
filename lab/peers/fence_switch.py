# SPDX-License-Identifier: Apache-2.0
"""The lab's power switches, as fence_lab.py in the hosts uses them; outside of all hosts.

A UNIX socket in a folder that is bound into the hosts. One line a connection:

    off host1     ok when nothing of it runs any more; "failed: why"
    status host1  on, off
    list          all hosts

It says nothing of what runs there: a switch knows of power only.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Protocol

from lab.ports import LabError

SOCKET_NAME = "switch.socket"
_LINE_LIMIT = 200


class Switched(Protocol):
    """What can be switched off."""

    @property
    def leader(self) -> Optional[int]:
        """Its first process; None while it has no power."""
        ...

    def power_cut(self) -> None:
        """End it at once; nothing where it has no power. Raises LabError."""
        ...


class FenceSwitch:
    """Listens while `with` lasts; `offs` are the hosts that were asked to be switched off."""

    def __init__(self, folder: Path, hosts: Mapping[str, Switched]) -> None:
        self._path = folder / SOCKET_NAME
        self._hosts = hosts
        self._lock = threading.Lock()
        self._listens = threading.Lock()
        self.offs: list[str] = []
        self._server: Optional[socketserver.ThreadingUnixStreamServer] = None

    def __enter__(self) -> FenceSwitch:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to listen; nothing where it does already. Hosts that boot at once may all ask."""
        with self._listens:
            if self._server is not None:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            self._server = socketserver.ThreadingUnixStreamServer(str(self._path), self._handler())
            self._server.daemon_threads = True
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.1,), daemon=True
            )
            self._thread.start()

    def _handler(self) -> type[socketserver.StreamRequestHandler]:
        answer = self.answer

        class Handler(socketserver.StreamRequestHandler):
            timeout = 30.0

            def handle(self) -> None:
                line = self.rfile.readline(_LINE_LIMIT).decode("utf-8", "replace")
                self.wfile.write(f"{answer(line)}\n".encode())

        return Handler

    def stop(self) -> None:
        """Listen no more; nothing where it never did."""
        with self._listens:
            if self._server is None:
                return
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None
            self._path.unlink(missing_ok=True)

    def answer(self, line: str) -> str:
        """Do what a line asks for and return the answer."""
        word, _blank, name = line.strip().partition(" ")
        if word == "list":
            return " ".join(self._hosts)
        host = self._hosts.get(name)
        if host is None or word not in ("off", "status"):
            return f"failed: {line.strip()[:_LINE_LIMIT]!r} is nothing that this switch does"
        if word == "status":
            return "off" if host.leader is None else "on"
        # Two fencers may ask at once, and so may the fault itself.
        with self._lock:
            self.offs.append(name)
            try:
                host.power_cut()
            except LabError as error:
                return f"failed: {error}"
        return "ok"
