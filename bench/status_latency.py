# SPDX-License-Identifier: Apache-2.0
"""Claim 3: `status` over the socket takes under 5 ms at the median, storage hung or not.

Measured on the owner's broker, with three hosts' blocks in the answer: the round trip of one
call over an open connection, a call every 5 ms. Storage is hung by SIGSTOP to the owner's
storage workers, over and over, as the broker replaces those that are late; no call to storage
ends in that time, and within it the owner's fence ends the VM. Against: a bare echo server
(echo_server.py), called in turn with the status, so that what else the machine does meets
both alike.

For information, the whole command `ha-agent status` against an interpreter that does nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cluster import Cluster, NotMeasured
from bench.report import Bound, Row
from demo.hosts import PROGRAMS
from demo.watcher import command_line
from ha_agent.broker.rpc.codec import Request, Response, RpcDecoder, encode

CALLS = 1000
PAUSE_SECONDS = 0.005
COMMAND_RUNS = 15
LIMIT_SECONDS = 0.005
# Longer than one deadline of storage I/O (5 s), so that the broker has noticed.
HUNG_BEFORE_SECONDS = 6.0
STOP_INTERVAL_SECONDS = 0.01
WORKER = "ha_agent.broker.storage.worker"
NURSERY = "ha_agent.broker.storage.nursery"
_READ_BYTES = 64 * 1024
_DEADLINE_SECONDS = 10.0


class Caller:
    """One connection that makes one call at a time, blocking, as the command line does."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(_DEADLINE_SECONDS)
        self._sock.connect(str(path))
        self._decoder = RpcDecoder()
        self._msgid = 0

    def call(self, method: str, **params: Any) -> tuple[float, Any]:
        """Return the seconds of the round trip, both codecs included, and the result."""
        self._msgid += 1
        begun = time.monotonic()
        self._sock.sendall(encode(Request(self._msgid, method, params)))
        while True:
            data = self._sock.recv(_READ_BYTES)
            if not data:
                raise NotMeasured(f"the server closed the connection in a call of {method}")
            for message in self._decoder.feed(data):
                if isinstance(message, Response) and message.msgid == self._msgid:
                    seconds = time.monotonic() - begun
                    if message.error is not None:
                        raise NotMeasured(f"{method}: {message.error}")
                    return seconds, message.result

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


def children(pid: int) -> set[int]:
    """Return the children of a process; none when it has ended."""
    try:
        return {
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        }
    except OSError:
        return set()


class StorageHang:
    """Within `with`, every storage worker of one broker is stopped, new ones at once."""

    def __init__(self, broker_pid: int) -> None:
        self._broker_pid = broker_pid
        self._stopped: set[int] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="storage hang", daemon=True)

    def __enter__(self) -> StorageHang:
        self._stop_workers()
        if not self._stopped:
            raise NotMeasured("no storage worker was found to stop")
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()
        for pid in self._workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @property
    def stopped_count(self) -> int:
        """How many workers have been stopped so far."""
        return len(self._stopped)

    def _run(self) -> None:
        while not self._end.wait(STOP_INTERVAL_SECONDS):
            self._stop_workers()

    def _stop_workers(self) -> None:
        for pid in self._workers() - self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped.add(pid)

    def _workers(self) -> set[int]:
        """The broker's workers, its own children or its nursery's; a new one is seen at once.

        Only its children are looked at: this thread must not take the time that is measured.
        """
        ours = children(self._broker_pid)
        nurseries = {pid for pid in ours if NURSERY in command_line(pid)}
        forked = {child for pid in nurseries for child in children(pid)}
        return forked | {p for p in ours if p in self._stopped or WORKER in command_line(p)}


def measure(cluster: Cluster) -> list[Row]:
    """Call status with storage fine, then with storage hung. Raises NotMeasured."""
    owner, _pid = cluster.wait_runner()
    cluster.wait_healthy(owner)
    cluster.wait_bystanders(owner)
    cluster.stop_watching()
    command = _command(cluster, owner)
    with echo_server() as echo_path, contextlib.ExitStack() as stack:
        status, echo = Caller(cluster.socket(owner)), Caller(echo_path)
        stack.callback(status.close)
        stack.callback(echo.close)
        cluster.say(f"{CALLS} calls of status on host {owner}, storage fine")
        fine = _row("status call, storage fine", status, echo)
        hang = stack.enter_context(StorageHang(cluster.hosts[owner].daemons["ha-broker"].pid))
        cluster.say(f"storage of host {owner} hangs: {hang.stopped_count} workers stopped")
        time.sleep(HUNG_BEFORE_SECONDS)
        hung = _row("status call, storage hung", status, echo)
        storage = status.call("status")[1]["storage"]
        if not storage["problem"]:
            raise NotMeasured("the broker has not noticed that its storage hangs")
        cluster.say(
            f"{hang.stopped_count} workers stopped in all; status says: {storage['problem']}"
        )
    return [fine, hung, command]


def _row(what: str, status: Caller, echo: Caller) -> Row:
    samples, echoes = [], []
    for _call in range(CALLS):
        samples.append(status.call("status")[0])
        echoes.append(echo.call("version")[0])
        time.sleep(PAUSE_SECONDS)
    bound = Bound("median", LIMIT_SECONDS)
    return Row(what, tuple(samples), "bare RPC echo", tuple(echoes), bound)


def _command(cluster: Cluster, owner: int) -> Row:
    config = str(cluster.hosts[owner].config)
    cluster.say(f"{COMMAND_RUNS} runs of the command `ha-agent status`")
    commands, bare = [], []
    for _run in range(COMMAND_RUNS):
        commands.append(_wall_seconds([str(PROGRAMS / "ha-agent"), "--config", config, "status"]))
        bare.append(_wall_seconds([sys.executable, "-c", "pass"]))
    return Row("command `ha-agent status`", tuple(commands), "python -c pass", tuple(bare))


def _wall_seconds(arguments: list[str]) -> float:
    begun = time.monotonic()
    done = subprocess.run(arguments, stdout=subprocess.DEVNULL, timeout=60, check=False)
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise NotMeasured(f"{' '.join(arguments)} ended with {done.returncode}")
    return seconds


@contextlib.contextmanager
def echo_server() -> Iterator[Path]:
    """Run the bare echo server as a process; yield its socket's path when it answers."""
    with tempfile.TemporaryDirectory(prefix="ha-bench-echo-") as folder:
        path = Path(folder) / "echo.socket"
        command = [sys.executable, "-m", "bench.echo_server", str(path)]
        server = subprocess.Popen(command, cwd=Path(__file__).resolve().parents[1])
        try:
            ends_at = time.monotonic() + _DEADLINE_SECONDS
            while not _answers(path):
                if time.monotonic() > ends_at:
                    raise NotMeasured("the echo server did not start")
                time.sleep(0.02)
            yield path
        finally:
            server.kill()
            server.wait()


def _answers(path: Path) -> bool:
    try:
        caller = Caller(path)
    except OSError:
        return False
    caller.close()
    return True
