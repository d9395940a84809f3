# SPDX-License-Identifier: Apache-2.0
"""One test of this host's network, as the administrator chose: none, ping, dns or tcp.

It must not raise, judge or repeat over time; loop.py repeats, and the score judges over several
samples (the predecessor stopped a healthy engine over one bad sample, facts 1.2). The kinds and
their meaning are the predecessor's:

    none   nothing is tested
    ping   one ICMP echo is answered
    dns    any answer of a name server to "who serves the root zone?", over UDP
    tcp    a connection to address and port is accepted
"""

from __future__ import annotations

import asyncio
import functools
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.probes import network_fault, ping
from ha_agent.broker.probes.names import Names
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.waiting import within

KINDS = ("none", "ping", "dns", "tcp")
RESOLV_CONF = "/etc/resolv.conf"
_MAX_RESOLV_CONF_CHARACTERS = 64 * 1024
_MAX_NAMESERVERS = 3  # MAXNS of <resolv.h>
_DNS_PORT = 53
# One lost datagram under load is no lost network (BZ 1984356).
_DNS_SENDS = 3
_DNS_HEADER = struct.Struct(">HHHHHH")  # RFC 1035, 4.1.1: id, flags, four counts
_DNS_RECURSION_DESIRED = 0x0100
_DNS_IS_ANSWER = 0x8000
_DNS_ROOT_NS_IN = b"\x00" + struct.pack(">HH", 2, 1)  # the root's name, type NS, class IN
_DNS_CODES = {0: "no error", 1: "format error", 2: "server failure", 3: "no such name"}


@dataclass(frozen=True)
class NetworkTest:
    """Which test. `address` is needed by ping and tcp, `port` by tcp.

    For dns both may be given; else those of /etc/resolv.conf are asked, port 53, all at once.
    Raises BadInput for what can't be tested.
    """

    kind: str
    address: str = ""
    port: Optional[int] = None

    def __post_init__(self) -> None:
        where = f"network test {self.kind!r}"
        if self.kind not in KINDS:
            raise BadInput(f"must be one of {', '.join(KINDS)}", where=where)
        if self.kind in ("ping", "tcp") and not self.address:
            raise BadInput("needs an address", where=where)
        if self.kind == "tcp" and self.port is None:
            raise BadInput("needs a port", where=where)
        if self.port is not None and not 1 <= self.port <= 65535:
            raise BadInput(f"{self.port} is no port", where=where)
        if self.address.startswith("-") or any(c <= " " for c in self.address):
            raise BadInput(f"{self.address!r} is no address", where=where)


@dataclass(frozen=True)
class ProbeResult:
    """`ok` is None when nothing was tested: that is neither a good nor a bad sample."""

    ok: Optional[bool]
    detail: str


async def probe(test: NetworkTest, deadline_seconds: float, names: Names) -> ProbeResult:
    """Run the test once. Never raises but for cancellation."""
    if test.kind == "none":
        return ProbeResult(None, "no network test is configured")
    runs = {"ping": _ping, "dns": _dns, "tcp": _tcp}
    try:
        return await within(deadline_seconds, runs[test.kind](test, deadline_seconds, names))
    except asyncio.TimeoutError:
        return ProbeResult(False, f"{test.kind}: no answer within {deadline_seconds:g} s")
    except EnvironmentFault as fault:
        # This host can't test: that says nothing of the network.
        return ProbeResult(None, f"{test.kind}: {fault}")
    except (OSError, UnicodeError) as error:
        return ProbeResult(False, f"{test.kind}: {network_fault.describe(error)}")


async def _tcp(test: NetworkTest, _deadline_seconds: float, names: Names) -> ProbeResult:
    assert test.port is not None, "NetworkTest checks it"
    writer = (await names.connect(test.address, test.port))[1]
    writer.transport.abort()
    return ProbeResult(True, f"tcp: {test.address} port {test.port} accepts connections")


async def _ping(test: NetworkTest, _deadline_seconds: float, names: Names) -> ProbeResult:
    address = (await names.addresses(test.address, 0))[0]
    await ping.echo(address)
    return ProbeResult(True, f"ping: {test.address} answers")


async def _dns(test: NetworkTest, deadline_seconds: float, names: Names) -> ProbeResult:
    servers = [test.address]
    if not test.address:
        try:
            with open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
                servers = nameservers(file.read(_MAX_RESOLV_CONF_CHARACTERS))
        except OSError as error:
            return ProbeResult(False, f"dns: {RESOLV_CONF} can't be read: {error.strerror}")
        if not servers:
            return ProbeResult(False, f"dns: {RESOLV_CONF} names no name server")
    return await ask(servers, test.port or _DNS_PORT, deadline_seconds, names)


async def ask(
    servers: Sequence[str], port: int, deadline_seconds: float, names: Names
) -> ProbeResult:
    """Ask all name servers, and return which one answered first.

    Raises asyncio.TimeoutError, and OSError where all of them can't be asked.
    """
    question = _DnsQuestion(len(servers))
    loop = asyncio.get_running_loop()
    transports = []
    try:
        for server in servers:
            where = (await names.addresses(server, port))[0]
            transport, _ = await loop.create_datagram_endpoint(
                functools.partial(_DnsCaller, question, server),
                remote_addr=(where.text, port),
            )
            transports.append(transport)
        for _ in range(_DNS_SENDS):
            for transport in transports:
                transport.sendto(question.query)
            await asyncio.wait({question.answer}, timeout=deadline_seconds / _DNS_SENDS)
            if question.answer.done():
                break
        else:
            raise asyncio.TimeoutError
        server, code = question.answer.result()
    finally:
        for transport in transports:
            transport.close()
        question.answer.cancel()
    # Any answer came over the network, and that is what is tested.
    return ProbeResult(
        True, f"dns: name server {server} answers ({_DNS_CODES.get(code, f'code {code}')})"
    )


class _DnsQuestion:
    """One query to some servers; `answer` is the first to answer, and its response code.

    One server that refuses fails it only where there is no other.
    """

    def __init__(self, servers: int) -> None:
        self._left = servers
        self._id = int.from_bytes(os.urandom(2), "big")
        header = _DNS_HEADER.pack(self._id, _DNS_RECURSION_DESIRED, 1, 0, 0, 0)
        self.query = header + _DNS_ROOT_NS_IN
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[tuple[str, int]] = loop.create_future()

    def hear(self, server: str, data: bytes) -> None:
        if self.answer.done() or len(data) < _DNS_HEADER.size:
            return
        answer_id, flags = struct.unpack_from(">HH", data)
        if answer_id == self._id and flags & _DNS_IS_ANSWER:
            self.answer.set_result((server, flags & 0x000F))

    def fail(self, error: Exception) -> None:
        self._left -= 1
        if not self._left and not self.answer.done():
            self.answer.set_exception(error)


class _DnsCaller(asyncio.DatagramProtocol):
    """Asks one server."""

    def __init__(self, question: _DnsQuestion, server: str) -> None:
        self._question = question
        self._server = server
        self._failed = False

    def datagram_received(self, data: bytes, _address: object) -> None:
        self._question.hear(self._server, data)

    def error_received(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            self._question.fail(error)


def nameservers(text: str) -> list[str]:
    """Return the name servers in the text of a resolv.conf(5); it has three at most."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            found.append(words[1])
    return found[:_MAX_NAMESERVERS]
