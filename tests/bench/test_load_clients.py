# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load_clients import Client, run
from ha_agent.broker.rpc.codec import Request, Response, RpcDecoder, RpcError, encode

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """Answers `fine`, refuses `bad`, and closes on `close`."""
    path = tmp_path / "socket"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve(sock: socket.socket) -> None:
        decoder = RpcDecoder()
        with sock:
            while data := sock.recv(65536):
                for message in decoder.feed(data):
                    assert isinstance(message, Request)
                    if message.method == "close":
                        return
                    error = RpcError("no", "never") if message.method == "bad" else None
                    result = None if error else {"much": "x" * 100_000}
                    sock.sendall(encode(Response(message.msgid, error, result)))

    def accept() -> None:
        while True:
            try:
                sock, _address = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_each_client_calls_again_and_again(server: Path) -> None:
    clients = [Client(str(server), "fine") for _ in range(3)]
    latencies, failures = run(clients, 0.05)
    assert failures == []
    assert len(latencies) >= 3


@pytest.mark.parametrize(("method", "words"), [("bad", "never"), ("close", "closed")])
def test_what_fails_is_told_once_for_each_client(server: Path, method: str, words: str) -> None:
    latencies, failures = run([Client(str(server), method) for _ in range(2)], 0.05)
    assert latencies == []
    assert len(failures) == 2
    assert all(words in failure for failure in failures)


def test_as_a_process_it_waits_for_the_word(server: Path) -> None:
    command = [sys.executable, "-m", "bench.load_clients", str(server), "2", "0.05", "fine"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        told, _errors = process.communicate("go\n", timeout=30)
        assert '"failed": 0' in told
    finally:
        process.kill()
        process.wait()
