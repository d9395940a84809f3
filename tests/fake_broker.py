# SPDX-License-Identifier: Apache-2.0
"""A broker's socket whose answers a test writes, and the command line as a process."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgpack


class FakeBroker:
    """Answers each call with what `answers` has for its method, or not at all."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._silent: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(ConnectionError):  # who asked is gone, as after Ctrl-C
                self._answer(sock)

    def _answer(self, sock: socket.socket) -> None:
        _kind, number, method, params = _request(sock, msgpack.Unpacker())
        self.asked.append((method, params[0] if params else {}))
        if method not in self.answers:
            self._silent.append(sock)
            return
        answer = self.answers[method]
        error, result = answer(params[0] if params else {}) if callable(answer) else answer
        with sock:
            sock.sendall(msgpack.packb([1, number, error, result]))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        for sock in self._silent:
            sock.close()


def _request(sock: socket.socket, unpacker: msgpack.Unpacker) -> Any:
    """Return the one request on a connection, which may come in pieces."""
    while True:
        data = sock.recv(65536)
        if not data:
            sock.close()
            raise ConnectionResetError
        unpacker.feed(data)
        for message in unpacker:
            return message


def ha_agent(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "ha_agent.cli", "--config", str(folder / "ha-agent.conf"), *words],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=30,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def error_in(text: str) -> dict[str, str]:
    value = json.loads(text)
    assert list(value) == ["error"]
    error: dict[str, str] = value["error"]
    return error
