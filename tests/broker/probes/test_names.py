# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from ha_agent.broker.probes.names import Names
from ha_agent.broker.probes.network import NetworkTest, ProbeResult, probe


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


async def test_a_name_server_that_never_answers_holds_up_one_thread_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end, ask = threading.Event(), socket.getaddrinfo

    def hang(host: str, *args: Any, flags: int = 0, **named: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            end.wait(30)
        return ask(host, *args, **{"flags": flags, **named})

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    names = Names()
    try:
        test = NetworkTest("tcp", "localhost", 9)
        first = await probe(test, 0.05, names)
        assert first == ProbeResult(False, "tcp: no answer within 0.05 s")
        for _ in range(10):
            again = await probe(test, 5.0, names)
            assert again.ok is False
            assert "an earlier look-up has not ended yet" in again.detail
        hanging = [one for one in threading.enumerate() if one.name == "name look-up"]
        assert len(hanging) == 1
        [address] = await names.addresses("192.0.2.7", 80)  # needs no name server
        assert address.text == "192.0.2.7"
    finally:
        end.set()
    for thread in hanging:
        thread.join()


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
