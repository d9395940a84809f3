# SPDX-License-Identifier: Apache-2.0
"""Many clients call `status` at once, each anew when it has its answer; storage fine, then hung.

The clients are processes of their own on the same cores as the broker, so the rate is that of this
machine, clients included. Storage is hung as in status_latency.py: SIGSTOP to the workers, over
and over. Against: a bare echo server with the same framing and the same clients.
The host is in global maintenance, so that no guest takes processor time.

Bounds: no call fails; the 99th percentile stays below the deadline of a client (10 s) by far, at
P99_LIMIT_SECONDS, storage fine or hung: everybody waits for everybody else.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

from bench.cluster import NotMeasured
from bench.one_host import one_host, snapshot, socket_of
from bench.report import COUNT, P99, WORST, Bound, Row
from bench.status_latency import HUNG_BEFORE_SECONDS, StorageHang

CLIENTS = 1000
SECONDS = 30.0
PROCESSES = 4
P99_LIMIT_SECONDS = 2.0
_ROOT = Path(__file__).resolve().parents[1]


def measure(
    work: Path,
    guest_work: Path,
    say: Callable[[str], None],
    clients: int = CLIENTS,
    seconds: float = SECONDS,
) -> list[Row]:
    """Call status from so many clients for so long, twice. Raises NotMeasured."""
    with tempfile.TemporaryDirectory(prefix="ha-load-") as folder, contextlib.ExitStack() as stack:
        echo_path = Path(folder) / "echo.socket"
        command = [sys.executable, "-m", "bench.load_echo", str(echo_path)]
        echo = subprocess.Popen(command, cwd=_ROOT)
        stack.callback(echo.wait)
        stack.callback(echo.kill)
        host = stack.enter_context(one_host(work, guest_work, say, with_vm=False))
        say(f"load: an echo server, {clients} clients, {seconds / 3:g} s")
        bare = burst(echo_path, clients, seconds / 3, "status")
        say(f"load: status, {clients} clients, {seconds:g} s, storage fine")
        fine = burst(socket_of(host), clients, seconds, "status")
        hang = stack.enter_context(StorageHang(host.daemons["ha-broker"].pid))
        say(f"load: storage hangs: {hang.stopped_count} workers stopped")
        time.sleep(HUNG_BEFORE_SECONDS)
        hung = burst(socket_of(host), clients, seconds, "status")
        found = snapshot(host)
        if found is None or not found.storage.problem:
            raise NotMeasured("the broker has not noticed that its storage hangs")
        say(f"load: status says: {found.storage.problem}")
    rows = []
    for name, result in (("storage fine", fine), ("storage hung", hung)):
        rate = len(result.latencies) / result.seconds
        say(f"load: {name}: {rate:.0f} a second, {result.failed} failed {result.failures[:3]}")
        rows += [
            Row(
                f"status, {clients} at once, {name}",
                tuple(result.latencies),
                "bare echo, same clients",
                tuple(bare.latencies),
                Bound(P99, P99_LIMIT_SECONDS),
            ),
            Row(
                f"calls a second, {name}",
                (rate,),
                "bare echo, same clients",
                (len(bare.latencies) / bare.seconds,),
                None,
                COUNT,
            ),
            Row(
                f"calls that failed, {name}",
                (float(result.failed),),
                "calls",
                (float(len(result.latencies)),),
                Bound(WORST, 0, COUNT),
                COUNT,
            ),
        ]
    return rows


class Burst:
    """What came of one run of the clients."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.latencies: list[float] = []
        self.failed = 0
        self.failures: list[str] = []


def burst(path: Path, clients: int, seconds: float, method: str) -> Burst:
    """Let `clients`, spread over processes, call `method` for `seconds`."""
    shares = [clients // PROCESSES + (n < clients % PROCESSES) for n in range(PROCESSES)]
    running = []
    try:
        for share in shares:
            command = [sys.executable, "-m", "bench.load_clients", str(path)]
            running.append(
                subprocess.Popen(
                    [*command, str(share), str(seconds), method],
                    cwd=_ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        for process in running:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise NotMeasured("a process of clients did not start")
        begun = time.monotonic()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        result = Burst(0.0)
        for process in running:
            answer, _errors = process.communicate(timeout=seconds + 120)
            told = json.loads(answer)
            result.latencies += told["latencies"]
            result.failed += told["failed"]
            result.failures += told["failures"]
        result.seconds = time.monotonic() - begun
    finally:
        for process in running:
            process.kill()
            process.wait()
    if not result.latencies:
        raise NotMeasured(f"no call was answered: {result.failures[:3]}")
    return result
