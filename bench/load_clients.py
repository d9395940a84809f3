# SPDX-License-Identifier: Apache-2.0
"""A process with many clients of the operators' socket, each with one call under way at a time.

    python -m bench.load_clients SOCKET CLIENTS SECONDS METHOD

All connect, then wait for a line on stdin, then call for so long; calls that are under way then
are waited for. Prints one JSON object: {"latencies": [seconds, …], "failures": [sentence, …]}.
A client whose call failed calls no more.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import time

import msgpack

from ha_agent.broker.rpc.codec import Request, encode

_READ_BYTES = 256 * 1024
_ANSWER_LIMIT_SECONDS = 20.0
_FAILURES_TOLD = 20


class Client:
    """One connection."""

    def __init__(self, path: str, method: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_LIMIT_SECONDS)
        self.sock.connect(path)
        self.begun = 0.0
        self._method = method
        self._msgid = 0
        self._unpacker = msgpack.Unpacker(strict_map_key=False)

    def call(self) -> None:
        """Send one request."""
        self._msgid += 1
        self.begun = time.monotonic()
        self.sock.sendall(encode(Request(self._msgid, self._method, {})))

    def take(self) -> bool:
        """Read what is there; tell whether the answer is whole. ConnectionError for a bad one."""
        data = self.sock.recv(_READ_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._unpacker.feed(data)
        for message in self._unpacker:
            if message[0] != 1:
                raise ConnectionError(f"told {message[1:]}")
            if message[1] != self._msgid or message[2] is not None:
                raise ConnectionError(f"answered {message[2]}")
            return True
        return False


def run(clients: list[Client], seconds: float) -> tuple[list[float], list[str]]:
    """Let all call; return each call's time, and what went wrong."""
    latencies: list[float] = []
    failures: list[str] = []
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    ends_at = time.monotonic() + seconds
    for client in clients:
        client.call()
    waiting = len(clients)
    while waiting:
        ready = selector.select(_ANSWER_LIMIT_SECONDS)
        if not ready:
            failures.append(f"{waiting} calls without an answer for {_ANSWER_LIMIT_SECONDS:g} s")
            break
        for key, _events in ready:
            client = key.data
            try:
                if not client.take():
                    continue
                now = time.monotonic()
                latencies.append(now - client.begun)
                if now < ends_at:
                    client.call()
                    continue
            except (OSError, ValueError) as error:
                failures.append(str(error))
            selector.unregister(client.sock)
            waiting -= 1
    return latencies, failures


def main() -> None:
    """Do what the command line says."""
    path, count, seconds, method = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    failures = []
    clients = []
    for _ in range(count):
        try:
            clients.append(Client(path, method))
        except OSError as error:
            failures.append(f"can't connect: {error}")
    print("ready", flush=True)
    sys.stdin.readline()
    latencies, more = run(clients, seconds)
    for client in clients:
        with contextlib.suppress(OSError):
            client.sock.close()
    failures += more
    print(
        json.dumps(
            {
                "latencies": latencies,
                "failed": len(failures),
                "failures": failures[:_FAILURES_TOLD],
            }
        )
    )


if __name__ == "__main__":
    main()
