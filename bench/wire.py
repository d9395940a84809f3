# SPDX-License-Identifier: Apache-2.0
"""A relay between a host's daemons and its VDSM that notes when verbs and events pass.

Neither the agent nor VDSM logs the moment in which VM.create is sent, and a log would be their
own word. So the benchmark stands on the wire: it hands every byte on, changes none, and keeps
the time at which the last byte of a verb's name came from the agent, and of an event's from
VDSM. It adds a thread's wake-up, some tens of microseconds, to each message, to our
disadvantage.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import Optional

_READ_BYTES = 64 * 1024
_CONNECT_DEADLINE_SECONDS = 5.0


CREATE = "VM.create"
DESTROY = "VM.destroy"
SHUTDOWN = "VM.shutdown"
# Of any VM; a benchmark's hosts have one.
STATUS_EVENT = "|virt|VM_status|"


class Spotter:
    """Counts how often a mark passes in a stream of bytes that is cut anywhere."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._kept = b""

    def feed(self, data: bytes) -> int:
        """Take the next bytes; return how many times the mark has ended in them."""
        whole = self._kept + data
        # What is kept is shorter than the mark, so nothing is counted twice.
        self._kept = whole[-(len(self._mark) - 1) :]
        return whole.count(self._mark)


class VdsmRelay:
    """Listens at `port` of the loop-back address and hands on to `target_port`, in a thread."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._spotters: dict[socket.socket, dict[str, Spotter]] = {}
        self._lock = threading.Lock()
        self._seen: dict[str, list[float]] = {}
        self._thread = threading.Thread(target=self._run, name="VDSM relay", daemon=True)

    def start(self) -> None:
        """Begin to relay."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Close all connections and end the thread."""
        self._wake_writer.send(b"x")
        self._thread.join()

    def first_since(self, at: float, name: str = CREATE) -> Optional[float]:
        """Return when this verb, or event, first passed after this moment of time.monotonic();
        None when it has not."""
        with self._lock:
            return next((seen for seen in self._seen.get(name, ()) if seen >= at), None)

    def _run(self) -> None:
        while True:
            for key, _events in self._selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if sock is self._wake_reader:
                    self._close_all()
                    return
                if sock is self._listener:
                    self._accept()
                elif sock in self._peers:
                    self._pass_on(sock)

    def _accept(self) -> None:
        caller, _address = self._listener.accept()
        try:
            target = socket.create_connection(
                ("127.0.0.1", self._target_port), timeout=_CONNECT_DEADLINE_SECONDS
            )
        except OSError:
            caller.close()  # as a VDSM that is down: the caller tries again
            return
        for sock, peer in ((caller, target), (target, caller)):
            sock.settimeout(_CONNECT_DEADLINE_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[sock] = peer
            self._selector.register(sock, selectors.EVENT_READ)
        # In quotes, as JSON-RPC has it: a name in an error's text does not count.
        verbs = {verb: Spotter(f'"{verb}"'.encode()) for verb in (CREATE, DESTROY, SHUTDOWN)}
        self._spotters[caller] = verbs
        self._spotters[target] = {STATUS_EVENT: Spotter(f'"{STATUS_EVENT}'.encode())}

    def _pass_on(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(_READ_BYTES)
            now = time.monotonic()
            if data:
                for name, spotter in self._spotters[sock].items():
                    if spotter.feed(data):
                        with self._lock:
                            self._seen.setdefault(name, []).append(now)
                self._peers[sock].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        for end in (sock, self._peers[sock]):
            self._selector.unregister(end)
            del self._spotters[end], self._peers[end]
            end.close()

    def _close_all(self) -> None:
        while self._peers:
            self._close(next(iter(self._peers)))
        self._selector.close()
        for sock in (self._listener, self._wake_reader, self._wake_writer):
            with contextlib.suppress(OSError):
                sock.close()
