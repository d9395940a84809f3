# SPDX-License-Identifier: Apache-2.0
"""Our client of VDSM against stomp.py with json: both do the same with the same server.

Servers are the embedded VDSM, and one that only answers (vdsm_responder.py), since with the
first most of the time is the server's; in clear and with TLS. Verbs are Host.ping2 and
Host.getStats, one after the other and AT_ONCE at once; then events as fast as the server sends
them, and at EVENTS_A_SECOND, when our loop is watched: its longest lag is bounded.

Each client is a process of its own (vdsm_caller.py). Both are connected all the time and take
turns, ROUNDS times after one to warm up, so that what else the machine does meets both. A
processor row counts the client's process alone. "p99" has one sample a round.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from bench.cluster import NotMeasured
from bench.report import WORST, Bound, Less, Row, percentile
from bench.vdsm_caller import OURS, THEIRS
from bench.vdsm_responder import CERTIFICATE, KEY, PING, STATS
from demo.domain import make_domain
from demo.guest import GuestImage
from demo.hosts import Host, free_port
from ha_agent.config import layers

ROUNDS = 8
CALLS = 500
AT_ONCE = 50
EVENTS = 20_000
EVENTS_A_SECOND = 10_000
LAG_LIMIT_SECONDS = 0.1
_START_LIMIT_SECONDS = 30.0
_ROOT = Path(__file__).resolve().parents[1]

Say = Callable[[str], None]


def measure(work: Path, say: Say) -> list[Row]:
    """Measure both servers, in clear and with TLS. Raises NotMeasured."""
    rows: list[Row] = []
    # UNIX socket paths are at most 107 bytes long, and a checkout may lie deep.
    with tempfile.TemporaryDirectory(prefix="ha-bench-") as name:
        certificates = make_certificates(Path(name))
        for folder, transport in ((None, "TCP"), (certificates, "TLS")):
            with responder(folder) as port, callers(port, folder) as clients:
                rows += _calls(clients, f"answers only, {transport}", say)
                rows += _events(clients, transport, say)
            with embedded(work, folder) as port, callers(port, folder) as clients:
                rows += _calls(clients, f"embedded VDSM, {transport}", say)
    return rows


def make_certificates(folder: Path) -> Path:
    """Make a key and a certificate that signs itself; both ends show it and trust it."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / KEY), "-out", str(folder / CERTIFICATE)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotMeasured(f"openssl made no certificate: {error}") from error
    return folder


@contextlib.contextmanager
def responder(folder: Optional[Path], flood_a_second: int = 0) -> Iterator[int]:
    """Run the server that only answers, and floods if it is to; gives its port."""
    arguments = ["--flood", str(flood_a_second)] if flood_a_second else []
    arguments += [str(folder)] if folder else []
    with process_of("bench.vdsm_responder", *arguments) as process:
        yield int(line_of(process, "the responder did not start"))


@contextlib.contextmanager
def embedded(work: Path, folder: Optional[Path]) -> Iterator[int]:
    """Run an embedded VDSM on a domain of its own, with no VM; gives its port."""
    extra = ""
    if folder is not None:
        extra = (
            f"[vdsm-server]\nssl = true\nkey_file = {folder / KEY}\n"
            f"cert_file = {folder / CERTIFICATE}\nca_file = {folder / CERTIFICATE}\n"
        )
    with blank_host(extra) as host:
        port = layers.load([host.config], host.environ).vdsm_server.listen_port
        host.start(["ha-vdsm"])
        _wait_for(port, work)
        yield port


@contextlib.contextmanager
def blank_host(drop_in: str) -> Iterator[Host]:
    """Make a host on a domain of its own, with an empty disk; what is started there is stopped."""
    with tempfile.TemporaryDirectory(prefix="ha-bench-") as name:
        blank = Path(name) / "blank"
        blank.write_bytes(bytes(1 << 20))
        storage = Path(name) / "storage"
        storage.mkdir()
        domain = make_domain(storage, GuestImage(blank, 1 << 20, "", ""))
        host = Host(1, Path(name) / "host1", domain, free_port())
        host.write_config("tcg")
        drop_ins = Path(f"{host.config}.d")
        drop_ins.mkdir()
        (drop_ins / "bench.conf").write_text(drop_in)
        try:
            yield host
        finally:
            host.stop()


def _wait_for(port: int, work: Path) -> None:
    ends_at = time.monotonic() + _START_LIMIT_SECONDS
    while time.monotonic() < ends_at:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise NotMeasured(f"the embedded VDSM does not listen; work folder {work}")


class Client:
    """A process with a connected client in it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def order(self, **order: Any) -> dict[str, Any]:
        """Have an order of vdsm_caller.py carried out."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(line_of(self._process, f"{order} was not carried out"))
        return told


Clients = dict[str, Client]


@contextlib.contextmanager
def callers(port: int, folder: Optional[Path]) -> Iterator[Clients]:
    """Connect both clients to this port."""
    with contextlib.ExitStack() as stack:
        clients = {}
        for name in (OURS, THEIRS):
            arguments = [name, str(port), *([str(folder)] if folder else [])]
            process = stack.enter_context(process_of("bench.vdsm_caller", *arguments))
            line_of(process, f"{name} did not connect; stomp.py: pip install -e .[bench]")
            clients[name] = Client(process)
        yield clients


@contextlib.contextmanager
def process_of(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of ours, with pipes to it; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str], missing: str) -> str:
    """Return the next line that it prints. Raises NotMeasured, with `missing`."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise NotMeasured(missing)
    return line


@dataclass(frozen=True)
class Round:
    """What one order took; seconds a call or an event, but for the lag."""

    latencies: tuple[float, ...]
    each: float
    processor: float
    longest_lag: float


def take_turns(clients: Clients, count: int, **order: Any) -> dict[str, list[Round]]:
    """Give both the same order, ROUNDS times, one after the other; the first does not count."""
    rounds: dict[str, list[Round]] = {name: [] for name in clients}
    for number in range(ROUNDS + 1):
        for name, client in clients.items():
            told = client.order(**order)
            if told["lost"]:
                raise NotMeasured(f"{name} lost {told['lost']} events")
            found = Round(
                tuple(told["latencies"]),
                told["seconds"] / count,
                told["processor_seconds"] / count,
                told["longest_lag_seconds"],
            )
            if number:
                rounds[name].append(found)
    return rounds


def _row(what: str, ours: Sequence[float], theirs: Sequence[float]) -> Row:
    return Row(what, tuple(ours), THEIRS, tuple(theirs), Less(1))


def rows_of_calls(what: str, at_once: int, rounds: dict[str, list[Round]]) -> list[Row]:
    """Return the rows of one verb: a call's time, its p99, and the processor's time for it.

    With several at once the first is instead the time by which calls follow each other.
    """
    ours, theirs = rounds[OURS], rounds[THEIRS]

    def latencies(found: list[Round]) -> list[float]:
        return [latency for one in found for latency in one.latencies]

    def p99s(found: list[Round]) -> list[float]:
        return [percentile(one.latencies, 99) for one in found]

    if at_once == 1:
        first = _row(what, latencies(ours), latencies(theirs))
    else:
        first = _row(f"{what}: each", [one.each for one in ours], [one.each for one in theirs])
    return [
        first,
        _row(f"{what}: p99", p99s(ours), p99s(theirs)),
        _row(
            f"{what}: processor",
            [one.processor for one in ours],
            [one.processor for one in theirs],
        ),
    ]


def _calls(clients: Clients, server: str, say: Say) -> list[Row]:
    rows: list[Row] = []
    for method in (PING, STATS):
        for at_once in (1, AT_ONCE):
            what = f"{method}, {server}" + (f", {at_once} at once" if at_once > 1 else "")
            rounds = take_turns(clients, CALLS, calls=CALLS, method=method, at_once=at_once)
            rows += rows_of_calls(what, at_once, rounds)
            rates = {name: 1 / min(one.each for one in found) for name, found in rounds.items()}
            said = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
            say(f"vdsm-calls: {what}: calls a second at best: {said}")
    return rows


def _events(clients: Clients, transport: str, say: Say) -> list[Row]:
    rows = []
    for a_second, text in ((0, "all at once"), (EVENTS_A_SECOND, f"{EVENTS_A_SECOND} a second")):
        what = f"an event, {transport}, {text}"
        rounds = take_turns(clients, EVENTS, events=EVENTS, a_second=a_second)
        ours, theirs = rounds[OURS], rounds[THEIRS]
        if not a_second:
            rows.append(_row(what, [one.each for one in ours], [one.each for one in theirs]))
            rate = 1 / min(one.each for one in ours)
            say(f"vdsm-calls: {what}: {rate:.0f} a second at best")
        rows.append(
            _row(
                f"{what}: processor",
                [one.processor for one in ours],
                [one.processor for one in theirs],
            )
        )
        if a_second:
            lags = tuple(one.longest_lag for one in ours)
            rounds_took = tuple(one.each * EVENTS for one in ours)
            bound = Bound(WORST, LAG_LIMIT_SECONDS)
            rows.append(Row(f"{what}: lag of our loop", lags, "the round", rounds_took, bound))
    return rows
