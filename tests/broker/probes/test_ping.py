# SPDX-License-Identifier: Apache-2.0
"""Pings by the kernel, each in a network of its own."""

from __future__ import annotations

import struct

import pytest

from ha_agent.broker.probes.ping import checksum
from tests.broker.probes.net_world import needs_own_network, run_apart

_LOOPBACK = "ip link set lo up"
# The other end of this pair takes what is sent, and nobody there answers.
_BLACK_HOLE = (
    f"{_LOOPBACK} && ip link add d0 type veth peer name d1 "
    "&& ip addr add 10.9.0.1/24 dev d0 && ip link set d1 up && ip link set d0 up "
    "&& ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:01 dev d0 "
    "&& ip route add unreachable 10.8.0.0/24"
)
_GROUPS = "/proc/sys/net/ipv4/ping_group_range"
_CLOSED = f"echo '1 0' > {_GROUPS}"
_OPEN = f"echo '0 2147483647' > {_GROUPS}"


def _ping(*addresses: str, user: int = 0) -> str:
    return f"""
import asyncio, encodings.idna, os  # another user may not read Python's library
from ha_agent.broker.probes.names import Names
from ha_agent.broker.probes.network import NetworkTest, probe
if {user}:
    os.setgroups([])
    os.setgid({user})
    os.setuid({user})
for address in {addresses!r}:
    result = asyncio.run(probe(NetworkTest("ping", address), 0.5, Names()))
    print(result.ok, result.detail)
"""


@pytest.mark.parametrize("data", [b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", b"\xff" * 8, bytes(8)])
def test_the_checksum_makes_the_whole_sum_up_to_ones(data: bytes) -> None:
    """RFC 1071, 1 (3): with its checksum in it, a packet's checksum is 0."""
    assert checksum(data + struct.pack(">H", checksum(data))) == 0


class TestInItsOwnNetwork:
    pytestmark = needs_own_network

    def test_root_needs_no_group(self) -> None:
        """As in ha-broker.service, and in a container that may use raw sockets."""
        said = run_apart(f"{_LOOPBACK} && {_CLOSED}", _ping("127.0.0.1", "::1", "localhost"))
        assert said == [
            "True ping: 127.0.0.1 answers",
            "True ping: ::1 answers",
            "True ping: localhost answers",
        ]

    def test_a_user_of_the_group_needs_no_capability(self) -> None:
        said = run_apart(f"{_LOOPBACK} && {_OPEN}", _ping("127.0.0.1", "::1", user=65534))
        assert said == ["True ping: 127.0.0.1 answers", "True ping: ::1 answers"]

    def test_who_has_neither_is_told_what_to_do_and_no_ping_is_lost(self) -> None:
        [said] = run_apart(f"{_LOOPBACK} && {_CLOSED}", _ping("127.0.0.1", user=65534))
        assert said.startswith("None ping: this host may not send pings: ")
        assert "ping_group_range" in said
        assert "CAP_NET_RAW" in said

    @pytest.mark.parametrize("groups", [_CLOSED, _OPEN], ids=["raw", "echo"])
    def test_a_black_hole_and_a_way_that_is_none(self, groups: str) -> None:
        said = run_apart(f"{_BLACK_HOLE} && {groups}", _ping("10.9.0.2", "10.8.0.1", "10.7.0.1"))
        assert said == [
            "False ping: no answer within 0.5 s",
            "False ping: the connection failed: no route to host",
            "False ping: the connection failed: network is unreachable",
        ]
