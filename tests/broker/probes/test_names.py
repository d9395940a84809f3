# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket

import pytest

from ha_agent.broker.probes.names import Names


@pytest.mark.parametrize(
    ("text", "family"),
    [("192.0.2.7", socket.AF_INET), ("2001:db8::7", socket.AF_INET6)],
)
async def test_an_address_is_what_it_is(text: str, family: int) -> None:
    [found] = await Names().addresses(text, 80)
    assert (found.family, found.text, found.sockaddr[:2]) == (family, text, (text, 80))


async def test_an_address_keeps_its_zone() -> None:
    [found] = await Names().addresses("fe80::1%lo", 80)
    assert (found.text, found.sockaddr[3]) == ("fe80::1%lo", socket.if_nametoindex("lo"))


async def test_a_name_is_looked_up() -> None:
    found = await Names().addresses("localhost", 80)
    assert {address.text for address in found} <= {"127.0.0.1", "::1"}
    assert found


async def test_what_is_no_name() -> None:
    with pytest.raises(UnicodeError):
        await Names().addresses("x" * 64 + ".example", 80)


async def test_the_next_address_is_tried() -> None:
    """localhost may be ::1 first, where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        _, writer = await Names().connect("localhost", server.getsockname()[1])
        assert writer.get_extra_info("peername") == server.getsockname()
        writer.transport.abort()


async def test_an_address_that_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await Names().connect("127.0.0.1", port)
