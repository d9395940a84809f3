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
import os
import struct
from dataclasses import dataclass
from typing import Optional

from ha_agent.broker.probes import network_fault, ping
from ha_agent.broker.probes.names import Names
from ha_agent.errors import BadInput, EnvironmentFault
from ha_agent.waiting import within

KINDS = ("none", "ping", "dns", "tcp")
RESOLV_CONF = "/etc/resolv.conf"
_MAX_RESOLV_CONF_CHARACTERS = 64 * 1024
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

    For dns both may be given; else the first name server of /etc/resolv.conf, port 53, is asked.
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
    address = test.address
    if not address:
        try:
            with open(RESOLV_CONF, encoding="utf-8", errors="replace") as file:
                found = first_nameserver(file.read(_MAX_RESOLV_CONF_CHARACTERS))
        except OSError as error:
            return ProbeResult(False, f"dns: {RESOLV_CONF} can't be read: {error.strerror}")
        if found is None:
            return ProbeResult(False, f"dns: {RESOLV_CONF} names no name server")
        address = found
    query_id = int.from_bytes(os.urandom(2), "big")
    query = _DNS_HEADER.pack(query_id, _DNS_RECURSION_DESIRED, 1, 0, 0, 0) + _DNS_ROOT_NS_IN
    where = (await names.addresses(address, test.port or _DNS_PORT))[0]
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[int] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _DnsCaller(query_id, answer), remote_addr=(where.text, test.port or _DNS_PORT)
    )
    try:
        for _ in range(_DNS_SENDS):
            transport.sendto(query)
            await asyncio.wait({answer}, timeout=deadline_seconds / _DNS_SENDS)
            if answer.done():
                break
        else:
            raise asyncio.TimeoutError
        code = answer.result()
    finally:
        transport.close()
        answer.cancel()
    # Any answer came over the network, and that is what is tested.
    return ProbeResult(
        True, f"dns: name server {address} answers ({_DNS_CODES.get(code, f'code {code}')})"
    )


class _DnsCaller(asyncio.DatagramProtocol):
    """Waits for the answer to one query; puts its response code into `answer`."""

    def __init__(self, query_id: int, answer: asyncio.Future[int]) -> None:
        self._query_id = query_id
        self._answer = answer

    def datagram_received(self, data: bytes, _address: object) -> None:
        if self._answer.done() or len(data) < _DNS_HEADER.size:
            return
        answer_id, flags = struct.unpack_from(">HH", data)
        if answer_id == self._query_id and flags & _DNS_IS_ANSWER:
            self._answer.set_result(flags & 0x000F)

    def error_received(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)


def first_nameserver(text: str) -> Optional[str]:
    """Return the first name server in the text of a resolv.conf(5), or None."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            return words[1]
    return None
