# SPDX-License-Identifier: Apache-2.0
"""Network tests against real sockets. Pings are in test_ping.py."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Callable, Optional

import pytest

from ha_agent.broker.probes.names import Names
from ha_agent.broker.probes.network import NetworkTest, ProbeResult, ask, nameservers, probe
from ha_agent.errors import BadInput


async def test_none() -> None:
    assert (await probe(NetworkTest("none"), 1.0, Names())).ok is None


async def test_tcp() -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    test = NetworkTest("tcp", "127.0.0.1", port)
    assert await probe(test, 5.0, Names()) == ProbeResult(
        True, f"tcp: 127.0.0.1 port {port} accepts connections"
    )
    server.close()
    await server.wait_closed()
    assert await probe(test, 5.0, Names()) == ProbeResult(False, "tcp: the connection was refused")


async def test_a_port_that_takes_connections_and_hangs_is_reached() -> None:
    """The kernel takes them: what is tested is the way to the host, not what runs there."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        test = NetworkTest("tcp", "127.0.0.1", deaf.getsockname()[1])
        assert (await probe(test, 5.0, Names())).ok


async def test_a_port_that_takes_no_more_connections_is_lost_after_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(place)
            result = await probe(NetworkTest("tcp", "127.0.0.1", place[1]), 0.2, Names())
        finally:
            for one in waiting:
                one.close()
    assert result == ProbeResult(False, "tcp: no answer within 0.2 s")


async def test_a_name_that_has_no_address() -> None:
    result = await probe(NetworkTest("tcp", "no.such.name.invalid", 80), 30.0, Names())
    assert result.ok is False
    assert result.detail.startswith("tcp: ")


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
        result = await probe(test, 5.0, Names())
    assert result == ProbeResult(True, f"dns: name server 127.0.0.1 answers ({says})")
    # RFC 1035: recursion desired, one question: the root, NS, IN.
    [query] = server.queries
    assert query[2:] == bytes.fromhex("0100 0001 0000 0000 0000 00 0002 0001")


async def test_dns_survives_a_lost_datagram() -> None:
    async with _name_server(lambda n, q: [_answer(q)] if n == 3 else []) as (server, test):
        assert (await probe(test, 0.6, Names())).ok
    assert len(server.queries) == 3


async def test_a_name_server_that_never_answers_is_lost_after_the_deadline() -> None:
    async with _name_server(lambda _number, _query: []) as (_, test):
        result = await probe(test, 0.1, Names())
    assert result == ProbeResult(False, "dns: no answer within 0.1 s")


async def test_dns_takes_no_strangers_answer() -> None:
    def strange(_number: int, query: bytes) -> list[bytes]:
        return [b"", b"\x00" * 11, query, _answer(query, id_offset=1)]

    async with _name_server(strange) as (_, test):
        result = await probe(test, 0.1, Names())
    assert result == ProbeResult(False, "dns: no answer within 0.1 s")


async def test_dns_without_server() -> None:
    async with _name_server(lambda _, query: [_answer(query)]) as (_, test):
        pass
    assert await probe(test, 5.0, Names()) == ProbeResult(False, "dns: the connection was refused")


def test_nameservers() -> None:
    text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver\n nameserver\t192.0.2.1 # x\n"
    assert nameservers(text) == ["192.0.2.1"]
    assert nameservers("".join(f"nameserver 192.0.2.{n}\n" for n in range(5))) == [
        "192.0.2.0",
        "192.0.2.1",
        "192.0.2.2",
    ]
    assert nameservers("options edns0\n") == []


async def test_one_of_several_name_servers_is_enough() -> None:
    """The first refuses, and the second never answers: a program would get its address still."""
    servers = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        async with _name_server(lambda _, query: [_answer(query)]) as (_, test):
            port = test.port or 0
            silent.bind(("127.0.0.3", port))
            result = await ask(servers, port, 5.0, Names())
        assert result == ProbeResult(True, "dns: name server 127.0.0.1 answers (no error)")
        with pytest.raises(asyncio.TimeoutError):
            await ask(servers, port, 0.2, Names())
    with pytest.raises(ConnectionRefusedError):
        await ask(servers, port, 5.0, Names())


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
