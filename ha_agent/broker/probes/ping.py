# SPDX-License-Identifier: Apache-2.0
"""One ICMP echo: sent, and answered or not (RFC 792, RFC 4443).

No program is run: containers and small hosts have no `ping`, and one process for each test
would cost more than the test. The kernel gives an echo socket to the groups in
net.ipv4.ping_group_range, and a raw one to CAP_NET_RAW, which ha-broker.service has. Where it
gives neither, nothing can be said of the network, which is not the same as a lost echo.

    type  code  checksum  identifier  sequence  16 random bytes, by which the answer is known
    u8    u8    u16       u16         u16       (an echo socket has an identifier of its own)
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct

from ha_agent.broker.probes.names import Address
from ha_agent.errors import EnvironmentFault

_HEADER = struct.Struct(">BBHHH")
_TOKEN_BYTES = 16
_ANSWER_BYTES = 2048
_PROTOCOLS = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # types: request, reply


async def echo(address: Address) -> None:
    """Send one echo and return when it is answered; wait for ever. Who asks has the deadline.

    Raises EnvironmentFault when this host may not send it, OSError when the network refuses.
    """
    request_type, reply_type = _ECHO[address.family]
    token = os.urandom(_TOKEN_BYTES)
    loop = asyncio.get_running_loop()
    with _socket(address.family) as sock:
        sock.setblocking(False)
        sock.connect((address.sockaddr[0], 0, *address.sockaddr[2:]))
        await loop.sock_sendall(sock, _packet(request_type, token))
        while True:
            answer = await loop.sock_recv(sock, _ANSWER_BYTES)
            if _is_reply(answer, reply_type, token, address.family, sock.type):
                return


def _socket(family: socket.AddressFamily) -> socket.socket:
    protocol = _PROTOCOLS[family]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            return socket.socket(family, kind, protocol)
        except PermissionError:
            continue
    raise EnvironmentFault(
        "this host may not send pings: net.ipv4.ping_group_range does not have the broker's "
        "group, and the broker has no CAP_NET_RAW; allow one, or let [network] test be dns or tcp"
    )


def _packet(request_type: int, token: bytes) -> bytes:
    identifier = os.getpid() & 0xFFFF
    bare = _HEADER.pack(request_type, 0, 0, identifier, 1) + token
    return _HEADER.pack(request_type, 0, checksum(bare), identifier, 1) + token


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _is_reply(
    answer: bytes,
    reply_type: int,
    token: bytes,
    family: socket.AddressFamily,
    kind: int,
) -> bool:
    # A raw IPv4 socket hears every ICMP packet of that host, each after its IP header.
    if family is socket.AF_INET and kind & 0xF == socket.SOCK_RAW and answer:
        answer = answer[4 * (answer[0] & 0x0F) :]
    return answer[:1] == bytes([reply_type]) and answer[_HEADER.size :] == token
