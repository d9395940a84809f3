# SPDX-License-Identifier: Apache-2.0
"""Network tests against real sockets, and a `ping` of our own first in PATH."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from ha_agent.broker.probes.network import NetworkTest, ProbeResult, first_nameserver, probe
from ha_agent.clock import SystemClock
from ha_agent.errors import BadInput


async def test_none() -> None:
    assert (await probe(NetworkTest("none"), 1.0)).ok is None


async def test_tcp() -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    test = NetworkTest("tcp", "127.0.0.1", port)
    assert await probe(test, 5.0) == ProbeResult(
        True, f"tcp: 127.0.0.1 port {port} accepts connections"
    )
    server.close()
    await server.wait_closed()
    assert await probe(test, 5.0) == ProbeResult(False, "tcp: the connection was refused")


def _install_ping(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "ping"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_ping_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_ping(tmp_path, monkeypatch, f'echo "$*" > {tmp_path}/arguments')
    result = await probe(NetworkTest("ping", "192.0.2.1"), 1.5)
    assert result == ProbeResult(True, "ping: 192.0.2.1 answers")
    assert (tmp_path / "arguments").read_text() == "-n -c 1 -W 2 192.0.2.1\n"


async def test_ping_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_ping(tmp_path, monkeypatch, "exit 1")
    result = await probe(NetworkTest("ping", "192.0.2.1"), 5.0)
    assert result == ProbeResult(False, "ping: 192.0.2.1 does not answer")
    _install_ping(tmp_path, monkeypatch, "echo 'ping: gw: Name unknown' >&2; exit 2")
    result = await probe(NetworkTest("ping", "gw"), 5.0)
    assert result == ProbeResult(False, "ping: gw does not answer: 'ping: gw: Name unknown'")


async def test_ping_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_ping(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    clock = SystemClock()
    before = clock.now()
    result = await probe(NetworkTest("ping", "192.0.2.1"), 0.3)
    assert result == ProbeResult(False, "ping: no answer within 0.3 s")
    assert clock.now() - before < 3
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_cancelled_ping_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_ping(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    run = asyncio.ensure_future(probe(NetworkTest("ping", "192.0.2.1"), 60))
    pid_file = tmp_path / "pid"
    while not (pid_file.exists() and pid_file.read_text()):  # noqa: ASYNC110, another process
        await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_no_ping_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = await probe(NetworkTest("ping", "192.0.2.1"), 1.0)
    assert result == ProbeResult(None, "ping can't be run: No such file or directory")


class _NameServer(asyncio.DatagramProtocol):
    def __init__(self, answers: Callable[[int, bytes], list[bytes]]) -> None:
        self._answers = answers
        self.queries: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.queries.append(data)
        for answer in self._answers(len(self.queries), data):
            self._transport.sendto(answer, address)


@asynccontextmanager
async def _name_server(
    answers: Callable[[int, bytes], list[bytes]],
) -> AsyncIterator[tuple[_NameServer, NetworkTest]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _NameServer(answers), local_addr=("127.0.0.1", 0)
    )
    try:
        port = transport.get_extra_info("sockname")[1]
        yield server, NetworkTest("dns", "127.0.0.1", port)
    finally:
        transport.close()


def _answer(query: bytes, code: int = 0, id_offset: int = 0) -> bytes:
    query_id = (int.from_bytes(query[:2], "big") + id_offset) & 0xFFFF
    return struct.pack(">HH", query_id, 0x8180 | code) + query[4:]


@pytest.mark.parametrize(("code", "says"), [(0, "no error"), (2, "server failure"), (5, "code 5")])
async def test_dns(code: int, says: str) -> None:
    async with _name_server(lambda _, query: [_answer(query, code)]) as (server, test):
        result = await probe(test, 5.0)
    assert result == ProbeResult(True, f"dns: name server 127.0.0.1 answers ({says})")
    # RFC 1035: recursion desired, one question: the root, NS, IN.
    [query] = server.queries
    assert query[2:] == bytes.fromhex("0100 0001 0000 0000 0000 00 0002 0001")


async def test_dns_survives_a_lost_datagram() -> None:
    async with _name_server(lambda n, q: [_answer(q)] if n == 3 else []) as (server, test):
        assert (await probe(test, 0.6)).ok
    assert len(server.queries) == 3


async def test_dns_takes_no_strangers_answer() -> None:
    def strange(_number: int, query: bytes) -> list[bytes]:
        return [b"", b"\x00" * 11, query, _answer(query, id_offset=1)]

    async with _name_server(strange) as (_, test):
        result = await probe(test, 0.1)
    assert result == ProbeResult(False, "dns: no answer within 0.1 s")


async def test_dns_without_server() -> None:
    async with _name_server(lambda _, query: [_answer(query)]) as (_, test):
        pass
    assert await probe(test, 5.0) == ProbeResult(False, "dns: the connection was refused")


def test_first_nameserver() -> None:
    text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver\n nameserver\t192.0.2.1 # x\n"
    assert first_nameserver(text + "nameserver 192.0.2.2\n") == "192.0.2.1"
    assert first_nameserver("options edns0\n") is None


@pytest.mark.parametrize(
    ("kind", "address", "port", "says"),
    [
        ("telnet", "", None, "must be one of"),
        ("ping", "", None, "needs an address"),
        ("tcp", "", 1, "needs an address"),
        ("tcp", "gw", None, "needs a port"),
        ("tcp", "gw", 0, "no port"),
        ("dns", "gw", 65536, "no port"),
        ("ping", "-f", None, "no address"),
        ("ping", "gw gw", None, "no address"),
    ],
)
def test_what_cannot_be_tested(kind: str, address: str, port: Optional[int], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        NetworkTest(kind, address, port)
